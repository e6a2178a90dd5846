"""Runs that move along when their journey is edited (``on_edit: follow``; decision 0034).

When a state meets a newer plan, a run of a journey whose current version says ``follow`` goes over to that version if
the step it is at can be found there: by an id that is written, not made up, at a step of the same verb.  From then on
its exits, its goal and everything behind that step are the new version's; what it has behind it stays: its arms, its
messages, how often it was where.  A wait is counted anew from when it began, so a shorter one may be over.  Any other
run stays in its version, whose steps and templates stay in the plan with it.
"""

from typing import Any, Final

from heliograph.decide.journeys import clocks, runs
from heliograph.decide.journeys.program import (
    Branch,
    Emit,
    Exit,
    Goto,
    IfPath,
    Journey,
    Send,
    Split,
    Step,
    Update,
    Wait,
    WaitClock,
    WaitDate,
    WaitLocal,
    WaitUntil,
    Webhook,
    Window,
)
from heliograph.decide.plan import Plan
from heliograph.decide.state import Run, set_timer
from heliograph.decide.turn import Turn

VERBS: Final[dict[type[Step], str]] = {
    Wait: "wait",
    WaitClock: "wait",
    WaitLocal: "wait",
    WaitDate: "wait",
    Window: "window",
    WaitUntil: "wait_until",
    Send: "send",
    Branch: "branch",
    Split: "split",
    Update: "update",
    Emit: "emit",
    Webhook: "webhook",
    Goto: "goto",
    Exit: "exit",
}
"""How each kind of step is written."""

NOT_EXPLICIT: Final = "not explicit"
GONE: Final = "gone"
ANOTHER_VERB: Final = "another verb"
"""Why a run cannot follow: its step has no id of its own in the new version, is not there, or does something else."""


def target(plan: Plan, run: Run) -> Journey | None:
    """The version that this run would move to, None when it is to stay where it is."""
    journey = plan.journeys.get(run.journey)
    return journey if journey is not None and journey.follow and journey.version != run.version else None


def objection(plan: Plan, run: Run, to: Journey) -> str:
    """Why the run cannot move there; ``""`` when it can."""
    if run.held_out:
        return ""
    old = plan.all_journeys.get((run.journey, run.version))
    was, step = old.step(run.step) if old is not None else None, to.step(run.step)
    if was is None or step is None:
        return GONE
    if run.step not in to.explicit:
        return NOT_EXPLICIT
    return "" if VERBS[type(was)] == VERBS[type(step)] else ANOTHER_VERB


def move(turn: Turn) -> tuple[bool, list[tuple[Run, int]]]:
    """Move the runs that can; whether any did, and those that go on at once, with where."""
    moved, woken = False, []
    for run in list(turn.state.runs.values()):
        to = target(turn.plan, run)
        if to is None or objection(turn.plan, run, to):
            continue
        moved = True
        turn.fact("run_moved", **_names(run), version=run.version, to=to.version)
        run.version = to.version
        if (place := _settle(turn, run, to)) is not None:
            woken.append((run, place))
    _move_ended(turn)
    return moved, woken


def _names(run: Run) -> dict[str, Any]:
    return {"journey": run.journey, "run_id": run.run_id, "step_id": run.step}


def _move_ended(turn: Turn) -> None:
    """A goal may still be reached by a run that has ended; when its version is not kept, that of the journey counts."""
    plan = turn.plan
    for run in turn.state.ended:
        to = plan.journeys.get(run.journey)
        if to is not None and (run.journey, run.version) not in plan.all_journeys:
            run.version = to.version


def _settle(turn: Turn, run: Run, journey: Journey) -> int | None:
    """What the step asks of a run that is at it already; where it goes on, None while it stays."""
    if run.held_out:
        _watch_goal(turn, run, journey)
        return None
    step = journey.step(run.step)
    match step:
        case Wait() | WaitClock():
            due = clocks.due(turn, run, step, run.since)
            return _until(turn, run, due or turn.t, step.next, "resumed")
        case Window() | WaitDate():
            return clocks.enter(turn, run, step, "resumed")
        case WaitUntil():
            if _resumes(turn, step):
                return None  # the instant behind this sees it
            return _until(turn, run, clocks.after(turn, run.since, step.timeout), step.otherwise, "timed_out")
    return None


def _until(turn: Turn, run: Run, due: int, place: int, over: str) -> int | None:
    if due <= turn.t:
        runs.step_fact(turn, run, over)
        return place
    if turn.state.timers.get(runs.wait_timer(run)) != due:
        clocks.park(turn, run, due)
    return None


def _resumes(turn: Turn, step: WaitUntil) -> bool:
    ifs = (path.condition for path in step.paths if isinstance(path, IfPath))
    return any(condition.truth(turn.person, turn.t) for condition in ifs)


def _watch_goal(turn: Turn, run: Run, journey: Journey) -> None:
    """Somebody held out has no step: the goal says how long they are watched."""
    until = run.entered_at + journey.goal.within_ms if journey.goal is not None else turn.t
    if until <= turn.t:
        runs.end(turn, run, "held_out")
    else:
        set_timer(turn.state, runs.wait_timer(run), until)
