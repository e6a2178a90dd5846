"""The leaves ``did_sum``, ``did_avg``, ``did_min`` and ``did_max``: what the numbers in somebody's events come to, ever
or in a window that slides by the millisecond."""

from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate
from typing import Any, Final

import msgspec

from heliograph.decide import times
from heliograph.decide.conditions import samples
from heliograph.decide.conditions.amounts import (
    MICRO,
    TESTS,
    Comparison,
    decimal_text,
    micros,
    read_amount,
    read_comparisons,
)
from heliograph.decide.conditions.filters import EventFilter, read_event_filter, read_path
from heliograph.decide.conditions.lately import read_within
from heliograph.decide.conditions.model import Leaf, Take, View, content_id
from heliograph.decide.conditions.paths import MAX_ELEMENTS, Path, parse_event_path, values_reader
from heliograph.decide.conditions.samples import Rows
from heliograph.decide.parsing import Context, JsonPath
from heliograph.events.event import Event

_NEXT_MARK: Final = 0x9E3779B1
"""2³² over the golden ratio: the marks of the elements of one list lie far apart."""

Value = tuple[int, int] | None
"""What a measure comes to: (numerator in millionths, denominator); None when there is nothing to measure."""


class DidAmount(Leaf, frozen=True, kw_only=True):
    """``measure`` of the numbers at ``path`` in the events of the window compares as asked.

    All measures of the same numbers share one state, whatever their windows and operands.
    """

    measure: str
    filter: EventFilter
    path: Path
    read: Callable[[Event], Any]
    comparisons: tuple[Comparison, ...]
    within: int | None

    @property
    def filters(self) -> tuple[EventFilter, ...]:
        return (self.filter,)

    def observe(self, old: Any, event: Event, event_hash: int) -> Any:
        return self.add(old, event, event_hash) if self.filter.matches(event) else old

    def taking(self, known: Path | None) -> Take:
        left = self.filter.beyond(known)
        return self.add if left is None else msgspec.structs.replace(self, filter=left).observe

    def add(self, old: Any, event: Event, event_hash: int) -> Any:
        """The state after an event that passes the filter."""
        value = self.read(event)
        if value.__class__ is list:
            return _add_all(old, event.occurred_at, event_hash, value)
        amount = micros(value)
        return old if amount is None else samples.add(old, event.occurred_at, event_hash % samples.MARKS, amount)

    def merge(self, a: Any, b: Any) -> Any:
        if a is None or b is None:
            return b if a is None else a
        return samples.merge(a, b)

    def truth(self, view: View, t: int) -> bool:
        return self.holds(self.value(view.conditions.get(self.id), t))

    def holds(self, value: Value) -> bool:
        """Nothing compares false, and so is not what it is asked not to be."""
        if value is None:
            return all(one.word == "is_not" for one in self.comparisons)
        amount, unit = value
        return all(TESTS[one.word](amount, one.operand * unit) for one in self.comparisons)

    def value(self, state: Any, t: int) -> Value:
        if self.within is not None:
            return MEASURES[self.measure](samples.later(state, t - self.within))
        ever = samples.extremes(state) if self.measure in EXTREMES else None
        if ever is not None:
            return ever[self.measure == "max"], 1
        return MEASURES[self.measure](samples.later(state, samples.BEGINNING))

    def next_flip(self, view: View, t: int) -> int | None:
        state = view.conditions.get(self.id)
        if self.within is None or state is None:
            return None
        rows = samples.later(state, t - self.within)
        now = self.holds(MEASURES[self.measure](rows))
        for at, value in _leaving(rows, self.measure):
            if self.holds(value) is not now:
                return at + self.within
        return None

    def seen(self, view: View, t: int) -> str:
        state = view.conditions.get(self.id)
        value = self.value(state, t)
        if value is None or not (rows := samples.later(state, self._since(t))).ats:
            return "no amounts"
        exact = self.exact_since(view, t)
        counted = len(rows.ats) if rows.weights is None else sum(rows.weights) // rows.unit
        many = "1 amount" if counted == 1 else f"{counted} amounts"
        latest = times.iso(rows.ats[-1])
        if exact is None:
            return f"{decimal_text(*_over(value))} from {many}, latest {latest}"
        said = f"about {decimal_text(*_over(value))} from about {many}, latest {latest}"
        return f"{said} (inexact: estimated for what is older than {times.iso(exact)})"

    def exact_since(self, view: View, t: int) -> int | None:
        edge = samples.exact_since(view.conditions.get(self.id))
        ever = self.within is None and self.measure in EXTREMES
        return None if edge is None or ever or self._since(t) >= edge else edge

    def _since(self, t: int) -> int:
        return samples.BEGINNING if self.within is None else t - self.within


class SumReached(DidAmount, frozen=True, kw_only=True):
    """A sum of at least so much: most questions are this one."""

    least: int

    def truth(self, view: View, t: int) -> bool:
        state = view.conditions.get(self.id)
        if state is None:
            return self.least <= 0
        rows = samples.later(state, self._since(t))
        if rows.weights is None:
            return sum(rows.amounts) >= self.least
        return self.holds(_sum(rows))

    def next_flip(self, view: View, t: int) -> int | None:
        state = view.conditions.get(self.id)
        if self.within is None or state is None:
            return None
        rows = samples.later(state, t - self.within)
        if rows.weights is not None:
            return super().next_flip(view, t)
        total, least, amounts = sum(rows.amounts), self.least, rows.amounts
        if (reached := total >= least) is False and (not amounts or min(amounts) >= 0):
            return None  # less and less leaves it where it is
        leaving = 0
        for at, amount in zip(rows.ats, amounts, strict=True):
            if at != leaving and (total >= least) is not reached:
                return leaving + self.within
            leaving = at
            total -= amount
        return leaving + self.within if (total >= least) is not reached else None


