"""JSON as the world sends it, made JSON as the rest of the house can keep it.

Two slow paths, taken only when the fast one has failed or a cheap test has raised a suspicion:

- :func:`repair` reads a body that is *nearly* JSON: NaN and Infinity (Python's ``json.dumps``, pandas), halves of
  surrogate pairs (JavaScript that cuts an emoji in two), bytes that are not UTF-8, raw control characters, a byte
  order mark.
- :func:`storable` replaces in a decoded value what no store and no template can carry: NUL, and whole numbers beyond
  64 bits, which become floats as in every other JSON reader.
"""

import json
from math import isfinite
from typing import Any

import msgspec

REPLACEMENT = "\ufffd"
_MAX_INT, _MIN_INT = 2**64 - 1, -(2**63)


def repair(body: bytes) -> bytes | None:
    """The same JSON, well-formed, or None when no reading makes sense of it."""
    text = body.decode("utf-8", "replace").removeprefix("\ufeff")
    try:
        value = json.loads(text, strict=False, parse_constant=lambda _: None)
        return msgspec.json.encode(_well_formed(value))
    except (ValueError, RecursionError, OverflowError):
        return None


def storable(value: Any) -> Any:
    """A copy of decoded JSON without NUL characters and without numbers that msgpack cannot hold."""
    match value:
        case str():
            return value.replace("\0", REPLACEMENT)
        case dict():
            return {storable(key): storable(item) for key, item in value.items()}
        case list():
            return [storable(item) for item in value]
        case bool():
            return value
        case int() if not _MIN_INT <= value <= _MAX_INT:
            return float(value) if value.bit_length() < 1024 else None
        case _:
            return value


def _well_formed(value: Any) -> Any:
    match value:
        case str():
            return value if value.isascii() else value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        case dict():
            return {_well_formed(key): _well_formed(item) for key, item in value.items()}
        case list():
            return [_well_formed(item) for item in value]
        case float():
            return value if isfinite(value) else None
        case _:
            return value
