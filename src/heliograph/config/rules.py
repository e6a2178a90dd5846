"""What types cannot say of a value.  A rule answers with the rest of a sentence beginning with the key, or nothing."""

import ipaddress
import re
from collections.abc import Callable, Sequence
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

import msgspec
import re2

from heliograph.config.settings import (
    ApiSetting,
    BreakerSetting,
    CollectSetting,
    DirectSetting,
    FlinkSetting,
    KafkaSetting,
    PostgresSetting,
    ProjectSetting,
    ReceiverSetting,
    RedisSetting,
    RelaySetting,
    ReplySetting,
    SenderSetting,
    ServerSetting,
    SmtpSetting,
    TierSetting,
    WarmupSetting,
    WebhooksSetting,
)
from heliograph.decide.parsing import nearest
from heliograph.decide.times import is_zone, ms, zone_names
from heliograph.deliver.limits import ACTIONS
from heliograph.deliver.webhooks import read_secret

DIRECT: Final = "mx:"
"""In the place of a relay's url: straight to the receivers."""

_FROM = re.compile(r"(?:[^<>\r\n\x00]*<)?[^<>@\s\x00]+@[^<>@\s\x00]+\.?[^<>@\s\x00]*>?")
_RATE = re.compile(r"[1-9][0-9]*/(s|m|h|d)")
_SHARE = re.compile(r"[0-9]+(\.[0-9]+)?%")
_BROKER = re.compile(r"(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+):[0-9]{1,5}")
_PREFIX = re.compile(r"[A-Za-z0-9._-]{1,100}")
_HOST = re.compile(r"[A-Za-z0-9-]{1,63}(\.[A-Za-z0-9-]{1,63})+")
MAX_RETURN_PATH: Final = 18
"""Characters before the @: what each mail's token leaves of a local part's 64 (``heliograph.render.verp``, which would
bring all of Liquid with it)."""
_RETURN_PATH = re.compile(rf"[^<>@+\s\x00-\x20\x7f-\U0010ffff]{{1,{MAX_RETURN_PATH}}}@[^<>@\s\x00-\x20]+")


def _rule_timezone(value: str) -> str:
    if is_zone(value):
        return ""
    hint = nearest(value, zone_names())
    return f"must be a zone of the IANA database like {hint or 'Europe/London'}, not {value!r}"


