"""A run on its way: from one step to the next, until it parks or ends.

One function a kind of step, in :data:`_ENTER`: it does what the step does and says where the run goes on, or None when
the run parks there.  What parks it is told in :mod:`heliograph.decide.journeys.runs`.
"""

from collections.abc import Callable
from typing import Any, Final

from heliograph.decide.journeys.program import (
    EXITED,
    Branch,
    Exit,
    IfPath,
    Journey,
    Send,
    Step,
    Wait,
    WaitClock,
    WaitUntil,
)
from heliograph.decide.journeys.runs import end, step_fact, wait_timer
from heliograph.decide.journeys.sending import enter_send
from heliograph.decide.state import Run, clear_timer, set_timer
from heliograph.decide.times import Duration, next_time, shift, zone_or_utc
from heliograph.decide.turn import Turn

MAX_STEPS: Final = 64
"""Steps of one run within one instant; beyond it the run ends as ``loop_cut`` (design, section 5)."""


def advance(turn: Turn, run: Run, place: int) -> None:
    """Go on from ``place`` until the run parks or ends."""
    journey = turn.journey(run)
    if journey is None:
        end(turn, run, "journey_removed")
        return
    clear_timer(turn.state, wait_timer(run))
    for _ in range(MAX_STEPS):
        if place < 0:
            end(turn, run, "exited" if place == EXITED else "finished", {"step": run.step} if place == EXITED else {})
            return
        step = journey.program[place]
        run.step, run.since = step.id, turn.t
        turn.began[run.run_id] = (turn.began.get(run.run_id, (-1, -1))[0], turn.next_order())
        following = _ENTER[type(step)](turn, run, journey, step)
        if following is None:
            return
        place = following
    turn.fact("cut", what="steps", limit=MAX_STEPS)
    end(turn, run, "loop_cut")


def _park(turn: Turn, run: Run, due: int) -> None:
    set_timer(turn.state, wait_timer(run), due)
    step_fact(turn, run, "waiting", until=due)


def _enter_wait(turn: Turn, run: Run, _journey: Journey, step: Wait) -> int | None:
    due = _after(turn, run.started_at if step.from_event else turn.t, step.duration)
    if due <= turn.t:
        return step.next
    _park(turn, run, due)
    return None


def _after(turn: Turn, at: int, duration: Duration) -> int:
    try:
        return shift(at, duration, zone_or_utc(turn.person.timezone))
    except OverflowError:  # a calendar that ends: wait as long as the mean month says
        return at + duration.scaled(1.0000001).ms


def _enter_clock(turn: Turn, run: Run, _journey: Journey, step: WaitClock) -> int | None:
    names = {"person": turn.person.timezone, "project": turn.plan.timezone}
    due = next_time(turn.t, step.clock, step.days, zone_or_utc(names.get(step.zone, step.zone)))
    if due <= turn.t:
        return step.next
    _park(turn, run, due)
    return None


def _enter_wait_until(turn: Turn, run: Run, _journey: Journey, step: WaitUntil) -> int | None:
    for path in step.paths:
        if isinstance(path, IfPath) and path.condition.truth(turn.person, turn.t):
            step_fact(turn, run, "resumed", by=path.condition.text)
            return path.then
    _park(turn, run, _after(turn, turn.t, step.timeout))
    return None


def _enter_branch(turn: Turn, run: Run, _journey: Journey, step: Branch) -> int | None:
    for arm in step.arms:
        if arm.condition.truth(turn.person, turn.t):
            step_fact(turn, run, "branched", by=arm.condition.text)
            return arm.then
    step_fact(turn, run, "branched", by="else")
    return step.otherwise


def _enter_exit(_turn: Turn, _run: Run, _journey: Journey, _step: Exit) -> int | None:
    return EXITED


_ENTER: Final[dict[type[Step], Callable[[Turn, Run, Journey, Any], int | None]]] = {
    Wait: _enter_wait,
    WaitClock: _enter_clock,
    WaitUntil: _enter_wait_until,
    Branch: _enter_branch,
    Exit: _enter_exit,
    Send: enter_send,
}
