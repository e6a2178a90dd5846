"""What a chunk makes of decisions."""

import msgspec

from heliograph.adapters.memory import MemoryStore
from heliograph.adapters.schema import JsonSchema
from heliograph.events.event import Event
from heliograph.events.record import Expire, Outcome
from heliograph.ports import Commit, PlanRow
from heliograph.runtime.chunk import Chunk
from heliograph.runtime.clock import ManualClock
from heliograph.runtime.desk import Desk
from tests.runtime.harness import DAY, T0, shop


def test_an_event_that_everybody_forgot_mails_nobody_twice_and_leaves_nobody_waiting() -> None:
    """The same event of a visitor who was forgotten is the same run and the same message, which was sent long ago."""
    store = MemoryStore()
    store.commit(Commit(plan=PlanRow(1, msgspec.json.encode(shop()), T0)))
    desk, clock = Desk(store, JsonSchema), ManualClock(T0)
    chunk = Chunk(desk, clock)

    def signs_up() -> None:
        about = {"traits": {"email": "ann@example.com"}}
        chunk.append_event(Event("e1", "track", "Signed Up", clock.now(), anonymous_id="x", context=about), "a:x")

    signs_up()
    ((message_id, row),) = chunk.commit.messages.items()
    assert row.status == "queued"
    chunk.end_message(row, "sent", "", clock.now())
    chunk.drain()
    clock.advance(31 * DAY)
    chunk.append("a:x", Expire(30 * DAY))
    signs_up()
    state = desk.state("a:x")
    assert list(chunk.commit.messages) == [message_id]
    assert chunk.commit.messages[message_id].status == "sent"
    assert state is not None and not state.runs
    assert [run.reason for run in state.ended] == ["finished"]
    outcomes = [record.body for _, record in chunk.commit.log if isinstance(record.body, Outcome)]
    assert [(outcome.kind, outcome.at) for outcome in outcomes] == [("sent", T0), ("sent", T0)]
