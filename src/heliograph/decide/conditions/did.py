"""The leaf ``did``: how often somebody did something, ever or in a window that slides by the millisecond."""

from collections.abc import Callable
from typing import Any, TypeAlias

import msgspec

from heliograph.decide import times
from heliograph.decide.conditions.filters import EventFilter
from heliograph.decide.conditions.lately import Lately
from heliograph.decide.conditions.model import Condition, Leaf, Take, View, content_id
from heliograph.decide.conditions.operators import fold
from heliograph.decide.conditions.paths import Path, values_reader
from heliograph.decide.conditions.windows import (
    Latest,
    NLatest,
    NLatestByValue,
    Samples,
    Tally,
    add_sample,
    count_after,
    nth,
)
from heliograph.events.event import Event
from heliograph.events.ids import make_id

MAX_VALUE_TEXT = 64
"""Characters of a value of ``same`` that are kept as they are; longer ones are hashed."""
MAX_VALUES = 64
"""Values that one event may add to ``same`` (a path with ``*``, or a list)."""

_BEGINNING = -(1 << 62)
"""Ms before every event."""
_END = 1 << 62
"""Ms after every event."""


class Count(msgspec.Struct, frozen=True):
    """From ``least`` to ``most`` times, both included; ``most`` None means without end."""

    least: int = 1
    most: int | None = None

    @property
    def keep(self) -> int:
        """The latest samples that decide."""
        return self.least if self.most is None else self.most + 1

    @property
    def bounds(self) -> tuple[int, ...]:
        """The lower bound, and one beyond the upper."""
        return tuple(k for k in (self.least, None if self.most is None else self.most + 1) if k)

    @property
    def text(self) -> str:
        if self.most is None:
            return f"at least {_often(self.least)}"
        if self.most == 0:
            return "never"
        if self.least == 0:
            return f"at most {_often(self.most)}"
        if self.least == self.most:
            return f"exactly {_often(self.least)}"
        return f"from {self.least} to {_often(self.most)}"


def _often(n: int) -> str:
    return "once" if n == 1 else f"{n} times"


class Did(Leaf, frozen=True, kw_only=True):
    """Counts at t iff ``t - within < occurred_at <= t``; ``within`` (ms) None means ever.

    ``id`` addresses filter, ``same`` and how many samples are kept, not the window: conditions that differ only in
    ``within`` share one state, and a changed window has its past at once.
    """

    filter: EventFilter
    same: Path | None
    read: Callable[[Event], Any] | None
    """Reads ``same``."""
    count: Count
    bounds: tuple[int, ...]
    """The k for which the truth can turn when the k-th latest sample leaves the window."""
    within: int | None
    tally: Tally

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
        values = value_keys(self.read(event)) if self.read is not None else []
        return self.tally.add(old, event.occurred_at, event_hash, values)

    def read_state(self, state: Any) -> None:
        msgspec.convert(state, self.tally.shape)

    def merge(self, a: Any, b: Any) -> Any:
        if a is None or b is None:
            return b if a is None else a
        return self.tally.merge(a, b)

    def truth(self, view: View, t: int) -> bool:
        since = self._since(t)
        least, most = self.count.least, self.count.most
        for samples in self.tally.series(view.conditions.get(self.id)):
            if _reached(samples, least, since) and (most is None or not _reached(samples, most + 1, since)):
                return True
        return False

    def next_flip(self, view: View, t: int) -> int | None:
        if self.within is None:
            return None
        since, earliest = t - self.within, None
        for samples in self.tally.series(view.conditions.get(self.id)):
            for k in self.bounds:
                edge = nth(samples, k)
                if edge is not None and edge > since and (earliest is None or edge < earliest):
                    earliest = edge
        return None if earliest is None else earliest + self.within

    def seen(self, view: View, t: int) -> str:
        state = view.conditions.get(self.id)
        since = self._since(t)
        best = max(self.tally.series(state), key=lambda samples: count_after(samples, since), default=[])
        count = count_after(best, since)
        times_seen = f"{_often(count)}{' or more' if count == self.count.keep and count else ''}" if count else "never"
        value = _value_of(state, best) if self.same else ""
        latest = f", latest {times.iso(best[0])}" if best else ""
        return f"{value}{times_seen}{latest}"

    def exact_since(self, view: View, t: int) -> int | None:
        """With ``same``, once as many samples are kept as may be."""
        edge = self.tally.floor(view.conditions.get(self.id))
        return None if edge is None or self._since(t) >= edge else edge

    def _since(self, t: int) -> int:
        return _BEGINNING if self.within is None else t - self.within


