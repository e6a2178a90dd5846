"""The leaf ``did_distinct``: how many different values a path had, ever or in a sliding window.

A value is in the window iff its latest event is.  So the state keeps the latest instant of each value, and of those the
N latest, N being above everything that is asked: a value that is cut has N later ones, and whether there are N or more
makes no difference.  Both are functions of the set of events, and every answer is exact.

Encoding: two columns, oldest first: instants (8 bytes each, little-endian) and hashes of values (8 bytes each).
"""

from bisect import bisect_right
from collections.abc import Callable
from hashlib import blake2b
from struct import Struct
from typing import Any, Final

import msgspec

from heliograph.decide import times
from heliograph.decide.conditions.amounts import TESTS, Comparison, read_comparisons
from heliograph.decide.conditions.did import value_keys
from heliograph.decide.conditions.filters import EventFilter, read_event_filter, read_path
from heliograph.decide.conditions.lately import read_within
from heliograph.decide.conditions.model import Leaf, Take, View, content_id
from heliograph.decide.conditions.paths import MAX_ELEMENTS, Path, parse_event_path, values_reader
from heliograph.decide.conditions.samples import BEGINNING
from heliograph.decide.parsing import Context, JsonPath
from heliograph.events.event import Event

MAX_DISTINCT: Final = 1999
"""The greatest number that can be asked for."""
KEPT: Final = (20, 200, 2000)
"""How many values a state keeps: the least of these that is above what is asked, so that another number seldom means
another state.  16 bytes each: 32 KB at most."""

State = list[bytes]
_WIDE = Struct("<q").pack


class DidDistinct(Leaf, frozen=True, kw_only=True):
    """``truths[n]``: whether n different values satisfy it; its last stands for so many and more."""

    filter: EventFilter
    path: Path
    read: Callable[[Event], Any]
    truths: bytes
    within: int | None

    @property
    def filters(self) -> tuple[EventFilter, ...]:
        return (self.filter,)

    @property
    def keep(self) -> int:
        return len(self.truths) - 1

    def observe(self, old: Any, event: Event, event_hash: int) -> Any:
        return self.add(old, event, event_hash) if self.filter.matches(event) else old

    def taking(self, known: Path | None) -> Take:
        left = self.filter.beyond(known)
        return self.add if left is None else msgspec.structs.replace(self, filter=left).observe

    def add(self, old: Any, event: Event, event_hash: int) -> Any:
        """The state after an event that passes the filter."""
        state, keep = old, self.keep
        for value in value_keys(self.read(event), MAX_ELEMENTS):
            state = _add(state, event.occurred_at, _hash(value), keep)
        return state

    def read_state(self, state: Any) -> None:
        ats, values = msgspec.convert(state, tuple[bytes, bytes])
        if len(ats) != len(values):
            raise ValueError("two columns of one length")

    def merge(self, a: Any, b: Any) -> Any:
        if a is None or b is None:
            return b if a is None else a
        latest: dict[bytes, int] = {}
        for state in (a, b):
            for at, value in _pairs(state):
                if latest.get(value, BEGINNING) <= at:
                    latest[value] = at
        kept = sorted((at, value) for value, at in latest.items())[-self.keep :]
        return [b"".join(_WIDE(at) for at, _ in kept), b"".join(value for _, value in kept)]

    def truth(self, view: View, t: int) -> bool:
        return bool(self.truths[self.count(view, t)])

    def count(self, view: View, t: int) -> int:
        """Different values in the window at t, at most :attr:`keep`."""
        state = view.conditions.get(self.id)
        if state is None:
            return 0
        if self.within is None:
            return len(state[0]) // 8
        ats = memoryview(state[0]).cast("q")
        return len(ats) - bisect_right(ats, t - self.within)

    def next_flip(self, view: View, t: int) -> int | None:
        state = view.conditions.get(self.id)
        if self.within is None or state is None:
            return None
        ats, truths, count = memoryview(state[0]).cast("q"), self.truths, self.count(view, t)
        other, size = truths[count] ^ 1, len(ats)
        fewer = truths.rfind(other, 0, count)
        while fewer >= 0:  # values that leave together never are so many
            if fewer == 0 or ats[size - fewer - 1] != ats[size - fewer]:
                return int(ats[size - fewer - 1]) + self.within
            fewer = truths.rfind(other, 0, fewer)
        return None

    def seen(self, view: View, t: int) -> str:
        count = self.count(view, t)
        if not count:
            return "no values"
        latest = times.iso(memoryview(view.conditions[self.id][0]).cast("q")[-1])
        more = " or more" if count == self.keep else ""
        return f"{count}{more} different value{'' if count == 1 else 's'}, latest {latest}"


