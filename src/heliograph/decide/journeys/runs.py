"""Runs: how a person passes through a journey.

States of an active run, by the step it is at::

    wait, wait until   timer r:<run> due     -> next step
    wait for a date    timer, asked again    -> next step, or else; a changed trait or zone moves the timer
    window             timer, asked again    -> next step
    update, emit       their event decided   -> next step
    webhook            its answer            -> next step, or else
    send               first outcome         -> next step, or on_failure
    wait_until         event, if, or timer   -> the path's target
    (held out)         timer r:<run>         -> ends, when goal.within is over

Everything happens at an *instant*, in this order (design, section 5): goals, exits, resumes, entries, then each run
advances until it parks.  A second timer, ``x:<run>``, marks the next instant at which time alone may turn a condition
that the run is watching (exits, and the paths of a ``wait_until``).
"""

from collections.abc import Collection
from typing import Any, Final

from heliograph.decide import bounds, pressure
from heliograph.decide.broadcasts import broadcast_of
from heliograph.decide.conditions import Condition
from heliograph.decide.conditions.operators import index_keys
from heliograph.decide.effects import CancelMessage, DropWebhook
from heliograph.decide.journeys.clocks import step_fact as step_fact
from heliograph.decide.journeys.clocks import wait_timer as wait_timer
from heliograph.decide.journeys.program import (
    ANY,
    LAST,
    Emit,
    EventPath,
    ExitEvent,
    IfPath,
    Journey,
    Update,
    WaitUntil,
    watched,
)
from heliograph.decide.state import (
    MAX_ENDED,
    MAX_RUN_BYTES,
    Ended,
    Run,
    clear_timer,
    room_for_event,
    set_timer,
    unpack,
)
from heliograph.decide.turn import Mode, Signal, Turn
from heliograph.events.event import PRODUCT_EVENTS, Event
from heliograph.events.ids import make_id

MAX_EARLIER: Final = 32
"""Earlier visits of a step whose messages are still known as the run's: they are found by their ids, not kept."""
_MAIL_EVENTS: Final = frozenset(name for name in PRODUCT_EVENTS if name.startswith("Email "))


def watch_timer(run: Run) -> str:
    return "x:" + run.run_id


# -- one instant: goals, exits, resumes --


def mark_goals(turn: Turn, signal: Signal) -> None:
    """A goal marks a run, active or ended, and never ends it."""
    reached = dict(turn.plan.goals.passed(signal.name, signal.event))
    for run in known(turn) if reached else ():
        goal = reached.get((run.journey, run.version))
        if goal is None or run.converted or signal.event.event_id == run.cause or not _concerns(turn, run, signal):
            continue
        late = signal.event.occurred_at - run.started_at
        if 0 <= late <= goal.within_ms:
            run.converted = True
            value = _amount(goal.value(signal.event)) if goal.value is not None else None
            turn.fact("goal", journey=run.journey, run_id=run.run_id, value=value, held_out=run.held_out)


def known(turn: Turn) -> list[Run | Ended]:
    """Active runs, and those that ended lately."""
    return [*turn.state.runs.values(), *turn.state.ended]


def _amount(value: Any) -> Any:
    return value if isinstance(value, int | float | str) and not isinstance(value, bool) else None


def _concerns(turn: Turn, run: Run | Ended, signal: Signal) -> bool:
    """An event does not act on a run that it (or a later event of this instant) started."""
    started, _ = turn.began.get(run.run_id, (-1, -1))
    return started < signal.order


def leave(turn: Turn, signal: Signal | None) -> None:
    """End the runs whose exit this event, or the person as it now is, satisfies."""
    exits = turn.plan.exits.passed(signal.name, signal.event) if signal is not None else []
    asking = turn.plan.asking
    if not exits and not asking:
        return
    for run in list(turn.state.runs.values()):
        journey = turn.journey(run) if exits or run.journey in asking else None
        if journey is None:
            continue
        if signal is not None and _concerns(turn, run, signal) and (exit := _exit_event(exits, run, signal.event)):
            by = {"event": exit.filter.text, "event_id": signal.event.event_id}
            end(turn, run, "exited", by | ({"match": exit.match.text} if exit.match else {}))
        elif turn.began.get(run.run_id, (-1, -1))[0] < 0:
            met = next((asked for asked in journey.exit_ifs if asked.truth(turn.person, turn.t)), None)
            if met is not None:
                end(turn, run, "exited", {"if": met.text})


def _exit_event(exits: list[tuple[tuple[str, str], ExitEvent]], run: Run, event: Event) -> ExitEvent | None:
    for label, exit in exits:
        if label == (run.journey, run.version) and (exit.match is None or _matches(exit, run, event)):
            return exit
    return None


def _matches(exit: ExitEvent, run: Run, event: Event) -> bool:
    entry = unpack(run.event)
    if entry is None or exit.match is None:
        return False
    ours, theirs = (
        {key for key in index_keys(value) if key is not None}
        for value in (exit.match.entry(entry), exit.match.event(event))
    )
    return bool(ours & theirs)


