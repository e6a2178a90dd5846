"""The memory twin of a :class:`~heliograph.ports.cache.RateShare`: ``adapters/redis/rates.lua`` in Python, one object
for all machines, with the ways in which a real one fails."""

from collections.abc import Callable
from typing import Final

import msgspec

from heliograph.ports.cache import AHEAD, GRACE_MS, Answer, Ask, Grant, ShareAway, Want

DAY: Final = 86_400_000
SLOTS: Final = 128
"""Grants within 1/128 of a unit are remembered as one, of the last one's instant."""
SET_BACK_MS: Final = 1_000
"""A clock that goes back by more was set: nothing that is remembered can be trusted."""


def _span(unit_ms: int) -> int:
    return unit_ms + unit_ms // AHEAD + 1


class _Day(msgspec.Struct):
    day: int
    has: dict[str, int]


class _Member(msgspec.Struct):
    seq: int
    asked: int
    heard: int


class MemoryShare:
    """``clock``: the shared clock, ms.  ``away``: nobody gets an answer; ``run``: another one for another process."""

    def __init__(self, clock: Callable[[], int], patience_ms: int = 250) -> None:
        self._clock, self.patience_ms = clock, patience_ms
        self.away, self.run = False, 0
        self.forget()

    def forget(self) -> None:
        """As FLUSHALL, or a restart without persistence."""
        self._began: int | None = None
        self._epoch = ""
        self._run = self._last = self._without_gap = 0
        self._awaited: dict[str, int] = {}
        self._told = False
        self._members: dict[str, _Member] = {}
        self._said: dict[str, tuple[int, int]] = {}
        self._counts: dict[int, int] = {}
        self._apart: dict[int, tuple[int, int]] = {}
        self._rates: dict[str, list[tuple[int, int, int]]] = {}
        self._days: dict[str, _Day] = {}

    async def ask(self, ask: Ask) -> Answer:
        if self.away:
            raise ShareAway("the shared place is away")
        return self.answer(ask)

    async def close(self) -> None: ...

    def answer(self, ask: Ask) -> Answer:
        """At once, whether :attr:`away` or not: for simulations that deliver it themselves."""
        now = self._begin(ask)
        me = self._members.get(ask.machine)
        if 0 < ask.latest < now or (me is not None and ask.seq <= me.seq):
            return Answer(self._epoch, now, late=True)
        for name in ask.workers:
            self._said[name] = (self._said.get(name, (0 if now - self._without_gap < GRACE_MS else now, 0))[0], now)
        self._counts[len(ask.workers)] = now
        self._look_for_missing(ask, now)
        self._members[ask.machine] = _Member(ask.seq, now, (me.heard if me else 0) if ask.away else now)
        self._members = {name: one for name, one in self._members.items() if now - one.asked <= 2 * DAY}
        self._remember(ask, now)
        today = now // DAY
        self._awaited = {
            name: on for name, on in self._awaited.items() if name not in self._members and on == today
        }  # fmt: skip
        days: dict[str, dict[str, int]] = {}
        grants = tuple(
            self._of_rate(want, ask.workers, now) if want.unit_ms else self._of_day(want, ask, now, days)
            for want in ask.wants
        )
        return Answer(self._epoch, now, grants=grants, alive=tuple(self._here(now)), days=days)

    def _begin(self, ask: Ask) -> int:
        now = self._clock()
        if self._began is None or self._run != self.run or now < self._last - SET_BACK_MS or ask.latest < 0:
            self.forget()
            self._began = self._last = self._without_gap = now
            self._run, self._epoch = self.run, f"{self.run}:{now}:{ask.machine}:{ask.seq}"
        if now - self._last >= GRACE_MS // 2:
            self._without_gap = now
        self._last = max(now, self._last)
        return self._last

    def _young(self, now: int) -> bool:
        assert self._began is not None
        return now - self._began < GRACE_MS

    def _here(self, now: int) -> list[str]:
        return [name for name, one in self._members.items() if now - one.heard < GRACE_MS]

    def _remember(self, ask: Ask, now: int) -> None:
        if not ask.tells or ask.day != now // DAY:
            return
        self._told = True
        if self._young(now):
            self._awaited.update(dict.fromkeys(ask.alive, ask.day))
        for name, machine, count in ask.recall:
            known = self._day(name, now)
            known.has[machine] = max(known.has.get(machine, 0), count)

    def _day(self, name: str, now: int) -> _Day:
        known = self._days.get(name)
        if known is None or known.day != now // DAY:
            known = self._days[name] = _Day(now // DAY, {})
        return known

    def _look_for_missing(self, ask: Ask, now: int) -> None:
        """Who may have been on its own until now, before this ask changes what is known."""
        for unit in ask.units:
            self._apart.setdefault(unit, (0, 0))
        for unit, (until, count) in self._apart.items():
            silent = now - _span(unit) - GRACE_MS
            missing = sum(
                first <= silent < last and not self._heard_since(name, silent + 1)
                for name, (first, last) in self._said.items()
            )
            if missing:
                self._apart[unit] = (now + _span(unit), max(missing, count if now < until else 0))

    def _heard_since(self, name: str, at: int) -> bool:
        return name in self._members and self._members[name].heard >= at

    def _reserved(self, want: Want, workers: tuple[str, ...], now: int) -> int:
        within = _span(want.unit_ms) + GRACE_MS
        least = min([len(workers), *(count for count, at in self._counts.items() if now - at < within)])
        until, count = self._apart.get(want.unit_ms, (now + 1, len(workers)))
        missing = sum(not self._heard_since(name, now - GRACE_MS + 1) for name in workers)
        return want.limit // max(least, 1) * max(missing, count if now < until else 0)

    def _of_rate(self, want: Want, workers: tuple[str, ...], now: int) -> Grant:
        span = _span(want.unit_ms)
        assert self._began is not None
        if now - self._began < span:
            return Grant(0, self._began + span - now)
        log = [one for one in self._rates.get(want.name, []) if one[0] + span > now]
        away = self._reserved(want, workers, now)
        granted = max(min(want.count, want.limit - away - sum(one[1] for one in log)), 0)
        if granted and log and now - log[-1][2] < want.unit_ms / SLOTS:
            log[-1] = (now, log[-1][1] + granted, log[-1][2])
        elif granted:
            log.append((now, granted, now))
        self._rates[want.name] = log
        wait = (log[0][0] if log else now) + span - now
        return Grant(granted, (min(wait, 1000) if away else wait) if granted < want.count else 0)

    def _of_day(self, want: Want, ask: Ask, now: int, days: dict[str, dict[str, int]]) -> Grant:
        known = self._day(want.name, now)
        mine = want.mine if ask.day == now // DAY else 0
        others = sum(number for name, number in known.has.items() if name != ask.machine)
        granted = max(min(want.count, want.limit - others - mine), 0)
        if self._young(now) or not self._told or self._awaited:
            granted = 0
        known.has[ask.machine] = mine + granted
        days[want.name] = dict(known.has)
        return Grant(granted, 1000 if granted < want.count else 0, others)
