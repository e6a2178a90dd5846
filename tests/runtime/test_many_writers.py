"""The processor over a store that others write, too."""

import asyncio
from typing import Any

import msgspec
import pytest

from heliograph.adapters.memory.shared import SharedMemoryStore
from heliograph.adapters.schema import JsonSchema
from heliograph.events.record import LedgerRow
from heliograph.ports import Busy, Commit, Fenced, Hold, MessageRow, PlanRow, StoreAway, StoreStale
from heliograph.runtime.chunk import Chunk
from heliograph.runtime.clock import ManualClock
from heliograph.runtime.far_chunk import FarChunk
from heliograph.runtime.far_desk import FarDesk
from heliograph.runtime.holding import HoldMail, LiftMail
from heliograph.runtime.holds import FarHolds, Holds
from heliograph.runtime.meter import Meter
from heliograph.runtime.processor import ALONE, Processor
from heliograph.runtime.publishing import canonical, prepare
from heliograph.runtime.work import Call, ChangeWords, SwitchPlan
from tests.runtime.harness import T0, shop

ROW = MessageRow(
    message_id="m", key="u:ann", journey="welcome", journey_version="1", run_id="r", step_id="s", template="welcome",
    template_version="1", topic="offers", transactional=False, address="ann@x.test", status="queued", reason="",
    created_at=T0,
)  # fmt: skip


class Rename(Call[str]):
    """Reads a row and writes what follows from it."""

    def decide(self, chunk: Chunk) -> None:
        row = chunk.desk.message("m")
        assert row is not None
        self.result = row.reason + "!"
        chunk.write_message(msgspec.structs.replace(row, reason=self.result))


class Troubled(SharedMemoryStore):
    """``trouble``: what the next commits meet."""

    def __init__(self) -> None:
        super().__init__()
        self.trouble: list[Any] = []

    def commit(self, commit: Commit, *, sync: bool = True) -> None:
        met = self.trouble.pop(0) if self.trouble else None
        if met is not None:
            met(self, commit)
        super().commit(commit, sync=sync)


def refuse(error: Exception) -> Any:
    def met(store: Troubled, commit: Commit) -> None:
        raise error

    return met


def new() -> tuple[Troubled, Processor]:
    store = Troubled()
    store.commit(Commit(plan=PlanRow(1, msgspec.json.encode(shop()), T0), messages={"m": ROW}))
    desk = FarDesk(store, JsonSchema, partitions=4)
    failed: list[Exception] = []
    processor = Processor(
        store, desk, ManualClock(T0), Meter(), chunk=FarChunk, settled=lambda _: None, fatal=failed.append,
        full_pause_s=0.005,
    )  # fmt: skip
    processor.start()
    return store, processor


async def done(processor: Processor, work: Call[Any]) -> Any:
    processor.put(work)
    async with asyncio.timeout(30):
        return await work.done


async def test_a_row_that_another_process_changed_is_read_again_and_the_work_decided_again() -> None:
    store, processor = new()
    assert await done(processor, Rename()) == "!"
    other = store.beside()
    other.__class__ = SharedMemoryStore
    row = store.message("m")
    assert row is not None
    changed = msgspec.structs.replace(row, reason="theirs", rev=row.rev + 1)
    other.commit(Commit(messages={"m": changed}, bases={"m": row.rev}))
    assert await done(processor, Rename()) == "theirs!"
    found = store.message("m")
    assert found is not None and (found.reason, found.rev) == ("theirs!", 3)
    await processor.stop()


async def test_who_is_never_the_first_is_told_to_come_back() -> None:
    store, processor = new()
    store.trouble = [refuse(StoreStale("theirs"))] * (ALONE + 2)
    with pytest.raises(Busy):
        await done(processor, Rename())
    store.trouble.clear()
    assert await done(processor, Rename()) == "!"
    await processor.stop()


async def test_while_the_store_is_away_callers_are_told_to_come_back_and_then_it_goes_on() -> None:
    store, processor = new()
    store.trouble = [refuse(StoreAway("no answer"))] * 3
    with pytest.raises(Busy):
        await done(processor, Rename())
    with pytest.raises(Busy):
        processor.put(Rename())
    async with asyncio.timeout(30):
        while processor.full:  # noqa: ASYNC110
            await asyncio.sleep(0.005)
    assert await done(processor, Rename()) == "!"
    await processor.stop()


