"""Segments: named conditions in dependency order, with the indexes that say whom a change concerns."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec

from heliograph.decide.conditions import Condition, Lasting, Leaf, content_id, lasting, parse_condition
from heliograph.decide.parsing import Context, JsonPath

SEGMENT_KEYS: Final = ("name", "if")


class Segment(msgspec.Struct, frozen=True):
    """``id``: content address of its condition.  ``rank``: its place in dependency order, from 0.

    ``timer``: another condition under the same name is another timer.  ``c`` sorts before the timers of runs: at one
    instant memberships turn first.
    """

    name: str
    id: str
    rank: int
    condition: Condition
    timer: str
    lasting: Lasting | None = None
    """The condition again, where it is nothing but such a question."""


class EmptyPerson(msgspec.Struct):
    """Somebody of whom nothing is known, for :attr:`Segments.true_when_empty`."""

    topics: Mapping[str, str]
    timezone: str
    origin: str = ""
    members: dict[str, int] = {}
    traits: dict[str, Any] = {}
    conditions: dict[str, Any] = {}

    def consent(self, topic: str) -> bool:
        return self.topics.get(topic) == "assumed"


class Segments:
    """All segments of a plan.

    ``by_name`` iterates in dependency order: a segment stands behind every segment that its condition names.
    ``by_leaf``: leaf id -> the segments that ask it, in that order.  ``dependents``: segment or list -> the segments
    whose conditions name it.  ``leaves``: every leaf, also those that differ only in their window (for
    :class:`~heliograph.decide.conditions.LeafIndex`, over the leaves of journeys too).  ``true_when_empty``: the
    names that hold for somebody of whom nothing is known, or may hold because a lot decides.
    """

    def __init__(self, segments: Iterable[Segment], context: Context) -> None:
        self.by_name: dict[str, Segment] = {segment.name: segment for segment in segments}
        self.leaves: tuple[Leaf, ...] = tuple(leaf for s in self.by_name.values() for leaf in s.condition.leaves)
        self.by_leaf = self._index(lambda leaf: (leaf.id,))
        self.dependents = self._index(lambda leaf: leaf.segments)
        self.by_topic = self._index(lambda leaf: leaf.topics)
        self.true_when_empty = self._true_when_empty(context)

    def affected(self, leaf_ids: Iterable[str]) -> list[Segment]:
        """The segments that ask any of these leaves, in dependency order."""
        found = {segment.rank: segment for leaf_id in leaf_ids for segment in self.by_leaf.get(leaf_id, ())}
        return [found[rank] for rank in sorted(found)]

    def _index(self, names: Any) -> dict[str, tuple[Segment, ...]]:
        index: dict[str, dict[str, Segment]] = defaultdict(dict)
        for segment in self.by_name.values():
            for leaf in segment.condition.leaves:
                for name in names(leaf):
                    index[name][segment.name] = segment
        return {name: tuple(found.values()) for name, found in index.items()}

    def _true_when_empty(self, context: Context) -> frozenset[str]:
        nobody = EmptyPerson(context.topics, context.timezone)
        drawn: set[str] = set()
        for segment in self.by_name.values():
            if segment.condition.truth(nobody, 0):
                nobody.members[segment.name] = 0
            if any(leaf.by_lot or leaf.segments & drawn for leaf in segment.condition.leaves):
                drawn.add(segment.name)
        return frozenset(nobody.members) | drawn


def compile_segments(documents: Mapping[str, Any], context: Context, path: JsonPath = ("segments",)) -> Segments:
    """``documents``: name -> ``{"name": NAME, "if": CONDITION}``.  Problems, cycles among them, go to ``context``; what
    is returned holds the segments that are sound."""
    context.segments |= frozenset(documents)
    conditions: dict[str, Condition] = {}
    for name, node in documents.items():
        condition = _read_segment(name, node, (*path, name), context)
        if condition is not None:
            conditions[name] = condition
    needs = {name: sorted(_named(condition) & conditions.keys()) for name, condition in conditions.items()}
    order = _dependency_order(needs, context, path)
    return Segments([_segment(name, rank, conditions[name]) for rank, name in enumerate(order)], context)


def _segment(name: str, rank: int, condition: Condition) -> Segment:
    address = content_id(condition.canonical)
    return Segment(name, address, rank, condition, f"c:{name}:{address}", lasting(condition))


def _read_segment(name: str, node: Any, path: JsonPath, context: Context) -> Condition | None:
    fields = context.mapping(node, path, "a segment", SEGMENT_KEYS, required=SEGMENT_KEYS)
    if fields is None:
        return None
    written = context.text(fields["name"], (*path, "name"), "`name`") if "name" in fields else name
    if written is not None and written != name:
        context.problem((*path, "name"), f"the segment {name!r} calls itself {written!r}")
    return parse_condition(fields["if"], (*path, "if"), context) if "if" in fields else None


def _named(condition: Condition) -> set[str]:
    return {name for leaf in condition.leaves for name in leaf.segments}


def _dependency_order(needs: Mapping[str, list[str]], context: Context, path: JsonPath) -> list[str]:
    """Names so that each stands behind those it needs.  Every cycle is noted once, with its names; segments on one,
    or behind one, are left out."""
    order: list[str] = []
    waiting = dict(needs)
    while ready := sorted(name for name, named in waiting.items() if not waiting.keys() & set(named)):
        order += ready
        for name in ready:
            del waiting[name]
    reported: set[str] = set()
    for name in sorted(waiting):
        cycle = [] if name in reported else _cycle_from(name, waiting)
        if cycle and not reported & set(cycle):
            context.problem((*path, cycle[0], "if"), f"a cycle of segments: {' -> '.join([*cycle, cycle[0]])}")
            reported |= set(cycle)
    return order


def _cycle_from(name: str, needs: Mapping[str, list[str]]) -> list[str]:
    """The first cycle met on the way from ``name``: every segment that waits needs another one that waits."""
    way: list[str] = []
    while name not in way:
        way.append(name)
        name = next(needed for needed in needs[name] if needed in needs)
    cycle = way[way.index(name) :]
    first = cycle.index(min(cycle))
    return cycle[first:] + cycle[:first]
