"""The same log gives the same decisions, whichever runtime made it and whichever reads it."""

import asyncio
import itertools
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heliograph.adapters.memory import MemoryStore
from heliograph.adapters.rocksdb import RocksStore
from heliograph.adapters.schema import JsonSchema
from heliograph.events.record import LedgerRow
from heliograph.ports import Arrival, Commit, Store
from heliograph.runtime.chunk import Chunk
from heliograph.runtime.clock import ManualClock
from heliograph.runtime.desk import Desk
from tests.runtime import harness
from tests.runtime.harness import MINUTE, T0, advance, call, identify, running, send

PEOPLE = ("ann", "bob", "cyd")
ADDRESSES = ("shared@x.test", "nobody@x.test", *(f"{who}@x.test" for who in PEOPLE))


def one_call(chance: random.Random) -> Arrival:
    who, browser = chance.choice(PEOPLE), f"browser-{chance.randrange(3)}"
    at = T0 + chance.randrange(-60, 300) * MINUTE
    match chance.randrange(8):
        case 0:
            return identify(who, email=f"{who}@x.test", anonymous=browser)
        case 1:
            return identify(who, email="shared@x.test", consent={"offers": chance.random() < 0.5})
        case 2 | 3:
            return call("Product Viewed", None, anonymous=browser, at=at)
        case 4:
            return call("Product Added", who, cart_id=f"cart-{chance.randrange(2)}", at=at)
        case 5:
            return call("Product Added", None, anonymous=browser, cart_id="cart-0")
        case 6:
            return call("Signed Up", who)
        case _:
            return call("Order Completed", who, id=f"order-{who}-{chance.randrange(4)}")


async def live(store: Store, seed: int, steps: int, *, chunked: bool) -> None:
    """Some people's afternoon.  ``chunked`` sends calls together that otherwise come one by one."""
    chance = random.Random(seed)
    async with running(store) as engine:
        for _ in range(steps):
            calls = [one_call(chance) for _ in range(chance.randrange(1, 6))]
            calls = [Arrival(f"n{seed}-{chance.random()}", one.event, one.raw) for one in calls]
            for part in [calls] if chunked else [[one] for one in calls]:
                await send(engine, *part)
            if chance.random() < 0.3:
                await advance(engine, chance.randrange(40) * MINUTE)
            if chance.random() < 0.1:
                topic = chance.choice(["offers", "news", "!manual"])
                row = LedgerRow(chance.choice(ADDRESSES), topic, chance.random() < 0.5, engine.clock.now(), "page")
                await engine.change_ledger([row])


def decided(store: Store) -> dict[str, Any]:
    """Everything that decisions left behind, but for the ids that name records, and the ledger of every address that
    somebody holds."""
    keys = store.keys(limit=10_000)
    return {
        "states": dict(zip(keys, store.states(keys), strict=True)),
        "journal": {key: store.journal(key, 10_000) for key in keys},
        "members": {name: store.members(name, 10_000)[0] for name in ("viewers", "buyers")},
        "messages": sorted(store.messages(limit=10_000)[0], key=lambda row: row.message_id),
        "due": store.due(10**15, 10_000),
        "ledger": {address: store.ledger(address) for address in ADDRESSES if store.keys_of_email(address)},
    }


def replayed(source: Store, into: Store) -> None:
    """Feed a log, record by record; what the records lead to is in it already."""
    plan = source.plan()
    assert plan is not None
    into.commit(Commit(plan=plan))
    desk = Desk(into, JsonSchema)
    for position, record in source.log(limit=100_000):
        chunk = Chunk(desk, ManualClock(record.received_at))
        chunk.replay(record)
        assert desk.position == position
        commit = chunk.finish()
        desk.seal()
        into.commit(commit)
        desk.settle()


@pytest.mark.parametrize("seed", range(4))
async def test_the_memory_and_the_rocksdb_runtime_decide_alike(seed: int, tmp_path: Path) -> None:
    memory, rocks = MemoryStore(), RocksStore(tmp_path / "data")
    for store in (memory, rocks):
        number_again()
        await live(store, seed, 25, chunked=True)
    assert decided(memory) == decided(rocks)
    assert memory.log(limit=100_000) == rocks.log(limit=100_000)
    rocks.close()


def number_again() -> None:
    """Event ids are numbered by the harness: begin again, so that two runs are alike."""
    harness._numbers = itertools.count()


@pytest.mark.parametrize("seed", range(3))
async def test_where_a_chunk_ends_changes_no_decision(seed: int) -> None:
    apart, together = MemoryStore(), MemoryStore()
    number_again()
    await live(apart, seed, 20, chunked=False)
    number_again()
    await live(together, seed, 20, chunked=True)
    assert decided(apart) == decided(together)


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 10**6))
def test_a_replayed_log_gives_the_same_states_and_facts(seed: int) -> None:
    source, copy = MemoryStore(), MemoryStore()
    asyncio.run(live(source, seed, 15, chunked=True))
    replayed(source, copy)
    one, other = decided(source), decided(copy)
    for side in (one, other):  # what became of a message at the commit point and beyond is no decision of `step`
        side["messages"] = [(row.message_id, row.template, row.address, row.created_at) for row in side["messages"]]
    assert one == other


class Elephant(MemoryStore):
    """Keeps its log for ever."""

    def expire(self, **_before: int) -> int:
        return 0


async def test_a_replay_forgets_the_visitors_that_were_forgotten() -> None:
    source, copy = Elephant(), MemoryStore()
    async with running(source) as engine:
        await send(engine, call("Product Viewed", None, anonymous="gone"), identify("ann", email="ann@x.test"))
        await advance(engine, 31 * 24 * 60 * MINUTE)
        for _ in range(2):
            await engine.forgetter.portion()
        await send(engine, call("Product Viewed", None, anonymous="here"))
    replayed(source, copy)
    assert source.keys() == copy.keys()
    assert "a:gone" not in set(copy.keys())
    assert decided(source) == decided(copy)
