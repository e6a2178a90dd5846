"""What must have been decided, worked out in memory from the log alone: `keyed.take` over the topic ``records``."""

from collections import Counter
from typing import Any

from confluent_kafka import Consumer, TopicPartition

from heliograph.adapters.sql import PostgresStore
from heliograph.config.settings import KafkaSetting
from heliograph.decide import keyed
from heliograph.decide.decided import Decided, decode_decided
from heliograph.decide.effects import DecideMessage
from heliograph.events.record import EventBody, record_head
from heliograph.ports import MessageRow
from heliograph.ports.stream import EFFECTS, RECORDS
from heliograph.runtime.near_brain import plans_of


def entries(setting: KafkaSetting, topic: str) -> list[bytes]:
    """Everything in the topic by now, each partition in its order."""
    name = f"{setting.prefix}.{topic}"
    consumer = Consumer({"bootstrap.servers": setting.brokers, "group.id": "oracle", "enable.auto.commit": False})
    parts = {part.partition: part for part in _parts(consumer, name)}
    ends = {number: consumer.get_watermark_offsets(part, timeout=30)[1] for number, part in parts.items()}
    consumer.assign([part for number, part in parts.items() if ends[number]])
    found: list[bytes] = []
    while len(found) < sum(ends.values()):
        took = consumer.consume(1_000, 30)
        assert took, f"{name}: {len(found)} of {sum(ends.values())} entries"
        found += [one.value() for one in took if one.error() is None and one.offset() < ends[one.partition()]]
    consumer.close()
    return found


def ends(setting: KafkaSetting, topic: str) -> dict[int, int]:
    """The next offset of each partition."""
    consumer = Consumer({"bootstrap.servers": setting.brokers, "group.id": "oracle", "enable.auto.commit": False})
    found = {part.partition: consumer.get_watermark_offsets(part, timeout=30)[1]
             for part in _parts(consumer, f"{setting.prefix}.{topic}")}  # fmt: skip
    consumer.close()
    return found


def _parts(consumer: Consumer, name: str) -> list[TopicPartition]:
    return [
        TopicPartition(name, number, 0) for number in consumer.list_topics(name, timeout=30).topics[name].partitions
    ]


class Oracle:
    """``held``: every key behind the last record of the log; ``said``: what is decided of it, in its order."""

    def __init__(self, setting: KafkaSetting, store: PostgresStore) -> None:
        self._setting, self._store, plans = setting, store, plans_of(store.plan)
        self.held: dict[str, keyed.Held] = {}
        self.said: dict[str, list[bytes]] = {}
        self.records = 0
        for data in entries(setting, RECORDS):
            key = record_head(data).key
            held = self.held.setdefault(key, keyed.load(key, None))
            self.said.setdefault(key, []).extend(keyed.take(held, data, plans).decided)
            self.records += 1

    def decided(self) -> list[Decided]:
        return [decode_decided(data) for key in self.said for data in self.said[key]]

    def judge_brain(self) -> int:
        """The topic ``effects`` says this and nothing else, byte by byte, however often; how many were repeats."""
        found: dict[str, dict[int, bytes]] = {}
        repeats = 0
        for data in entries(self._setting, EFFECTS):
            one = decode_decided(data)
            known = found.setdefault(one.record.key, {})
            repeats += one.number in known
            assert known.setdefault(one.number, data) == data, f"{one.record.key} {one.number}: said otherwise again"
        for key, said in self.said.items():
            assert [found.get(key, {})[number] for number in sorted(found.get(key, {}))] == said, key
        assert found.keys() == self.said.keys()
        return repeats

    def judge_store(self) -> None:
        """People are as the last decision left them, messages are those that were decided."""
        keys = sorted(self.held)
        for at in range(0, len(keys), 500):
            part = keys[at : at + 500]
            there = dict(zip(part, self._store.states(part), strict=True))
            assert there == {key: self.held[key].blob or None for key in part}
        rows = {row.message_id: decision(row) for row in messages(self._store)}
        told = [one for said in self.decided() for one in said.effects if isinstance(one, DecideMessage)]
        assert rows == {one.message_id: decision(one) for one in told}

    def events(self) -> Counter[str]:
        """Ids of events from outside that were decided, how often each."""
        bodies = (one.record.body for one in self.decided())
        return Counter(body.event.event_id for body in bodies if isinstance(body, EventBody) and not body.hops)

    def kept(self) -> set[str]:
        """Ids of events in the store's history."""
        return {event.event_id for key in self.held for event in self._store.history(key)}


def decision(one: Any) -> tuple[Any, ...]:
    """What a row has of its decision."""
    return one.journey, one.run_id, one.step_id, one.template, one.topic, one.transactional, one.address, one.created_at


def messages(store: PostgresStore) -> list[MessageRow]:
    found: list[MessageRow] = []
    cursor = None
    while True:
        part, cursor = store.messages(limit=1_000, cursor=cursor)
        found += part
        if cursor is None:
            return found
