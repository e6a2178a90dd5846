"""Several workers, a shared store, a shared log: no decision lost, none carried out twice, no message sent twice.

And the law of the scaled runtime: its people, facts, indexes and messages are those of one machine that is fed the same
records in the order of the log.
"""

import random
from collections import Counter
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from heliograph import decide
from heliograph.adapters.memory import MemoryStore
from heliograph.adapters.schema import JsonSchema
from heliograph.events.record import EventBody, decode_record
from heliograph.ports import Commit, MessageRow, PlanRow, Store
from heliograph.ports.stream import RECORDS
from heliograph.runtime.chunk import Chunk
from heliograph.runtime.clock import ManualClock
from heliograph.runtime.desk import Desk
from tests.runtime.harness import T0, shop
from tests.simulation.far_world import FarWorld

ENDS = {"sent", "delivered", "unknown", "cancelled", "skipped", "expired", "bounced"}
STEPS = 250


def prepared() -> Commit:
    return Commit(plan=PlanRow(1, msgspec.json.encode(shop()), T0))


def alone(world: FarWorld) -> tuple[MemoryStore, Desk]:
    """One machine that is fed the same log: derived records once, as a brain takes them."""
    store = MemoryStore()
    store.commit(prepared())
    desk, heard = Desk(store, JsonSchema), set[tuple[str, str]]()
    for part in world.broker.topics[RECORDS]:
        for entry in part:
            record = decode_record(entry.value)
            derived = not isinstance(record.body, EventBody) or record.body.hops or record.body.depth
            if derived and (record.key, record.id) in heard:
                continue
            heard.add((record.key, record.id))
            chunk = Chunk(desk, ManualClock(record.received_at))
            chunk.replay(record)
            commit = chunk.finish()
            desk.seal()
            store.commit(commit)
            desk.settle()
    return store, desk


def people(store: Store) -> dict[str, Any]:
    keys = store.keys(limit=10**6)
    found = zip(keys, store.states(keys), strict=True)
    return {key: replace(decide.decode_state(blob), number=0) for key, blob in found if blob is not None}


def facts(store: Store, keys: list[str]) -> Counter[str]:
    rows = ((key, row) for key in keys for row in store.journal(key, 10**6))
    return Counter(f"{key} {row.kind} {row.at} {row.data}" for key, row in rows if row.kind != "cancel_too_late")


def decision(row: MessageRow) -> tuple[Any, ...]:
    return (row.key, row.journey, row.run_id, row.step_id, row.template, row.topic, row.address, row.created_at)


@pytest.mark.parametrize("round", range(3))
async def test_two_workers_and_all_the_trouble_are_as_one_machine_without_any(
    round: int, pytestconfig: pytest.Config
) -> None:
    seed = random.randrange(10**6)
    print(f"seed {seed}")  # noqa: T201
    world = FarWorld(seed, shop(), prepared())
    world.brain.start()
    await world.add_worker()
    await world.add_worker()
    for _ in range(STEPS * (20 if pytestconfig.getoption("--soak") else 1)):
        await world.step()
    await world.settle()
    await world.end()
    print(dict(world.happened))  # noqa: T201
    check(world, seed)


def check(world: FarWorld, seed: int) -> None:
    far = world.root
    twice = {name: count for name, count in world.books.wire.items() if count > 1}
    assert world.books.wire and not twice, (seed, twice)
    rows = {row.message_id: row for row in far.messages(limit=10**6)[0]}
    assert {row.status for row in rows.values()} <= ENDS, (seed, Counter(row.status for row in rows.values()))
    left = {name for name in world.books.wire if rows[name].status not in ("sent", "delivered", "unknown", "bounced")}
    assert not left, (seed, left)
    near, desk = alone(world)
    assert people(far) == people(near), seed
    keys = near.keys(limit=10**6)
    assert facts(far, keys) == facts(near, keys), seed
    assert {name: decision(row) for name, row in rows.items()} == {
        row.message_id: decision(row) for row in near.messages(limit=10**6)[0]
    }, seed
    for name in ("viewers", "buyers"):
        assert far.members(name, 10**6)[0] == near.members(name, 10**6)[0], seed
    assert far.emails(limit=10**6) == near.emails(limit=10**6), seed
    for key in keys:
        assert list(far.history(key)) == list(near.history(key)), (seed, key)
    (worker,) = world.workers[:1]
    assert worker.desk.tally.counts() == desk.tally.counts(), seed
