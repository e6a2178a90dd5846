"""A collector judges by the newest plan that it can read, and says when there is a newer one that it cannot."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import msgspec
import pytest

from heliograph import decide
from heliograph.adapters.memory.shared import SharedMemoryStore
from heliograph.adapters.memory.stream import MemoryBroker, MemoryStream
from heliograph.adapters.schema import JsonSchema
from heliograph.decide.decided import Decided, encode_decided
from heliograph.events.record import Record, Wake
from heliograph.ports import Commit, Entry, PlanRow, Post, StoreAway, StoreTooNew
from heliograph.ports.stream import EFFECTS, PLAN
from heliograph.runtime import plan_watch
from heliograph.runtime.clock import ManualClock
from heliograph.runtime.desk import Published
from heliograph.runtime.far_chunk import Carry, FarChunk
from heliograph.runtime.far_desk import FarDesk
from heliograph.runtime.leases import Leases
from heliograph.runtime.plan_watch import PlanWatch, plan_of, plan_post
from heliograph.runtime.work import SwitchPlan
from tests.runtime.harness import T0, shop, until

NEWER = {"journeys": {"cart": {"entry": {"event": "Product Added"}, "steps": [{"telepathy": "cart-reminder"}]}}}


def row(version: int, **parts: Any) -> PlanRow:
    return PlanRow(version, msgspec.json.encode(shop(**parts)), T0)


class World:
    def __init__(self, changed: Callable[[Published], Any] | None = None) -> None:
        self.broker = MemoryBroker(1)
        self.watch = PlanWatch(MemoryStream(self.broker), JsonSchema, changed)
        self.running: asyncio.Task[None] | None = None

    def say(self, *posts: Post) -> None:
        for post in posts:
            self.broker.add(post)

    def start(self) -> None:
        self.running = asyncio.create_task(self.watch.run())

    async def in_force(self, version: int) -> None:
        await until(lambda: self.watch.version == version or self._ended())
        assert self.watch.version == version

    def _ended(self) -> bool:
        return self.running is not None and self.running.done()


@pytest.fixture
async def world(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    monkeypatch.setattr(plan_watch, "WAIT_S", 0.02)
    monkeypatch.setattr(plan_watch, "PAUSE_S", 0.02)
    one = World()
    one.start()
    yield one
    assert one.running is not None
    assert not one.running.done(), "it goes on whatever is published"
    one.running.cancel()


@pytest.mark.parametrize(
    "unreadable",
    [
        plan_post(row(2, **NEWER)),
        Post(PLAN, plan_post(row(2)).key, b"\x81not what we know"),
        Post(PLAN, plan_post(row(2)).key, msgspec.msgpack.encode([2, b"{", T0])),
    ],
    ids=["a verb that we do not know", "another wire format", "no document"],
)
async def test_the_plan_before_stays_until_there_is_one_that_can_be_read(world: World, unreadable: Post) -> None:
    world.say(plan_post(row(1)))
    await world.in_force(1)
    assert world.watch.troubles() == []
    world.say(unreadable)
    await until(lambda: world.watch.refused == 2)
    await world.in_force(1)
    (trouble,) = world.watch.troubles()
    assert trouble.what == "plan" and "plan 2 cannot be read" in trouble.why and "plan 1" in trouble.means
    world.say(plan_post(row(3)))
    await world.in_force(3)
    await until(lambda: not world.watch.troubles())


async def test_who_starts_late_takes_the_newest_that_can_be_read(world: World) -> None:
    late = World()
    late.say(plan_post(row(1)), plan_post(row(2)), plan_post(row(3, **NEWER)))
    late.start()
    await late.in_force(2)
    await until(lambda: late.watch.refused == 3)
    assert late.running is not None
    late.running.cancel()


async def test_plans_that_come_the_wrong_way_round_leave_the_newest_in_force(world: World) -> None:
    world.say(plan_post(row(6)))
    await world.in_force(6)
    world.say(plan_post(row(5)))
    await asyncio.sleep(0.1)
    await world.in_force(6)


async def test_no_plan_is_told_to_the_log_before_the_one_in_front_of_it() -> None:
    """Who published that one may not have come to it yet; the brain takes what is newer for all there will be."""
    store = SharedMemoryStore()
    for version in (4, 5):
        store.commit(Commit(plan=row(version)))
    desk = FarDesk(store, JsonSchema, partitions=1)
    chunk = FarChunk(desk, ManualClock(T0))
    newest = row(6)
    published = Published(decide.compile_plan(msgspec.json.decode(newest.document), 6), JsonSchema)
    SwitchPlan(published, newest.document, lambda _: {}).decide(chunk)
    assert [plan_of(one.value).version for one in chunk.commit.relay] == [5, 6]
    assert plan_of(chunk.commit.relay[0].value) == row(5)


async def test_an_entry_that_is_no_plan_is_passed_over(world: World) -> None:
    world.say(Post(PLAN, b"somebody else's", b"x"), plan_post(row(1)))
    await world.in_force(1)
    assert world.watch.troubles() == []


async def test_who_cannot_hear_of_a_plan_now_hears_of_it_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan_watch, "WAIT_S", 0.02)
    heard, refusals = list[int](), [StoreAway("not now")] * 2

    async def changed(published: Published) -> None:
        if refusals:
            raise refusals.pop()
        heard.append(published.plan.version)

    world = World(changed)
    world.start()
    world.say(plan_post(row(1)))
    await until(lambda: heard == [1])
    await asyncio.sleep(0.1)
    assert heard == [1], "and once"
    assert world.running is not None
    world.running.cancel()


async def test_a_worker_that_cannot_read_the_plan_in_force_stops_and_leaves_nothing_out() -> None:
    store = SharedMemoryStore()
    store.commit(Commit(plan=row(1)))
    desk = FarDesk(store, JsonSchema, partitions=1)
    desk.leases = Leases(store, "one", 60_000)
    claims, _ = await desk.leases.claim([0])
    desk.take(claims)
    store.commit(Commit(plan=row(2, **NEWER)))
    said = encode_decided(Decided(Record("u:ann", "w", T0, 2, Wake()), [], None, None, 1))
    work = Carry(0, claims[0].epoch, [Entry(EFFECTS, 0, 0, b"", said)], lambda _: None)
    with pytest.raises(StoreTooNew, match="update it"):
        work.prepare(desk)
    with pytest.raises(StoreTooNew, match="update it"):
        work.isolate()


async def test_who_carries_nothing_out_begins_anew_under_the_plan_that_it_knows() -> None:
    """The store was away, and meanwhile a newer program published."""
    store = SharedMemoryStore()
    store.commit(Commit(plan=row(1)))
    desk = FarDesk(store, JsonSchema, partitions=1)
    store.commit(Commit(plan=row(2, **NEWER)))
    desk.reload()
    assert desk.plan.version == 1 and desk.careful
    with pytest.raises(StoreTooNew, match="update it"):
        FarDesk(store, JsonSchema, partitions=1)
    desk.leases = Leases(store, "one", 60_000)
    with pytest.raises(StoreTooNew, match="update it"):
        desk.reload()
