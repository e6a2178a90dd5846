"""A :class:`~heliograph.ports.Stream` on Kafka."""

import asyncio
from collections.abc import Sequence

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
        self._readers: list[KafkaReader] = []

    def appender(self) -> KafkaAppender:
        self._appenders.append(KafkaAppender(self._way))
        return self._appenders[-1]

    def reader(self, topics: Sequence[str], assignment: Assignment, *, group: str | None) -> KafkaReader:
        self._readers.append(KafkaReader(self._way, topics, assignment, group))
        return self._readers[-1]

    async def close(self) -> None:
        await asyncio.gather(*(reader.close() for reader in self._readers))
        await asyncio.gather(*(appender.close(self._way.patience_s) for appender in self._appenders))
