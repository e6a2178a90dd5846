"""YAML 1.2, core schema, with the line of every node.

``NO``, ``21:00`` and dates stay text; a key written twice, a tag, or anything JSON cannot say is an error.  ruamel.yaml
parses; the meaning of plain scalars is decided here, by the table of the YAML 1.2.2 specification, section 10.3.2.

Values are built straight from the parser's events: the nodes that ruamel composes from them no longer tell a written
tag from a guessed one.
"""

import re
from collections.abc import Iterator
from math import isfinite
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)

NodePath: TypeAlias = tuple[str | int, ...]

MAX_BYTES = 1024 * 1024
"""A file of a project is written by hand; the largest we have seen is 40 KB."""
MAX_NODES = 100_000
"""Also bounds what aliases can unfold to."""
MAX_DEPTH = 64


class Mistake(NamedTuple):
    """Something wrong in one file; ``line`` counts from 1."""

    line: int | None
    message: str
    warning: bool = False


class Yaml(NamedTuple):
    """``value`` is JSON-able, None when the file could not be read.  ``lines``: node path -> line, where a key's path
    has the line of the key."""

    value: Any
    lines: dict[NodePath, int]
    mistakes: list[Mistake]

    def line(self, path: NodePath) -> int | None:
        """The line of a path, else of its nearest ancestor that is there."""
        for end in range(len(path), -1, -1):
            if (line := self.lines.get(path[:end])) is not None:
                return line
        return None


_MAX_DIGITS = 18
"""A longer whole number would not fit 64 bits everywhere: it becomes a float."""
_INT = re.compile(r"[-+]?[0-9]+")
_OCT = re.compile(r"0o[0-7]+")
_HEX = re.compile(r"0x[0-9a-fA-F]{1,15}")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NOT_JSON = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_ZEROS = re.compile(r"[-+]?0[0-9]+(\.[0-9]*)?")
_WORDS: dict[str, bool | None] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}


def read_yaml(path: Path) -> Yaml:
    """Read one file; mistakes are collected, never raised."""
    try:
        data = path.read_bytes()
    except OSError as error:
        return _unread(None, f"cannot be read: {error.strerror}")
    if len(data) > MAX_BYTES:
        return _unread(None, f"larger than {MAX_BYTES // 1024} KB")
    try:
        return parse_yaml(data.decode("utf-8"))
    except UnicodeDecodeError as error:
        return _unread(data[: error.start].count(b"\n") + 1, "not UTF-8")


def parse_yaml(text: str) -> Yaml:
    builder = _Builder(text)
    try:
        value = builder.document()
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        sentence = " ".join(part for part in (error.context, error.problem) if part)
        return _unread(mark.line + 1 if mark else None, f"not YAML: {sentence}")
    except YAMLError as error:
        return _unread(None, "not YAML: " + " ".join(str(error).split()))
    except RecursionError:  # ruamel.yaml's own recursion
        return _unread(None, "nested too deep")
    except _Refused as error:
        return Yaml(None, {}, [*builder.mistakes, Mistake(error.line, str(error))])
    return Yaml(value, builder.lines, builder.mistakes)


def _unread(line: int | None, message: str) -> Yaml:
    return Yaml(None, {}, [Mistake(line, message)])


class _Refused(Exception):
    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line


