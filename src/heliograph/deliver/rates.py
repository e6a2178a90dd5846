"""How many messages may go: rates as people write them, and the counters that keep to them.

Three counters, because the field means three things by "so many per so long":

:class:`Pace`, for ``max_message_rate``, spreads messages evenly.  :class:`Sliding`, for a warm-up's hour, lets them go
at once until the hour is full.  :class:`Days`, for ``max_messages_per_day`` of an account, counts calendar days in UTC,
because providers do.

The law of each, over any half-open stretch of the clock's time that is as long as what was written: never more messages
than were written.  None of them reads a clock; instants are ms and integers, so nothing drifts.
"""

from collections.abc import Sequence
from typing import Final

import msgspec

SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
DAY: Final = 86_400_000
NEVER: Final = 1 << 62
"""No time of its own: something has to happen first."""

SLACK_MS: Final = 25
"""How late a :class:`Pace` may find the clock and still make up for it.  Event loops wake some ms late; without slack
each of those would be lost.  It is also the largest burst: what 25 ms hold, and one."""
SLOTS: Final = 60
"""Parts of a :class:`Sliding` stretch: what is counted in one is forgotten together, so at most 1/60 too late."""


class Rate(msgspec.Struct, frozen=True):
    """So many messages in so many ms."""

    count: int
    unit_ms: int

    def __str__(self) -> str:
        names = {seconds * 1000: name for name, seconds in SECONDS.items()}
        return f"{self.count}/{names.get(self.unit_ms, f'{self.unit_ms} ms')}"


def parse(text: str) -> Rate | None:
    """Of ``100/s``, ``/m``, ``/h`` or ``/d``; None for an empty text, which means no limit.  ValueError for another."""
    if not text:
        return None
    count, _, unit = text.partition("/")
    if not (count.isascii() and count.isdigit()) or unit not in SECONDS:
        raise ValueError(f"a rate is like 100/s (or /m, /h, /d), not {text!r}")
    return Rate(int(count), SECONDS[unit] * 1000)


def per_second(text: str) -> float:
    """The same as a number, 0 for no limit."""
    rate = parse(text)
    return rate.count * 1000 / rate.unit_ms if rate else 0.0


def of(per_s: float) -> Rate:
    """The nearest rate that is not above ``per_s`` messages a second, at least one an hour."""
    if per_s >= 10:
        return Rate(int(per_s), 1000)
    return Rate(max(int(per_s * 3600), 1), 3_600_000)


