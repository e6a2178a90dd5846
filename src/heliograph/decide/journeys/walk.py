"""A run on its way: from one step to the next, until it parks or ends.

One function a kind of step, in :data:`_ENTER`: it does what the step does and says where the run goes on, or None when
the run parks there.  What parks it is told in :mod:`heliograph.decide.journeys.runs`.
"""

from collections.abc import Callable
from typing import Any, Final

from heliograph.decide.journeys import clocks
from heliograph.decide.journeys.clocks import step_fact, wait_timer
from heliograph.decide.journeys.hops import enter_emit, enter_update
from heliograph.decide.journeys.program import (
    EXITED,
    Arm,
    Branch,
    Emit,
    Exit,
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
from heliograph.decide.journeys.requests import enter_webhook
from heliograph.decide.journeys.runs import end, gone
from heliograph.decide.journeys.sending import enter_send
from heliograph.decide.state import Run, clear_timer
from heliograph.decide.turn import Turn
from heliograph.events.ids import share

MAX_STEPS: Final = 64
"""Steps of one run within one instant; beyond it the run ends as ``loop_cut`` (design, section 5)."""


def advance(turn: Turn, run: Run, place: int) -> None:
    """Go on from ``place`` until the run parks or ends."""
    journey = turn.journey(run)
    if journey is None:
        end(turn, run, gone(run))
        return
    clear_timer(turn.state, wait_timer(run))
    run.awaits = ""
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


def _enter_wait(
    turn: Turn, run: Run, _journey: Journey, step: Wait | WaitClock | WaitLocal | WaitDate | Window
) -> int | None:
    return clocks.enter(turn, run, step)


def _enter_wait_until(turn: Turn, run: Run, _journey: Journey, step: WaitUntil) -> int | None:
    for path in step.paths:
        if isinstance(path, IfPath) and path.condition.truth(turn.person, turn.t):
            step_fact(turn, run, "resumed", by=path.condition.text)
            return path.then
    clocks.park(turn, run, clocks.after(turn, turn.t, step.timeout))
    return None


def _enter_branch(turn: Turn, run: Run, _journey: Journey, step: Branch) -> int | None:
    for arm in step.arms:
        if arm.condition.truth(turn.person, turn.t):
            step_fact(turn, run, "branched", by=arm.condition.text)
            return arm.then
    step_fact(turn, run, "branched", by="else")
    return step.otherwise


def _enter_split(turn: Turn, run: Run, journey: Journey, step: Split) -> int | None:
    """The arm is drawn once: a run keeps it, and everybody else's stays what it is when weights change."""
    arms = {arm.name: arm for arm in step.arms}
    arm = arms.get(run.arms.get(step.id, "")) or _draw(
        step, share(step.salt or journey.name, turn.person.origin, step.id)
    )
    run.arms[step.id] = arm.name
    step_fact(turn, run, "split", arm=arm.name)
    return arm.then


def _draw(step: Split, lot: float) -> Arm:
    """``lot``: a number in [0, 1)."""
    lot *= step.arms[-1].below
    return next((arm for arm in step.arms if lot < arm.below), step.arms[-1])


def _enter_exit(_turn: Turn, _run: Run, _journey: Journey, _step: Exit) -> int | None:
    return EXITED


_ENTER: Final[dict[type[Step], Callable[[Turn, Run, Journey, Any], int | None]]] = {
    Wait: _enter_wait,
    WaitClock: _enter_wait,
    WaitLocal: _enter_wait,
    WaitDate: _enter_wait,
    Window: _enter_wait,
    WaitUntil: _enter_wait_until,
    Branch: _enter_branch,
    Split: _enter_split,
    Update: enter_update,
    Emit: enter_emit,
    Webhook: enter_webhook,
    Exit: _enter_exit,
    Send: enter_send,
}
