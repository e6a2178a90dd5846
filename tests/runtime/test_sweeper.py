"""A sweep where one process publishes and another sweeps."""

import asyncio
import contextlib
from typing import Any

import msgspec

from heliograph.adapters.memory.shared import SharedMemoryStore
from heliograph.adapters.schema import JsonSchema
from heliograph.decide.state import encode_state, new_state
from heliograph.ports import Commit, PlanRow
from heliograph.runtime.clock import ManualClock
from heliograph.runtime.far_chunk import FarChunk
from heliograph.runtime.far_desk import FarDesk
from heliograph.runtime.meter import Meter
from heliograph.runtime.processor import Processor
from heliograph.runtime.sweeper import META, Progress, Sweeper, read_progress
from tests.runtime.harness import T0, shop

PEOPLE = 40


def plan(version: int) -> Commit:
    """As whoever publishes puts it: with the sweep that it begins."""
    row = PlanRow(version, msgspec.json.encode(shop()), T0)
    return Commit(plan=row, meta={META: Progress(version, T0, total=PEOPLE).encoded()})


def state(key: str) -> bytes:
    one = new_state(key)
    one.created_at = one.last_t = T0
    return encode_state(one)


def new() -> tuple[SharedMemoryStore, FarDesk, Processor, Sweeper]:
    store = SharedMemoryStore()
    store.commit(plan(1))
    store.commit(Commit(states={f"u:{n}": state(f"u:{n}") for n in range(PEOPLE)}))
    desk, clock, failed = FarDesk(store, JsonSchema, partitions=4), ManualClock(T0), list[Exception]()
    processor = Processor(
        store, desk, clock, Meter(), chunk=FarChunk, settled=lambda _: None, fatal=failed.append, full_pause_s=0.005
    )
    processor.start()
    return store, desk, processor, Sweeper(desk, Meter(), processor.put, heard=lambda: 0, now=clock.now)


async def swept(store: SharedMemoryStore, version: int) -> Progress:
    async with asyncio.timeout(30):
        while (found := read_progress(store)) is None or found.plan < version or not found.ended_at:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    return found


@contextlib.asynccontextmanager
async def running(sweeper: Sweeper) -> Any:
    task = asyncio.create_task(sweeper.run())
    yield task
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_plan_that_another_process_published_in_the_middle_of_a_sweep_gets_its_own() -> None:
    store, desk, processor, sweeper = new()
    began = read_progress(store)
    assert began is not None
    pieces = sweeper.pieces([], began, ["u:1"], 1)  # folded, and about to be decided
    store.commit(plan(2))  # by another process; nobody here knows yet
    processor.put(*pieces)
    await asyncio.gather(*(piece.done for piece in pieces))
    assert (found := read_progress(store)) is not None and (found.plan, found.done) == (2, 0)
    desk.catch_up(2)
    async with running(sweeper):
        assert (await swept(store, 2)).done == PEOPLE
    await processor.stop()


async def test_under_an_older_plan_nobody_is_swept_for_a_newer_one() -> None:
    store, desk, processor, sweeper = new()
    store.commit(plan(2))
    async with running(sweeper):
        await asyncio.sleep(0.05)
        assert (found := read_progress(store)) is not None and not found.done
        desk.catch_up(2)
        sweeper.stir()
        await swept(store, 2)
    await processor.stop()


async def test_whoever_leads_next_goes_on_without_being_told_of_a_plan() -> None:
    store, desk, processor, sweeper = new()
    async with running(sweeper):
        await swept(store, 1)
    store.commit(plan(2))
    desk.catch_up(2)  # with a decision: nobody stirs
    async with running(sweeper):
        await swept(store, 2)
    await processor.stop()
