"""What every client of Kafka shares: the way there, and what its errors ask of whom."""

import logging
import threading
import time
from collections.abc import Callable
from typing import Any, Final, TypeAlias, TypeVar

from confluent_kafka import KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined]

from heliograph import __version__
from heliograph.config import KafkaSetting
from heliograph.decide.times import ms
from heliograph.ports.stream import EntryRefused, StreamAway, StreamGap, StreamRefused

T = TypeVar("T")
Config: TypeAlias = dict[str, Any]
"""librdkafka's own words."""

MAX_ENTRY: Final = 16 * 1024 * 1024
"""Bytes of the largest entry that any topic takes: a plan."""
AGAIN_S: Final = 0.05
UNKNOWN_TOPIC_S: Final = 2.0
"""A topic that nobody knows may have been made this moment; after so long there is none."""
LOG: Final = logging.getLogger("heliograph.kafka")

MENDS: Final = {
    KafkaError.MSG_SIZE_TOO_LARGE: "too large for {topic}: raise its max.message.bytes (docs/reference/topics.md)",
    KafkaError.RECORD_LIST_TOO_LARGE: "too large for {topic}: raise its max.message.bytes (docs/reference/topics.md)",
    KafkaError.UNKNOWN_TOPIC_OR_PART: "there is no topic {topic}, or it has no such partition: `heliograph doctor` "
    "says what is missing and makes it with --mend",
    KafkaError.TOPIC_AUTHORIZATION_FAILED: "{user} is not allowed on {topic}: kafka-acls --add --allow-principal "
    "{user} --operation Read --operation Write --operation Describe --topic {topic}",
    KafkaError.GROUP_AUTHORIZATION_FAILED: "{user} may not join its group: kafka-acls --add --allow-principal {user} "
    "--operation Read --group {prefix} --resource-pattern-type prefixed",
    KafkaError.CLUSTER_AUTHORIZATION_FAILED: "{user} may not write idempotently: kafka-acls --add --allow-principal "
    "{user} --operation IdempotentWrite --cluster",
    KafkaError._AUTO_OFFSET_RESET: "{topic}: the entries to be read next are gone, kept for less long than nobody read "
    "them (retention.ms), or the topic was made anew; what they said is lost (docs/how-to/effects-were-lost.md)",
    KafkaError.POLICY_VIOLATION: "{topic}: a policy of the broker refuses it",
    KafkaError.INVALID_RECORD: "{topic} does not take such entries: a compacted topic needs a key",
}  # fmt: skip
"""Errors that stay however often one tries, and what to do about each.  All others pass."""
OF_THE_ENTRY: Final = (KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.RECORD_LIST_TOO_LARGE, KafkaError.INVALID_RECORD)
KINDS: Final[dict[int, type[StreamRefused]]] = {
    **dict.fromkeys(OF_THE_ENTRY, EntryRefused),
    KafkaError._AUTO_OFFSET_RESET: StreamGap,
}
"""Those that ask for more than to be mended."""
SAME: Final = {
    KafkaError._UNKNOWN_TOPIC: KafkaError.UNKNOWN_TOPIC_OR_PART,
    KafkaError._UNKNOWN_PARTITION: KafkaError.UNKNOWN_TOPIC_OR_PART,
    KafkaError.OFFSET_OUT_OF_RANGE: KafkaError._AUTO_OFFSET_RESET,
}


