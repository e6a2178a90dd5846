"""Values with holes: what ``update``, ``emit`` and ``webhook`` say, as data in which ``{{ path }}`` stands for a value.

A text that is one ``{{ path }}`` and nothing else gives the value with its type; one within other text gives text.
There is one filter, ``| default: literal``.  This is no Liquid: it decides nothing, and what it cannot say is refused
when the project is checked.  Paths begin with one of :data:`ROOTS`; a path that leads nowhere reads null, and null is
missing.  Instants are RFC 3339, so that a trait made of one is a date for conditions and waits.
"""

import re
from collections.abc import Callable, Collection, Iterator
from math import isfinite
from typing import Any, Final, TypeAlias

import msgspec

from heliograph.decide.conditions.paths import ANY, Path, parse_path
from heliograph.decide.parsing import Context, JsonPath, kind_of, nearest
from heliograph.events.limits import MAX_DEPTH

MAX_NESTING: Final = 16
"""Mappings and lists inside each other, as written."""
MAX_ITEMS: Final = 200
"""Names or elements in one mapping or list, as written."""

ROOTS: Final = {
    "profile": None,
    "event": ("name", "properties", "context", "occurred_at"),
    "trigger": ("name", "properties", "context", "occurred_at"),
    "run": ("key", "journey", "entered_at"),
    "webhook": None,
}
"""What a path may begin with, and what may follow it (None: anything)."""

_OPEN = re.compile(r"\{[{%]")
_HOLE = re.compile(
    r"""\{\{-?\s*(?P<path>(?:\\.|[^\\|{}'"])+?)\s*(?:\|\s*default:\s*(?P<literal>"[^"{}]*"|'[^'{}]*'|[\w.+-]+)\s*)?-?\}\}"""
)
_LITERALS: Final = {"true": True, "false": False, "nil": None, "null": None}
_NUMBER = re.compile(r"-?\d{1,18}(\.\d+)?", re.ASCII)
ALLOWED: Final = (
    "only `{{ path }}` and `{{ path | default: 'text' }}` can stand here (a default is text, a number, true or false)"
)

Escape: TypeAlias = Callable[[str], str]


class Hole(msgspec.Struct, frozen=True):
    """The value at ``path``, or ``default`` (None: there is none, the value is missing)."""

    path: Path
    default: Any = None


class Text(msgspec.Struct, frozen=True):
    """Plain text and holes, joined."""

    parts: tuple[str | Hole, ...]


class Mapping(msgspec.Struct, frozen=True):
    items: tuple[tuple[str, "Value"], ...]


class Items(msgspec.Struct, frozen=True):
    values: tuple["Value", ...]


class Constant(msgspec.Struct, frozen=True):
    value: Any


Value: TypeAlias = Hole | Text | Mapping | Items | Constant


class _Missing:
    """In place of a value that is not there."""


MISSING: Final = _Missing()


# -- filling in --


def fill(value: Value, scope: dict[str, Any], missing: list[str]) -> Any:
    """The value with its holes filled, :data:`MISSING` when it is not there.  Paths that had no value are added to
    ``missing``; what holds one of them is left out: a name of a mapping, an element of a list, a whole text."""
    match value:
        case Constant():
            return value.value
        case Hole():
            return _read(value, scope, missing)
        case Text():
            return fill_text(value, scope, missing)
        case Mapping():
            filled = {name: fill(inner, scope, missing) for name, inner in value.items}
            return {name: inner for name, inner in filled.items() if inner is not MISSING}
        case Items():
            elements = [fill(inner, scope, missing) for inner in value.values]
            return [inner for inner in elements if inner is not MISSING]


def fill_text(text: Text, scope: dict[str, Any], missing: list[str], escape: Escape = str) -> Any:
    """The text, or :data:`MISSING`; ``escape`` is applied to what is filled in."""
    parts = []
    for part in text.parts:
        said = part if isinstance(part, str) else _read(part, scope, missing)
        if said is MISSING:
            return MISSING
        parts.append(part if isinstance(part, str) else escape(_as_text(said)))
    return "".join(parts)


def _read(hole: Hole, scope: dict[str, Any], missing: list[str]) -> Any:
    value = hole.path.read(scope)
    if hole.path.starred:
        value = [element for element in value if element is not None] or None
    if value is not None:
        return value
    if hole.default is None:
        missing.append(hole.path.text)
        return MISSING
    return hole.default


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def paths(value: Value) -> Iterator[Path]:
    """Of every hole."""
    match value:
        case Hole():
            yield value.path
        case Text():
            yield from (part.path for part in value.parts if isinstance(part, Hole))
        case Mapping():
            for _, inner in value.items:
                yield from paths(inner)
        case Items():
            for inner in value.values:
                yield from paths(inner)


