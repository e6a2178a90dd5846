"""How far readers are in what a topic keeps: before it, behind its oldest entry, near it, or well."""

from collections.abc import Mapping
from typing import Final

from confluent_kafka import ConsumerGroupTopicPartitions, KafkaException, TopicPartition
from confluent_kafka.admin import OffsetSpec  # type: ignore[attr-defined]

from heliograph.adapters.kafka.client import Way
from heliograph.adapters.kafka.topics import SHAPES, Fault
from heliograph.config import KafkaSetting
from heliograph.decide.times import DAY
from heliograph.ports.stream import EFFECTS, RECORDS

NEAR: Final = 2
"""Who is this part of what is kept behind is warned: there is as long again to mend it."""
BRAIN: Final = "brain"
"""The group under which Flink notes at each checkpoint how far it is."""
GONE: Final = {
    EFFECTS: "`heliograph gap` tells what is gone and how workers go on",
    RECORDS: "`heliograph flink status` tells how the brain goes on behind them; docs/how-to/effects-were-lost.md",
}


def check_offsets(setting: KafkaSetting, workers: Mapping[int, int], now: int) -> list[Fault]:
    """What is wrong with how far workers are in ``effects`` (``workers``: partition -> the next offset) and the brain
    in ``records``, at ``now`` (ms).  Blocks for a few round trips.  Raises as
    :func:`~heliograph.adapters.kafka.topics.ensure_topics`."""
    way = Way(setting)
    found = [(EFFECTS, "workers", workers), (RECORDS, "the brain", noted(way, RECORDS, BRAIN))]
    return [fault for topic, who, offsets in found for fault in _faults(way, topic, who, offsets, now)]


def noted(way: Way, topic: str, group: str) -> dict[int, int]:
    """Partition -> the next offset, of those that the group has noted."""
    request = ConsumerGroupTopicPartitions(
        f"{way.setting.prefix}.{group}", [TopicPartition(way.name(topic), number) for number in way.partitions(topic)]
    )
    try:
        (asked,) = way.admin().list_consumer_group_offsets([request]).values()
        return {place.partition: place.offset for place in asked.result(way.patience_s).topic_partitions
                if place.offset >= 0}  # fmt: skip
    except KafkaException as error:
        raise way.reaction(error, topic) from error


def _faults(way: Way, topic: str, who: str, offsets: Mapping[int, int], now: int) -> list[Fault]:
    ends = {number: end for number, end in way.ends(topic).items() if number in offsets}
    gone = [number for number, (oldest, following) in ends.items() if not oldest <= offsets[number] <= following]
    if gone:
        what = f"what {who} want next is gone from partition {', '.join(map(str, gone))}"
        return [Fault(way.name(topic), what, GONE[topic])]
    days = SHAPES[topic].keep / NEAR / DAY
    young = _first_since(way, topic, list(ends), now - SHAPES[topic].keep // NEAR)
    late = [number for number, (_, following) in ends.items() if offsets[number] < min(young[number], following)]
    if late:
        what = f"{who} are more than {days:g} days behind in partition {', '.join(map(str, late))}"
        mend = f"bring them back, or lengthen retention.ms now: {SHAPES[topic].keep / DAY:g} days are kept"
        return [Fault(way.name(topic), what, mend, grave=False)]
    return []


def _first_since(way: Way, topic: str, parts: list[int], at: int) -> dict[int, int]:
    """Partition -> the offset of its first entry at or after this instant; the next to be written where none is."""
    places = {TopicPartition(way.name(topic), number): OffsetSpec.for_timestamp(at) for number in parts}
    if not places:
        return {}

    def ask() -> dict[int, int]:
        found = way.admin().list_offsets(places, request_timeout=way.patience_s)
        return {place.partition: asked.result().offset for place, asked in found.items()}

    return {number: offset if offset >= 0 else 1 << 62 for number, offset in way.patiently(ask, topic).items()}
