"""A collector knows how far deciding is behind, also when one event is never decided."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest

from heliograph.adapters.memory.shared import SharedMemoryStore
from heliograph.events.event import Event
from heliograph.events.record import EventBody, Record
from heliograph.ports import Commit
from heliograph.runtime import lag
from heliograph.runtime.lag import Lag
from heliograph.runtime.places import Place
from tests.runtime.harness import T0, until


class Collector:
    def __init__(self, partitions: int = 1) -> None:
        self.store, self.latest = SharedMemoryStore(), None
        self.taken = 0
        self.lag = Lag(self.store, lambda: self.latest, partitions)

    latest: Place | None

    def take(self, *, applied: bool, key: str = "u:ann") -> None:
        self.taken += 1
        self.latest = (key, f"e{self.taken}")
        if applied:
            event = Event(self.latest[1], "track", "Viewed", T0, user_id=key[2:])
            record = Record(key, self.latest[1], T0, 1, EventBody(event, []))
            self.store.commit(Commit(log=[(self.taken, record)]))


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(lag, "LOOK_S", 0.002)
    monkeypatch.setattr(lag, "LATE_S", 0.02)
    yield


@pytest.fixture
async def collector() -> AsyncIterator[Collector]:
    one = Collector()
    running = asyncio.create_task(one.lag.run())
    yield one
    running.cancel()


async def test_what_is_not_applied_is_told_until_it_is(collector: Collector) -> None:
    collector.take(applied=False)
    await until(lambda: bool(collector.lag.troubles()))
    late = collector.latest
    collector.take(applied=True)
    await asyncio.sleep(0.05)
    assert collector.lag.troubles(), "one later event may have been sent before"
    assert late is not None
    event = Event(late[1], "track", "Viewed", T0, user_id="ann")
    collector.store.commit(Commit(log=[(99, Record(late[0], late[1], T0, 1, EventBody(event, [])))]))
    await until(lambda: not collector.lag.seconds)


async def test_what_is_a_dead_letter_by_now_is_not_waited_for(collector: Collector) -> None:
    collector.take(applied=False)
    await until(lambda: bool(collector.lag.troubles()))
    for _ in range(lag.LATER):
        collector.take(applied=True)
        await until(lambda: collector.latest in collector.lag._later or not collector.lag.seconds)
    await until(lambda: not collector.lag.seconds)


async def test_another_partition_that_goes_on_says_nothing_of_this_one() -> None:
    collector = Collector(partitions=64)
    running = asyncio.create_task(collector.lag.run())
    collector.take(applied=False)
    await until(lambda: bool(collector.lag.troubles()))
    for number in range(2 * lag.LATER):
        collector.take(applied=True, key=f"u:other{number}")
        await asyncio.sleep(0.02)
    assert collector.lag.troubles()
    running.cancel()
