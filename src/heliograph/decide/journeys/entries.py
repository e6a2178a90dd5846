"""Entries: who starts a run, and why not.

An entry by event is tried when its event happens, one by segment in the instant the segment turns true, the others when
a timer (``schedules``) or the API asks for them.  Every refusal is a fact with its reason.  ``run_id = H(key, journey,
entry key, cause)``: the same cause never starts two runs.
"""

from typing import Any, Final

from heliograph.decide import bounds
from heliograph.decide.conditions import Condition, Leaf, culprit_leaf
from heliograph.decide.journeys import runs
from heliograph.decide.journeys.clocks import wait_timer
from heliograph.decide.journeys.program import Journey
from heliograph.decide.state import (
    MAX_ENTRY_KEYS,
    MAX_RUN_BYTES,
    MAX_RUNS,
    Refused,
    Run,
    room_for_event,
    set_timer,
)
from heliograph.decide.times import describe
from heliograph.decide.turn import Asked, Mode, Signal, Turn
from heliograph.events.event import Event
from heliograph.events.ids import make_id, share

TREATED: Final = "treated"
MAX_KEY: Final = 200
"""Characters of an entry key; a longer one is hashed."""


def enter(turn: Turn, signal: Signal | None, turned: list[str], mode: Mode) -> list[tuple[Run, int]]:
    """Start what this instant starts, by priority, then name; the new runs and where they begin."""
    if mode is Mode.HISTORY:
        turn.asked.clear()
        return []
    ready = []
    for asked in _candidates(turn, signal, turned):
        run = _try(turn, asked, mode)
        if run is not None:
            ready.append((run, asked.journey.start))
    return [(run, place) for run, place in ready if not run.held_out]


def _candidates(turn: Turn, signal: Signal | None, turned: list[str]) -> list[Asked]:
    plan = turn.plan
    found, turn.asked = turn.asked, []
    if signal is not None:
        event = signal.event
        found += [Asked(one, event, event.event_id) for one in plan.entries.passed(signal.name, event)]
    for name in turned:
        if entering := plan.entries_by_segment.get(name):
            cause = make_id("segment", name, turn.t)
            found += [Asked(one, None, cause) for one in entering]
    return sorted(found, key=lambda one: (-one.journey.priority, one.journey.name)) if len(found) > 1 else found


def _try(turn: Turn, asked: Asked, mode: Mode) -> Run | None:
    journey, event, cause = asked
    key = entry_key(journey, event)
    runs_now = turn.state.runs
    active = next((run for run in runs_now.values() if _is(run, journey, key)), None) if runs_now else None
    if (objection := _objection(turn, journey, key, event, active, mode)) is not None:
        _refuse(turn, journey, key or "", *objection)
        return None
    if active is not None and journey.entry.on_repeat == "update":
        active.event = turn.packed(event)
        turn.fact("run_step", journey=journey.name, run_id=active.run_id, step_id=active.step, what="updated")
        return None
    if active is not None:
        runs.end(turn, active, "restarted")
    return _start(turn, journey, key or "", event, cause)


def _objection(
    turn: Turn, journey: Journey, key: str | None, event: Event | None, active: Run | None, mode: Mode
) -> tuple[str, dict[str, Any]] | None:
    """Why nothing starts: the reason and what to say with it."""
    entry = journey.entry
    if key is None:
        return "no_key", {"path": entry.key_path}
    if mode is Mode.LATE:
        return "too_late", {"limit": describe(turn.plan.act_within_ms)}
    if active is not None and entry.on_repeat == "ignore":
        return "already_active", {"run_id": active.run_id}
    if entry.condition is not None and not entry.condition.truth(turn.person, turn.t):
        return "if_false", {}
    if active is None and (again := _reentry(turn, journey, key)) is not None:
        return "reentry", again
    if active is None and len(turn.state.runs) >= MAX_RUNS:
        return "state_full", {"limit": MAX_RUNS}
    if not room_for_event(turn.state, packed := turn.packed(event)):
        return "state_full", {"limit": MAX_RUN_BYTES}
    if not bounds.room(turn, len(packed) + bounds.RUN_BYTES + 2 * len(key.encode())):
        return "state_full", {"limit": bounds.MAX_BLOB}
    return None


def _refuse(turn: Turn, journey: Journey, key: str, reason: str, data: dict[str, Any]) -> None:
    """Tell why.  A condition that goes on failing in the same leaf is told once: thousands of views by somebody
    without an address are one fact, and the state has the time of the last one."""
    refused, condition = turn.state.refused, journey.entry.condition
    if reason == "if_false" and condition is not None:
        leaf = culprit_leaf(condition, False, turn.person, turn.t)
        if not key:
            told, place = refused.get(journey.name), _place(condition, leaf)
            refused[journey.name] = Refused(turn.t, place)
            if told is not None and told.place == place:
                return
        data = _seen(turn, leaf)
    elif refused:
        refused.pop(journey.name, None)
    turn.fact("run_refused", journey=journey.name, entry_key=key, reason=reason, **data)