class DidLately(Did, frozen=True, kw_only=True):
    """At least once: most conditions are this one, and ask only for the latest instant."""

    def add(self, old: Any, event: Event, event_hash: int) -> Any:
        at = event.occurred_at
        return at if old is None or at > old else old

    def until(self, state: Any) -> int:
        """True before this instant, if nothing else happens."""
        if state is None:
            return _BEGINNING
        until: int = _END if self.within is None else state + self.within
        return until

    def truth(self, view: View, t: int) -> bool:
        latest = view.conditions.get(self.id)
        return latest is not None and (self.within is None or latest > t - self.within)

    def next_flip(self, view: View, t: int) -> int | None:
        latest = view.conditions.get(self.id)
        if latest is None or self.within is None:
            return None
        edge: int = latest + self.within
        return edge if edge > t else None


class DidNever(DidLately, frozen=True, kw_only=True):
    """Not once."""

    def truth(self, view: View, t: int) -> bool:
        return not super().truth(view, t)


class DidOften(Did, frozen=True, kw_only=True):
    """At least so many times, more than once, whatever the values."""

    def add(self, old: Any, event: Event, event_hash: int) -> Any:
        return add_sample(old or [], event.occurred_at, event_hash, self.count.least)

    def until(self, state: Any) -> int:
        """True before this instant, if nothing else happens."""
        place = 2 * self.count.least - 2
        if state is None or len(state) <= place:
            return _BEGINNING
        until: int = _END if self.within is None else state[place] + self.within
        return until

    def truth(self, view: View, t: int) -> bool:
        samples, place = view.conditions.get(self.id), 2 * self.count.least - 2
        if samples is None or len(samples) <= place:
            return False
        return self.within is None or samples[place] > t - self.within

    def next_flip(self, view: View, t: int) -> int | None:
        samples, place = view.conditions.get(self.id), 2 * self.count.least - 2
        if self.within is None or samples is None or len(samples) <= place:
            return None
        edge: int = samples[place] + self.within
        return edge if edge > t else None


Lasting: TypeAlias = DidLately | DidOften | Lately
"""Questions whose truth lasts :meth:`until` an instant that the state alone tells."""


def lasting(condition: Condition) -> Lasting | None:
    return condition if isinstance(condition, Lasting) and not isinstance(condition, DidNever) else None


def _reached(samples: Samples, k: int, since: int) -> bool:
    """At least k samples are later than ``since``."""
    return k == 0 or ((edge := nth(samples, k)) is not None and edge > since)


def _value_of(state: Any, samples: Samples) -> str:
    return next((f"{value}: " for value, kept in (state or {}).items() if kept is samples), "")


def value_keys(value: Any, most: int = MAX_VALUES) -> list[str]:
    """The values that stand at a path of an event, as text: JSON of a scalar, one per element of a list.

    Missing, null and structured values are none; equal numbers are one value whether written 1 or 1.0.
    """
    if value.__class__ is str:
        return [_text_key(value)]
    found = (_value_key(element) for element in (value if isinstance(value, list) else [value]))
    return list(dict.fromkeys(key for key in found if key is not None))[:most]


def _value_key(value: Any) -> str | None:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool | float) or (isinstance(value, int) and abs(value) < 1 << 63):
        return msgspec.json.encode(value).decode()
    if isinstance(value, int):
        return "#" + make_id("same", f"{value:x}")
    return _text_key(value) if isinstance(value, str) else None


def _text_key(text: str) -> str:
    raw = fold(text).encode(errors="surrogatepass")
    if len(text) > MAX_VALUE_TEXT or not text.isprintable():
        return "#" + make_id("same", raw)
    return f'"{fold(text)}"'


def make_did(event_filter: EventFilter, same: Path | None, count: Count, within: int | None) -> Did:
    """The leaf for this question."""
    state = ["did", event_filter.canonical, same.canonical if same else None, count.keep]
    window = "" if within is None else f" within {times.describe(within)}"
    each = f", with the same {same.text}" if same else ""
    return _kind_of(same, count)(
        id=content_id(state),
        kind="did",
        text=f"did {event_filter.text}{each}, {count.text}{window}",
        canonical=[*state, count.least, count.most, within],
        event_names=frozenset({event_filter.event}),
        timed=within is not None,
        filter=event_filter,
        same=same,
        read=values_reader(same) if same is not None else None,
        count=count,
        bounds=count.bounds,
        within=within,
        tally=_tally(same, count.keep),
    )


def _kind_of(same: Path | None, count: Count) -> type[Did]:
    """The frequent questions have an answer of their own; equal to that of :class:`Did`, and several times as fast."""
    if same is not None:
        return Did
    if count.most is None and count.least >= 1:
        return DidLately if count.least == 1 else DidOften
    return DidNever if count.most == 0 else Did


def _tally(same: Path | None, keep: int) -> Tally:
    if same is not None:
        return NLatestByValue(keep)
    return Latest() if keep == 1 else NLatest(keep)
