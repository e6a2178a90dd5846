"""The whole vocabulary of ``heliograph.toml``: the reader, the environment variables, the near-miss hints and the
checks all follow from these structs.

Rates are ``100/s`` (also ``/m``, ``/h``, ``/d``), durations ISO-8601, shares ``2%``; an empty text or 0 is no limit.
"""

import re

import msgspec

FILE = "heliograph.toml"
PREFIX = "HELIOGRAPH_"
DEMO_WRITE_KEY = "demo-write-key"
DEMO_TOKEN = "demo-token"
OTHER_VARIABLES = frozenset({"HELIOGRAPH_URL", "HELIOGRAPH_LOG_LEVEL"})
"""Variables that are no keys of the file: the server a command talks to, and how much is logged."""
KUBERNETES = re.compile(r"HELIOGRAPH_(SERVICE_(HOST|PORT\w*)|PORT(_\w+)?)")
"""What a cluster injects into every container beside a Service named ``heliograph``: not ours, not a mistake."""
NOT_SHARED = frozenset({"collect.write_key", "api.token", "smtp.url"})
"""Keys that belong in the environment rather than in git: ``check`` only warns when they are missing."""


class Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A table of the file."""


class ProjectSetting(Table, frozen=True):
    name: str
    timezone: str = "UTC"
    base_url: str = "http://127.0.0.1:8080"
    time_scale: float = 1


class ServerSetting(Table, frozen=True):
    """``trusted_proxies``: networks whose ``X-Forwarded-For`` and ``-Proto`` say who calls (``10.0.0.0/8``)."""

    host: str = "127.0.0.1"
    port: int = 8080
    trusted_proxies: tuple[str, ...] = ()


class CollectSetting(Table, frozen=True):
    write_key: str
    rate_limit: str = "2000/s"


class ApiSetting(Table, frozen=True):
    token: str


class WebhooksSetting(Table, frozen=True):
    """``secrets``: ``whsec_...`` (Standard Webhooks); every request carries a signature for each."""

    secrets: tuple[str, ...] = ()


# -- mail: through relays, or straight to the receivers --


class SmtpSetting(Table, frozen=True):
    """``url``: the relay, or ``mx:`` for none (``[direct]``).  ``mailers``: processes that render, sign and send;
    ``connections``: of each to this relay.  ``ca_file``: certificates to trust beside the system's.  ``weight`` and the
    limits are those of ``[relay.NAME]``.  ``mx_rollup``: receivers are told apart by their MX, not by domains alone."""

    url: str
    mailers: int = 1
    connections: int = 10
    weight: int = 1
    max_message_rate: str = ""
    max_messages_per_day: int = 0
    ca_file: str = ""
    mx_rollup: bool = False


class RelaySetting(Table, frozen=True):
    """A further relay.  ``weight``: its share among those that work; 0: only when all others fail.
    ``max_message_rate``, ``max_messages_per_day``: what the account there allows, over all mailers."""

    url: str
    weight: int = 1
    connections: int = 10
    max_message_rate: str = ""
    max_messages_per_day: int = 0
    ca_file: str = ""


class DirectSetting(Table, frozen=True):
    """To the receivers' own servers (``smtp.url = "mx:"``).  ``ehlo``: our name, with matching forward and reverse
    DNS.  ``nameservers``: instead of the system's, ``ADDRESS`` or ``ADDRESS:PORT``.  ``connections``: of each mailer,
    to all receivers together.  ``starttls``: optional (opportunistic) or required.  ``private_networks``: of addresses
    that are not of the world and may be mailed to all the same (``10.0.0.0/8``)."""

    ehlo: str = ""
    port: int = 25
    source_addresses: tuple[str, ...] = ()
    nameservers: tuple[str, ...] = ()
    connections: int = 200
    starttls: str = "optional"
    mta_sts: bool = True
    ca_file: str = ""
    private_networks: tuple[str, ...] = ()


class ReplySetting(Table, frozen=True, rename={"for_": "for"}):
    """When a receiver's reply matches (RE2, ignoring case): ``suspend`` it, or ``slow`` it down to ``rate`` (none: half
    of what it got), for so long; or ``pass``: the reply says nothing of our pace."""

    match: str
    action: str = "suspend"
    for_: str = "PT15M"
    rate: str = ""


class ReceiverSetting(Table, frozen=True):
    """Limits towards one receiver, in KumoMTA's words, over all mailers.  It is told by ``domains`` of addresses and
    by the ends of its ``mx`` hosts; ``[receiver.default]`` holds for each that no other names."""

    domains: tuple[str, ...] = ()
    mx: tuple[str, ...] = ()
    connection_limit: int = 0
    max_connection_rate: str = ""
    max_deliveries_per_connection: int = 0
    max_message_rate: str = ""
    on_reply: tuple[ReplySetting, ...] = ()


class BreakerSetting(Table, frozen=True):
    """A journey or broadcast pauses itself when, of its last messages within ``window`` (and at least ``least`` of
    them), more than these shares bounced, failed (receivers refused or could not be reached) or were complained
    about."""

    enabled: bool = True
    window: str = "PT1H"
    least: int = 100
    bounces: str = "5%"
    failures: str = "25%"
    complaints: str = "0.3%"


# -- several machines: with [kafka] brokers the log is shared, and so is everything else --


class KafkaSetting(Table, frozen=True):
    """``brokers``: ``HOST:PORT,HOST:PORT``; empty: this machine is alone and keeps all by itself.  ``prefix``: of every
    topic (``heliograph.records``).  ``partitions``: of each topic that we make; never change it afterwards.
    ``protocol``: plaintext, ssl, sasl_plaintext or sasl_ssl; ``mechanism``: PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512.
    ``timeout``: how long an acknowledgement may take before the entry counts as not taken.  ``spool_mb``: what a
    collector keeps on its own disk while Kafka is away, 0 for nothing."""

    brokers: str = ""
    prefix: str = "heliograph"
    partitions: int = 32
    replication: int = 3
    protocol: str = "plaintext"
    mechanism: str = ""
    username: str = ""
    password: str = ""
    ca_file: str = ""
    certificate_file: str = ""
    key_file: str = ""
    timeout: str = "PT10S"
    spool_mb: int = 1024


class PostgresSetting(Table, frozen=True):
    """``url``: ``postgresql://user:password@host:5432/heliograph?sslmode=verify-full``; ``pool``: connections of one
    process.  ``lease``: how long a worker may be silent before others take its partitions over.  ``profile_timeout``:
    how long a mail that is rendered waits for its person; then what was known last is taken, unless that is older than
    ``profile_oldest``."""

    url: str = ""
    pool: int = 8
    timeout: str = "PT5S"
    lease: str = "PT15S"
    profile_timeout: str = "PT0.25S"
    profile_oldest: str = "PT1H"


class RedisSetting(Table, frozen=True):
    """``url``: ``redis://`` or ``rediss://``; empty: no cache, and every worker keeps to its share of each rate."""

    url: str = ""
    prefix: str = "heliograph"
    timeout: str = "PT0.25S"