def _rule_base_url(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.netloc or parts.query or parts.fragment:
        return f"must be like https://mail.example, not {value!r}"
    if len(value) > MAX_BASE_URL:
        return f"must have at most {MAX_BASE_URL} characters, not {len(value)}"
    return ""


MAX_BASE_URL = 200
"""Links in headers and text begin with it, and a line of mail holds 998 octets (RFC 5322, 2.1.1)."""


def _rule_smtp(value: str) -> str:
    try:
        parts = urlsplit(value)
        parts.port  # noqa: B018  raises when it is no number
    except ValueError as error:
        return f"cannot be read: {error}"
    if value == DIRECT:
        return ""
    if parts.scheme not in ("smtp", "smtps") or not parts.hostname:
        return "must be like smtp://user:password@host:587?starttls=required (or smtps://), special characters as %xx"
    query = parse_qs(parts.query, keep_blank_values=True)
    for key in query:
        if key != "starttls":
            return f"knows only ?starttls=, not {key}"
    mode = query.get("starttls", ["optional"])[-1]
    return "" if mode in ("required", "optional", "off") else f"starttls must be required, optional or off, not {mode}"


def _rule_secrets(values: list[str]) -> str:
    try:
        for value in values:
            read_secret(value)
    except ValueError as error:
        return f"has one that is none: {error}"
    return ""


def _rule_from(value: str) -> str:
    return "" if _FROM.fullmatch(value.strip()) else f"must be an address, or `Name <address>`, not {value!r}"


def _rule_return_path(value: str) -> str:
    if not value or _RETURN_PATH.fullmatch(value):
        return ""
    return (
        "must be a bare address without a +, like bounce@mail.shop.example, with at most "
        f"{MAX_RETURN_PATH} ASCII characters before the @ (each mail's token joins them), not {value!r}"
    )


def _rule_relay(value: str) -> str:
    return "is for a relay; straight to receivers is said by smtp.url" if value == DIRECT else _rule_smtp(value)


def _rule_rate(value: str) -> str:
    return "" if not value or _RATE.fullmatch(value) else f"must be like 100/s (or /m, /h, /d), not {value!r}"


def _rule_limit(value: str) -> str:
    return _rule_rate(value) if value else "must be like 2000/s (or /m, /h)"


def _rule_share(value: str) -> str:
    return "" if _SHARE.fullmatch(value) and float(value[:-1]) <= 100 else f"must be like 2%, not {value!r}"


def _rule_duration(value: str) -> str:
    try:
        return "" if ms(value) > 0 else "must be longer than nothing"
    except ValueError as error:
        return f"is no length of time like PT15M: {error}"


def _rule_match(value: str) -> str:
    try:
        re2.compile(value)
    except re2.error as error:
        return f"is no regular expression of RE2: {error}"
    return ""


def _between(low: int, high: int) -> Callable[[int], str]:
    return lambda value: "" if low <= value <= high else f"must be between {low} and {high}, not {value}"


def _one_of(*words: str) -> Callable[[str], str]:
    said = ", ".join(words[:-1]) + " or " + words[-1]
    return lambda value: "" if value in words else f"must be {said}, not {value!r}"


def _filled(value: str) -> str:
    return "" if value.strip() else "must not be empty"


def _rule_host(value: str) -> str:
    if not value or _HOST.fullmatch(value):
        return ""
    return f"must be a host name with matching forward and reverse DNS, like mail.shop.example, not {value!r}"


def _rule_ip(value: str) -> str:
    try:
        ipaddress.ip_address(value)
    except ValueError:
        return f"must be addresses of this machine, not {value!r}"
    return ""


def _rule_nameserver(value: str) -> str:
    address = re.sub(r"\](:\d+)?$", "", value)[1:] if value.startswith("[") else value
    address = re.sub(r":\d+$", "", address) if address.count(":") == 1 else address
    return f"must be ADDRESS or ADDRESS:PORT, not {value!r}" if _rule_ip(address) else ""


def _rule_network(value: str) -> str:
    try:
        ipaddress.ip_network(value)
    except ValueError as error:
        return f"must be networks like 10.0.0.0/8: {error}"
    return ""


def _each(rule: Callable[[str], str]) -> Callable[[Sequence[str]], str]:
    return lambda values: next(filter(None, map(rule, values)), "")


def _rule_brokers(value: str) -> str:
    wrong = next((one for one in value.split(",") if value and not _BROKER.fullmatch(one.strip())), None)
    return "" if wrong is None else f"must be HOST:PORT,HOST:PORT, not {wrong.strip()!r}"


def _rule_postgres(value: str) -> str:
    if not value or value.startswith(("postgresql://", "postgres://")):
        return ""
    return "must be like postgresql://user:password@host:5432/heliograph, special characters as %xx"


def _rule_redis(value: str) -> str:
    if not value or value.startswith(("redis://", "rediss://", "unix://")):
        return ""
    return "must be like redis://host:6379/0, or rediss:// for TLS"


_MANY: Final = 1_000_000_000

RULES: dict[tuple[type[msgspec.Struct], str], Callable[[Any], str]] = {
    (ProjectSetting, "timezone"): _rule_timezone,
    (ProjectSetting, "base_url"): _rule_base_url,
    (ProjectSetting, "time_scale"): lambda v: "" if 0 < v < float("inf") else f"must be above 0, not {v}",
    (ProjectSetting, "name"): _filled,
    (ServerSetting, "port"): _between(0, 65535),
    (ServerSetting, "trusted_proxies"): _each(_rule_network),
    (CollectSetting, "write_key"): _filled,
    (CollectSetting, "rate_limit"): lambda v: (
        "" if _RATE.fullmatch(v) else f"must be like 2000/s (or /m, /h), not {v!r}"
    ),
    (ApiSetting, "token"): _filled,
    (WebhooksSetting, "secrets"): _rule_secrets,
    (SmtpSetting, "url"): _rule_smtp,
    (SmtpSetting, "mailers"): _between(1, 64),
    (SmtpSetting, "connections"): _between(1, 1000),
    (SmtpSetting, "weight"): _between(0, 1000),
    (SmtpSetting, "max_message_rate"): _rule_rate,
    (SmtpSetting, "max_messages_per_day"): _between(0, _MANY),
    (RelaySetting, "url"): _rule_relay,
    (RelaySetting, "connections"): _between(1, 1000),
    (RelaySetting, "weight"): _between(0, 1000),
    (RelaySetting, "max_message_rate"): _rule_rate,
    (RelaySetting, "max_messages_per_day"): _between(0, _MANY),
    (DirectSetting, "port"): _between(1, 65535),
    (DirectSetting, "connections"): _between(1, 10_000),
    (DirectSetting, "starttls"): _one_of("optional", "required"),
    (DirectSetting, "ehlo"): _rule_host,
    (DirectSetting, "nameservers"): _each(_rule_nameserver),
    (DirectSetting, "source_addresses"): _each(_rule_ip),
    (DirectSetting, "private_networks"): _each(_rule_network),
    (ReceiverSetting, "connection_limit"): _between(0, 10_000),
    (ReceiverSetting, "max_connection_rate"): _rule_rate,
    (ReceiverSetting, "max_deliveries_per_connection"): _between(0, 1_000_000),
    (ReceiverSetting, "max_message_rate"): _rule_rate,
    (ReplySetting, "match"): _rule_match,
    (ReplySetting, "action"): _one_of(*ACTIONS),
    (ReplySetting, "for"): _rule_duration,
    (ReplySetting, "rate"): _rule_rate,
    (BreakerSetting, "window"): _rule_duration,
    (BreakerSetting, "least"): _between(1, 1_000_000),
    (BreakerSetting, "bounces"): _rule_share,
    (BreakerSetting, "failures"): _rule_share,
    (BreakerSetting, "complaints"): _rule_share,
    (KafkaSetting, "brokers"): _rule_brokers,
    (KafkaSetting, "prefix"): lambda v: (
        "" if _PREFIX.fullmatch(v) else f"must be letters, digits, dots, dashes and underscores, not {v!r}"
    ),
    (KafkaSetting, "partitions"): _between(1, 1024),
    (KafkaSetting, "replication"): _between(1, 10),
    (KafkaSetting, "protocol"): _one_of("plaintext", "ssl", "sasl_plaintext", "sasl_ssl"),
    (KafkaSetting, "mechanism"): lambda v: "" if not v else _one_of("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")(v),
    (KafkaSetting, "timeout"): _rule_duration,
    (KafkaSetting, "spool_mb"): _between(0, 1_000_000),
    (PostgresSetting, "url"): _rule_postgres,
    (PostgresSetting, "pool"): _between(2, 200),
    (PostgresSetting, "timeout"): _rule_duration,
    (PostgresSetting, "lease"): _rule_duration,
    (PostgresSetting, "profile_timeout"): _rule_duration,
    (PostgresSetting, "profile_oldest"): _rule_duration,
    (RedisSetting, "url"): _rule_redis,
    (RedisSetting, "timeout"): _rule_duration,
    (FlinkSetting, "checkpoint"): _rule_duration,
    (FlinkSetting, "parallelism"): _between(1, 1024),
    (SenderSetting, "from"): _rule_from,
    (SenderSetting, "return_path"): _rule_return_path,
    (SenderSetting, "max_message_rate"): _rule_rate,
    (SenderSetting, "max_messages_per_day"): _between(0, _MANY),
    (TierSetting, "per_hour"): _between(0, _MANY),
    (TierSetting, "per_day"): _between(0, _MANY),
    (WarmupSetting, "bounces"): _rule_share,
    (WarmupSetting, "complaints"): _rule_share,
}
