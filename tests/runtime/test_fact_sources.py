"""Where a loader of facts goes on when what the tables want next is not in the topic."""

from collections.abc import Iterable, Sequence

import pytest

from heliograph.adapters.memory.stream import MemoryBroker, MemoryStream
from heliograph.decide.decided import Decided, encode_decided
from heliograph.events.record import Record, Wake
from heliograph.ports import Post
from heliograph.ports.facts import FactsRefused
from heliograph.ports.stream import EFFECTS
from heliograph.runtime.fact_sources import TopicSource
from tests.runtime.harness import T0


class Tables:
    """They have planned a block that begins at ``first``."""

    def __init__(self, first: int) -> None:
        self.first = first

    async def begin(self, partitions: Sequence[int]) -> dict[int, int]:
        return dict.fromkeys(partitions, self.first)

    def leave(self, partitions: Iterable[int]) -> None:
        pass


async def topic(count: int, oldest: int = 0) -> TopicSource:
    stream = MemoryStream(MemoryBroker(1))
    values = [encode_decided(Decided(Record("u:ann", f"w{n}", T0, 1, Wake()), [], None, None, 0)) for n in range(count)]
    await stream.appender().append([Post(EFFECTS, b"", value, 0) for value in values])
    stream.broker.oldest[EFFECTS, 0] = oldest
    return TopicSource(stream, "t.effects")


async def test_what_is_gone_by_its_age_is_passed_over() -> None:
    source = await topic(9, oldest=5)
    assert await source.read(100, 0.01, Tables(3)) == []
    assert [told.position for _, told in await source.read(100, 0.01, Tables(3))] == [5, 6, 7, 8]
    await source.close()


async def test_a_topic_that_was_made_anew_stops_the_loader_with_what_to_do() -> None:
    source = await topic(9)
    with pytest.raises(FactsRefused, match=r"t\.effects was made anew.*\[0\].*clickhouse\.url"):
        for _ in range(3):
            await source.read(100, 0.01, Tables(20))
    await source.close()
