"""Runs whose time is up, or is another since a trait changed: where they go on."""

from heliograph.decide.effects import DropWebhook
from heliograph.decide.journeys import clocks
from heliograph.decide.journeys.clocks import step_fact, wait_timer
from heliograph.decide.journeys.program import (
    Emit,
    IfPath,
    Step,
    Update,
    Wait,
    WaitClock,
    WaitDate,
    WaitLocal,
    WaitUntil,
    Webhook,
    Window,
    moves,
)
from heliograph.decide.journeys.runs import end, gone
from heliograph.decide.state import Run, set_timer
from heliograph.decide.turn import Mode, Turn


def fire(turn: Turn, run: Run) -> list[tuple[Run, int]]:
    """The wait of a run is over: where it goes on."""
    journey = turn.journey(run)
    step = journey.step(run.step) if journey is not None else None
    if run.held_out:
        end(turn, run, "held_out")
        return []
    if journey is None or step is None:
        end(turn, run, gone(run))
        return []
    place = _behind(turn, run, step)
    return [] if place is None else [(run, place)]


def _behind(turn: Turn, run: Run, step: Step) -> int | None:
    """Where a run whose time is up goes on; None when it has to wait longer."""
    match step:
        case Wait() | WaitClock() | WaitLocal():
            step_fact(turn, run, "resumed")
            return step.next
        case WaitUntil():
            return _resumed_at_last(turn, run, step)
        case Window() | WaitDate():
            return clocks.enter(turn, run, step, "resumed")
        case Update() | Emit():
            step_fact(turn, run, "resumed", **({"reason": "lost"} if run.awaits else {}))
            return step.next
        case Webhook():
            turn.emit(DropWebhook(run.awaits))
            step_fact(turn, run, "failed", reason="no_answer")
            return step.otherwise
    return None


def _resumed_at_last(turn: Turn, run: Run, step: WaitUntil) -> int:
    """What turns true at the very end of the wait still counts: time came to both in one instant."""
    for path in step.paths:
        if isinstance(path, IfPath) and path.condition.truth(turn.person, turn.t):
            step_fact(turn, run, "resumed", by=path.condition.text)
            return path.then
    step_fact(turn, run, "timed_out")
    return step.otherwise


def shift(turn: Turn, mode: Mode) -> list[Run]:
    """Traits changed on which the end of a wait depends: move its timer; the runs whose time is up by that.  An event
    that may resume nothing moves them on right behind it."""
    up = []
    for run in turn.state.runs.values():
        journey = turn.journey(run)
        step = journey.step(run.step) if journey is not None and not run.held_out else None
        if step is None or not turn.moved & moves(step) or wait_timer(run) not in turn.state.timers:
            continue
        due = clocks.due(turn, run, step)
        if mode is Mode.ACT and (due is None or due <= turn.t):
            up.append(run)
            continue
        due = max(turn.t if due is None else due, turn.t)
        set_timer(turn.state, wait_timer(run), due)
        step_fact(turn, run, "waiting", until=due)
    return up
