"""Pages of rows: where one begins, and where the next does."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final, TypeVar

from heliograph.adapters.cursor import decode_cursor, encode_cursor
from heliograph.adapters.sql.parts import person
from heliograph.adapters.sql.spell import place

EVERYTHING_BEFORE: Final = (-(1 << 63), b"")

T = TypeVar("T")


def place_behind(after: str | None) -> tuple[int, bytes]:
    """The place of this key, or the one before all."""
    return (-1, b"") if after is None else person(after)


def newest_behind(cursor: str | None) -> tuple[int, bytes]:
    """The place of a page in a list that begins with the newest."""
    if cursor is None:
        return EVERYTHING_BEFORE
    at, id = decode_cursor(cursor, (int, str))
    return ~int(at), place(str(id))


def first(rows: Iterable[Any]) -> Iterator[bytes]:
    """The first column."""
    return (row[0] for row in rows)


def page(found: Iterable[T], limit: int, at: Callable[[T], Sequence[str | int]]) -> tuple[list[T], str | None]:
    """The first ``limit`` rows, and where the next page begins if there is one."""
    rows = list(found)
    if len(rows) <= limit:
        return rows, None
    return rows[:limit], encode_cursor(*at(rows[limit - 1])) if limit else None
