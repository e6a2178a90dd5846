"""The sum, the average and the extremes of a window: what they come to, and when that changes as the window slides.

A window is a few :class:`~heliograph.decide.conditions.samples.Part`, oldest first; nearly always a single one, whose
rows stand for themselves.  As time passes rows leave it from the front, those of one millisecond together.  Sums are
taken in C and comparisons are of whole numbers, so that the loops here cost a fraction of a microsecond a row.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from itertools import accumulate, chain
from typing import Any, Final

import msgspec

from heliograph.decide.conditions.amounts import Comparison
from heliograph.decide.conditions.samples import Part

_FAR: Final = 1 << 200
"""Beyond every sum."""
FOREVER: Final = 1 << 62
"""Ms after every event."""
_FEW: Final = 16
"""Rows that are gone through one by one sooner than all at once."""


class Range(msgspec.Struct, frozen=True):
    """Several comparisons with one number, in millionths: x / n is in it iff

    ``low * n + above <= x <= high * n - below``, and x is none of ``banned * n``.
    """

    low: int = -_FAR
    above: int = 0
    high: int = _FAR
    below: int = 0
    banned: frozenset[int] = frozenset()

    def holds(self, x: int, n: int) -> bool:
        inside = self.low * n + self.above <= x <= self.high * n - self.below
        return inside and not (self.banned and any(x == one * n for one in self.banned))

    @property
    def of_nothing(self) -> bool:
        """Nothing compares false, and so is not what it is asked not to be."""
        return self.low == -_FAR and self.high == _FAR


def range_of(comparisons: Iterable[Comparison]) -> Range:
    """What satisfies all of them."""
    lows, highs, banned = [(-_FAR, 0)], [(_FAR, 0)], set()
    for one in comparisons:
        if one.word in ("is", "gt", "gte"):
            lows.append((one.operand, int(one.word == "gt")))
        if one.word in ("is", "lt", "lte"):
            highs.append((one.operand, -int(one.word == "lt")))
        if one.word == "is_not":
            banned.add(one.operand)
    (low, above), (high, below) = max(lows), min(highs)
    return Range(low, above, high, -below, frozenset(banned))


Value = tuple[int, int] | None
"""(numerator in millionths, denominator); None when there is nothing to measure."""


class Measure(msgspec.Struct, frozen=True):
    """``value`` of a window, and ``turn``: the instant of the row with which the truth changes when it leaves, None
    when it never does."""

    phrase: str
    value: Callable[[Sequence[Part], int], Value]
    turn: Callable[[Sequence[Part], int, Range], int | None]


def holds(asked: Range, value: Value) -> bool:
    return asked.of_nothing if value is None else asked.holds(*value)


# -- sum and average --


def _total(parts: Sequence[Part]) -> int:
    return sum([sum(amounts) * weight for _, amounts, weight in parts])


def _count(parts: Sequence[Part]) -> int:
    return sum([len(ats) * weight for ats, _, weight in parts])


def _sum(parts: Sequence[Part], unit: int) -> Value:
    return _total(parts), unit


def _average(parts: Sequence[Part], unit: int) -> Value:
    count = _count(parts)
    return (_total(parts), count) if count else None


def _sum_turns(parts: Sequence[Part], unit: int, asked: Range) -> int | None:
    return _turns(parts, asked, _total(parts), unit, average=False)


def _average_turns(parts: Sequence[Part], unit: int, asked: Range) -> int | None:
    return _turns(parts, asked, _total(parts), _count(parts), average=True)


def _turns(parts: Sequence[Part], asked: Range, total: int, count: int, *, average: bool) -> int | None:
    """``count``: what the total is over; of an average it becomes less with every row."""
    low, above, high, below, banned = asked.low, asked.above, asked.high, asked.below, asked.banned
    now, leaving = holds(asked, (total, count) if count else None), 0
    for ats, amounts, weight in parts:
        less = weight if average else 0
        for at, amount in zip(ats, amounts, strict=True):
            if at != leaving:
                truth = low * count + above <= total <= high * count - below
                if (asked.holds(total, count) if banned else truth) is not now:
                    return leaving
                leaving = at
            total -= amount * weight
            count -= less
    return leaving if holds(asked, (total, count) if count else None) is not now else None


def reached_from(ats: bytes, amounts: bytes, least: int) -> int | None:
    """The instant of the row from which on the rest comes to ``least``, of columns of amounts that are none of them
    negative; None when all of them do not.  :data:`FOREVER` when nothing at all does."""
    if least <= 0:
        return FOREVER
    values, total, at = memoryview(amounts).cast("q"), 0, len(amounts) // 8
    few = max(at - _FEW, 0)
    while at > few:
        at -= 1
        total += values[at]
        if total >= least:
            return int(memoryview(ats).cast("q")[at])
    if total + sum(values[:few]) < least:
        return None
    place = bisect_left(list(accumulate(reversed(values[:few]), initial=total)), least)
    return int(memoryview(ats).cast("q")[few - place])


# -- extremes --


def _least(parts: Sequence[Part], unit: int) -> Value:
    found = [min(amounts) for _, amounts, _ in parts if amounts]
    return (min(found), 1) if found else None


def _greatest(parts: Sequence[Part], unit: int) -> Value:
    found = [max(amounts) for _, amounts, _ in parts if amounts]
    return (max(found), 1) if found else None


def _extreme_turns(edge: Any) -> Callable[[Sequence[Part], int, Range], int | None]:
    def turns(parts: Sequence[Part], unit: int, asked: Range) -> int | None:
        ats = parts[0].ats if len(parts) == 1 else list(chain.from_iterable(part.ats for part in parts))
        amounts = parts[0].amounts if len(parts) == 1 else list(chain.from_iterable(part.amounts for part in parts))
        if not ats:
            return None
        behind = list(accumulate(reversed(amounts), edge))  # the extreme of the last row, of the last two, ...
        value = behind.pop()
        now, leaving = asked.holds(value, 1), ats[0]
        for at in ats[1:]:
            following = behind.pop()
            if following != value and at != leaving:
                value = following
                if asked.holds(value, 1) is not now:
                    return leaving
            leaving = at
        return leaving if asked.of_nothing is not now else None

    return turns


MEASURES: Final[dict[str, Measure]] = {
    "sum": Measure("the sum", _sum, _sum_turns),
    "avg": Measure("the average", _average, _average_turns),
    "min": Measure("the least", _least, _extreme_turns(min)),
    "max": Measure("the greatest", _greatest, _extreme_turns(max)),
}
EXTREMES: Final = ("min", "max")