async def test_a_commit_whose_end_was_not_heard_of_is_not_made_twice() -> None:
    """The word of consent is in the ledger and its records left once, though it was asked for again."""
    store, processor = new()

    def unheard(store: Troubled, commit: Commit) -> None:
        SharedMemoryStore.commit(store, commit)
        raise StoreAway("the line broke")

    store.trouble = [unheard]
    word = LedgerRow("ann@x.test", "offers", False, T0)
    with pytest.raises(Busy):
        await done(processor, ChangeWords([word]))
    async with asyncio.timeout(30):
        while processor.full:  # noqa: ASYNC110
            await asyncio.sleep(0.005)
    await done(processor, ChangeWords([word]))
    assert store.ledger("ann@x.test") == [word]
    await processor.stop()


async def test_work_under_a_claim_that_is_gone_is_dropped_and_the_rest_is_done() -> None:
    store, processor = new()
    store.trouble = [refuse(Fenced("somebody else's"))]
    assert await done(processor, Rename()) == "!"
    await processor.stop()


async def test_a_plan_that_another_process_published_first_is_not_written_over() -> None:
    store, processor = new()
    mine, theirs = ({**shop(), "project": {"name": name}} for name in ("mine", "theirs"))
    ready = prepare(mine, processor.desk.plan, set(), 0, JsonSchema, lambda _: None)
    row = PlanRow(2, canonical({**processor.desk.plan.document, **theirs}), T0)
    store.trouble = [lambda there, _: SharedMemoryStore.commit(there, Commit(plan=row))]
    with pytest.raises(Busy, match="published meanwhile"):
        await done(processor, SwitchPlan(ready.published, ready.document, lambda _: {}))
    assert store.plan() == row
    assert processor.desk.plan.document["project"] == {"name": "theirs"}
    await processor.stop()


async def test_holds_that_two_processes_put_at_once_all_stand() -> None:
    store, processor = new()
    other = Processor(
        store.beside(), FarDesk(store.beside(), JsonSchema, partitions=4), ManualClock(T0), Meter(), chunk=FarChunk,
        settled=lambda _: None, fatal=lambda _: None,
    )  # fmt: skip
    other.start()
    await done(processor, HoldMail("welcome", "one", "api"))
    await done(other, HoldMail("cart", "two", "api"))  # it has not looked since
    assert set(FarHolds(store).all()) == {"welcome", "cart"}
    await done(other, LiftMail("welcome", lambda _: None))
    await done(processor, HoldMail("welcome-back", "three", "api"))
    assert set(FarHolds(store).all()) == {"cart", "welcome-back"}
    store.trouble = [lambda there, _: there.beside().commit(theirs)]  # decided before, committed first
    theirs = Commit(meta={"hold@invoice": there_held("invoice")})
    await done(processor, HoldMail("welcome", "four", "api"))
    assert set(FarHolds(store).all()) == {"cart", "welcome-back", "invoice", "welcome"}
    await processor.stop()
    await other.stop()


def there_held(journey: str) -> bytes:
    return msgspec.msgpack.encode(Hold(journey, "theirs", "api", T0))


async def test_what_was_held_before_a_deployment_moved_in_stays_held_until_it_is_lifted() -> None:
    store, processor = new()
    rows = [Hold("welcome", "one", "api", T0), Hold("cart", "two", "ann", T0)]
    store.commit(Commit(meta={"holds": msgspec.msgpack.encode(rows)}))
    assert set(FarHolds(store).all()) == {"welcome", "cart"}
    await done(processor, LiftMail("welcome", lambda _: None))
    await done(processor, HoldMail("invoice", "three", "api"))
    assert {one.journey: one.by for one in FarHolds(store).all().values()} == {"cart": "ann", "invoice": "api"}
    assert set(Holds.load(store).all()) == set()
    await processor.stop()


async def test_a_look_at_what_others_hold_does_not_forget_what_is_being_written() -> None:
    store, processor = new()
    desk = processor.desk
    assert isinstance(desk, FarDesk)
    store.trouble = [lambda *_: desk.look()]  # in the middle of the commit
    await done(processor, HoldMail("welcome", "one", "api"))
    assert desk.holds.held("welcome")
    await processor.stop()
