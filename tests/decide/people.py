"""People and events for the tests of the brain, as short as they can be written."""

from typing import Any

import msgspec

from heliograph.decide.conditions import Condition, parse_condition
from heliograph.decide.parsing import Context
from heliograph.events.event import Event


class Person(msgspec.Struct):
    """A :class:`heliograph.decide.conditions.View` made by hand."""

    traits: dict[str, Any] = {}
    conditions: dict[str, Any] = {}
    members: dict[str, int] = {}
    timezone: str = "UTC"
    topics: frozenset[str] = frozenset()
    origin: str = "u:1"

    def consent(self, topic: str) -> bool:
        return topic in self.topics


def event(name: str, at: int = 0, *, event_id: str = "e", **properties: Any) -> Event:
    return Event(event_id, "track", name, at, properties=properties)


def condition(node: Any, **project: Any) -> Condition:
    """The compiled condition; fails the test when there is any problem."""
    context = Context(**project)
    compiled = parse_condition(node, ("if",), context)
    assert not context.problems, [str(problem) for problem in context.problems]
    assert compiled is not None
    return compiled


def problems(node: Any, **project: Any) -> list[str]:
    """What is wrong with it, each as one line."""
    context = Context(**project)
    assert parse_condition(node, ("if",), context) is None
    return [str(problem) for problem in context.problems]


def observe(person: Person, compiled: Condition, *events: Event) -> Person:
    """The person after these events; their hash is that of their id."""
    for happened in events:
        for leaf in {leaf.id: leaf for leaf in compiled.leaves}.values():
            old = person.conditions.get(leaf.id)
            new = leaf.observe(old, happened, sum(happened.event_id.encode()))
            if new is not old:
                person.conditions[leaf.id] = new
    return person
