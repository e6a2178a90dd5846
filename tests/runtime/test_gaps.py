"""Effects that are gone are never passed over in silence, and work goes on behind them when somebody has said how."""

from typing import Any

import pytest

from heliograph.adapters.memory.shared import SharedMemoryStore
from heliograph.adapters.memory.stream import MemoryBroker, MemoryStream
from heliograph.cli import gap as command
from heliograph.decide.decided import Decided, encode_decided
from heliograph.events.record import Record, Wake
from heliograph.ports import Commit, Fence, Fenced, Post, StreamRefused
from heliograph.ports.stream import EFFECTS
from heliograph.runtime import gaps
from heliograph.runtime.delivery import Delivery
from heliograph.runtime.gaps import Gap
from heliograph.runtime.leases import Leases
from tests.runtime.harness import T0, until
from tests.runtime.test_delivery import new, worker

HOUR = 3_600_000


async def said(broker: MemoryBroker, partition: int, count: int) -> None:
    values = [encode_decided(Decided(Record("u:ann", f"w{n}", T0, 1, Wake()), [], None, None, 0)) for n in range(count)]
    await MemoryStream(broker).appender().append([Post(EFFECTS, b"", value, partition) for value in values])


def carried(store: SharedMemoryStore, partition: int, offset: int) -> None:
    (claim,) = store.claim("former", [partition], 60_000)
    fence = Fence("former", {partition: claim.epoch})
    store.commit(Commit(offsets={(EFFECTS, partition): offset}, fence=fence))
    store.release("former", fence.epochs)


async def lost(store: SharedMemoryStore, *, oldest: int = 5) -> MemoryBroker:
    """Partition 0: 3 were carried out, 9 said, the first ``oldest`` are gone.  Partition 1 is well."""
    broker = new(store)
    await said(broker, 0, 9)
    await said(broker, 1, 9)
    carried(store, 0, 3)
    carried(store, 1, 4)
    broker.oldest[EFFECTS, 0] = oldest
    return broker


async def ends_of(one: Delivery) -> list[BaseException | None]:
    told: list[BaseException | None] = []
    await one.start(lambda task: told.append(task.exception()))
    await until(lambda: bool(told))
    await one.stop(1)
    return told


async def test_a_worker_stops_at_a_gap_and_names_the_one_command() -> None:
    store = SharedMemoryStore()
    (error,) = await ends_of(worker(store, await lost(store), "one"))
    assert isinstance(error, StreamRefused)
    assert "heliograph gap" in str(error)


async def test_a_gap_in_front_of_the_first_decision_is_one_too() -> None:
    store = SharedMemoryStore()
    broker = new(store)
    await said(broker, 0, 9)
    broker.oldest[EFFECTS, 0] = 2
    (error,) = await ends_of(worker(store, broker, "one"))
    assert isinstance(error, StreamRefused)
    assert [(one.partition, one.wanted, one.gone) for one in await gaps.find(store, MemoryStream(broker))] == [
        (0, 0, 2)
    ]


async def test_what_is_gone_is_found_by_partition_and_nothing_is_changed() -> None:
    store = SharedMemoryStore()
    stream = MemoryStream(await lost(store))
    before = store.claims()
    assert await gaps.find(store, stream) == [Gap(partition=0, wanted=3, oldest=5, following=9)]
    assert store.claims() == before and gaps.dealt_with(store) == []


async def test_a_topic_that_was_made_anew_is_found_and_counts_nothing() -> None:
    store = SharedMemoryStore()
    stream = MemoryStream(new(store))
    carried(store, 1, 400)
    (found,) = await gaps.find(store, stream)
    assert (found.partition, found.made_anew, found.gone) == (1, True, 0)
    (done,) = gaps.go_on(store, [found], again=False, by="ops", at=T0)
    assert done.goes_on == 0 and await gaps.find(store, stream) == []


@pytest.mark.parametrize(("again", "goes_on", "given_up"), [(False, 5, 2), (True, 9, 0)])
async def test_work_goes_on_where_somebody_said_and_it_is_kept_for_ever(
    again: bool, goes_on: int, given_up: int
) -> None:
    store = SharedMemoryStore()
    broker = await lost(store)
    stream = MemoryStream(broker)
    gaps.go_on(store, await gaps.find(store, stream), again=again, by="ops", at=T0)
    assert await gaps.find(store, stream) == []
    assert {claim.partition: (claim.owner, claim.offset) for claim in store.claims()} == {0: ("", goes_on), 1: ("", 4)}
    (kept,) = gaps.dealt_with(store)
    assert (kept.wanted, kept.oldest, kept.goes_on, kept.again, kept.at, kept.by) == (3, 5, goes_on, again, T0, "ops")
    assert (kept.gone, kept.lost) == (2, given_up)
    one = worker(store, broker, "one")
    ended: list[Any] = []
    await one.start(ended.append)
    await until(lambda: [claim.offset for claim in store.claims()] == [9, 9])
    assert not ended
    await one.stop(1)
    broker.oldest[EFFECTS, 1] = 12
    gaps.go_on(store, await gaps.find(store, stream), again=False, by="ops", at=T0 + HOUR)
    assert [(one.partition, one.at) for one in gaps.dealt_with(store)] == [(0, T0), (1, T0 + HOUR)]


async def test_who_was_quicker_is_not_put_back() -> None:
    store = SharedMemoryStore()
    stream = MemoryStream(await lost(store))
    found = await gaps.find(store, stream)
    carried(store, 0, 7)
    with pytest.raises(gaps.GapMoved):
        gaps.go_on(store, found, again=False, by="ops", at=T0)
    assert store.claims()[0].offset == 7 and gaps.dealt_with(store) == []


@pytest.mark.parametrize(("passed", "left"), [(0, 30_000), (20_000, 10_000), (30_000, 0)])
async def test_the_next_worker_waits_for_the_lease_that_still_ran(passed: int, left: int) -> None:
    """Its mailers may be writing until then."""
    now = T0
    store = SharedMemoryStore(now=lambda: now)
    stream = MemoryStream(await lost(store))
    store.claim("killed", [0], 30_000)
    now += passed
    gaps.go_on(store, await gaps.find(store, stream), again=False, by="ops", at=T0)
    (claim,), wait_ms = await Leases(store, "next", 30_000).claim([0])
    assert (claim.offset, wait_ms) == (5, left)


async def test_a_worker_that_comes_back_in_between_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    store = SharedMemoryStore()
    found = await gaps.find(store, MemoryStream(await lost(store)))
    claim, commit = store.claim, store.commit

    def late(one: Commit, **options: Any) -> None:
        claim("a worker", [0], 60_000)
        commit(one, **options)

    monkeypatch.setattr(store, "commit", late)
    with pytest.raises(Fenced):
        gaps.go_on(store, found, again=False, by="ops", at=T0)
    assert store.claims()[0].offset == 3 and gaps.dealt_with(store) == []


class TestCommand:
    async def test_it_tells_both_ways_and_what_was_done(self, capsys: pytest.CaptureFixture[str]) -> None:
        store = SharedMemoryStore()
        stream = MemoryStream(await lost(store))
        command._tell(await gaps.find(store, stream), gaps.dealt_with(store))
        told = capsys.readouterr().out
        assert "--again" in told and "--skip" in told and command.GUIDE in told
        done = gaps.go_on(store, await gaps.find(store, stream), again=False, by="ops", at=T0)
        command._tell([], done)
        told = capsys.readouterr().out
        assert "no gap" in told and "2 decisions given up at most" in told and "skipped" in told
