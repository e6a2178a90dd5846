"""The plan: everything published, compiled once, immutable, with the indexes that keep an event's cost flat.

The document (canonical JSON) is what is stored and exchanged; a :class:`Plan` is made from it in every process that
decides.  Nothing in it depends on the machine: zones come from the pinned tzdata, names are looked up in sorted order.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from copy import copy
from typing import Any

import msgspec

from heliograph.decide.broadcasts import Broadcast, read_broadcast
from heliograph.decide.conditions import FilterIndex, Leaf, LeafIndex
from heliograph.decide.document import Parts
from heliograph.decide.fresh import Fresh, Marks, marks_after
from heliograph.decide.journeys.program import ZONE, Journey, Send, WaitUntil, conditions, filters, moves
from heliograph.decide.parsing import Context, Problem
from heliograph.decide.segments import Segment
from heliograph.events.event import PRODUCT_EVENTS


class PlanErrors(Exception):
    """The document is no sound plan; ``problems`` lists everything that is wrong.  Fix the project."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("; ".join(map(str, problems)))
        self.problems = problems


class Plan:
    """Times in ms.

    ``topics``: name -> required or assumed.  ``all_journeys``: also older versions that still have runs, by (name,
    version).  ``entries_by_event`` and ``entries_by_segment``: journeys by descending priority, then name.
    ``entries``, ``exits``, ``goals``: what an event may start, end or reach, the latter two with their (name, version).
    ``asking``, ``resuming``, ``watching``: names of journeys of which some version has an exit by ``if``, a
    ``wait_until``, something that time alone can turn.  ``remembered``: the events of which the latest are kept.
    ``heard``: product events that anything asks about.  ``timers``: timer id -> segment.  ``scheduled``: journeys that
    are entered by schedule, by name, with it.  ``clocked``: traits that may move the end of a wait.  ``removed``: by
    name, those that only runs under way have.  ``marketing``: the names of journeys that may send marketing mail,
    which a ``global_holdout`` keeps people out of.  ``broadcasts``: by id.  ``written``: the version that the project
    published last; what came since are broadcasts, which change nothing for a state but their own runs.
    """

    def __init__(self, document: dict[str, Any], version: int, parts: Parts) -> None:
        self.version = version
        self.document = document
        self.warnings = tuple(parts.context.warnings)
        self.timezone = parts.context.timezone
        self.time_scale = parts.context.time_scale
        self.topics = dict(parts.context.topics)
        self.policies = parts.policies
        self.act_within_ms = parts.policies.act_within_ms
        self.allowed_lateness_ms = parts.policies.allowed_lateness_ms
        self.segments = parts.segments
        self.templates: dict[str, dict[str, Any]] = parts.templates
        self.journeys = parts.journeys
        self._own = {(one.name, one.version): one for one in (*parts.pinned, *parts.journeys.values())}
        self.removed = {one.name: one for one in parts.pinned if one.name not in parts.journeys}
        every = self._own.values()
        self._asked = [*parts.segments.leaves, *_leaves(every)]
        self._own_leaves = LeafIndex(self._asked)
        self.entries_by_event = _entries(parts.journeys, _event_of)
        self.entries_by_segment = _entries(parts.journeys, lambda journey: journey.entry.segment)
        by_event = (one for group in self.entries_by_event.values() for one in group)
        self.entries = FilterIndex((one.entry.filter, one) for one in by_event if one.entry.filter is not None)
        self.exits = FilterIndex(
            (exit.filter, (label, exit))
            for label, one in self._own.items()
            for exits in one.exit_events.values()
            for exit in exits
        )
        self.goals = FilterIndex(
            (one.goal.filter, (label, one.goal)) for label, one in self._own.items() if one.goal is not None
        )
        self.asking = frozenset(one.name for one in every if one.exit_ifs)
        self.resuming = frozenset(one.name for one in every if any(isinstance(step, WaitUntil) for step in one.program))
        self.watching = frozenset(one.name for one in every if one.timed)
        self.remembered = frozenset(_remembered(parts.templates.values(), every))
        self.true_when_empty = tuple(parts.segments.by_name[name] for name in sorted(parts.segments.true_when_empty))
        self.timers: dict[str, Segment] = {one.timer: one for one in parts.segments.by_name.values()}
        self.scheduled = {
            name: (one, one.entry.schedule) for name, one in self.journeys.items() if one.entry.schedule is not None
        }
        self._take_broadcasts(parts.broadcasts)
        self._mark(parts.marks)

    def _take_broadcasts(self, broadcasts: Mapping[str, Broadcast]) -> None:
        """Everything that depends on them: little, because nobody enters one by themselves."""
        journeys = [one.journey for one in broadcasts.values()]
        asked = _leaves(journeys)
        known = self._own_leaves
        new = any(leaf.observes and leaf.id not in known.leaves for leaf in asked)
        self.broadcasts = dict(broadcasts)
        self.all_journeys = {**self._own, **{(one.name, one.version): one for one in journeys}}
        self.leaves = LeafIndex([*self._asked, *asked]) if new else known
        every = self.all_journeys.values()
        self.heard = frozenset(name for name in PRODUCT_EVENTS if self._hears(name, every))
        self.clocked = frozenset(_clocked(self.journeys.values(), every))
        named = [*self.journeys.values(), *journeys]
        self.marketing = frozenset(one.name for one in named if _sends_marketing(one, self.templates))

    def _mark(self, marks: Marks) -> None:
        self.fresh = Fresh(marks, self.leaves.leaves, self.segments)
        self.written = marks.written or self.version

    def with_broadcasts(self, documents: Mapping[str, Any], swept: int) -> "Plan":
        """The next plan, when these become its broadcasts and nothing else changes: what compiling its whole document
        would give, at the price of what is new.  ``swept``: as for :func:`~heliograph.decide.fresh.marks_after`.
        :class:`PlanErrors` when one of them is not sound."""
        other = copy(self)
        other.version = self.version + 1
        other.document = {**self.document, "broadcasts": dict(documents)}
        context, found = self.reading(), {}
        for name in sorted(documents):
            one = self.broadcasts.get(name)
            if one is None or one.journey.document != documents[name]:
                one = read_broadcast(name, documents[name], ("broadcasts", name), context, self.templates)
            if one is not None:
                found[name] = one
        if context.problems:
            raise PlanErrors(context.problems)
        other._take_broadcasts(found)
        return other.marked(marks_after(other, self, swept, written=self.written))

    def reading(self) -> Context:
        """What somebody needs to know of this plan who reads a broadcast for it."""
        return Context(
            segments=self.segments.by_name, topics=self.topics, time_scale=self.time_scale, timezone=self.timezone
        )

    def marked(self, marks: Marks) -> "Plan":
        """This plan, with these marks in its document."""
        other = copy(self)
        other.document = {**self.document, "fresh": msgspec.to_builtins(marks)}
        other._mark(marks)
        return other

    def _hears(self, name: str, journeys: Iterable[Journey]) -> bool:
        asked = (leaf for leaf in self.leaves.leaves.values() if name in leaf.event_names)
        return (
            name in self.remembered
            or next(asked, None) is not None
            or any(one.event == name for journey in journeys for one in filters(journey))
        )