def _add(state: State | None, at: int, value: bytes, keep: int) -> State:
    if state is None:
        return [_WIDE(at), value]
    ats, values = state
    place = _find(values, value)
    if place >= 0:
        if _at(ats, place) >= at:
            return state
        ats, values = ats[: 8 * place] + ats[8 * place + 8 :], values[: 8 * place] + values[8 * place + 8 :]
    if not ats or at > _at(ats, -1):
        ats, values = ats + _WIDE(at), values + value
    else:
        split = 8 * _place(ats, values, at, value)
        ats, values = ats[:split] + _WIDE(at) + ats[split:], values[:split] + value + values[split:]
    if len(ats) <= 8 * keep:
        return [ats, values]
    ats, values = ats[8:], values[8:]
    return state if [ats, values] == state else [ats, values]


def _find(values: bytes, value: bytes) -> int:
    at = values.find(value)
    while at >= 0 and at % 8:  # a chance match across two hashes
        at = values.find(value, at + 1)
    return at // 8 if at >= 0 else -1


def _at(ats: bytes, place: int) -> int:
    return int(memoryview(ats).cast("q")[place])


def _place(ats: bytes, values: bytes, at: int, value: bytes) -> int:
    """Where (at, value) goes."""
    view = memoryview(ats).cast("q")
    place = bisect_right(view, at)
    while place and view[place - 1] == at and values[8 * place - 8 : 8 * place] > value:
        place -= 1
    return place


def _pairs(state: State) -> list[tuple[int, bytes]]:
    return [(at, state[1][8 * place : 8 * place + 8]) for place, at in enumerate(memoryview(state[0]).cast("q"))]


def _hash(value: str) -> bytes:
    return blake2b(value.encode(errors="surrogatepass"), digest_size=8).digest()


# -- as it is written --

_KEYS: Final = ("event", "where", "property", "within", *TESTS)


def make_did_distinct(
    event_filter: EventFilter, path: Path, comparisons: tuple[Comparison, ...], within: int | None
) -> DidDistinct:
    keep = next(size for size in KEPT if size > max(one.operand for one in comparisons))
    state = ["distinct", event_filter.canonical, path.canonical, keep]
    asked = " and ".join(one.text for one in comparisons)
    window = "" if within is None else f" within {times.describe(within)}"
    return DidDistinct(
        id=content_id(state),
        kind="did_distinct",
        text=f"the number of different {path.text} over {event_filter.text} {asked}{window}",
        canonical=[*state, sorted(one.canonical for one in comparisons), within],
        event_names=frozenset({event_filter.event}),
        timed=within is not None,
        filter=event_filter,
        path=path,
        read=values_reader(path),
        truths=bytes(all(one.test(count, one.operand) for one in comparisons) for count in range(keep + 1)),
        within=within,
    )


def read_did_distinct(node: Any, path: JsonPath, context: Context) -> DidDistinct | None:
    """``{event, where, property, gte: 5, within: P30D}``; None after noting why not."""
    before = len(context.problems)
    fields = context.mapping(node, path, "`did_distinct`", _KEYS, required=("event", "property"))
    if fields is None:
        return None
    event_filter = read_event_filter(fields, path, context)
    place = (*path, "property")
    values = read_path(fields["property"], place, context, parse_event_path) if "property" in fields else None
    comparisons = read_comparisons(fields, path, "`did_distinct`", context, _read_number)
    within = read_within(fields, path, context)
    if len(context.problems) > before or event_filter is None or values is None or comparisons is None:
        return None
    return make_did_distinct(event_filter, values, comparisons, within)


def _read_number(node: Any, path: JsonPath, word: str, context: Context) -> int | None:
    return context.integer(node, path, f"`{word}`", 0, MAX_DISTINCT)
