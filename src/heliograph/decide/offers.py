"""A broadcast comes by somebody: who gets it, and why not.

Each person is asked once; somebody refused who then turns out to be one with somebody that it has not come by yet, who
may be in its audience or have an address, is asked once more there.  Every refusal is a fact ``run_refused`` with its
reason, so ``why`` can tell it and the broadcast counts it; whoever enters has a run like any other from then on.
"""

from functools import lru_cache
from typing import Any, Final

from heliograph.decide import bounds
from heliograph.decide.broadcasts import GRACE_MS, Broadcast, broadcast_of, journey_of, run_id
from heliograph.decide.journeys import clocks, entries
from heliograph.decide.journeys.program import WaitLocal
from heliograph.decide.state import MAX_RUNS, Run, State, holds_mark, remember_mark
from heliograph.decide.turn import Turn
from heliograph.events.ids import digest

REFUSALS: Final = {
    "over": "the broadcast was cancelled before it came by",
    "already_offered": "it came by before",
    "if_false": "not in its audience at that moment",
    "no_address": "no email address is known",
    "too_late": "the person's clock had shown its time more than an hour ago",
    "holdout": "kept back, by lot, to see what it does",
    "global_holdout": "kept back, by lot, from all marketing",
    "state_full": "as many runs as one person may have",
}
"""Every reason why somebody who is offered a broadcast does not enter it."""
HELD_OUT: Final = frozenset({"holdout", "global_holdout"})


def was_offered(state: State, broadcast_id: str) -> bool:
    """Whether it came by this person (some 4,000 events ago at most)."""
    return holds_mark(state, _mark(broadcast_id)) or holds_mark(state, _refused_mark(state, broadcast_id))


@lru_cache(maxsize=128)
def _mark(broadcast_id: str) -> bytes:
    """What a state remembers of an offer that was decided for good: taken, or kept back by lot."""
    return digest("offer", broadcast_id)[:8]


def _refused_mark(state: State, broadcast_id: str) -> bytes:
    """And of one that was refused to this person as they were: it means nothing once they took in another key."""
    return _mark_of(broadcast_id, state.key, state.links[-1] if state.links else None)


@lru_cache(maxsize=16)
def _mark_of(broadcast_id: str, key: str, link: str | None) -> bytes:
    """Remembered for a moment: the runtime asks whether it came by, and then so does the decision."""
    return digest("offer refused", broadcast_id, key, *([] if link is None else [link]))[:8]


def take(turn: Turn, broadcast_id: str) -> list[tuple[Run, int]]:
    """Let this person into the broadcast, or say why not; the run and where it begins."""
    broadcast = turn.plan.broadcasts.get(broadcast_id)
    reason, data = ("over", {}) if broadcast is None else _answer(turn, broadcast)
    if broadcast is None or reason:
        turn.fact("run_refused", journey=journey_of(broadcast_id), entry_key="", reason=reason, **data)
        return []
    journey = broadcast.journey
    name = run_id(journey.name, turn.state.address)
    run = entries.begin(turn, journey, name, "", None, broadcast_id, entries.TREATED)
    return [(run, journey.start)]


def _answer(turn: Turn, broadcast: Broadcast) -> tuple[str, dict[str, Any]]:
    """Why not: the reason, ``""`` for none, and what to say with it; remembered."""
    state, name = turn.state, broadcast_of(broadcast.journey.name)
    if was_offered(state, name):
        return "already_offered", {}
    reason, data = _objection(turn, broadcast)
    final = not reason or reason in HELD_OUT
    remember_mark(state, _mark(name) if final else _refused_mark(state, name), turn.t)
    return reason, data


def _objection(turn: Turn, broadcast: Broadcast) -> tuple[str, dict[str, Any]]:
    state, journey = turn.state, broadcast.journey
    if journey.entry.condition is not None and not journey.entry.condition.truth(turn.person, turn.t):
        return "if_false", entries.failing(turn, journey.entry.condition)
    if not state.address:
        return "no_address", {}
    if (over := _passed(turn, broadcast)) is not None:
        return "too_late", {"at": over}
    if (arm := entries.arm(turn, journey)) in HELD_OUT:
        return arm, {}
    name = run_id(journey.name, state.address)
    if name in state.runs or any(name == one.run_id for one in state.ended):
        return "already_offered", {}
    if len(state.runs) >= MAX_RUNS:
        return "state_full", {"limit": MAX_RUNS}
    if not bounds.room(turn, bounds.RUN_BYTES):
        return "state_full", {"limit": bounds.MAX_BLOB}
    return "", {}


def _passed(turn: Turn, broadcast: Broadcast) -> int | None:
    """When this person's clock showed its time, if that is too long ago."""
    wait = broadcast.journey.program[0]
    if not isinstance(wait, WaitLocal):
        return None
    at = clocks.local_instant(turn, wait)
    return at if turn.t - at > GRACE_MS else None