class _Builder:
    """Turns the parser's events into a value, noting lines and mistakes on the way."""

    def __init__(self, text: str) -> None:
        self.events: Iterator[Any] = iter(YAML(typ="base", pure=True).parse(text))
        self.anchors: dict[str, tuple[Any, int]] = {}
        self.lines: dict[NodePath, int] = {}
        self.mistakes: list[Mistake] = []
        self.nodes = 0

    def document(self) -> Any:
        """The value of the one document of a file."""
        starts = 0
        value = None
        for event in self.events:
            if not isinstance(event, DocumentStartEvent):
                continue
            starts += 1
            if starts > 1:
                raise _Refused(_line(event), "a second document (---) in one file")
            value = self._node(next(self.events), ())
        if not starts:
            raise _Refused(1, "the file is empty")
        return value

    def _node(self, event: Any, path: NodePath) -> Any:
        line, before = _line(event), self.nodes
        self.nodes += 1
        self.lines.setdefault(path, line)
        if isinstance(event, AliasEvent):
            value = self._alias(event, line)
        elif isinstance(event, MappingStartEvent):
            value = self._mapping(event, path)
        elif isinstance(event, SequenceStartEvent):
            value = self._sequence(event, path)
        else:
            value = self._scalar(event)
        if self.nodes > MAX_NODES or len(path) > MAX_DEPTH:
            raise _Refused(line, "too many nested or repeated nodes")
        if event.anchor and not isinstance(event, AliasEvent):
            self.anchors[event.anchor] = (value, self.nodes - before)
        return value

    def _alias(self, event: Any, line: int) -> Any:
        if event.anchor not in self.anchors:
            raise _Refused(line, f"*{event.anchor} refers to no &{event.anchor} before it")
        value, nodes = self.anchors[event.anchor]
        self.nodes += nodes
        return value

    def _mapping(self, start: Any, path: NodePath) -> dict[str, Any]:
        self._refuse_tag(start)
        result: dict[str, Any] = {}
        while not isinstance(event := next(self.events), MappingEndEvent):
            line = _line(event)
            if not isinstance(event, ScalarEvent):
                raise _Refused(line, "a key must be plain text; a value that begins with {{ stands in quotes")
            key = str(event.value)
            if key in result:
                first = self.lines[(*path, key)]
                self.mistakes.append(Mistake(line, f"the key {key} is written twice (first in line {first})"))
                self._node(next(self.events), (*path, key))
                continue
            self.lines[(*path, key)] = line
            result[key] = self._node(next(self.events), (*path, key))
        return result

    def _sequence(self, start: Any, path: NodePath) -> list[Any]:
        self._refuse_tag(start)
        result: list[Any] = []
        while not isinstance(event := next(self.events), SequenceEndEvent):
            result.append(self._node(event, (*path, len(result))))
        return result

    def _scalar(self, event: Any) -> Any:
        self._refuse_tag(event)
        text = self._text(event)
        if event.style is not None or event.tag:  # quoted, a block, or refused
            return text
        if text in _WORDS:
            return _WORDS[text]
        return self._number(text, _line(event))

    def _text(self, event: Any) -> str:
        """The characters of a scalar; escaped surrogates, JSON's way of writing rarer characters, are joined."""
        text = str(event.value)
        try:
            text.encode()
        except UnicodeEncodeError:
            text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
            if "\ufffd" in text:
                self.mistakes.append(Mistake(_line(event), "half a surrogate pair is no character"))
        return text

    def _number(self, text: str, line: int) -> Any:
        if _ZEROS.fullmatch(text):
            self.mistakes.append(
                Mistake(line, f"{text} is a number and loses its leading zeros; quote it to keep them", warning=True)
            )
        if _INT.fullmatch(text) and len(text) <= _MAX_DIGITS:
            return int(text)
        if _OCT.fullmatch(text):
            return int(text[2:], 8)
        if _HEX.fullmatch(text):
            return int(text[2:], 16)
        if _FLOAT.fullmatch(text) and isfinite(number := float(text)):
            return number
        if _FLOAT.fullmatch(text) or _NOT_JSON.fullmatch(text):
            self.mistakes.append(Mistake(line, f"{text} is no number that JSON can say; quote it if it is text"))
        return text

    def _refuse_tag(self, event: Any) -> None:
        if event.tag:
            self.mistakes.append(Mistake(_line(event), f"tags like {event.tag} are not used here"))


def _line(event: Any) -> int:
    return int(event.start_mark.line) + 1
