"""Receivers that answer slowly, or not at all, beside the others: together they hold a part of the places, so that mail
to the others goes on."""

from typing import Final

from heliograph.deliver.limits import Shaping
from heliograph.deliver.rates import NEVER
from heliograph.deliver.routes import DIRECT
from heliograph.deliver.shaping import ON_A_CONNECTION, RISE_OF_SLOW, SLOW_MS, Towards, lower
from heliograph.runtime.lanes import Gate

SLOW_PART: Final = 4
"""All slow receivers together hold at most a fourth of the places on connections to relays, or of what mailers take."""
LEAST_SLOW: Final = 2


class Slow:
    """``gate``: where their lanes wait.  ``credit``: what all mailers together take at once."""

    def __init__(self, shaping: Shaping) -> None:
        self.gate = Gate(self._opens, lambda: "its receiver answers slowly")
        self.credit = 0
        self._direct = shaping.direct
        self._places = sum(ON_A_CONNECTION * one.connections for name, one in shaping.relays.items() if name != DIRECT)
        self._usual_ms = 0.0
        """About the fastest tenth of all replies."""
        self._known: set[Towards] = set()

    def holds(self, receiver: Towards, rank: int, now: int) -> bool:
        """It is slow, and has to wait for another slow one.  Asked only of one that seems to be
        (:meth:`heliograph.runtime.traffic.Traffic.closed`)."""
        return self._is_slow(receiver, now) and self._opens(rank, now) > now

    def answered(self, receiver: Towards, took_ms: int, now: int) -> None:
        if receiver.low_ms > SLOW_MS and receiver.slow_beside(self._usual_ms, now, apart=False):
            self._known.add(receiver)
            self._usual_ms = lower(self._usual_ms, took_ms, RISE_OF_SLOW)
        else:
            self._usual_ms = lower(self._usual_ms, took_ms)

    def _is_slow(self, receiver: Towards, now: int) -> bool:
        if not receiver.slow_beside(self._usual_ms, now, apart=self._direct):
            self._known.discard(receiver)
            return False
        self._known.add(receiver)
        return True

    def _opens(self, _rank: int, now: int) -> int:
        self._known = {one for one in self._known if one.in_flight}
        return now if sum(one.in_flight for one in self._known) < self._room() else NEVER

    def _room(self) -> int:
        return max(min(self._places or self.credit, self.credit or self._places) // SLOW_PART, LEAST_SLOW)
