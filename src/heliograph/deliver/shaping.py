"""How fast one receiver may be mailed to, learned from its settings and its replies.

What holds a message back, each for its own reason:

*In flight*: at most :attr:`Towards.window` messages are on their way to it.  The window begins small and grows by one
with each reply (Postfix's ``initial_destination_concurrency``), so a receiver that never answers holds little, and its
own.  *Pace*: ``max_message_rate``.  *Suspended*: nothing goes before an instant.  *Slowed*: a second pace, for a time,
because a rule about replies said so.  *Backed off*: a third one, where no rule speaks: when too much is put off, its
pace is half of what it got, and grows back in steps (additive increase, multiplicative decrease, as TCP does, because
that finds the rate which the other side bears without being told).

Pure: instants are arguments, in ms.  Nothing here knows lanes, messages or settings files.
"""

from typing import Final

from heliograph.deliver import rates
from heliograph.deliver.rates import NEVER, OWN, Counters, Pace, Rate

FIRST_WINDOW: Final = 10
"""Messages under way to a receiver that has never answered: five connections (Postfix's default), two on each."""
ON_A_CONNECTION: Final = 2
"""One in flight and one pipelined behind it."""
UNBOUND: Final = 1 << 30

WATCH_MS: Final = 60_000
"""Replies are counted over a minute: shorter would be ruled by chance, longer would go on annoying."""
LEAST: Final = 50
"""So many of them put off before anything is concluded: fewer are dealt with by each message's own growing delay."""
SHARE: Final = 0.2
"""And this share of all replies.  Up to 5 % is everyday life at large receivers; a fifth is a request."""
DEAF_MS: Final = 10_000
"""After slowing down, "later" is not counted for a while: it answers what was on its way before."""
LOWEST_PER_S: Final = 1 / 6
"""Slower than ten a minute it gets only where a rule says so: nobody would learn that more is welcome again."""
STEPS: Final = 10
"""From half to the whole again in five quiet minutes."""

DEAD_AFTER: Final = 5
"""Connections refused one after another before a receiver counts as out of order (KumoMTA's
``consecutive_connection_failures_before_delay`` at large receivers)."""
DEAD_MS: Final = 60_000
LONGEST_DEAD_MS: Final = 30 * 60_000
"""A minute, doubling to half an hour: then one message finds out."""

SLOW_MS: Final = 50
"""A reply that takes less is not slow, whatever others take."""
SLOWER: Final = 4
"""Times what is usual elsewhere."""
FALL: Final = 0.5
RISE: Final = 0.02
RISE_OF_SLOW: Final = 0.002
"""What slow receivers take hardly changes what is usual; were all to become slow, some hundred replies would tell."""
STALLED_MS: Final = 2_000
"""Something is under way and nothing was heard for so long."""