def _add_all(old: Any, at: int, mark: int, values: list[Any]) -> Any:
    """One row for every number in a list."""
    state = old
    for place, value in enumerate(values[:MAX_ELEMENTS]):
        if (amount := micros(value)) is not None:
            state = samples.add(state, at, (mark + place * _NEXT_MARK) % samples.MARKS, amount)
    return state


# -- measures --


def _sum(rows: Rows) -> Value:
    if rows.weights is None:
        return sum(rows.amounts), 1
    return sum(map(int.__mul__, rows.amounts, rows.weights)), rows.unit


def _average(rows: Rows) -> Value:
    if not rows.ats:
        return None
    if rows.weights is None:
        return sum(rows.amounts), len(rows.ats)
    return sum(map(int.__mul__, rows.amounts, rows.weights)), sum(rows.weights)


def _least(rows: Rows) -> Value:
    return (min(rows.amounts), 1) if rows.ats else None


def _greatest(rows: Rows) -> Value:
    return (max(rows.amounts), 1) if rows.ats else None


MEASURES: Final[dict[str, Callable[[Rows], Value]]] = {
    "sum": _sum,
    "avg": _average,
    "min": _least,
    "max": _greatest,
}
EXTREMES: Final = ("min", "max")


def _leaving(rows: Rows, measure: str) -> Iterator[tuple[int, Value]]:
    """(instant of a row, the value once all rows up to it have left), for each instant."""
    values = _from_each_row(rows, measure)
    ats, count = rows.ats, len(rows.ats)
    for place in range(1, count):
        if ats[place] != ats[place - 1]:
            yield ats[place - 1], values[place]
    if count:
        yield ats[-1], (0, 1) if measure == "sum" else None


def _from_each_row(rows: Rows, measure: str) -> Sequence[Value]:
    """The value of each row and all behind it."""
    weights = rows.weights
    if measure in EXTREMES:
        edge = min if measure == "min" else max
        return [(value, 1) for value in accumulate(reversed(rows.amounts), edge)][::-1]
    weighed = rows.amounts if weights is None else list(map(int.__mul__, rows.amounts, weights))
    sums = list(accumulate(reversed(weighed)))[::-1]
    if measure == "sum":
        return [(value, rows.unit) for value in sums]
    counts = range(len(sums), 0, -1) if weights is None else list(accumulate(reversed(weights)))[::-1]
    return list(zip(sums, counts, strict=True))


def _over(value: tuple[int, int]) -> tuple[int, int]:
    return value[0], value[1] * MICRO


# -- as it is written --

_PHRASES: Final = {"sum": "the sum", "avg": "the average", "min": "the least", "max": "the greatest"}
_KEYS: Final = ("event", "where", "property", "within", *TESTS)


def make_did_amount(
    measure: str, event_filter: EventFilter, path: Path, comparisons: tuple[Comparison, ...], within: int | None
) -> DidAmount:
    """``measure`` of :data:`MEASURES`; operands in millionths."""
    state = ["amounts", event_filter.canonical, path.canonical]
    asked = " and ".join(one.text for one in comparisons)
    window = "" if within is None else f" within {times.describe(within)}"
    fields: dict[str, Any] = {
        "id": content_id(state),
        "kind": f"did_{measure}",
        "text": f"{_PHRASES[measure]} of {path.text} over {event_filter.text} {asked}{window}",
        "canonical": [*state, measure, sorted(one.canonical for one in comparisons), within],
        "event_names": frozenset({event_filter.event}),
        "timed": within is not None,
        "measure": measure,
        "filter": event_filter,
        "path": path,
        "read": values_reader(path),
        "comparisons": comparisons,
        "within": within,
    }
    if measure == "sum" and len(comparisons) == 1 and comparisons[0].word in ("gte", "gt"):
        return SumReached(**fields, least=comparisons[0].operand + (comparisons[0].word == "gt"))
    return DidAmount(**fields)


def reader(measure: str) -> Callable[[Any, JsonPath, Context], DidAmount | None]:
    """What reads ``{event, where, property, gte: 100, within: P30D}``; None after noting why not."""

    def read(node: Any, path: JsonPath, context: Context) -> DidAmount | None:
        before = len(context.problems)
        what = f"`did_{measure}`"
        fields = context.mapping(node, path, what, _KEYS, required=("event", "property"))
        if fields is None:
            return None
        event_filter = read_event_filter(fields, path, context)
        place = (*path, "property")
        amount = read_path(fields["property"], place, context, parse_event_path) if "property" in fields else None
        comparisons = read_comparisons(fields, path, what, context, read_amount)
        within = read_within(fields, path, context)
        if len(context.problems) > before or event_filter is None or amount is None or comparisons is None:
            return None
        return make_did_amount(measure, event_filter, amount, comparisons, within)

    return read
