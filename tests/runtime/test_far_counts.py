"""Counts of many workers."""

import msgspec

from heliograph.adapters.memory.shared import SharedMemoryStore
from heliograph.adapters.schema import JsonSchema
from heliograph.decide import journey_version
from heliograph.ports import BroadcastRow, Commit, PlanRow
from heliograph.runtime.far_counts import FarTally
from heliograph.runtime.far_desk import FarDesk
from heliograph.runtime.leases import Leases
from tests.contracts.samples import arrival
from tests.runtime.harness import DAY, HOUR, MINUTE, T0

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


def test_a_journey_is_pinned_as_long_as_the_log_may_hold_what_starts_a_run_of_it() -> None:
    """A record that waits in the log is decided under the plan that it names, two publishes later, too."""
    store, journeys = SharedMemoryStore(), [{"steps": [{"wait": f"PT{n}H"}, {"send": "welcome"}]} for n in (1, 2, 3)]
    for number, journey in enumerate(journeys):
        document = msgspec.json.encode({"journeys": {"welcome": journey}})
        store.commit(Commit(plan=PlanRow(number + 1, document, T0 + number * HOUR)))
    versions = [("welcome", journey_version(one)) for one in journeys]

    def pinned(at: int) -> set[tuple[str, str]]:
        store.commit(Commit(log=[(store.last_position() + 1, arrival("u:ann", f"e{at}", at))]))
        return FarTally(store, 1).active()

    assert pinned(T0 + 3 * HOUR) == set(versions[:2])
    assert pinned(T0 + 7 * DAY + 90 * MINUTE) == {versions[1]}, "the first was replaced more than a log's length ago"
    assert pinned(T0 + 8 * DAY) == set()
