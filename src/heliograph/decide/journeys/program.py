"""A compiled journey: what starts, ends and measures a run, and its steps as a flat program.

Steps refer to each other by index into :attr:`Journey.program`; a negative index ends the run.  A run remembers the
*id* of its step, so how steps are laid out is free to change.  Everything here is immutable and shared by all runs.
"""

from collections.abc import Callable
from datetime import date, time
from typing import Any, Final, TypeAlias

import msgspec
from msgspec.structs import replace

from heliograph.decide.conditions import Condition, EventFilter
from heliograph.decide.conditions.paths import Path
from heliograph.decide.journeys.recurrence import Schedule
from heliograph.decide.journeys.values import Mapping, Text, Value
from heliograph.decide.times import Duration
from heliograph.events.event import Event

FINISHED: Final = -1
"""Behind the last step."""
EXITED: Final = -2
"""The target ``exit``."""

ZONE: Final = "timezone"
"""The trait that says whose clocks a person goes by."""

LAST: Final = "last"
ANY: Final = "any"
"""Which messages an ``Email *`` path listens to: the run's last, any of the run's, or else a step id."""

Reader: TypeAlias = Callable[[Event], Any]


class Wait(msgspec.Struct, frozen=True):
    """Parks for ``duration``, counted from when the step began, or from when the entry event occurred."""

    id: str
    next: int
    duration: Duration
    from_event: bool = False


class WaitClock(msgspec.Struct, frozen=True):
    """Parks until clocks in ``zone`` (``person``, ``project`` or an IANA name) show ``clock`` on one of ``days``."""

    id: str
    next: int
    clock: str
    days: frozenset[str]
    zone: str


class WaitLocal(msgspec.Struct, frozen=True):
    """Parks until the person's own clock shows ``clock`` on ``day``; only in broadcasts."""

    id: str
    next: int
    day: date
    clock: time


class WaitDate(msgspec.Struct, frozen=True):
    """Parks until the date in the trait at ``path``, moved by ``offset``, is there.  An instant that is over goes on at
    once for ``grace_ms``, then (and without a date) takes ``otherwise``."""

    id: str
    next: int
    path: Path
    offset: Duration
    grace_ms: int
    otherwise: int


class Window(msgspec.Struct, frozen=True):
    """Parks until clocks in ``zone`` show a time from ``start`` up to ``end``, in a window that begins on one of
    ``days``."""

    id: str
    next: int
    start: str
    end: str
    days: frozenset[str]
    zone: str


class Send(msgspec.Struct, frozen=True):
    """Decides a message and parks until its first outcome."""

    id: str
    next: int
    template: str
    on_failure: int


class EventPath(msgspec.Struct, frozen=True):
    filter: EventFilter
    then: int
    message: str = LAST


class IfPath(msgspec.Struct, frozen=True):
    condition: Condition
    then: int


class WaitUntil(msgspec.Struct, frozen=True):
    """Parks until the first of ``paths`` happens, or ``timeout`` is over."""

    id: str
    paths: tuple[EventPath | IfPath, ...]
    timeout: Duration
    otherwise: int


class Branch(msgspec.Struct, frozen=True):
    """The first arm whose condition is true."""

    id: str
    arms: tuple[IfPath, ...]
    otherwise: int


class Arm(msgspec.Struct, frozen=True):
    """``below``: the sum of the weights up to and with this one."""

    name: str
    below: float
    then: int


class Split(msgspec.Struct, frozen=True):
    """By lot, for ever: the arm follows from the salt (without one: the journey's name), the person and the step."""

    id: str
    arms: tuple[Arm, ...]
    salt: str = ""


class Update(msgspec.Struct, frozen=True):
    """Writes traits, as an ``identify`` of the person's own, and parks until that is decided."""

    id: str
    next: int
    traits: Mapping


class Emit(msgspec.Struct, frozen=True):
    """Makes an event happen to this person, and parks until it is decided."""

    id: str
    next: int
    event: str
    properties: Mapping


class Webhook(msgspec.Struct, frozen=True):
    """Makes an HTTP request and parks until it is answered: at most ``within_ms``, ``timeout_ms`` for one try.  What is
    answered is kept under ``name`` (``""``: it is not)."""

    id: str
    next: int
    url: Text
    method: str
    json: Value | None
    name: str
    timeout_ms: int
    within_ms: int
    otherwise: int


class Goto(msgspec.Struct, frozen=True):
    """Only while a journey is read: who would come here goes to ``next``."""

    id: str
    next: int


class Exit(msgspec.Struct, frozen=True):
    """Ends the run."""

    id: str


Step: TypeAlias = (
    Wait
    | WaitClock
    | WaitLocal
    | WaitDate
    | Window
    | Send
    | WaitUntil
    | Branch
    | Split
    | Update
    | Emit
    | Webhook
    | Goto
    | Exit
)