class ClickhouseSetting(Table, frozen=True):
    """``url``: ``https://user:password@host:8443/heliograph``, or ``chdb:///PATH`` for a database inside the process;
    empty: facts are not loaded."""

    url: str = ""


class FlinkSetting(Table, frozen=True):
    """``url``: the REST address of the JobManager.  ``home``: the environment of ``make flink``.  ``savepoints`` and
    ``checkpoints``: folders or buckets that every TaskManager reaches.  ``checkpoint``: how often."""

    url: str = "http://127.0.0.1:8081"
    home: str = ""
    savepoints: str = ""
    checkpoints: str = ""
    checkpoint: str = "PT10S"
    parallelism: int = 1


# -- senders --


class DkimSetting(Table, frozen=True):
    domain: str
    selector: str
    key_file: str


class TierSetting(Table, frozen=True):
    """A day's limits while a sender is new.  0: none."""

    per_hour: int = 0
    per_day: int = 0


class WarmupSetting(Table, frozen=True):
    """``tiers``: from the first day on, empty for the built-in ones.  A day below both shares promotes, one above
    demotes."""

    tiers: tuple[TierSetting, ...] = ()
    bounces: str = "2%"
    complaints: str = "0.1%"


class SenderSetting(Table, frozen=True, rename={"from_": "from"}):
    """``return_path``: the address bounces go to; each mail's own token is put before its @ (VERP).  ``relays``: which
    of them carry its mail, empty for any.  ``max_...``: over all mailers."""

    from_: str
    reply_to: str | None = None
    postal_address: str = ""
    dkim: tuple[DkimSetting, ...] = ()
    return_path: str = ""
    relays: tuple[str, ...] = ()
    max_message_rate: str = ""
    max_messages_per_day: int = 0
    warmup: WarmupSetting | None = None


class Settings(Table, frozen=True):
    project: ProjectSetting
    collect: CollectSetting
    api: ApiSetting
    smtp: SmtpSetting
    sender: dict[str, SenderSetting]
    server: ServerSetting = ServerSetting()
    webhooks: WebhooksSetting = WebhooksSetting()
    direct: DirectSetting = DirectSetting()
    breaker: BreakerSetting = BreakerSetting()
    kafka: KafkaSetting = KafkaSetting()
    postgres: PostgresSetting = PostgresSetting()
    redis: RedisSetting = RedisSetting()
    clickhouse: ClickhouseSetting = ClickhouseSetting()
    flink: FlinkSetting = FlinkSetting()
    relay: dict[str, RelaySetting] = {}
    receiver: dict[str, ReceiverSetting] = {}


SECTIONS: dict[str, type[msgspec.Struct]] = {
    "project": ProjectSetting,
    "server": ServerSetting,
    "collect": CollectSetting,
    "api": ApiSetting,
    "smtp": SmtpSetting,
    "direct": DirectSetting,
    "breaker": BreakerSetting,
    "webhooks": WebhooksSetting,
    "kafka": KafkaSetting,
    "postgres": PostgresSetting,
    "redis": RedisSetting,
    "clickhouse": ClickhouseSetting,
    "flink": FlinkSetting,
}
"""Plain sections."""
NAMED: dict[str, type[msgspec.Struct]] = {"sender": SenderSetting, "relay": RelaySetting, "receiver": ReceiverSetting}
"""Sections of tables with names of their own: ``[sender.NAME]``."""


def fields(kind: type[msgspec.Struct]) -> dict[str, msgspec.structs.FieldInfo]:
    """By the names that people write."""
    return {field.encode_name: field for field in msgspec.structs.fields(kind)}


def part(field: msgspec.structs.FieldInfo) -> tuple[type[msgspec.Struct], bool] | None:
    """The struct inside a field, and whether it is a list of them; None for a plain value."""
    kinds = [kind for kind in getattr(field.type, "__args__", ()) if isinstance(kind, type)]
    inner = next((kind for kind in kinds if issubclass(kind, msgspec.Struct)), None)
    return None if inner is None else (inner, getattr(field.type, "__origin__", None) is tuple)


def variable_of(key: str) -> str:
    """The environment variable of a dotted key."""
    return PREFIX + re.sub(r"[.\-]", "_", key).upper()


def table(value: object) -> dict[str, object]:
    """The value when it is a table, else an empty one."""
    return value if isinstance(value, dict) else {}
