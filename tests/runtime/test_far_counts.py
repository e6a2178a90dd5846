"""Counts of many workers."""

from heliograph.adapters.memory.shared import SharedMemoryStore
from heliograph.adapters.schema import JsonSchema
from heliograph.ports import BroadcastRow, Commit
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


def broadcast(status: str) -> BroadcastRow:
    return BroadcastRow(
        broadcast_id="b", name="b", document={}, status=status, created_at=1, started_at=1, after="u:0", offered=3
    )


async def test_a_pause_is_not_written_over_by_who_walks_the_audience() -> None:
    store = SharedMemoryStore()
    store.commit(Commit(broadcasts={"b": broadcast("running")}))
    leader, other = (FarDesk(store, JsonSchema, partitions=2) for _ in range(2))
    walk = leader.walking("b")
    assert walk is not None
    walk.after, walk.offered, walk.refused = "u:1", 5, {"undecidable": 1}
    row = other.counting("b")  # read before the walk's commit, and written behind it
    assert row is not None
    row.status = "paused"
    for _ in range(2):  # whoever is first
        store.commit(Commit(broadcasts=leader.changed_broadcasts, meta=leader.changed_walks()))
        store.commit(Commit(broadcasts=other.changed_broadcasts, meta=other.changed_walks()))
    found = FarDesk(store, JsonSchema, partitions=2).broadcast("b")
    assert found is not None
    assert (found.status, found.after, found.offered, found.refused) == ("paused", "u:1", 5, {"undecidable": 1})
