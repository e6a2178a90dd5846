"""Do the schemas declare what a template reads?  (contract, section 6)

A template names variables (``event.properties.total``); journeys say which event starts the runs that send it; the
schema of that event says what there is.  A path that a schema rules out can never have a value: an error.  A path that
no schema declares may be a slip of the pen: a warning.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from enum import IntEnum
from typing import Any, NamedTuple

from heliograph.decide.journeys.verbs import answer_names
from heliograph.decide.parsing import nearest
from heliograph.events.event import API_ENTRY

MAX_REFS = 32
"""``$ref`` followed on one path; more means a circle."""
RESERVED = {"id", "email"}
"""Of ``profile``: always there, whatever ``identify.json`` says."""
LISTS = {"first", "last", "size"}
"""What Liquid knows of any list or text."""
ELEMENT = re.compile(r"-?\d+|\*")
"""An element of a list: its number, or ``*`` for one that is only known at render."""


class Declared(IntEnum):
    """What a schema says of a path, weakest word first."""

    RULED_OUT = 0
    OPEN = 1
    DECLARED = 2


class PathProblem(NamedTuple):
    """``path`` as the template has it."""

    path: str
    message: str
    warning: bool
    hint: str = ""


def split_path(path: str) -> list[str]:
    """``event.properties.lines[0]["unit price"]`` -> its steps."""
    return [a or b or c for a, b, c in re.findall(r"\[(?:\"([^\"]*)\"|'[^']*'|(-?\w+))\]|([^.\[\]]+)", path)]


def spellings(path: str) -> list[str]:
    """How a template may have written a path, most exact first."""
    steps = split_path(path)
    plain = re.sub(r"(\.\*)+$", "", path)
    return [path, plain, *(f"{steps[0]}[{quote}{steps[1]}{quote}]" for quote in "\"'" if len(steps) > 1)]


def declared(schema: Any, steps: list[str]) -> Declared:
    """What this schema says about the value at ``steps``, from inside an object that it describes."""
    return _walk(schema, schema, steps, 0)


def _walk(root: Any, schema: Any, steps: list[str], refs: int) -> Declared:
    if schema is True or refs > MAX_REFS:
        return Declared.OPEN
    if schema is False:
        return Declared.RULED_OUT
    if not isinstance(schema, dict):
        return Declared.OPEN
    if not steps:
        return Declared.DECLARED
    said = [_here(root, schema, steps, refs)]
    if isinstance(target := schema.get("$ref"), str):
        said.append(_walk(root, _resolve(root, target), steps, refs + 1))
    said += [_walk(root, one, steps, refs + 1) for one in schema.get("allOf", [])]
    for word in ("anyOf", "oneOf"):
        if branches := schema.get(word):
            said.append(max(_walk(root, one, steps, refs + 1) for one in branches))
    return Declared.RULED_OUT if Declared.RULED_OUT in said else max(said)


def _here(root: Any, schema: dict[str, Any], steps: list[str], refs: int) -> Declared:
    """What the schema's own ``properties`` and ``items`` say, composition aside."""
    step, rest = steps[0], steps[1:]
    types = schema.get("type")
    types = [types] if isinstance(types, str) else types
    if (step in LISTS and types and set(types) & {"array", "string"}) or ELEMENT.fullmatch(step):
        return Declared.DECLARED if not rest or step == "size" else _walk(root, schema.get("items", True), rest, refs)
    if types and "object" not in types:
        return Declared.RULED_OUT
    properties = schema.get("properties", {})
    if step in properties:
        return _walk(root, properties[step], rest, refs)
    for pattern, inner in schema.get("patternProperties", {}).items():
        if re.search(pattern, step):
            return _walk(root, inner, rest, refs)
    extra = schema.get("additionalProperties", True)
    if extra is True or extra == {}:
        return Declared.OPEN
    return _walk(root, extra, rest, refs)


def _resolve(root: Any, ref: str) -> Any:
    if not ref.startswith("#"):
        return True
    node = root
    for part in ref[1:].strip("/").split("/") if ref != "#" else []:
        node = node.get(part.replace("~1", "/").replace("~0", "~"), True) if isinstance(node, dict) else True
    return node


def sent_by(steps: Any) -> Iterator[str]:
    """Templates that a list of steps sends, in branches and arms as well."""
    if isinstance(steps, list):
        for step in steps:
            yield from sent_by(step)
    elif isinstance(steps, dict):
        for verb, value in steps.items():
            if verb == "send" and isinstance(value, str):
                yield value
            else:
                yield from sent_by(value)


