"""A worker's partitions: who sees to what the former owner had under way, and what if nobody works on one."""

import asyncio
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
import pytest

from heliograph.adapters.memory.shared import SharedMemoryStore
from heliograph.adapters.memory.stream import MemoryBroker, MemoryStream
from heliograph.adapters.schema import JsonSchema
from heliograph.ports import Commit, MessageRow, PlanRow, StoreAway
from heliograph.runtime.clock import ManualClock
from heliograph.runtime.delivery import Delivery
from heliograph.runtime.dispatcher import Dispatcher
from heliograph.runtime.far_chunk import FarChunk
from heliograph.runtime.far_desk import FarDesk
from heliograph.runtime.mailwire import MailerSettings, Routes
from heliograph.runtime.meter import Meter
from heliograph.runtime.processor import Processor
from tests.runtime.harness import T0, shop, until

LEASE_MS = 200
SENDING = MessageRow(
    message_id="m", key="u:ann", journey="welcome", journey_version="1", run_id="r", step_id="s", template="welcome",
    template_version="1", topic="offers", transactional=False, address="ann@x.test", status="sending", reason="",
    created_at=T0, sending_at=T0,
)  # fmt: skip


class Moody(SharedMemoryStore):
    """``refusals``: so often a list of unfinished messages is not to be had."""

    refusals = 0

    def unfinished_in(self, buckets: Sequence[int]) -> Iterator[MessageRow]:
        if self.refusals:
            self.refusals -= 1
            raise StoreAway("not now")
        return super().unfinished_in(buckets)


def worker(store: SharedMemoryStore, broker: MemoryBroker, name: str) -> Delivery:
    desk, clock, meter = FarDesk(store, JsonSchema), ManualClock(T0), Meter()
    processor = Processor(
        store, desk, clock, meter, chunk=FarChunk, settled=lambda _: None, fatal=lambda _: None, full_pause_s=0.005
    )
    nobody: Any = {}
    dispatcher = Dispatcher(
        store, clock, meter, put=processor.put, current=desk.present, render_context=lambda _: None,
        templates=lambda: nobody, settings=MailerSettings(routes=Routes(), senders={}, base_url="", link_keys={}),
        mine=desk.offers,
    )  # fmt: skip
    processor.start()
    parts: Any = {"owner": name, "lease_ms": LEASE_MS, "meter": meter, "clock": clock}
    return Delivery(store, MemoryStream(broker), processor, desk, dispatcher, **parts)


def new(store: SharedMemoryStore) -> MemoryBroker:
    store.commit(Commit(plan=PlanRow(1, msgspec.json.encode(shop()), T0), messages={"m": SENDING}))
    return MemoryBroker(2)


def status(store: SharedMemoryStore) -> str:
    row = store.message("m")
    assert row is not None
    return row.status


async def test_what_was_under_way_is_unknown_also_when_the_store_was_away_just_then() -> None:
    store = Moody()
    broker, store.refusals = new(store), 2
    one = worker(store, broker, "one")
    await one.start()
    await until(lambda: status(store) == "unknown")
    assert not store.refusals
    await one.stop(1)


async def test_what_another_one_has_under_way_by_now_is_left_to_them() -> None:
    store = SharedMemoryStore()
    broker = new(store)
    store.claim("former", [0, 1], 2_000)
    one = worker(store, broker, "one")
    await one.start()
    await until(lambda: len(one.leases.epochs) == 2)
    (burial,) = one._burials
    store.claim("another", [0, 1], 60_000)  # before the former owner's lease is over
    await until(burial.done)
    assert status(store) == "sending"
    await one.stop(1)


async def test_a_partition_that_a_dead_member_claimed_last_is_taken_back() -> None:
    """It was asked for while the store was away, and answered after its member had been put out of the group."""
    store = SharedMemoryStore()
    broker = new(store)
    one = worker(store, broker, "one")
    await one.start()
    await until(lambda: len(one.leases.epochs) == 2)
    store.claim("dead", [1], LEASE_MS)
    await until(lambda: len(one.leases.epochs) == 1)
    await until(lambda: len(one.leases.epochs) == 2)
    assert {claim.owner for claim in store.claims()} == {"one"}
    await one.stop(1)


async def test_the_end_of_its_loop_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    store = SharedMemoryStore()
    one, told = worker(store, new(store), "one"), list[asyncio.Task[None]]()

    async def broken(_partitions: Any) -> Any:
        raise RuntimeError("a bug")

    monkeypatch.setattr(one, "assigned", broken)
    await one.start(told.append)
    await until(lambda: bool(told))
    assert str(told[0].exception()) == "a bug" and "a bug" in one.why
    await one.stop(1)
