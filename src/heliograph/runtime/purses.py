"""Permits that were asked for ahead of the messages they are for: what :mod:`heliograph.runtime.sharing` fills."""

from collections import deque
from typing import TYPE_CHECKING, Final

from heliograph.deliver.rates import DAY, NEVER, Days, Sliding
from heliograph.ports.cache import AHEAD, GRACE_MS, Want

if TYPE_CHECKING:
    from heliograph.runtime.sharing import Sharing

MARGIN_MS: Final = 5
"""From a look into a purse to the hand-out: a slice of the dispatcher, and ms cut off."""
OF_THE_REST: Final = 4
"""All machines together hold at most a fourth of what is left of a day."""
MOST_OF_A_DAY: Final = 256


def span_ms(unit_ms: int) -> int:
    """Permits that are let go within one unit were granted within this."""
    return unit_ms + unit_ms // AHEAD + 1


class Purse:
    """Permits of one rate.  ``limit``: what is written now; 0: none is needed."""

    __slots__ = ("_held", "_own", "_sharing", "batch", "limit", "name", "retry_at", "unit_ms")

    def __init__(self, sharing: "Sharing", name: str, limit: int, unit_ms: int) -> None:
        self.name, self.limit, self.unit_ms = name, limit, unit_ms
        self.batch, self.retry_at = 1, 0
        self._sharing = sharing
        self._held: deque[list[int]] = deque()
        """(lapses, count), the oldest first."""
        self._own = Sliding(0, unit_ms)

    def opens(self, now: int) -> int:
        """As of :class:`~heliograph.deliver.rates.Pace`; NEVER leaves word."""
        sharing, mono = self._sharing, self._sharing.mono()
        while self._held and self._held[0][0] <= mono + MARGIN_MS:
            self.batch = max(self.batch - self._held.popleft()[1], 1)
        if held := self.held:
            if 2 * held <= self.batch and self.batch > 1:
                sharing.want(self)
            return now
        sharing.want(self)
        if not sharing.apart(self.unit_ms):
            return NEVER
        self._own.limit = self.limit // sharing.most_workers(span_ms(self.unit_ms) + GRACE_MS)
        at = self._own.opens(mono)
        return NEVER if at == NEVER else now + max(at - mono, 0)

    def take(self) -> None:
        """One goes: :meth:`opens` has just said that it may."""
        if self._held:
            self._held[0][1] -= 1
            if not self._held[0][1]:
                self._held.popleft()
        else:
            self._own.take(self._sharing.mono())

    @property
    def held(self) -> int:
        return sum(count for _, count in self._held)

    def wants(self) -> Want:
        return Want(self.name, self.limit, self.unit_ms, self.batch)

    def granted(self, count: int, wait_ms: int, sent: int, mono: int) -> None:
        """``sent``: when they were asked for.  Those that are all used up in time are asked for in greater number, as
        many as may go before they lapse."""
        self.retry_at = mono + max(wait_ms, 1) if wait_ms else 0
        if count:
            self._held.append([sent + self.unit_ms // AHEAD, count])
            self.batch = min(2 * self.batch, max(self.limit // AHEAD, 1))

    @property
    def stuck(self) -> bool:
        return not self._held


class DayPurse:
    """Permits of one day.  ``days``: the count that everybody looks at; it is told what others have."""

    __slots__ = ("_sharing", "days", "held", "name", "others", "retry_at", "unit_ms", "used", "waiting")

    def __init__(self, sharing: "Sharing", name: str, days: Days) -> None:
        self.name, self.days, self.unit_ms = name, days, 0
        self.used = self.held = self.others = self.retry_at = 0
        self.waiting = False
        """Somebody looked and found nothing."""
        self._sharing = sharing

    @property
    def limit(self) -> int:
        return self.days.limit

    def opens(self, now: int) -> int:
        if not self._sharing.shared:
            return now if self.days.used < self.limit // self._sharing.most_workers(DAY) else (now // DAY + 1) * DAY
        if self.held and self._sharing.day_lasts():
            return now
        self.waiting = True
        self._sharing.want(self)
        return NEVER

    def take(self) -> None:
        self.held, self.used = max(self.held - 1, 0), self.used + 1

    def give_back(self, day: int) -> None:
        if day == self._sharing.day and self.used:
            self.used, self.held = self.used - 1, self.held + 1

    def ahead(self) -> int:
        """How many may be held: less and less as the day's number runs out."""
        left = self.limit - self.others - self.used - self.held
        return min(max(left, 0) // (OF_THE_REST * self._sharing.most_workers(0)), MOST_OF_A_DAY)

    def wants(self) -> Want:
        """What is held beyond what may be held is given back by not being told."""
        if not self.waiting:
            self.held = min(self.held, self.ahead() + 1) if self.ahead() else 0
        more = max(self.ahead(), 1) - self.held if self.waiting else 0
        return Want(self.name, self.limit, 0, max(more, 0), self.used + self.held)

    def granted(self, count: int, wait_ms: int, mono: int) -> None:
        self.held += count
        self.retry_at = mono + wait_ms if wait_ms else 0
        self.waiting = self.waiting and not self.held

    def told(self, others: int, day: int) -> None:
        self.others = others
        if self.days.day <= day:
            self.days.day, self.days.used = day, others + self.used

    def turned(self) -> None:
        """Another day."""
        self.used = self.held = self.others = 0

    @property
    def stuck(self) -> bool:
        return not self.held
