"""A :class:`~heliograph.ports.Stream` on Kafka."""

import asyncio
from collections.abc import Sequence
from weakref import WeakSet

from heliograph.adapters.kafka.appender import KafkaAppender
from heliograph.adapters.kafka.client import Way
from heliograph.adapters.kafka.reader import KafkaReader
from heliograph.config import KafkaSetting
from heliograph.ports.stream import Assignment


class KafkaStream:
    """The brokers and the prefix of these settings."""

    def __init__(self, setting: KafkaSetting) -> None:
        self._way = Way(setting)
        self._appenders: list[KafkaAppender] = []
        self._readers: WeakSet[KafkaReader] = WeakSet()
        """Those that run: each is held by its thread until it is closed."""

    def appender(self) -> KafkaAppender:
        self._appenders.append(KafkaAppender(self._way))
        return self._appenders[-1]

    def reader(self, topics: Sequence[str], assignment: Assignment, *, group: str | None) -> KafkaReader:
        reader = KafkaReader(self._way, topics, assignment, group)
        self._readers.add(reader)
        return reader

    async def close(self) -> None:
        await asyncio.gather(*(reader.close() for reader in self._readers))
        await asyncio.gather(*(appender.close(self._way.patience_s) for appender in self._appenders))
