"""Samples with an amount, in a bounded state that does not depend on the order or the repetition of events.

A *row* is (occurred_at, mark, amount in millionths); ``mark`` are 32 bits of the hash of the event's id, which tell two
events of one millisecond apart.  The state keeps

* the :data:`MAX_ROWS` latest rows, exactly;
* of all older ones a *fair sample*: the :data:`MAX_SAMPLE` rows with the smallest marks;
* the least and the greatest amount that there ever was.

Marks are as good as random, so the sample stands for all that is gone: with T the greatest mark in it, every other row
of it stands for 2³² / T rows.  All of it are functions of the *set* of rows, whatever came when: the latest N of a
union are the latest N of the latest Ns; a row that is not among the latest N of some rows is not among those of more
rows; and the smallest K of a union are the smallest K of the smallest Ks.  (Running totals of time slices cannot have
that: a slice that has swallowed an event does not know it when it comes again, by a repeat, an import or a back-fill.)

Encoding: columns of fixed width, little-endian, oldest row first: 20 bytes a row.

    [at 8 bytes each, amount 8 bytes each, mark 4 bytes each, least, most]
    [..., and the same three columns of the sample]               once there is more than the latest
"""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from struct import Struct
from typing import Any, Final, NamedTuple, TypeAlias

MAX_ROWS: Final = 2000
"""Exact up to here (design, section 6): 40 KB of a blob of 256 KB."""
MAX_SAMPLE: Final = 500
"""10 KB; the standard error of an estimated count is 4.5 %.  Until it is full, it is simply all the older rows."""
MARKS: Final = 1 << 32
BEGINNING: Final = -(1 << 62)
"""Ms before every event."""

Row: TypeAlias = tuple[int, int, int]
"""(occurred_at, mark, amount)"""
State: TypeAlias = list[Any]

_WIDE = Struct("<q").pack
_MARK = Struct("<I").pack

if Struct("=q").pack(1) != _WIDE(1):
    raise ImportError("states are little-endian and read in place; this machine is not")  # pragma: no cover


class Part(NamedTuple):
    """Rows of a window, oldest first; each stands for ``weight`` of them."""

    ats: Sequence[int]
    amounts: Sequence[int]
    weight: int = 1


def add(state: State | None, at: int, mark: int, amount: int) -> State:
    """The state with one more row; ``state`` itself if that changes nothing."""
    if state is None:
        return [_WIDE(at), _WIDE(amount), _MARK(mark), amount, amount]
    ats = memoryview(state[0]).cast("q")
    if at <= ats[-1]:
        return _add_late(state, at, mark, amount)
    if len(ats) >= MAX_ROWS:
        return _push_out(_appended(state, at, mark, amount))
    return _appended(state, at, mark, amount)


def _appended(state: State, at: int, mark: int, amount: int) -> State:
    ats, amounts, marks, *rest = _stretched(state, amount)
    return [ats + _WIDE(at), amounts + _WIDE(amount), marks + _MARK(mark), *rest]


def _stretched(state: State, amount: int) -> State:
    """Its extremes with one more amount."""
    if state[3] <= amount <= state[4]:
        return state
    return [*state[:3], min(state[3], amount), max(state[4], amount), *state[5:]]


def _add_late(state: State, at: int, mark: int, amount: int) -> State:
    place, known = _find(state[:3], at, mark, amount)
    if known:
        return state
    full = len(state[0]) >= 8 * MAX_ROWS
    if full and place == 0:
        return _add_older(state, at, mark, amount)
    added = [*_inserted(state[:3], place, at, mark, amount), *_stretched(state, amount)[3:]]
    return _push_out(added) if full else added


def _find(columns: State, at: int, mark: int, amount: int) -> tuple[int, bool]:
    """Where a row stands, or would."""
    ats, amounts, marks = _views(columns)
    place, count = bisect_left(ats, at), len(ats)
    while place < count and ats[place] == at and (marks[place], amounts[place]) < (mark, amount):
        place += 1
    return place, place < count and (ats[place], marks[place], amounts[place]) == (at, mark, amount)


def _inserted(columns: State, place: int, at: int, mark: int, amount: int) -> State:
    ats, amounts, marks = columns
    wide, narrow = 8 * place, 4 * place
    return [
        ats[:wide] + _WIDE(at) + ats[wide:],
        amounts[:wide] + _WIDE(amount) + amounts[wide:],
        marks[:narrow] + _MARK(mark) + marks[narrow:],
    ]