def failing(turn: Turn, condition: Condition) -> dict[str, Any]:
    """The leaf that makes a condition false, and what it saw."""
    return _seen(turn, culprit_leaf(condition, False, turn.person, turn.t))


def _seen(turn: Turn, leaf: Leaf | None) -> dict[str, Any]:
    return {"condition": leaf.text, "seen": leaf.seen(turn.person, turn.t)} if leaf is not None else {}


def _place(condition: Condition, failing: Leaf | None) -> int:
    """The place among the leaves of the condition, -1 without one.  An id alone does not tell windows apart."""
    for place, leaf in enumerate(condition.leaves):
        if leaf is failing or (failing is not None and leaf.id == failing.id and leaf.text == failing.text):
            return place
    return -1


def _is(run: Run, journey: Journey, key: str | None) -> bool:
    return run.journey == journey.name and run.entry_key == key


def entry_key(journey: Journey, event: Event | None) -> str | None:
    """The value of ``key`` as text; ``""`` for a journey without one, None when the event lacks it."""
    read = journey.entry.key
    if read is None:
        return ""
    value = read(event) if event is not None else None
    if isinstance(value, bool) or not isinstance(value, str | int | float) or value == "":
        return None
    text = str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
    return text if len(text) <= MAX_KEY else "#" + make_id("entry key", text)


def _reentry(turn: Turn, journey: Journey, key: str) -> dict[str, Any] | None:
    """Why the rule forbids another entry, None when it does not."""
    rule = journey.entry.reentry
    last = turn.state.entered.get(journey.name, {}).get(key)
    if last is None or rule.rule == "always":
        return None
    if rule.rule == "never":
        return {"entered_at": last}
    again = last + rule.after_ms
    return {"entered_at": last, "until": again} if turn.t < again else None


def _start(turn: Turn, journey: Journey, key: str, event: Event | None, cause: str) -> Run | None:
    state = turn.state
    run_id = make_id("run", turn.person.origin, journey.name, key, cause)
    if run_id in state.runs or any(run_id == one.run_id for one in state.ended):
        return None
    run = begin(turn, journey, run_id, key, event, cause, arm(turn, journey))
    state.refused.pop(journey.name, None)
    _remember_entry(turn, journey, key)
    if run.held_out:
        _hold_out(turn, run, journey)
    return run


def begin(turn: Turn, journey: Journey, run_id: str, key: str, event: Event | None, cause: str, arm: str) -> Run:
    """A run, from here on among the active ones."""
    run = Run(
        run_id=run_id,
        journey=journey.name,
        version=journey.version,
        entry_key=key,
        cause=cause,
        started_at=event.occurred_at if event is not None else turn.t,
        entered_at=turn.t,
        since=turn.t,
        held_out=arm != TREATED,
        event=turn.packed(event),
    )
    turn.state.runs[run_id] = run
    order = turn.next_order()
    turn.began[run_id] = (order, order)
    names = {"journey": journey.name, "version": journey.version, "run_id": run_id}
    turn.fact("run_started", **names, entry_key=key, cause=cause, arm=arm)
    return run


def arm(turn: Turn, journey: Journey) -> str:
    """Drawn by person: ``global_holdout`` keeps somebody out of everything that may send marketing mail."""
    origin, kept_back = turn.person.origin, turn.plan.policies.global_holdout
    if kept_back and journey.name in turn.plan.marketing and share("global holdout", origin) < kept_back:
        return "global_holdout"
    return "holdout" if journey.holdout and share(journey.name, origin, "holdout") < journey.holdout else TREATED


def _hold_out(turn: Turn, run: Run, journey: Journey) -> None:
    """Executes no step; stays active as long as the goal is watched."""
    if journey.goal is None:
        runs.end(turn, run, "held_out")
    else:
        set_timer(turn.state, wait_timer(run), turn.t + journey.goal.within_ms)


def _remember_entry(turn: Turn, journey: Journey, key: str) -> None:
    """For ``reentry``; keys of a journey that anyone may enter again at any time are not worth keeping."""
    if journey.entry.reentry.rule == "always" and key:
        return
    entered = turn.state.entered.setdefault(journey.name, {})
    entered[key] = turn.t
    while len(entered) > MAX_ENTRY_KEYS:
        del entered[min(entered, key=lambda one: (entered[one], one))]
