"""Counts of many workers."""

from heliograph.adapters.memory.shared import SharedMemoryStore
from heliograph.adapters.schema import JsonSchema
from heliograph.ports import Commit
from heliograph.runtime.far_desk import FarDesk
from heliograph.runtime.leases import Leases

STARTED = {"journey": "welcome", "version": "1"}


async def test_what_is_counted_while_a_partition_is_taken_over_is_not_lost() -> None:
    store = SharedMemoryStore()
    desk = FarDesk(store, JsonSchema, partitions=2)
    desk.leases = Leases(store, "one", 60_000)
    claims, _ = await desk.leases.claim([0])
    desk.take(claims)
    desk.tally.note("run_started", STARTED)
    under_way = desk.tally.changes()  # being synced
    claims, _ = await desk.leases.claim([1])
    desk.take(claims)
    desk.tally.note("run_started", STARTED)
    later = desk.tally.changes()
    store.commit(Commit(meta=under_way))
    store.commit(Commit(meta=later))
    assert desk.tally.counts()["welcome"]["started"] == 2


async def test_what_another_worker_counted_is_read_again() -> None:
    store = SharedMemoryStore()
    one, two = (FarDesk(store, JsonSchema, partitions=2) for _ in range(2))
    for name, desk in (("one", one), ("two", two), ("one", one)):
        desk.leases = desk.leases or Leases(store, name, 60_000)
        claims, _ = await desk.leases.claim([0])
        desk.take(claims)
        desk.tally.note("run_started", STARTED)
        store.commit(Commit(meta=desk.tally.changes()))
    assert one.tally.counts()["welcome"]["started"] == 3