def _without(columns: State, place: int) -> State:
    ats, amounts, marks = columns
    wide, narrow = 8 * place, 4 * place
    return [ats[:wide] + ats[wide + 8 :], amounts[:wide] + amounts[wide + 8 :], marks[:narrow] + marks[narrow + 4 :]]


def _views(columns: State) -> tuple[memoryview, memoryview, memoryview]:
    return memoryview(columns[0]).cast("q"), memoryview(columns[1]).cast("q"), memoryview(columns[2]).cast("I")


def _push_out(state: State) -> State:
    """The oldest of the latest rows goes over to the older ones."""
    ats, amounts, marks = _views(state)
    return _add_older([*_without(state[:3], 0), *state[3:]], ats[0], marks[0], amounts[0])


def _add_older(state: State, at: int, mark: int, amount: int) -> State:
    if len(state) == 5:
        return [*_stretched(state, amount), _WIDE(at), _WIDE(amount), _MARK(mark)]
    older = state[5:]
    place, known = _find(older, at, mark, amount)
    if known:
        return state
    if len(older[0]) < 8 * MAX_SAMPLE:
        older = _inserted(older, place, at, mark, amount)
    elif (mark, at, amount) < (last := _last(older))[0]:
        older = _without(_inserted(older, place, at, mark, amount), last[1] + (place <= last[1]))
    else:
        return _stretched(state, amount)
    return [*_stretched(state, amount)[:5], *older]


def _last(older: State) -> tuple[Row, int]:
    """The row that goes first when another comes: (mark, at, amount), and its place."""
    ats, amounts, marks = _views(older)
    found = marks.tolist()
    mark = max(found)
    found.reverse()
    place = len(found) - 1 - found.index(mark)
    return (mark, ats[place], amounts[place]), place


# -- merging --


def merge(a: State, b: State) -> State:
    """The state of all rows of both."""
    rows = sorted({*_rows(a[:3]), *_rows(b[:3]), *_rows(a[5:]), *_rows(b[5:])})
    latest, gone = rows[-MAX_ROWS:], rows[:-MAX_ROWS]
    merged = [*_columns(latest), min(a[3], b[3]), max(a[4], b[4])]
    if not gone:
        return merged
    smallest = sorted(gone, key=lambda row: (row[1], row[0], row[2]))[:MAX_SAMPLE]
    return [*merged, *_columns(sorted(smallest))]


def _rows(columns: State) -> list[Row]:
    if not columns:
        return []
    ats, amounts, marks = _views(columns)
    return list(zip(ats, marks, amounts, strict=True))


def _columns(rows: Sequence[Row]) -> State:
    ats, marks, amounts = zip(*rows, strict=True)
    return [b"".join(map(_WIDE, ats)), b"".join(map(_WIDE, amounts)), b"".join(map(_MARK, marks))]


# -- reading --


def exact_since(state: State | None) -> int | None:
    """Windows that begin at or after this instant are exact; None: all are."""
    if state is None or len(state) == 5 or len(state[5]) < 8 * MAX_SAMPLE:
        return None
    return int(memoryview(state[0]).cast("q")[0])


def later(state: State | None, since: int) -> tuple[tuple[Part, ...], int]:
    """The rows later than ``since``, and how many parts of weight one row is: 1 unless some are estimated."""
    if state is None:
        return (), 1
    ats, amounts = memoryview(state[0]).cast("q"), memoryview(state[1]).cast("q")
    if since < ats[0]:
        return ((Part(ats, amounts),), 1) if len(state) == 5 else _with_older(state, since, ats, amounts)
    place = bisect_right(ats, since)
    return (Part(ats[place:], amounts[place:]),), 1


def _with_older(state: State, since: int, ats: memoryview, amounts: memoryview) -> tuple[tuple[Part, ...], int]:
    """The sample standing for all older rows, then the latest."""
    older, values, _ = _views(state[5:])
    place = bisect_right(older, since)
    if len(older) < MAX_SAMPLE:
        return (Part(older[place:], values[place:]), Part(ats, amounts)), 1
    (mark, _, _), last = _last(state[5:])
    unit, behind = max(mark, 1), max(place, last + 1)
    before = Part(older[place:last], values[place:last], MARKS)
    return (before, Part(older[behind:], values[behind:], MARKS), Part(ats, amounts, unit)), unit