class Towards:
    """The traffic to one receiver.

    ``most``: what the window may grow to; ``pace``: of ``max_message_rate``.  ``window``, ``in_flight``: see above.
    ``until``, ``why``: of a suspension.  ``low_ms``: about the fastest tenth of its replies.
    """

    __slots__ = (
        "_answered",
        "_backed",
        "_ceiling",
        "_deaf_until",
        "_failures",
        "_pace",
        "_put_off",
        "_recovers_at",
        "_slowed",
        "_slowed_until",
        "_watched_from",
        "in_flight",
        "long",
        "low_ms",
        "most",
        "moved_at",
        "name",
        "shaped",
        "until",
        "why",
        "window",
    )  # fmt: skip

    def __init__(self, name: str, *, most: int = UNBOUND, rate: Rate | None = None, counters: Counters = OWN) -> None:
        self.name, self.most = name, most
        self.window = min(FIRST_WINDOW, most)
        self.in_flight = 0
        self.until, self.why = 0, ""
        self.low_ms, self.moved_at = 0.0, 0
        self.shaped = rate is not None
        """More than the window has to be looked at."""
        self.long = rate is not None and rate.unit_ms >= 3_600_000
        """Its rate is of an hour or a day: a restart must not forget how much of that is gone."""
        self._pace = None if rate is None else counters.pace(f"receiver:{name}", rate)
        self._slowed: Pace | None = None
        self._slowed_until = 0
        self._backed: Pace | None = None
        self._ceiling = 0.0
        self._recovers_at = self._deaf_until = 0
        self._answered = self._put_off = self._failures = 0
        self._watched_from = 0

    # -- may it go --

    def opens(self, now: int) -> int:
        """The instant from which the next message may go: ``now`` or earlier for at once, NEVER as long as none of
        those under way has come back."""
        if self.in_flight >= self.window:
            return NEVER
        if not self.shaped:
            return now
        self._heal(now)
        return max([self.until, *(pace.opens(now) for pace in self._paces())])

    def take(self, now: int) -> None:
        """One goes.  When it comes back, whatever became of it, ``in_flight`` is one less and ``moved_at`` is now."""
        if not self.in_flight:
            self.moved_at = now
        self.in_flight += 1
        if self.shaped:
            for pace in self._paces():
                pace.take(now)

    def _paces(self) -> list[Pace]:
        return [pace for pace in (self._pace, self._slowed, self._backed) if pace is not None]

    def _heal(self, now: int) -> None:
        """What has passed, passes."""
        if self._slowed is not None and self._slowed_until <= now:
            self._slowed = None
        while self._backed is not None and self._recovers_at <= now:
            self._recovers_at += WATCH_MS
            self._speed_up(now)
        if self.until <= now:
            self.until, self.why = 0, self.why if self._slowed or self._backed else ""
        self.shaped = bool(self.until or self._paces())

    def _speed_up(self, now: int) -> None:
        assert self._backed is not None
        rate = self._backed.rate
        faster = rate.count * 1000 / rate.unit_ms + self._ceiling / STEPS
        self._backed = None if faster >= self._ceiling else Pace(rates.of(faster), now)

    # -- what it answers --

    def answered(self, now: int, took_ms: int) -> None:
        """It took a message, or refused that one alone."""
        if not 0 <= now - self._watched_from < WATCH_MS:
            self._count(now)
        self._answered += 1
        self._failures = 0
        if self.window < self.most:
            self.window += 1
        self.low_ms = lower(self.low_ms, took_ms)

    def put_off(self, now: int, why: str) -> bool:
        """It said "later", about us and not about one mailbox (:meth:`answered` follows); True when that slows it
        down."""
        if now < self._deaf_until:
            return False
        self._count(now)
        self._put_off += 1
        if self._put_off < max(LEAST, SHARE * self._answered):
            return False
        self._back_off(now, why)
        return True

    def unreachable(self, now: int, why: str) -> bool:
        """No connection, or none that takes mail; True when that suspends it."""
        if now < self.until:
            return False
        self._failures += 1
        self.window = min(max(self.window // 2, 1), self.most)
        if self._failures < DEAD_AFTER:
            return False
        self.window = min(1, self.most)
        self.suspend(now + min(DEAD_MS << min(self._failures - DEAD_AFTER, 16), LONGEST_DEAD_MS), why)
        return True

    def _count(self, now: int) -> None:
        if now - self._watched_from >= WATCH_MS or now < self._watched_from:
            self._watched_from = now
            self._answered = self._put_off = 0

    def _per_second(self, now: int) -> float:
        """What it got of late."""
        if self._backed is not None:
            return self._backed.rate.count * 1000 / self._backed.rate.unit_ms
        return self._answered * 1000 / max(now - self._watched_from, 1000)

    def _back_off(self, now: int, why: str) -> None:
        per_s = self._per_second(now)
        self._ceiling = max(self._ceiling if self._backed else 0.0, per_s)
        self._backed = Pace(rates.of(max(per_s / 2, LOWEST_PER_S)), now)
        self._recovers_at, self._deaf_until = now + WATCH_MS, now + DEAF_MS
        self._watched_from, self._answered, self._put_off = now, 0, 0
        self.why, self.shaped = why, True

    # -- what rules say --

    def suspend(self, until: int, why: str) -> None:
        """Nothing before then."""
        self.until, self.why, self.shaped = max(self.until, until), why, True

    def slow(self, now: int, rate: Rate | None, until: int, why: str) -> None:
        """At most ``rate`` until then, or half of what it got."""
        if self._slowed is not None and now < self._slowed_until and rate in (None, self._slowed.rate):
            self._slowed_until = max(self._slowed_until, until)
            return
        self._slowed = Pace(rate or rates.of(max(self._per_second(now) / 2, LOWEST_PER_S)), now)
        self._slowed_until, self.why, self.shaped = until, why, True

    def bound(self, most: int) -> None:
        """Another number of connections is ours."""
        self.most, self.window = most, min(self.window or FIRST_WINDOW, most)

    def release(self) -> None:
        """Somebody knows better: nothing learned holds any more."""
        self.until, self.why, self._slowed, self._backed, self._failures = 0, "", None, None, 0
        self.window = max(self.window, min(FIRST_WINDOW, self.most))
        self.shaped = self._pace is not None

    # -- how it compares --

    def slow_beside(self, usual_ms: float, now: int, *, apart: bool) -> bool:
        """It does not answer, or much slower than others.  ``apart``: it has connections of its own, so slowness harms
        nobody."""
        long = SLOWER * usual_ms
        if self.in_flight and now - self.moved_at > max(STALLED_MS, long):
            return True
        return not apart and self.low_ms > max(SLOW_MS, long)

    # -- across a restart, and to be looked at --

    def remembered(self, now: int) -> list[object] | None:
        """What must survive a restart: suspension, slow-down, back-off, and a pace that counts hours or days."""
        self._heal(now)
        if not (self.until or self._slowed or self._backed or self.long):
            return None
        return [
            self.until, self.why[:200], _dump(self._slowed), self._slowed_until, _dump(self._backed), self._ceiling,
            self._recovers_at, self._failures, self._pace.next_ms if self._pace else 0,
        ]  # fmt: skip

    def remember(self, kept: list[object], now: int) -> None:
        """The same, read again."""
        until, why, slowed, slowed_until, backed, ceiling, recovers_at, failures, next_ms = kept
        self.until, self.why, self._slowed_until = _int(until), str(why), _int(slowed_until)
        self._slowed, self._backed = _load(slowed, now), _load(backed, now)
        self._ceiling, self._recovers_at = float(str(ceiling)), _int(recovers_at)
        self._failures = _int(failures)
        if self._pace is not None and next_ms:
            self._pace.resume(_int(next_ms))
            self._pace.mend(now)
        self.shaped = True

    def view(self, now: int) -> dict[str, object]:
        """As the API says it."""
        self._heal(now)
        return {
            "in_flight": self.in_flight,
            "window": self.window,
            "max_message_rate": str(self._pace.rate) if self._pace else None,
            "slowed_to": str(self._slowed.rate) if self._slowed else None,
            "slowed_until": self._slowed_until if self._slowed else None,
            "backed_off_to": str(self._backed.rate) if self._backed else None,
            "suspended_until": self.until or None,
            "reason": self.why or None,
            "reply_ms": round(self.low_ms, 1),
        }


def lower(low: float, took_ms: int, rise: float = RISE) -> float:
    """Falls fast and rises slowly: about the fastest tenth of the replies, whatever else waits behind others."""
    if not low:
        return took_ms
    return low + (took_ms - low) * (FALL if took_ms < low else rise)


def _dump(pace: Pace | None) -> tuple[int, int, int] | None:
    return None if pace is None else (pace.rate.count, pace.rate.unit_ms, pace.next_ms)


def _load(kept: object, now: int) -> Pace | None:
    if not isinstance(kept, (list, tuple)):
        return None
    pace = Pace(Rate(_int(kept[0]), _int(kept[1])), _int(kept[2]))
    pace.mend(now)
    return pace


def _int(value: object) -> int:
    assert isinstance(value, int)
    return value
