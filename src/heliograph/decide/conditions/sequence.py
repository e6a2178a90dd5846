"""The leaf ``sequence``: events in an order, the whole of it within a time.

Asked is whether somebody ever did the first, then the second, ..., then the last, all within so long; that stays true.
Order is strictly increasing (occurred_at, hash of the event id): two events of one millisecond have an order that is
the same everywhere, though not that of their arrival, and one event never stands for two.

The state is ``[best, chains, samples of the 1st, samples of the 2nd, ...]``:

* ``best``: the shortest time that a whole sequence took, None without one;
* ``chains``: for each beginning of the sequence, the one of that length that began latest: ``[began, end, hash]``.
  Whatever comes later best goes on from there, so in order of time nothing else is needed, however much happens;
* ``samples``: the :data:`MAX_SAMPLES` latest events of each element, for events that arrive late: then the chains are
  joined anew.

Late and reordered events are taken exactly as long as fewer than so many later ones of the same element came first.
"""

from collections.abc import Iterator
from typing import Any, Final, TypeAlias

import msgspec

from heliograph.decide import times
from heliograph.decide.conditions.filters import EventFilter, parse_event_filter
from heliograph.decide.conditions.lately import read_within
from heliograph.decide.conditions.model import Leaf, View, content_id
from heliograph.decide.conditions.windows import add_sample, merge_samples
from heliograph.decide.parsing import Context, JsonPath
from heliograph.events.event import Event

MAX_ELEMENTS: Final = 10
MAX_SAMPLES: Final = 100
"""Of each element: 18 KB for ten of them."""

Chain: TypeAlias = list[int]
"""``[when it began, its last event: when, hash]``"""
Moment: TypeAlias = tuple[int, int, int, int | None]
"""(when, hash, length it would end, when it began if that is known: None for a single event)"""


class Sequence(Leaf, frozen=True, kw_only=True):
    """True iff last minus first is less than ``within`` ms; None: however long it takes."""

    elements: tuple[EventFilter, ...]
    within: int | None

    @property
    def filters(self) -> tuple[EventFilter, ...]:
        return self.elements

    def observe(self, old: Any, event: Event, event_hash: int) -> Any:
        places = [place for place, element in enumerate(self.elements) if element.matches(event)]
        if not places:
            return old
        at, size = event.occurred_at, len(self.elements)
        state: list[Any] = old if old is not None else [None, [None] * (size - 1), *([] for _ in self.elements)]
        new = state.copy()
        for place in places:
            new[place + 2] = add_sample(state[place + 2], at, event_hash, MAX_SAMPLES)
        if all(new[place + 2] is state[place + 2] for place in places):
            return old
        if _is_latest(state, at, event_hash):
            moments: Iterator[Moment] = ((at, event_hash, place + 1, None) for place in reversed(places))
            new[:2] = _join(size, moments, state[0], state[1])
            return new
        return _joined(size, state[0], state[1], [], new[2:])

    def read_state(self, state: Any) -> None:
        best, chains, *kept = state
        msgspec.convert(best, int | None)
        msgspec.convert(chains, list[tuple[int, int, int] | None])
        msgspec.convert(kept, list[list[int]])
        if (len(chains), len(kept)) != (len(self.elements) - 1, len(self.elements)):
            raise ValueError("one for each element")

    def merge(self, a: Any, b: Any) -> Any:
        if a is None or b is None:
            return b if a is None else a
        best = min((one for one in (a[0], b[0]) if one is not None), default=None)
        samples = [merge_samples(x, y, MAX_SAMPLES) for x, y in zip(a[2:], b[2:], strict=True)]
        return _joined(len(self.elements), best, a[1], b[1], samples)

    def truth(self, view: View, t: int) -> bool:
        state = view.conditions.get(self.id)
        return state is not None and state[0] is not None and (self.within is None or state[0] < self.within)

    def seen(self, view: View, t: int) -> str:
        state = view.conditions.get(self.id)
        if state is None:
            return "none of these events"
        if state[0] is not None:
            return f"took {times.describe(state[0]) if state[0] else '0 ms'} at best"
        done = sum(chain is not None for chain in state[1])
        return f"got as far as event {done} of {len(self.elements)}"


def _is_latest(state: list[Any], at: int, event_hash: int) -> bool:
    """Nothing that is known lies behind this event."""
    for kept in state[2:]:  # noqa: SIM110 - a generator costs more than what it asks
        if kept and (kept[0] > at or (kept[0] == at and kept[1] >= event_hash)):
            return False
    return True


def _joined(size: int, best: int | None, chains: list[Any], others: list[Any], samples: list[list[int]]) -> list[Any]:
    """The state after joining all that is known, chains included, in order of time."""
    moments: list[Moment] = [
        (kept[at], kept[at + 1], place + 1, None) for place, kept in enumerate(samples) for at in range(0, len(kept), 2)
    ]
    for known in (chains, others):
        moments += [(chain[1], chain[2], place + 1, chain[0]) for place, chain in enumerate(known) if chain is not None]
    moments.sort(key=lambda moment: (moment[0], moment[1], -moment[2]))
    return [*_join(size, iter(moments), best, [None] * (size - 1)), *samples]


def _join(size: int, moments: Iterator[Moment], best: int | None, chains: list[Any]) -> tuple[int | None, list[Any]]:
    """``moments`` in order of time, of one event the longest beginning first, so that it never follows itself."""
    joined = list(chains)
    for at, event_hash, length, began in moments:
        if began is None:
            began = at if length == 1 else joined[length - 2][0] if joined[length - 2] is not None else None
        if began is None:
            continue
        if length == size:
            best = at - began if best is None else min(best, at - began)
        elif joined[length - 1] is None or began > joined[length - 1][0]:
            joined[length - 1] = [began, at, event_hash]
    return best, joined


# -- as it is written --


def make_sequence(elements: tuple[EventFilter, ...], within: int | None) -> Sequence:
    state = ["sequence", [one.canonical for one in elements]]
    window = "" if within is None else f", all within {times.describe(within)}"
    return Sequence(
        id=content_id(state),
        kind="sequence",
        text=" then ".join(one.text for one in elements) + window,
        canonical=[*state, within],
        event_names=frozenset(one.event for one in elements),
        elements=elements,
        within=within,
    )


def read_sequence(node: Any, path: JsonPath, context: Context) -> Sequence | None:
    """``{events: [{event, where}, ...], within: PT1H}``; None after noting why not."""
    before = len(context.problems)
    fields = context.mapping(node, path, "`sequence`", ("events", "within"), required=("events",)) or {}
    place = (*path, "events")
    items = context.sequence(fields["events"], place, "`events`", least=2, most=MAX_ELEMENTS) if fields else None
    elements = [parse_event_filter(item, (*place, at), context) for at, item in enumerate(items or [])]
    within = read_within(fields, path, context)
    known = tuple(one for one in elements if one is not None)
    return None if len(context.problems) > before or not known else make_sequence(known, within)
