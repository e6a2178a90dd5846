"""The leaves ``did_sum``, ``did_avg``, ``did_min`` and ``did_max``: what the numbers in somebody's events come to, ever
or in a window that slides by the millisecond."""

from collections.abc import Callable
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
from heliograph.decide.conditions.measures import (
    EXTREMES,
    FOREVER,
    MEASURES,
    Range,
    Value,
    holds,
    range_of,
    reached_from,
)
from heliograph.decide.conditions.model import Leaf, Take, View, content_id
from heliograph.decide.conditions.paths import MAX_ELEMENTS, Path, parse_event_path, values_reader
from heliograph.decide.parsing import Context, JsonPath
from heliograph.events.event import Event

_NEXT_MARK: Final = 0x9E3779B1
"""2³² over the golden ratio: the marks of the elements of one list lie far apart."""


class DidAmount(Leaf, frozen=True, kw_only=True):
    """``measure`` of the numbers at ``path`` in the events of the window compares as asked.

    All measures of the same numbers share one state, whatever their windows and operands.
    """

    measure: str
    filter: EventFilter
    path: Path
    read: Callable[[Event], Any]
    asked: Range
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

    def read_state(self, state: Any) -> None:
        msgspec.convert([*state[:3], *state[5:]], list[bytes])
        msgspec.convert(state[3:5], tuple[int, int])

    def merge(self, a: Any, b: Any) -> Any:
        if a is None or b is None:
            return b if a is None else a
        return samples.merge(a, b)

    def truth(self, view: View, t: int) -> bool:
        return holds(self.asked, self.value(view.conditions.get(self.id), t))

    def value(self, state: Any, t: int) -> Value:
        if self.within is None and state is not None and self.measure in EXTREMES:
            return state[4 if self.measure == "max" else 3], 1
        return MEASURES[self.measure].value(*samples.later(state, self._since(t)))

    def next_flip(self, view: View, t: int) -> int | None:
        state = view.conditions.get(self.id)
        if self.within is None or state is None:
            return None
        leaving = MEASURES[self.measure].turn(*samples.later(state, t - self.within), self.asked)
        return None if leaving is None else leaving + self.within

    def seen(self, view: View, t: int) -> str:
        state = view.conditions.get(self.id)
        parts, unit = samples.later(state, self._since(t))
        value = self.value(state, t)
        counted = sum(len(part.ats) * part.weight for part in parts) // unit
        if value is None or not counted:
            return "no amounts"
        said = decimal_text(value[0], value[1] * MICRO)
        many = "1 amount" if counted == 1 else f"{counted} amounts"
        latest = f"latest {times.iso(parts[-1].ats[-1])}"
        exact = self.exact_since(view, t)
        if exact is None:
            return f"{said} from {many}, {latest}"
        return f"about {said} from about {many}, {latest} (inexact: estimated before {times.iso(exact)})"

    def exact_since(self, view: View, t: int) -> int | None:
        edge = samples.exact_since(view.conditions.get(self.id))
        ever = self.within is None and self.measure in EXTREMES
        return None if edge is None or ever or self._since(t) >= edge else edge

    def _since(self, t: int) -> int:
        return samples.BEGINNING if self.within is None else t - self.within


class SumReached(DidAmount, frozen=True, kw_only=True):
    """A sum of at least so much: most questions are this one.  As long as no amount was negative, the latest rows that
    come to it decide."""

    least: int

    def truth(self, view: View, t: int) -> bool:
        state = view.conditions.get(self.id)
        if state is None or state[3] < 0:
            return super().truth(view, t)
        if (reached := reached_from(state[0], state[1], self.least)) is not None:
            return self.within is None or reached > t - self.within
        return len(state) > 5 and super().truth(view, t)

    def next_flip(self, view: View, t: int) -> int | None:
        state = view.conditions.get(self.id)
        if self.within is None or state is None:
            return None
        if state[3] < 0:
            return super().next_flip(view, t)
        if (reached := reached_from(state[0], state[1], self.least)) is not None:
            return reached + self.within if t - self.within < reached < FOREVER else None
        return super().next_flip(view, t) if len(state) > 5 else None


def _add_all(old: Any, at: int, mark: int, values: list[Any]) -> Any:
    """One row for every number in a list."""
    state = old
    for place, value in enumerate(values[:MAX_ELEMENTS]):
        if (amount := micros(value)) is not None:
            state = samples.add(state, at, (mark + place * _NEXT_MARK) % samples.MARKS, amount)
    return state


# -- as it is written --

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
        "text": f"{MEASURES[measure].phrase} of {path.text} over {event_filter.text} {asked}{window}",
        "canonical": [*state, measure, sorted(one.canonical for one in comparisons), within],
        "event_names": frozenset({event_filter.event}),
        "timed": within is not None,
        "measure": measure,
        "filter": event_filter,
        "path": path,
        "read": values_reader(path),
        "asked": range_of(comparisons),
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