def _leaves(journeys: Iterable[Journey]) -> list[Leaf]:
    return [leaf for one in journeys for asked in conditions(one) for leaf in asked.leaves]


def _clocked(journeys: Iterable[Journey], every: Iterable[Journey]) -> Iterable[str]:
    """Also of older versions, whose runs wait on."""
    if any(one.entry.schedule is not None and one.entry.schedule.zone == "person" for one in journeys):
        yield ZONE
    for journey in every:
        for step in journey.program:
            yield from moves(step)


def _sends_marketing(journey: Journey, templates: Mapping[str, dict[str, Any]]) -> bool:
    sent = (templates.get(name) for name in templates_of(journey))
    return any(template is None or template.get("class") != "transactional" for template in sent)


def _event_of(journey: Journey) -> str:
    return journey.entry.filter.event if journey.entry.filter is not None else ""


def _entries(journeys: Mapping[str, Journey], name_of: Any) -> dict[str, tuple[Journey, ...]]:
    found: dict[str, list[Journey]] = defaultdict(list)
    for journey in sorted(journeys.values(), key=lambda one: (-one.priority, one.name)):
        if name := name_of(journey):
            found[name].append(journey)
    return {name: tuple(group) for name, group in found.items()}


def _remembered(templates: Iterable[dict[str, Any]], journeys: Iterable[Journey]) -> Iterable[str]:
    for template in templates:
        yield from template.get("last") or ()
    for journey in journeys:
        if journey.entry.filter is not None:
            yield journey.entry.filter.event


def compile_plan(document: dict[str, Any], version: int) -> Plan:
    """The plan of this document (its keys are :data:`KEYS`), or :class:`PlanErrors` with all its problems."""
    parts = Parts(document)
    if parts.context.problems:
        raise PlanErrors(parts.context.problems)
    return Plan(document, version, parts)


def templates_of(journey: Journey) -> frozenset[str]:
    """The templates that a journey sends."""
    return frozenset(step.template for step in journey.program if isinstance(step, Send))