def values_of(step: Step) -> tuple[Value, ...]:
    """The values with holes that a step fills."""
    match step:
        case Update():
            return (step.traits,)
        case Emit():
            return (step.properties,)
        case Webhook():
            return (step.url,) if step.json is None else (step.url, step.json)
    return ()


def moves(step: Step | None) -> frozenset[str]:
    """The top-level traits on which the end of a wait depends, besides time."""
    match step:
        case WaitDate():
            return frozenset({str(step.path.keys[0]), ZONE})
        case WaitLocal():
            return frozenset({ZONE})
        case WaitClock() | Window():
            return frozenset({ZONE}) if step.zone == "person" else frozenset()
    return frozenset()


class Match(msgspec.Struct, frozen=True):
    """An exit concerns only runs whose entry event has the same value: ``event`` read from the one, ``entry`` from
    the other."""

    event: Reader
    entry: Reader
    text: str


class ExitEvent(msgspec.Struct, frozen=True):
    filter: EventFilter
    match: Match | None = None


class Goal(msgspec.Struct, frozen=True):
    """Reached by an event that occurs at most ``within_ms`` after the cause of the run."""

    filter: EventFilter
    within_ms: int
    value: Reader | None = None


class Reentry(msgspec.Struct, frozen=True):
    """Whether a person may enter again when no run of this key is active: ``always``, ``never`` or ``after``."""

    rule: str = "always"
    after_ms: int = 0


class Entry(msgspec.Struct, frozen=True):
    """By event (``filter``), by ``segment``, by ``schedule`` or by ``api``.  ``key``: one run per value; None: one per
    person."""

    filter: EventFilter | None
    segment: str = ""
    key: Reader | None = None
    key_path: str = ""
    on_repeat: str = "ignore"
    condition: Condition | None = None
    reentry: Reentry = Reentry()
    schedule: Schedule | None = None
    api: bool = False


class Journey(msgspec.Struct, frozen=True):
    """``holdout`` is a share in [0, 1).  ``index``: step id -> place in ``program``.  ``timed``: whether time alone can
    turn a condition that a run is watching.  ``follow``: runs move along when the journey is edited, by the step ids
    that are ``explicit`` (written, not made up).  ``written``: step id -> its path in ``document``, in that order."""

    name: str
    version: str
    topic: str
    priority: int
    entry: Entry
    exit_events: dict[str, tuple[ExitEvent, ...]]
    exit_ifs: tuple[Condition, ...]
    goal: Goal | None
    holdout: float
    program: tuple[Step, ...]
    start: int
    index: dict[str, int]
    document: dict[str, Any]
    timed: bool
    follow: bool = False
    explicit: frozenset[str] = frozenset()
    written: dict[str, tuple[str | int, ...]] = {}

    def step(self, step_id: str) -> Step | None:
        at = self.index.get(step_id)
        return None if at is None else self.program[at]


def watched(exit_ifs: tuple[Condition, ...], program: tuple[Step, ...]) -> tuple[Condition, ...]:
    """What a run asks whenever something changes: its exits, and the paths of the ``wait_until`` it is at."""
    steps = (step for step in program if isinstance(step, WaitUntil))
    return *exit_ifs, *(path.condition for step in steps for path in step.paths if isinstance(path, IfPath))


_PLACES: Final = ("next", "otherwise", "on_failure")
_BRANCHES: Final = ("paths", "arms")
"""The fields of steps that hold places, and those that hold tuples of shapes with a place ``then``."""


def successors(step: Step) -> tuple[int, ...]:
    """Where a run can go from here."""
    places = [getattr(step, name) for name in _PLACES if hasattr(step, name)]
    branches = [branch for name in _BRANCHES for branch in getattr(step, name, ())]
    return (*(branch.then for branch in branches), *places)


def moved(step: Step, place: Callable[[int], int]) -> Step:
    """The step with every place it goes to replaced."""
    places = {name: place(getattr(step, name)) for name in _PLACES if hasattr(step, name)}
    branches = {
        name: tuple(replace(branch, then=place(branch.then)) for branch in getattr(step, name))
        for name in _BRANCHES
        if hasattr(step, name)
    }
    return replace(step, **places, **branches)


def conditions(journey: Journey) -> tuple[Condition, ...]:
    """Every condition that a run of this journey may ask."""
    found = list(journey.exit_ifs)
    if journey.entry.condition is not None:
        found.append(journey.entry.condition)
    for step in journey.program:
        match step:
            case WaitUntil():
                found += [path.condition for path in step.paths if isinstance(path, IfPath)]
            case Branch():
                found += [arm.condition for arm in step.arms]
    return tuple(found)


def filters(journey: Journey) -> tuple[EventFilter, ...]:
    """Every event that a run of this journey may be started, moved, ended or measured by."""
    found = [journey.entry.filter, journey.goal.filter if journey.goal else None]
    found += [one.filter for exits in journey.exit_events.values() for one in exits]
    for step in journey.program:
        if isinstance(step, WaitUntil):
            found += [path.filter for path in step.paths if isinstance(path, EventPath)]
    return tuple(one for one in found if one is not None)
