"""Exact windows with bounded state: the N latest samples decide, older ones cannot matter (design, section 6).

A *sample* is (occurred_at, event hash).  The hash tells two events of one millisecond apart and absorbs repeats.  A
tally keeps the N greatest of a set of samples, which is commutative, associative and idempotent however the events
arrive.  With N = the count that is asked for (+1 for an upper bound), the k-th latest sample tells everything:

    at t there are at least k in the window    <=>    k-th latest > t - within
    this stops being so at                            k-th latest + within

Three shapes, all of them msgpack: N = 1 keeps one int (the latest instant); else a flat list, latest first; ``same``
keeps one such list per value.
"""

from typing import Any, ClassVar, Final, Protocol

Samples = list[int]
"""``[at, hash, at, hash, ...]``, latest first."""

MAX_COUNT: Final = 1000
"""Events that ``did`` counts to: 18 KB of a 256 KB blob at worst, and more than any campaign rule seen asks for."""
MAX_COUNT_SAME: Final = 50
"""The same per value of ``same``."""
MAX_SAME_SAMPLES: Final = 200
"""Samples that ``same`` keeps in all: the latest of them; answers are exact for a person's latest 200."""


class Tally(Protocol):
    """How samples are kept.  ``old`` None means none yet; what is returned is ``old`` itself if nothing changed."""

    shape: ClassVar[Any]
    """The type of a state."""

    def add(self, old: Any, at: int, event_hash: int, values: list[str]) -> Any: ...
    def merge(self, a: Any, b: Any) -> Any: ...
    def series(self, state: Any) -> list[Samples]:
        """What is counted each on its own: one list, or one for each value of ``same``."""
        ...

    def floor(self, state: Any) -> int | None:
        """The instant before which something that could matter may be missing; None when nothing is."""
        ...


class Latest:
    """Keeps the instant of the latest event."""

    shape: ClassVar[Any] = int

    def add(self, old: int | None, at: int, event_hash: int, values: list[str]) -> int:
        return at if old is None or at > old else old

    def merge(self, a: int, b: int) -> int:
        return max(a, b)

    def series(self, state: int | None) -> list[Samples]:
        return [[] if state is None else [state, 0]]

    def floor(self, state: int | None) -> int | None:
        return None


class NLatest:
    """Keeps the ``keep`` latest samples."""

    shape: ClassVar[Any] = Samples

    def __init__(self, keep: int) -> None:
        self.keep = keep

    def add(self, old: Samples | None, at: int, event_hash: int, values: list[str]) -> Samples:
        return add_sample(old or [], at, event_hash, self.keep)

    def merge(self, a: Samples, b: Samples) -> Samples:
        return merge_samples(a, b, self.keep)

    def series(self, state: Samples | None) -> list[Samples]:
        return [state or []]

    def floor(self, state: Samples | None) -> int | None:
        return None


class NLatestByValue:
    """Keeps the ``keep`` latest samples of each value, and of those the :data:`MAX_SAME_SAMPLES` latest in all.

    Both cuts together still commute: a sample cut by the second has that many later ones, and each of those is only
    ever displaced by a later one.
    """

    shape: ClassVar[Any] = dict[str, Samples]

    def __init__(self, keep: int, most: int = MAX_SAME_SAMPLES) -> None:
        self.keep = keep
        self.most = most

    def add(self, old: dict[str, Samples] | None, at: int, event_hash: int, values: list[str]) -> Any:
        state = old
        for value in values:
            samples = (state or {}).get(value, [])
            added = add_sample(samples, at, event_hash, self.keep)
            if added is not samples:
                state = self._cut({**(state or {}), value: added})
        return old if state == old else state

    def merge(self, a: dict[str, Samples], b: dict[str, Samples]) -> dict[str, Samples]:
        merged = dict(a)
        for value, samples in b.items():
            merged[value] = merge_samples(merged.get(value, []), samples, self.keep)
        return self._cut(merged)

    def series(self, state: dict[str, Samples] | None) -> list[Samples]:
        return list((state or {}).values())

    def floor(self, state: dict[str, Samples] | None) -> int | None:
        if not state or sum(map(len, state.values())) < 2 * self.most:
            return None
        return min(samples[-2] for samples in state.values())

    def _cut(self, state: dict[str, Samples]) -> dict[str, Samples]:
        if sum(map(len, state.values())) <= 2 * self.most:
            return state
        every = sorted((at, tag, value) for value, samples in state.items() for at, tag in _pairs(samples))
        oldest = every[-self.most]
        cut = {
            value: [part for at, tag in _pairs(samples) if (at, tag, value) >= oldest for part in (at, tag)]
            for value, samples in state.items()
        }
        return {value: samples for value, samples in cut.items() if samples}


def add_sample(samples: Samples, at: int, event_hash: int, keep: int) -> Samples:
    """``samples`` with one more, cut to ``keep``; the same object if that changes nothing."""
    size, place = len(samples), 0
    while place < size:
        known = samples[place]
        if at > known or (at == known and event_hash >= samples[place + 1]):
            break
        place += 2
    if place >= 2 * keep or (place < size and samples[place] == at and samples[place + 1] == event_hash):
        return samples
    return [*samples[:place], at, event_hash, *samples[place : 2 * keep - 2]]


def merge_samples(a: Samples, b: Samples, keep: int) -> Samples:
    latest = sorted({*_pairs(a), *_pairs(b)}, reverse=True)[:keep]
    return [part for pair in latest for part in pair]


def nth(samples: Samples, k: int) -> int | None:
    """The instant of the k-th latest sample, counted from 1."""
    return samples[2 * k - 2] if len(samples) >= 2 * k else None


def count_after(samples: Samples, since: int) -> int:
    """How many of the kept samples are later than ``since``."""
    return sum(1 for at in samples[::2] if at > since)


def _pairs(samples: Samples) -> list[tuple[int, int]]:
    return list(zip(samples[::2], samples[1::2], strict=True))
