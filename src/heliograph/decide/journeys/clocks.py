"""Steps that wait for a time: when they are over.

``wait`` for a duration and ``wait until`` a time of day are over when their timer is due.  A ``window`` and a ``wait``
for a date are asked again then; and what they depend on, a trait or the person's zone, moves them
(:func:`heliograph.decide.journeys.waking.shift`).
"""

from datetime import tzinfo
from typing import Any

from heliograph.decide.journeys.program import Step, Wait, WaitClock, WaitDate, WaitLocal, Window
from heliograph.decide.state import Run, set_timer
from heliograph.decide.times import (
    Duration,
    next_inside,
    next_time,
    parse_instant,
    shift,
    wall_instant,
    zone_or_utc,
)
from heliograph.decide.turn import Turn


def wait_timer(run: Run) -> str:
    """The timer at which the waiting of a run is over."""
    return "r:" + run.run_id


def step_fact(turn: Turn, run: Run, what: str, **more: Any) -> None:
    turn.fact("run_step", journey=run.journey, run_id=run.run_id, step_id=run.step, what=what, **more)


def zone_name(turn: Turn, name: str) -> str:
    """``person`` and ``project`` as the zone that is meant."""
    return {"person": turn.person.timezone, "project": turn.plan.timezone}.get(name, name)


def zone_of(turn: Turn, name: str) -> tzinfo:
    return zone_or_utc(zone_name(turn, name))


def after(turn: Turn, at: int, duration: Duration) -> int:
    """``at`` plus a duration, on the person's calendar."""
    try:
        return shift(at, duration, zone_of(turn, "person"))
    except OverflowError:  # a calendar that ends: wait as long as the mean month says
        return at + duration.scaled(1.0000001).ms


def due(turn: Turn, run: Run, step: Step, began: int | None = None) -> int | None:
    """When this wait, beginning now (or then), is over; None for a date that is not there, and for steps that are no
    waits."""
    began = turn.t if began is None else began
    try:
        match step:
            case Wait():
                return after(turn, run.started_at if step.from_event else began, step.duration)
            case WaitClock():
                return next_time(began, step.clock, step.days, zone_of(turn, step.zone))
            case WaitLocal():
                return local_instant(turn, step)
            case Window():
                return next_inside(turn.t, step.start, step.end, step.days, zone_of(turn, step.zone))
            case WaitDate():
                return _date(turn, step)
    except OverflowError:  # no clock shows such a time: there is nothing to wait for
        return turn.t
    return None


def local_instant(turn: Turn, step: WaitLocal) -> int:
    """When the person's own clock shows it."""
    return wall_instant(step.day, step.clock, zone_of(turn, "person"))


def _date(turn: Turn, step: WaitDate) -> int | None:
    value = step.path.read(turn.person.traits)
    zone = zone_of(turn, "person")
    at = parse_instant(value, zone) if isinstance(value, str) else None
    try:
        return shift(at, step.offset, zone) if at is not None else None
    except OverflowError:
        return None


def enter(turn: Turn, run: Run, step: Wait | WaitClock | WaitLocal | WaitDate | Window, told: str = "") -> int | None:
    """Park until it is over, or go on at once, which is a fact where ``told`` says what it is called."""
    at = due(turn, run, step)
    if at is not None and at > turn.t:
        park(turn, run, at)
        return None
    if isinstance(step, WaitDate) and (at is None or turn.t - at > step.grace_ms):
        reason = "no_date" if at is None else "date_passed"
        step_fact(turn, run, "missed", reason=reason, trait=step.path.text, **({} if at is None else {"date": at}))
        return step.otherwise
    if told:
        step_fact(turn, run, told)
    return step.next


def park(turn: Turn, run: Run, until: int) -> None:
    set_timer(turn.state, wait_timer(run), until)
    step_fact(turn, run, "waiting", until=until)
