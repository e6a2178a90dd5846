"""One call of ``step`` in progress: whose state, under which plan, at which instant, and the effects so far.

The parts of the brain (people, consent, members, runs) are functions over a :class:`Turn`; nothing outlives it but the
state and the effects.
"""

from enum import IntEnum
from typing import Any, Final, NamedTuple

import msgspec

from heliograph.decide.effects import Effect, Fact, Hop
from heliograph.decide.journeys.program import Journey
from heliograph.decide.plan import Plan
from heliograph.decide.segments import Segment
from heliograph.decide.state import Run, State, origin_of, pack
from heliograph.decide.times import is_zone
from heliograph.events.event import Event
from heliograph.events.ids import make_id
from heliograph.events.record import Body, Record

MAX_SIGNALS: Final = 64
"""Product events (``Segment Entered``, ``Email Skipped``) decided within one instant; beyond it they are cut."""


class Mode(IntEnum):
    """What an instant may do besides updating conditions (design, section 6)."""

    HISTORY = 0
    """Nothing: imported."""
    LATE = 1
    """Exit and cancel, but start and resume nothing: older than ``act_within``."""
    ACT = 2


class Signal(msgspec.Struct, frozen=True):
    """An event to decide.  ``name`` is its name as filters have it, ``mark`` its 64-bit hash.  ``order``: when within
    this instant it came up; a run or a step that began later is not concerned."""

    event: Event
    name: str
    mark: int
    mode: Mode = Mode.ACT
    order: int = 0


class Asked(NamedTuple):
    """An entry that a timer or the API asks for.  ``cause`` names why: the same one never starts two runs."""

    journey: Journey
    event: Event | None
    cause: str


class Person:
    """The state as conditions see it (:class:`heliograph.decide.conditions.View`).

    ``traits``, ``conditions`` and ``members`` are those of the state, which changes them in place.
    """

    __slots__ = ("conditions", "members", "plan", "state", "traits")

    def __init__(self, state: State, plan: Plan) -> None:
        self.state = state
        self.plan = plan
        self.traits: dict[str, Any] = state.traits
        self.conditions: dict[str, Any] = state.conditions
        self.members: dict[str, int] = state.members

    @property
    def origin(self) -> str:
        """The key under which this person was first seen."""
        return origin_of(self.state)

    @property
    def timezone(self) -> str:
        """The trait ``timezone``, else the latest ``context.timezone``, else the project's."""
        zone = self.state.traits.get("timezone")
        if is_zone(zone):
            return str(zone)
        return self.state.zone[0] or self.plan.timezone

    def consent(self, topic: str) -> bool:
        word = self.state.consent.get(topic)
        return word.given if word is not None else self.plan.topics.get(topic) == "assumed"


class Turn:
    """``touched``: segments to look at again, by rank.  ``began``: run id -> (order of its start or -1, order of its
    step) within this instant.  ``signals``: product events still to decide.  ``freed``: places under the caps were
    given back, so messages that wait may move up.  ``asked``: entries to try in this instant.  ``moved``: traits that
    changed and on which the end of a wait may depend.  ``depth``: how many steps led to the event that is decided."""

    __slots__ = (
        "_packed", "asked", "began", "depth", "effects", "freed", "hops", "moved", "order", "person", "plan", "record",
        "signals", "state", "t", "touched",
    )  # fmt: skip

    def __init__(self, state: State, record: Record, plan: Plan) -> None:
        self.state = state
        self.record = record
        self.plan = plan
        self.person = Person(state, plan)
        self.t = state.last_t
        self.effects: list[Effect] = []
        self.touched: dict[int, Segment] = {}
        self.signals: list[Signal] = []
        self.began: dict[str, tuple[int, int]] = {}
        self.order = 0
        self.hops = 0
        self.freed = False
        self.asked: list[Asked] = []
        self.moved: set[str] = set()
        self.depth = 0
        self._packed: tuple[Event | None, bytes] = (None, b"")

    def packed(self, event: Event | None) -> bytes:
        """``event`` encoded: once, though several may keep it."""
        known, data = self._packed
        if event is not known:
            data = pack(event)
            self._packed = (event, data)
        return data

    def emit(self, effect: Effect) -> None:
        self.effects.append(effect)

    def fact(self, kind: str, /, **data: Any) -> None:
        self.effects.append(Fact(kind, self.t, data))

    def fact_once(self, kind: str, /, *, what: str, **data: Any) -> None:
        """A fact of which one for each record and ``what`` is enough: the first."""
        known = (effect for effect in self.effects if isinstance(effect, Fact) and effect.kind == kind)
        if not any(fact.data.get("what") == what for fact in known):
            self.fact(kind, what=what, **data)

    def hop(self, key: str, body: Body) -> None:
        """Send a record to another key; its id follows from this record and the number of hops before."""
        parent = self.record
        hop_id = make_id("hop", parent.id, self.hops)
        self.hops += 1
        self.effects.append(
            Hop(Record(key, hop_id, parent.received_at, parent.plan_version, body, parent.flags, parent.workspace))
        )

    def touch(self, segments: tuple[Segment, ...]) -> None:
        touched = self.touched
        for segment in segments:
            touched[segment.rank] = segment

    def journey(self, run: Run) -> Journey | None:
        """The version that the run started in; None when it was removed."""
        return self.plan.all_journeys.get((run.journey, run.version))

    def priority(self, run: Run) -> int:
        journey = self.journey(run)
        return journey.priority if journey is not None else 0

    def next_order(self) -> int:
        self.order += 1
        return self.order
