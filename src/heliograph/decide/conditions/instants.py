"""before, after and within on traits: from when until when a date in a person's profile satisfies them.

Each is a half-open span of instants, counted from the date, so that a timer can wait for its edges and calendar
months are counted in the person's zone.  With ``d`` the date, ``P`` a duration::

    before: 2026-12-01   d < that             always or never
    before: -P30D        d < t - P30D         [d + P30D + 1 ms, ∞)      "more than 30 days ago"
    after: P30D          t + P30D < d         (-∞, d - P30D)            "more than 30 days ahead"
    within: P7D          the next 7 days      [d - P7D, d)
    within: -P7D         the last 7 days      [d, d + P7D)
"""

from collections.abc import Callable
from datetime import UTC, tzinfo
from functools import partial
from typing import Any, Final, TypeAlias

import msgspec

from heliograph.decide import times
from heliograph.decide.parsing import Context, JsonPath
from heliograph.decide.times import Duration

Span: TypeAlias = tuple[int, int]
"""(first instant, end): true at t when first <= t < end."""

FOREVER: Final = 1 << 62
"""Ms beyond every date; its negative lies before every date."""
ALWAYS: Final[Span] = (-FOREVER, FOREVER)

Spans: TypeAlias = Callable[[int, tzinfo], Span | None]
"""(date of the person in ms, their zone) -> when it holds."""

INSTANT_OPERATORS: Final = ("before", "after", "within")


class InstantCheck(msgspec.Struct, frozen=True):
    """One of :data:`INSTANT_OPERATORS` with its operand.  ``timed``: whether time alone can turn it."""

    word: str
    canonical: list[Any]
    text: str
    span: Spans
    timed: bool

    def spans(self, value: Any, zone: tzinfo) -> list[Span]:
        """When the trait's value satisfies it; a list does when any of its elements does."""
        found = []
        for element in value if isinstance(value, list) else [value]:
            date = times.parse_instant(element, zone) if isinstance(element, str) else None
            span = None if date is None else self._span(date, zone)
            if span is not None and span[0] < span[1]:
                found.append(span)
        return found

    def _span(self, date: int, zone: tzinfo) -> Span | None:
        try:
            return self.span(date, zone)
        except OverflowError:  # a date at the edge of the calendar
            return None


def parse_instant_check(word: str, node: Any, path: JsonPath, context: Context) -> InstantCheck | None:
    """The check that ``word: node`` stands for; None after noting why not."""
    if word == "within" or _looks_like_duration(node):
        return _relative(word, node, path, context)
    text = context.text(node, path, f"`{word}`")
    if text is None:
        return None
    if times.parse_instant(text, UTC) is None:
        context.problem(path, f"`{word}` takes an instant (RFC 3339), a date or a duration: {text!r} is none of them")
        return None
    return InstantCheck(word, [word, text], f"is {word} {text}", partial(_fixed, word, text), timed=False)


def _looks_like_duration(node: Any) -> bool:
    return isinstance(node, str) and node.lstrip("+-").startswith("P")


def _relative(word: str, node: Any, path: JsonPath, context: Context) -> InstantCheck | None:
    allowed_zero = word != "within"
    duration = context.duration(node, path, f"`{word}`", calendar=True, signed=True, zero=allowed_zero)
    if duration is None:
        return None
    canonical = [word, duration.months, duration.ms]
    return InstantCheck(word, canonical, _phrase(word, duration), partial(_RELATIVE[word], duration), timed=True)


def _phrase(word: str, duration: Duration) -> str:
    length = times.describe(duration)
    if word == "within":
        return f"is in the {'next' if duration.sign > 0 else 'last'} {length}"
    if not duration.sign:
        return "is in the past" if word == "before" else "is in the future"
    side = "ahead" if duration.sign > 0 else "ago"
    closer = (word == "before") == (duration.sign > 0)
    return f"is {'less' if closer else 'more'} than {length} {side}"


def _fixed(word: str, text: str, date: int, zone: tzinfo) -> Span | None:
    bound = times.parse_instant(text, zone)
    if bound is None:
        return None
    return ALWAYS if (date < bound if word == "before" else date > bound) else None


def _before(duration: Duration, date: int, zone: tzinfo) -> Span:
    return times.shift(date, -duration, zone) + 1, FOREVER


def _after(duration: Duration, date: int, zone: tzinfo) -> Span:
    return -FOREVER, times.shift(date, -duration, zone)


def _within(duration: Duration, date: int, zone: tzinfo) -> Span:
    edge = times.shift(date, -duration, zone)
    return (edge, date) if edge < date else (date, edge)


_RELATIVE = {"before": _before, "after": _after, "within": _within}