def answers(journeys: dict[str, Any]) -> dict[str, frozenset[str]]:
    """Template -> what the webhooks of the journeys that send it answer to."""
    found: dict[str, frozenset[str]] = {}
    for journey in journeys.values():
        steps = journey.get("steps") if isinstance(journey, dict) else None
        for template in sent_by(steps):
            found[template] = found.get(template, frozenset()) | answer_names(steps)
    return found


def unanswered(paths: Iterable[str], names: frozenset[str]) -> Iterator[PathProblem]:
    """Variables of one template that read the answer of a webhook which no journey that sends it has."""
    for path in sorted(set(paths)):
        root, *steps = split_path(path) or [""]
        if root == "webhook" and steps and steps[0] not in names:
            said = f"no journey that sends this has a webhook with `as: {steps[0]}`"
            yield PathProblem(path, said, False, nearest(steps[0], names))


def entry_events(journeys: dict[str, Any]) -> dict[str, set[str | None]]:
    """Template -> the events that start runs which send it; None for entries without an event."""
    events: dict[str, set[str | None]] = {}
    for journey in journeys.values():
        entry = journey.get("entry") if isinstance(journey, dict) else None
        event = entry_event(entry) if isinstance(entry, dict) else None
        for template in sent_by(journey.get("steps") if isinstance(journey, dict) else None):
            events.setdefault(template, set()).add(event if isinstance(event, str) else None)
    return events


def entry_event(entry: dict[str, Any]) -> Any:
    return API_ENTRY if entry.get("api") is True else entry.get("event")


def problems_of(paths: Iterable[str], events: set[str | None], schemas: dict[str, Any]) -> list[PathProblem]:
    """Judge the variables of one template, which runs started by ``events`` send."""
    problems: list[PathProblem] = []
    for path in sorted(set(paths)):
        problems += judge(path, split_path(path), events, schemas)
    return problems


def judge(path: str, steps: list[str], events: set[str | None], schemas: dict[str, Any]) -> Iterator[PathProblem]:
    """What is wrong with one variable."""
    if found := _JUDGES.get(steps[0] if steps else ""):
        yield from found(path, steps[1:], events, schemas)


def _profile(path: str, steps: list[str], _events: set[str | None], schemas: dict[str, Any]) -> Iterator[PathProblem]:
    if steps and steps[0] not in RESERVED:
        yield from _against("identify", path, steps, schemas)


def _event(path: str, steps: list[str], events: set[str | None], schemas: dict[str, Any]) -> Iterator[PathProblem]:
    if len(steps) < 2 or steps[0] != "properties":
        return
    for name in sorted(event for event in events if event):
        yield from _against(name, path, steps[1:], schemas)
    if events and not any(events):
        yield PathProblem(path, f"{path} is empty: no event starts the journeys that send this", True)


def _last(path: str, steps: list[str], _events: set[str | None], schemas: dict[str, Any]) -> Iterator[PathProblem]:
    """``last["Product Viewed"]`` is a list of events, latest first; a filter or a loop picks one."""
    if len(steps) < 2:
        return
    inner = steps[2:] if steps[1] in LISTS or ELEMENT.fullmatch(steps[1]) else steps[1:]
    if len(inner) > 1 and inner[0] == "properties":
        yield from _against(steps[0], path, inner[1:], schemas)


def _against(name: str, path: str, steps: list[str], schemas: dict[str, Any]) -> Iterator[PathProblem]:
    schema = schemas.get(name)
    said = Declared.OPEN if schema is None else declared(schema, steps)
    hint = _near(schema, steps)
    if said is Declared.RULED_OUT:
        yield PathProblem(path, f"schemas/{name}.json rules out {path}", False, hint)
    elif said is Declared.OPEN:
        yield PathProblem(path, f"nothing declares {path} (schemas/{name}.json could)", True, hint)


def _near(schema: Any, steps: list[str]) -> str:
    known = schema.get("properties", {}) if isinstance(schema, dict) else {}
    return nearest(steps[0], known) if steps[0] not in known else ""


_Judge = Callable[[str, list[str], set[str | None], dict[str, Any]], Iterator[PathProblem]]
_JUDGES: dict[str, _Judge] = {"profile": _profile, "event": _event, "last": _last}