class Pace:
    """Messages spread evenly: the generic cell rate algorithm (ITU-T I.371), a leaky bucket kept as one instant.

    With interval T and tolerance τ a stretch of w ms holds at most ``ceil((w + τ) / T)`` messages.  T is
    ``(unit + τ) / count``, so one written unit holds exactly ``count`` at most, and what is lost for that is τ / unit:
    2.4 % of a rate per second, nothing of one per hour.
    """

    __slots__ = ("_next", "_slack", "_step", "rate")

    def __init__(self, rate: Rate, next_ms: int = 0) -> None:
        self.rate = rate
        self._step = rate.unit_ms + SLACK_MS
        """T, in units of 1/count ms: integers, so that no rounding adds up."""
        self._slack = SLACK_MS * rate.count
        self._next = next_ms * rate.count

    def opens(self, now: int) -> int:
        """The instant from which the next message may go; ``now`` or earlier when it may go at once."""
        return -((self._slack - self._next) // self.rate.count)

    def take(self, now: int) -> None:
        """One goes."""
        self._next = max(self._next, now * self.rate.count) + self._step

    @property
    def next_ms(self) -> int:
        """What to keep across a restart, rounded up."""
        return -(-self._next // self.rate.count)

    def resume(self, next_ms: int) -> None:
        """Go on where another left off (:attr:`next_ms`)."""
        self._next = next_ms * self.rate.count

    def mend(self, now: int) -> None:
        """After a restart the clock may have been set back: nobody waits longer than one unit for that."""
        self._next = min(self._next, (now + self.rate.unit_ms) * self.rate.count)


class Sliding:
    """At most ``limit`` in any stretch of ``length_ms``, at once if need be."""

    __slots__ = ("_counts", "_slot", "length_ms", "limit", "used")

    def __init__(self, limit: int, length_ms: int = 3_600_000, counts: Sequence[int] = (), slot: int = 0) -> None:
        self.limit, self.length_ms = limit, length_ms
        self._counts = list(counts) if len(counts) == SLOTS + 1 else [0] * (SLOTS + 1)
        self._slot = slot
        self.used = sum(self._counts)

    def _turn(self, now: int) -> None:
        """Forget what is out of reach.  A clock that was set back forgets nothing."""
        slot = now * SLOTS // self.length_ms
        steps = slot - self._slot
        if steps <= 0:
            return
        for step in range(1, min(steps, SLOTS + 1) + 1):
            place = (self._slot + step) % (SLOTS + 1)
            self.used -= self._counts[place]
            self._counts[place] = 0
        self._slot = slot

    def opens(self, now: int) -> int:
        """As of :class:`Pace`."""
        self._turn(now)
        if self.used < self.limit:
            return now
        if not self.limit:
            return NEVER
        left = self.used - self.limit
        for step in range(1, SLOTS + 1):
            left -= self._counts[(self._slot + step) % (SLOTS + 1)]
            if left < 0:
                return -(-(self._slot + step) * self.length_ms // SLOTS)
        return -(-(self._slot + SLOTS + 1) * self.length_ms // SLOTS)

    def take(self, now: int) -> None:
        self._turn(now)
        self._counts[self._slot % (SLOTS + 1)] += 1
        self.used += 1

    def give_back(self) -> None:
        """One that was taken did not go after all: it counts as the latest."""
        if self._counts[self._slot % (SLOTS + 1)]:
            self._counts[self._slot % (SLOTS + 1)] -= 1
            self.used -= 1

    def dump(self) -> tuple[list[int], int]:
        """What to keep across a restart: counts and slot."""
        return list(self._counts), self._slot


RESERVE: Final = 10
"""A broadcast leaves a tenth of what is left of a day to the mail that nobody can plan, less and less of it as the day
passes, so that at its end all of it was there for everybody."""


class Days:
    """At most ``limit`` in a calendar day (UTC); 0: no limit, only a count."""

    __slots__ = ("day", "limit", "used")

    def __init__(self, limit: int, day: int = 0, used: int = 0) -> None:
        self.limit, self.day, self.used = limit, day, used

    def turn(self, now: int) -> bool:
        """Another day has begun; a clock that was set back begins none."""
        if now // DAY <= self.day:
            return False
        self.day, self.used = now // DAY, 0
        return True

    def opens(self, now: int, *, patient: bool = False) -> int:
        """As of :class:`Pace`; ``patient``: for a broadcast, which leaves the :data:`RESERVE`."""
        self.turn(now)
        if not self.limit or self.used < self.limit - (self.limit // RESERVE if patient else 0):
            return now
        if patient and self.used < self.limit:
            return self._released(now)
        return (self.day + 1) * DAY

    def _released(self, now: int) -> int:
        """When the reserve has shrunk so far that one more may go."""
        reserve, left = self.limit // RESERVE, self.limit - self.used
        passed = -(-(reserve - left + 1) * DAY // (reserve + 1))
        return max(self.day * DAY + passed, 0)

    def take(self, now: int) -> None:
        self.turn(now)
        self.used += 1

    def give_back(self, day: int) -> None:
        """One that was taken on this day did not go after all."""
        if day == self.day and self.used:
            self.used -= 1


class Counters:
    """Where counters come from: these are this process's own.  ``name``: whose, unlike any other's."""

    def pace(self, name: str, rate: Rate) -> Pace:
        return Pace(rate)

    def sliding(self, name: str, limit: int, length_ms: int, counts: Sequence[int] = (), slot: int = 0) -> Sliding:
        return Sliding(limit, length_ms, counts, slot)

    def days(self, name: str, limit: int, day: int = 0, used: int = 0) -> Days:
        return Days(limit, day, used)


OWN: Final = Counters()
"""Of a deployment that is one process."""
