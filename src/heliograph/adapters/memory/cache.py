"""The memory twin of a :class:`~heliograph.ports.cache.ProfileCache`, with the ways in which a real one fails."""

from collections import Counter
from collections.abc import Callable, Mapping
from typing import NamedTuple

from heliograph.ports import steady_ms
from heliograph.ports.cache import Cached, Known


class _Entry(NamedTuple):
    generation: int
    at: int
    cached: Cached


class _Place:
    """What processes share.  Entries of an older generation are there, and not found."""

    def __init__(self) -> None:
        self.generation = 0
        self.entries: dict[str, _Entry] = {}


class MemoryProfiles:
    """``beside``: one whose place it shares, as processes share one Redis.  ``broken``: no call gets through."""

    def __init__(self, beside: "MemoryProfiles | None" = None, now: Callable[[], int] = steady_ms) -> None:
        self._place: _Place = beside._place if beside else _Place()
        self._now = now
        self._counts = Counter(dict.fromkeys(("hit", "missing", "stale", "away"), 0))
        self._missed = False
        self.broken = False

    def get(self, wanted: Mapping[str, int]) -> dict[str, bytes]:
        if self.away():
            self._counts["away"] += len(wanted)
            return {}
        answer = dict[str, bytes]()
        for key, at_least in wanted.items():
            there = self._there(key)
            fate = "missing" if there is None else "stale" if there.rev < at_least else "hit"
            self._counts[fate] += 1
            if fate == "hit" and there is not None and there.blob is not None:
                answer[key] = there.blob
        return answer

    def last(self, key: str) -> Known | None:
        there = None if self.away() else self._place.entries.get(key)
        if there is None or there.cached.blob is None:
            return None
        return Known(there.cached.blob, self._now() - there.at)

    def put(self, profiles: Mapping[str, Cached]) -> None:
        if self.away():
            self._missed = True
            return
        place = self._place
        for key, one in profiles.items():
            there = place.entries.get(key)
            if there is None or (there.cached.rev, there.generation) < (one.rev, place.generation):
                place.entries[key] = _Entry(place.generation, self._now(), one)

    def renew(self) -> None:
        if self.away():
            self._missed = True
        else:
            self._place.generation += 1

    def away(self) -> bool:
        if not self.broken and self._missed:
            self._missed = False
            self._place.generation += 1
        return self.broken

    def counts(self) -> Mapping[str, int]:
        return dict(self._counts)

    def close(self) -> None: ...

    def _there(self, key: str) -> Cached | None:
        entry = self._place.entries.get(key)
        return entry.cached if entry is not None and entry.generation == self._place.generation else None
