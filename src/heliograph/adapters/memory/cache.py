"""The memory twin of a :class:`~heliograph.ports.cache.ProfileCache`, with the ways in which a real one fails."""

from collections import Counter
from collections.abc import Mapping

from heliograph.ports.cache import Cached


class MemoryProfiles:
    """``beside``: one whose place it shares, as processes share one Redis.  ``broken``: no call gets through."""

    def __init__(self, beside: "MemoryProfiles | None" = None) -> None:
        self._place: dict[str, Cached] = beside._place if beside else {}
        self._counts = Counter(dict.fromkeys(("hit", "missing", "stale", "away"), 0))
        self._missed = False
        self.broken = False

    def get(self, wanted: Mapping[str, int]) -> dict[str, bytes]:
        if self.away():
            self._counts["away"] += len(wanted)
            return {}
        answer = dict[str, bytes]()
        for key, at_least in wanted.items():
            there = self._place.get(key)
            fate = "missing" if there is None else "stale" if there.rev < at_least else "hit"
            self._counts[fate] += 1
            if fate == "hit" and there is not None and there.blob is not None:
                answer[key] = there.blob
        return answer

    def put(self, profiles: Mapping[str, Cached]) -> None:
        if self.away():
            self._missed = True
            return
        for key, one in profiles.items():
            if key not in self._place or self._place[key].rev < one.rev:
                self._place[key] = one

    def renew(self) -> None:
        if self.away():
            self._missed = True
        else:
            self._place.clear()

    def away(self) -> bool:
        if not self.broken and self._missed:
            self._missed = False
            self._place.clear()
        return self.broken

    def counts(self) -> Mapping[str, int]:
        return dict(self._counts)

    def close(self) -> None: ...
