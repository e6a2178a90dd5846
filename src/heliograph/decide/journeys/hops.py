"""``update`` and ``emit``: what a step makes happen to its own person.

Both become an event of the person's own that goes through the log like one from outside: it is a hop, and the run parks
until it has been decided here (embedded: in the same commit).  So traits, conditions, memberships, exits and entries
all see it, and the next step sees what came of it.  The run may well be ended by it.

Events that lead to events are counted in ``EventBody.depth``; beyond :data:`~heliograph.events.record.MAX_HOPS` the
next one does not happen, which is a fact, and the run goes on.
"""

from typing import Any, Final

from heliograph.decide.context import words
from heliograph.decide.journeys.clocks import step_fact, wait_timer
from heliograph.decide.journeys.program import Emit, Journey, Update
from heliograph.decide.journeys.values import Mapping, depth, fill
from heliograph.decide.state import Run, set_timer, size_of
from heliograph.decide.times import HOUR
from heliograph.decide.turn import Turn
from heliograph.events.event import EVENT_NAMES, Event
from heliograph.events.ids import make_id
from heliograph.events.limits import MAX_DEPTH, MAX_EVENT_BYTES
from heliograph.events.record import MAX_HOPS, EventBody

LOST_MS: Final = HOUR
"""A hop comes back within the commit, at scale within seconds: one that did not by then never will."""
MAX_TOLD: Final = 10
"""Paths without a value that a fact names."""


def enter_update(turn: Turn, run: Run, _journey: Journey, step: Update) -> int | None:
    traits = filled(turn, run, step.traits)
    if not traits:
        return step.next
    event = Event(_id(run, step), "identify", EVENT_NAMES["identify"], turn.t, traits=traits, context=_from(run, step))
    return _happen(turn, run, step, event)


def enter_emit(turn: Turn, run: Run, _journey: Journey, step: Emit) -> int | None:
    properties = filled(turn, run, step.properties)
    event = Event(_id(run, step), "track", step.event, turn.t, properties=properties, context=_from(run, step))
    return _happen(turn, run, step, event)


def filled(turn: Turn, run: Run, values: Mapping) -> dict[str, Any]:
    """The values that are there; those that are not are told."""
    missing: list[str] = []
    found: dict[str, Any] = fill(values, words(turn.state, turn.plan, run), missing)
    if missing:
        step_fact(turn, run, "missing", paths=sorted(set(missing))[:MAX_TOLD])
    return found


def count(run: Run, step_id: str) -> int:
    """Count another visit of a step that names what it does by it, from 1."""
    run.visits[step_id] = run.visits.get(step_id, 0) + 1
    return run.visits[step_id]


def _id(run: Run, step: Update | Emit) -> str:
    return make_id("step event", run.run_id, step.id, count(run, step.id))


def _from(run: Run, step: Update | Emit) -> dict[str, Any]:
    return {"journey": run.journey, "run_id": run.run_id, "step_id": step.id}


def _happen(turn: Turn, run: Run, step: Update | Emit, event: Event) -> int | None:
    names = {"journey": run.journey, "run_id": run.run_id, "step_id": step.id}
    if turn.depth >= MAX_HOPS:
        turn.fact("cut", what="depth", limit=MAX_HOPS, event=event.name, **names)
        return step.next
    if size_of(event) > MAX_EVENT_BYTES or depth([event.properties, event.traits]) > MAX_DEPTH:
        turn.fact("cut", what="event", limit=MAX_EVENT_BYTES, event=event.name, **names)
        return step.next
    run.awaits = event.event_id
    now = max(turn.t, turn.record.received_at)  # timers that are late are all dealt with before any hop
    set_timer(turn.state, wait_timer(run), now + LOST_MS)
    step_fact(turn, run, "updating" if isinstance(step, Update) else "emitting", event=event.name, **_told(event))
    turn.hop(turn.state.key, EventBody(event, depth=turn.depth + 1))
    return None


def _told(event: Event) -> dict[str, Any]:
    named = {"traits": sorted(event.traits)[:MAX_TOLD]} if event.traits else {}
    return {"event_id": event.event_id, **named}


def own_mark(mark: int, depth: int) -> int:
    """The mark of an event of our own as the last writer of traits.  It was decided knowing what others had said by
    that millisecond, so it comes after them: 24 bits of ones, the depth, and 32 bits of what tells it from its like."""
    return 0xFF_FFFF << 40 | min(depth, 0xFF) << 32 | mark & 0xFFFF_FFFF


def heard(turn: Turn, event_id: str) -> list[Run]:
    """The runs that waited for this event of their own (one at most)."""
    waiting = [run for run in turn.state.runs.values() if run.awaits and run.awaits == event_id]
    for run in waiting:
        run.awaits = ""
    return waiting