def depth(value: Any) -> int:
    """How deep mappings and lists nest, at most one more than :data:`~heliograph.events.limits.MAX_DEPTH`."""
    level, deep = [value], 0
    while deep <= MAX_DEPTH:
        inner = [one for one in level if isinstance(one, dict | list)]
        if not inner:
            break
        deep += 1
        level = [element for one in inner for element in (one.values() if isinstance(one, dict) else one)]
    return deep


# -- reading what people wrote --


def parse_mapping(node: Any, path: JsonPath, what: str, context: Context, names: Collection[str]) -> Mapping:
    """Names with values; ``names`` is what webhooks of this journey answer to."""
    if not isinstance(node, dict):
        context.problem(path, f"{what} is a mapping, not {kind_of(node)}")
        return Mapping(())
    value = parse_value(node, path, context, names)
    return value if isinstance(value, Mapping) else Mapping(())


def parse_value(node: Any, path: JsonPath, context: Context, names: Collection[str], nesting: int = 0) -> Value:
    """Any data; a problem for each hole that cannot be read."""
    if isinstance(node, dict | list) and (nesting >= MAX_NESTING or len(node) > MAX_ITEMS):
        context.problem(path, f"values nest at most {MAX_NESTING} deep, {MAX_ITEMS} side by side")
        return Constant(None)
    match node:
        case dict():
            keys = [key for key in node if context.text(key, (*path, str(key)), "a name") is not None]
            return Mapping(tuple((k, parse_value(node[k], (*path, k), context, names, nesting + 1)) for k in keys))
        case list():
            inner = enumerate(node)
            return Items(tuple(parse_value(one, (*path, at), context, names, nesting + 1) for at, one in inner))
        case str():
            text = parse_text(node, path, context, names)
            return _simplest(text)
        case None | bool():
            return Constant(node)
        case int() if abs(node) < 1 << 63:
            return Constant(node)
        case float() if isfinite(node):
            return Constant(node)
    context.problem(path, f"{kind_of(node)} like this one cannot be written as JSON")
    return Constant(None)


def _simplest(text: Text) -> Value:
    match text.parts:
        case ():
            return Constant("")
        case (str() as said,):
            return Constant(said)
        case (Hole() as hole,):
            return hole
    return text


def parse_text(node: str, path: JsonPath, context: Context, names: Collection[str]) -> Text:
    if context.text(node, path, "a value", empty=True) is None:
        return Text(())
    return Text(tuple(_parts(node, path, context, names)))


def _parts(text: str, path: JsonPath, context: Context, names: Collection[str]) -> Iterator[str | Hole]:
    at = 0
    while (opened := _OPEN.search(text, at)) is not None:
        if opened.start() > at:
            yield text[at : opened.start()]
        found = _HOLE.match(text, opened.start())
        if found is None:
            context.problem(path, ALLOWED)
            return
        hole = _hole(found, path, context, names)
        if hole is not None:
            yield hole
        at = found.end()
    if at < len(text):
        yield text[at:]


def _hole(found: re.Match[str], path: JsonPath, context: Context, names: Collection[str]) -> Hole | None:
    try:
        read = parse_path(found["path"])
        literal = _literal(found["literal"]) if found["literal"] is not None else None
    except ValueError as error:
        context.problem(path, str(error))
        return None
    wrong = _wrong_path(read, names)
    if wrong is not None:
        context.problem(path, *wrong)
        return None
    return Hole(read, literal)


def _literal(text: str) -> Any:
    if text[0] in "\"'":
        return text[1:-1]
    if text in _LITERALS:
        return _LITERALS[text]
    if _NUMBER.fullmatch(text):
        return float(text) if "." in text else int(text)
    raise ValueError(f"`default: {text}` is no text in quotes, no number, and neither true nor false")


def _wrong_path(path: Path, names: Collection[str]) -> tuple[str, str] | None:
    """What is wrong with a path, and the nearest right word."""
    root, *rest = path.keys
    if root not in ROOTS or not rest:
        known = ", ".join(f"`{one}.`" for one in ROOTS)
        hint = nearest(str(root), ROOTS) if root is not ANY and root not in ROOTS else ""
        return f"a path begins with {known}: {path.text!r} does not", hint
    words = tuple(names) if root == "webhook" else ROOTS[root]
    if words is None or rest[0] in words:
        return None
    if root == "webhook":
        return f"no `webhook` step of this journey has `as: {rest[0]}`", nearest(str(rest[0]), words)
    return f"`{root}` has {', '.join(words)}, not {rest[0]!r}", nearest(str(rest[0]), words)
