"""Paths into traits and events: ``address.city``, ``properties.items.*.sku``.

Dots split; ``\\.``, ``\\*`` and ``\\\\`` stand for the character itself; ``*`` is any element of a list (or any
value of a mapping).  A path that leads nowhere reads None: missing equals null.
"""

from collections.abc import Callable
from typing import Any, Final

import msgspec

from heliograph.events.event import Event

MAX_PATH: Final = 256
"""Characters."""
MAX_KEYS: Final = 16
"""Steps in a path; deeper than any event model seen, and the bound of the walk."""
MAX_ELEMENTS: Final = 1000
"""Elements that ``*`` looks at in all: an event has at most 32 KB."""

EVENT_ROOTS: Final = ("properties", "context", "traits")
ANY: Final = None
"""The key that stands for ``*``."""

Test = Callable[[Any], bool]
"""A question to a value: total, never raises."""


class Path(msgspec.Struct, frozen=True):
    """``keys`` with :data:`ANY` for ``*``; ``text`` as it was written."""

    text: str
    keys: tuple[str | None, ...]

    @property
    def starred(self) -> bool:
        return ANY in self.keys

    @property
    def canonical(self) -> list[str | None]:
        return list(self.keys)

    def read(self, root: Any) -> Any:
        """The value at this path, None when there is none; with a ``*``, the list of all of them."""
        return _walk_all(root, self.keys) if self.starred else _walk(root, self.keys)

    def asks(self, test: Test) -> Test:
        """The question ``test`` put to what stands at this path below a root; with a ``*``: to any of it."""
        keys = self.keys
        if self.starred:
            return lambda root: any(map(test, _walk_all(root, keys)))
        if len(keys) == 1:
            key = keys[0]
            return lambda root: test(root.get(key) if root.__class__ is dict else None)
        return lambda root: test(_walk(root, keys))


def _walk(value: Any, keys: tuple[str | None, ...]) -> Any:
    for key in keys:
        if value.__class__ is not dict:
            return None
        value = value.get(key)
    return value


def _walk_all(value: Any, keys: tuple[str | None, ...]) -> list[Any]:
    """One value per way through the stars, None where it ends early; ``[None]`` when a star finds no element."""
    found = [value]
    for key in keys:
        if key is ANY:
            found = [element for value in found for element in _elements(value)][:MAX_ELEMENTS]
        else:
            found = [value.get(key) if value.__class__ is dict else None for value in found]
    return found or [None]


def _elements(value: Any) -> list[Any]:
    if value.__class__ is list:
        return value
    return list(value.values()) if value.__class__ is dict else []


def parse_path(text: str) -> Path:
    """:class:`ValueError` with a sentence when ``text`` is no path."""
    if not text or len(text) > MAX_PATH:
        raise ValueError(f"a path has from 1 to {MAX_PATH} characters")
    keys = tuple(_key(part, text) for part in _split(text))
    if len(keys) > MAX_KEYS:
        raise ValueError(f"the path {text!r} has more than {MAX_KEYS} steps")
    return Path(text, keys)


def parse_event_path(text: str) -> Path:
    """A path within an event: it begins with one of :data:`EVENT_ROOTS`."""
    path = parse_path(text)
    if path.keys[0] not in EVENT_ROOTS or len(path.keys) < 2:
        roots = ", ".join(f"`{root}.`" for root in EVENT_ROOTS)
        raise ValueError(f"a path within an event begins with {roots}: {text!r} does not")
    return path


def event_reader(path: Path) -> Callable[[Event], Any]:
    """What :meth:`Path.read` gives for the event as a whole."""
    root, rest = str(path.keys[0]), Path(path.text, path.keys[1:])
    if root == "properties" and len(rest.keys) == 1 and not rest.starred:
        key = str(rest.keys[0])
        return lambda event: event.properties.get(key)
    return lambda event: rest.read(getattr(event, root))


def values_reader(path: Path) -> Callable[[Event], Any]:
    """One value, or the list of all that stand at ``path``: with a ``*``, also the elements of lists at its ends."""
    read = event_reader(path)
    if not path.starred:
        return read

    def flat(event: Event) -> list[Any]:
        spread = (value if value.__class__ is list else (value,) for value in read(event))
        return [element for values in spread for element in values][:MAX_ELEMENTS]

    return flat


def event_test(path: Path, test: Test) -> Callable[[Event], bool]:
    """``test`` put to what stands at ``path`` in an event."""
    root, rest = str(path.keys[0]), Path(path.text, path.keys[1:])
    if root == "properties" and len(rest.keys) == 1 and not rest.starred:
        key = str(rest.keys[0])
        return lambda event: test(event.properties.get(key))
    asked = rest.asks(test)
    return lambda event: asked(getattr(event, root))


def _split(text: str) -> list[str]:
    """At dots that no backslash escapes; escapes stay in the parts."""
    parts, start, at = [], 0, 0
    while at < len(text):
        if text[at] == "\\":
            at += 1
        elif text[at] == ".":
            parts.append(text[start:at])
            start = at + 1
        at += 1
    return [*parts, text[start:]]


def _key(part: str, whole: str) -> str | None:
    if part == "*":
        return ANY
    letters, at = [], 0
    while at < len(part):
        letter = part[at]
        if letter == "\\":
            at += 1
            letter = part[at : at + 1]
            if letter not in (".", "*", "\\"):
                raise ValueError(f"in the path {whole!r} a backslash stands only before `.`, `*` or a backslash")
        elif letter == "*":
            raise ValueError(f"in the path {whole!r} `*` stands alone between dots, or as `\\*`")
        letters.append(letter)
        at += 1
    if not letters:
        raise ValueError(f"the path {whole!r} has an empty step")
    return "".join(letters)
