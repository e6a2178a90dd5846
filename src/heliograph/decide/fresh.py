"""What a publish made new, and for whom that is not true yet (decision 0034).

A *fresh* leaf is one that the plan before did not ask: nobody observed it, so whoever was there already lacks its
past.  Until a sweep brings a person what was folded from their history, a segment that asks a fresh leaf is *building*
for that person: they may turn up in it or drop out, but nothing enters on it and no event tells of it.  The state says
which sweep came by last (``State.swept``), the plan since which version each leaf is observed; comparing the two
numbers is all that ``step`` needs.  Somebody who is first decided under a plan is never building.

The other half of the marks says when each segment last changed, so that a state of an older plan looks only at what is
different: a sweep over a million people costs what the edit costs, not what the project costs.
"""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from heliograph.decide.conditions import LeafIndex, mark_of
from heliograph.decide.segments import Segment, Segments
from heliograph.events.event import Event

if TYPE_CHECKING:
    from heliograph.decide.broadcasts import Broadcast
    from heliograph.decide.plan import Plan


class Marks(msgspec.Struct, frozen=True):
    """The key ``fresh`` of a plan document.  ``leaves``: condition id -> the plan that began to ask it, as long as not
    everybody was swept since.  ``segments``: name -> the plan in which its truth may last have changed for a state
    that did not.  ``written``: the plan that the project published last, 0 where nobody said."""

    leaves: dict[str, int] = {}
    segments: dict[str, int] = {}
    written: int = 0


class Fresh:
    """``newest``: the latest version among ``leaves``, 0 without any.  ``building``: segment -> the version that a
    person must have been swept for before it counts."""

    __slots__ = ("building", "leaves", "newest", "segments")

    def __init__(self, marks: Marks, known: Iterable[str], segments: Segments) -> None:
        self.leaves: Mapping[str, int] = {leaf: marks.leaves[leaf] for leaf in sorted(marks.leaves.keys() & set(known))}
        self.segments: Mapping[str, int] = marks.segments
        self.newest: int = max(self.leaves.values(), default=0)
        self.building: Mapping[str, int] = _building(self.leaves, segments) if self.leaves else {}

    def lacking(self, swept: int) -> list[str]:
        """The leaves whose past is missing in a state that was last swept for this plan."""
        return [leaf for leaf, since in self.leaves.items() if since > swept]


def read_marks(node: Any) -> Marks:
    """The marks of a document; none where it has none.  ``msgspec.ValidationError`` when they are no marks."""
    return msgspec.convert(node or {}, Marks)


def asks_fresh(plan: "Plan", broadcast: "Broadcast") -> bool:
    """Whether somebody may lack the past that the audience of this broadcast is about."""
    condition, fresh = broadcast.journey.entry.condition, plan.fresh
    if condition is None or not fresh.leaves:
        return False
    return any(leaf.id in fresh.leaves or not leaf.segments.isdisjoint(fresh.building) for leaf in condition.leaves)


def _building(leaves: Mapping[str, int], segments: Segments) -> dict[str, int]:
    """Also the segments that name a building one."""
    found: dict[str, int] = {}
    for name, segment in segments.by_name.items():  # in dependency order
        asked = segment.condition.leaves
        own = (leaves.get(leaf.id, 0) for leaf in asked)
        named = (found.get(other, 0) for leaf in asked for other in leaf.segments)
        if since := max((*own, *named), default=0):
            found[name] = since
    return found


def marks_after(new: "Plan", old: "Plan", swept: int, *, written: int = 0) -> Marks:
    """The marks of ``new``, published after ``old`` when sweeps up to that of plan ``swept`` have come by everybody.
    ``written``: the plan that the project published last, without a word this one.

    A leaf keeps a state if events change it; one that the old plan did not ask is fresh, also when some states still
    hold what they observed of it before: what came in between is missing there.
    """
    asked = new.leaves.leaves
    carried = {leaf: since for leaf, since in old.fresh.leaves.items() if leaf in asked and since > swept}
    begun = {leaf.id: new.version for leaf in asked.values() if leaf.observes and leaf.id not in old.leaves.leaves}
    return Marks({**carried, **begun}, _changed(new, old), written or new.version)


def _changed(new: "Plan", old: "Plan") -> dict[str, int]:
    """Clocks may turn any segment; what a topic says without a word of somebody's own, those that ask it."""
    known = {} if _clocks(new) != _clocks(old) else old.segments.by_name
    topics = {name for name, _ in new.topics.items() ^ old.topics.items()}
    return {
        name: old.fresh.segments.get(name, old.version) if _same(known.get(name), segment, topics) else new.version
        for name, segment in new.segments.by_name.items()
    }


def _clocks(plan: "Plan") -> tuple[Any, ...]:
    return plan.timezone, plan.time_scale, plan.document.get("tzdata")


def _same(old: Segment | None, new: Segment, topics: set[str]) -> bool:
    if old is None or old.condition.canonical != new.condition.canonical:
        return False
    return not topics or all(leaf.topics.isdisjoint(topics) for leaf in new.condition.leaves)


class Folding:
    """The states of some leaves, from a person's past events in any order: what observing each of them would have
    left.  An event that is stored under two keys, or twice under one, counts once."""

    __slots__ = ("_index", "_seen", "states")

    def __init__(self, index: LeafIndex) -> None:
        self.states: dict[str, Any] = {}
        self._index = index
        self._seen: set[str] = set()

    def take(self, event: Event) -> None:
        takers = self._index.takers(event) if event.name else ()
        if not takers or event.event_id in self._seen:
            return
        self._seen.add(event.event_id)
        mark = mark_of(event)
        for leaf_id, take in takers:
            state = take(self.states.get(leaf_id), event, mark)
            if state is not None:
                self.states[leaf_id] = state
