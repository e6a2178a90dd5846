"""Do the schemas allow what the steps of journeys write, and declare what their values read?

As for templates (:mod:`heliograph.project.paths`): what a schema rules out is an error, what none declares a warning.
"""

from collections.abc import Iterator
from typing import Any

from heliograph.decide.journeys.values import parse_text, paths
from heliograph.decide.journeys.verbs import answer_names
from heliograph.decide.parsing import Context
from heliograph.project.paths import Declared, PathProblem, declared, entry_event, judge
from heliograph.project.yaml import NodePath

VALUES = {"update": ("traits",), "emit": ("properties",), "webhook": ("json", "url")}
"""Verb -> the keys under which it has values with holes."""
DATA = frozenset(key for keys in VALUES.values() for key in keys)

Found = Iterator[tuple[NodePath, PathProblem]]


def problems(journeys: dict[str, Any], schemas: dict[str, Any]) -> Found:
    """Each with its place in the plan document."""
    for name, journey in journeys.items():
        if not isinstance(journey, dict):
            continue
        entry, steps = journey.get("entry"), journey.get("steps")
        event = entry_event(entry) if isinstance(entry, dict) else None
        events: set[str | None] = {event} if isinstance(event, str) else set()
        for path, verb, node in _acts(steps, ("journeys", name, "steps")):
            yield from _written(path, verb, node, schemas)
            for place, text in _texts({key: node[key] for key in VALUES[verb] if key in node}, path):
                for hole in paths(parse_text(text, place, Context(), answer_names(steps))):
                    keys = ["*" if key is None else key for key in hole.keys]
                    yield from ((place, problem) for problem in judge(hole.text, keys, events, schemas))


def _acts(node: Any, path: NodePath) -> Iterator[tuple[NodePath, str, dict[str, Any]]]:
    """(place, verb, what it says) of every step with values, wherever it stands."""
    for key, inner in _inner(node):
        if key in VALUES and isinstance(inner, dict):
            yield (*path, key), str(key), inner
        if key not in DATA:
            yield from _acts(inner, (*path, key))


def _texts(node: Any, path: NodePath) -> Iterator[tuple[NodePath, str]]:
    """Every text with a hole."""
    if isinstance(node, str) and "{{" in node:
        yield path, node
    for key, inner in _inner(node):
        yield from _texts(inner, (*path, key))


def _inner(node: Any) -> Iterator[tuple[str | int, Any]]:
    if isinstance(node, dict):
        yield from ((str(key), inner) for key, inner in node.items())
    elif isinstance(node, list):
        yield from enumerate(node)


def _written(path: NodePath, verb: str, node: dict[str, Any], schemas: dict[str, Any]) -> Found:
    """Names that the schema of the event rules out."""
    event = {"update": "identify", "emit": node.get("event")}.get(verb)
    key = VALUES[verb][0]
    names = node.get(key)
    if not isinstance(event, str) or event not in schemas or not isinstance(names, dict):
        return
    for name in map(str, names):
        if declared(schemas[event], [name]) is Declared.RULED_OUT:
            yield (*path, key, name), PathProblem(name, f"schemas/{event}.json rules out {key}.{name}", False)