class Way:
    """To the brokers of these settings, and back from their words to ours."""

    def __init__(self, setting: KafkaSetting) -> None:
        self.setting = setting
        self.patience_s: float = ms(setting.timeout) / 1000
        self._admin: AdminClient | None = None
        self._lock = threading.Lock()
        self._user = f"User:{setting.username}" if setting.username else "whoever comes with this certificate or none"

    def config(self, heard: Callable[[KafkaError], None] | None = None) -> Config:
        """``heard``: told of what goes wrong with connections."""
        setting = self.setting
        words = {
            "sasl.mechanism": setting.mechanism,
            "sasl.username": setting.username,
            "sasl.password": setting.password,
            "ssl.ca.location": setting.ca_file,
            "ssl.certificate.location": setting.certificate_file,
            "ssl.key.location": setting.key_file,
        }
        return {
            "bootstrap.servers": setting.brokers,
            "security.protocol": setting.protocol,
            "client.id": f"heliograph/{__version__}",
            "client.dns.lookup": "use_all_dns_ips",
            "reconnect.backoff.ms": 50,
            "reconnect.backoff.max.ms": 1_000,  # a broker that is back is found within a second
            "socket.keepalive.enable": True,
            "log_level": 3,
            "logger": LOG,
            **({"error_cb": heard} if heard else {}),
            **{name: value for name, value in words.items() if value},
        }

    def name(self, topic: str) -> str:
        """As Kafka has it."""
        return f"{self.setting.prefix}.{topic}"

    @staticmethod
    def telling(before: str, error: KafkaError) -> str:
        """Why a password was not taken says more than that, then, all brokers are down."""
        return before if before and error.code() == KafkaError._ALL_BROKERS_DOWN else error.str()

    def partitions(self, topic: str, made: bool = False) -> list[int]:
        """Of a topic; blocks.  ``made``: it has just been, so brokers will know it.  Raises as :meth:`patiently`."""
        name = self.name(topic)

        def ask() -> list[int]:
            found = self.admin().list_topics(name, timeout=self.patience_s).topics[name]
            for part in found.partitions.values():
                if part.error is not None:
                    raise KafkaException(part.error)
            if found.error is not None:
                raise KafkaException(found.error)
            return sorted(found.partitions)

        return self.patiently(ask, topic, made)

    def ends(self, topic: str) -> dict[int, tuple[int, int]]:
        """Partition -> (oldest offset, next offset); blocks.  Raises as :meth:`patiently` does."""
        places = [TopicPartition(self.name(topic), number) for number in self.partitions(topic)]

        def ask(which: OffsetSpec) -> dict[int, int]:
            found = self.admin().list_offsets(dict.fromkeys(places, which), request_timeout=self.patience_s)
            return {place.partition: asked.result().offset for place, asked in found.items()}

        oldest = self.patiently(lambda: ask(OffsetSpec.earliest()), topic)  # type: ignore[no-untyped-call]
        following = self.patiently(lambda: ask(OffsetSpec.latest()), topic)  # type: ignore[no-untyped-call]
        return {number: (oldest[number], following[number]) for number in oldest}

    def admin(self) -> AdminClient:
        """A client of its own: a consumer that polls in one thread may not be asked from another (it hangs)."""
        with self._lock:
            if self._admin is None:
                self._admin = AdminClient(self.config())
            return self._admin

    def _worth_s(self, error: KafkaError, made: bool) -> float:
        """For how long it is worth asking again."""
        code = SAME.get(error.code(), error.code())
        if code == KafkaError.UNKNOWN_TOPIC_OR_PART:
            return self.patience_s if made else min(UNKNOWN_TOPIC_S, self.patience_s / 2)
        return 0.0 if code in MENDS else self.patience_s

    def patiently(self, ask: Callable[[], T], topic: str, made: bool = False) -> T:
        """Ask (this blocks) until there is an answer, or as long as the settings say."""
        begun = time.monotonic()
        while True:
            try:
                return ask()
            except KafkaException as error:
                if time.monotonic() - begun > self._worth_s(error.args[0], made):
                    raise self.reaction(error, topic) from error
                time.sleep(AGAIN_S)

    def silence(self, topic: str, last: str) -> StreamAway:
        why = last or f"{self.setting.brokers} is silent, or too few replicas are in sync"
        return StreamAway(f"{self.name(topic)}: nothing acknowledged in {self.patience_s:g} s: {why}")

    def reaction(self, error: KafkaError | BaseException, topic: str, last: str = "") -> StreamAway | StreamRefused:
        """What a caller is told; ``last``: what else was heard of the connection."""
        if isinstance(error, KafkaException):
            error = error.args[0]
        if not isinstance(error, KafkaError):
            return StreamAway(f"{self.name(topic)}: {error}")
        if error.code() == KafkaError._MSG_TIMED_OUT:
            return self.silence(topic, last)
        code = SAME.get(error.code(), error.code())
        mend = MENDS.get(code)
        if mend is None:
            return StreamAway(f"{self.name(topic)}: {error.str()}" + (f" ({last})" if last else ""))
        said = mend.format(topic=self.name(topic), user=self._user, prefix=self.setting.prefix)
        return KINDS.get(code, StreamRefused)(f"{said} (Kafka: {error.str()})")