def resume(turn: Turn, signal: Signal | None, mode: Mode, going: Collection[str] = ()) -> list[tuple[Run, int]]:
    """The runs whose ``wait_until`` ends now, and where they go on; ``going``: those that go on anyway."""
    ready: list[tuple[Run, int]] = []
    resuming = turn.plan.resuming
    for run in turn.state.runs.values() if resuming else ():
        if run.journey not in resuming or run.run_id in going:
            continue
        journey = turn.journey(run)
        step = journey.step(run.step) if journey is not None and not run.held_out else None
        if not isinstance(step, WaitUntil):
            continue
        path = _path_taken(turn, run, step, signal)
        if path is None:
            continue
        if mode is not Mode.ACT:
            turn.fact("run_step", journey=run.journey, run_id=run.run_id, step_id=run.step, what="too_late")
            continue
        if isinstance(path, EventPath) and signal is not None:
            _keep_trigger(turn, run, signal.event)
        step_fact(turn, run, "resumed", by=path.filter.text if isinstance(path, EventPath) else path.condition.text)
        ready.append((run, path.then))
    return ready


def _keep_trigger(turn: Turn, run: Run, event: Event) -> None:
    run.trigger = b""
    if room_for_event(turn.state, data := turn.packed(event)) and bounds.room(turn, len(data)):
        run.trigger = data
    else:
        turn.fact("cut", what="trigger", limit=MAX_RUN_BYTES)


def _path_taken(turn: Turn, run: Run, step: WaitUntil, signal: Signal | None) -> EventPath | IfPath | None:
    _, began = turn.began.get(run.run_id, (-1, -1))
    for path in step.paths:
        if isinstance(path, IfPath):
            if path.condition.truth(turn.person, turn.t):
                return path
        elif signal is not None and began < signal.order and _is_meant(run, path, signal.event):
            return path
    return None


def _is_meant(run: Run, path: EventPath, event: Event) -> bool:
    if not path.filter.matches(event):
        return False
    return event.name not in _MAIL_EVENTS or _own_message(run, path.message, event)


def _own_message(run: Run, which: str, event: Event) -> bool:
    message_id = event.properties.get("message_id")
    if not isinstance(message_id, str) or not message_id:
        return False
    if which == LAST:
        return message_id == run.message_id
    step_id = step_of(run, message_id)
    return step_id == which if which != ANY else step_id is not None


def step_of(run: Run | Ended, message_id: str) -> str | None:
    """The step that decided this message, at its last visit or an earlier one; None when it is none of the run's."""
    for step_id, latest in run.messages.items():
        if latest == message_id:
            return step_id
    for step_id, count in run.visits.items():
        earlier = range(max(count - MAX_EARLIER, 1), count) if step_id in run.messages else ()
        if any(make_id("message", run.run_id, step_id, visit) == message_id for visit in earlier):
            return step_id
    return None


# -- what time may turn --


def watch(turn: Turn) -> None:
    """Set the timers of the conditions that runs are watching."""
    watching = turn.plan.watching
    for run in turn.state.runs.values() if watching else ():
        if run.journey not in watching:
            continue
        journey = turn.journey(run)
        if journey is not None and not journey.timed:
            continue
        asked = _watched(journey, run) if journey is not None else ()
        flips = [condition.next_flip(turn.person, turn.t) for condition in asked if condition.timed]
        set_timer(turn.state, watch_timer(run), min((flip for flip in flips if flip is not None), default=None))


def _watched(journey: Journey, run: Run) -> tuple[Condition, ...]:
    step = journey.step(run.step)
    return watched(journey.exit_ifs, () if step is None or run.held_out else (step,))


# -- ending --


def end(turn: Turn, run: Run, reason: str, by: dict[str, Any] | None = None) -> None:
    """Take the run from the active ones; its open message is cancelled."""
    state = turn.state
    withdraw(turn, run, reason)
    if run.awaits and not _awaits_itself(turn, run):
        turn.emit(DropWebhook(run.awaits))
    clear_timer(state, wait_timer(run))
    clear_timer(state, watch_timer(run))
    del state.runs[run.run_id]
    state.ended.append(
        Ended(
            run_id=run.run_id,
            journey=run.journey,
            version=run.version,
            entry_key=run.entry_key,
            started_at=run.started_at,
            entered_at=run.entered_at,
            ended_at=turn.t,
            reason=reason,
            step=run.step,
            held_out=run.held_out,
            converted=run.converted,
            cause=run.cause,
            messages=run.messages,
            by=by or {},
            visits=run.visits,
        )
    )
    del state.ended[:-MAX_ENDED]
    told_ended(turn, run, reason, by)


def told_ended(turn: Turn, run: Run, reason: str, by: dict[str, Any] | None = None) -> None:
    turn.fact(
        "run_ended",
        journey=run.journey,
        version=run.version,
        run_id=run.run_id,
        entry_key=run.entry_key,
        reason=reason,
        step_id=run.step,
        **({"by": by} if by else {}),
    )


def _awaits_itself(turn: Turn, run: Run) -> bool:
    """Whether what it awaits is an event of its own, which nobody can take back."""
    journey = turn.journey(run)
    return journey is not None and isinstance(journey.step(run.step), Update | Emit)


def withdraw(turn: Turn, run: Run, reason: str) -> None:
    """Cancel the open message of a run, if it has one.  One that was held back gives its place up at once: no mailer
    ever had it."""
    if run.sending:
        turn.emit(CancelMessage(run.message_id, reason, turn.t))
    if run.planned_at:
        run.planned_at = 0
        pressure.leave(turn, run.message_id)
    run.sending = False


def end_removed(turn: Turn) -> None:
    """Runs of a journey version, or of a broadcast, that the plan no longer has."""
    for run in [run for run in turn.state.runs.values() if turn.journey(run) is None]:
        end(turn, run, gone(run))


def gone(run: Run) -> str:
    """Why a run ends whose journey is not there any more: a broadcast that has runs only leaves when it is stopped."""
    return "cancelled" if broadcast_of(run.journey) else "journey_removed"
