"""Rates that many machines keep together: this machine's part.

A :class:`~heliograph.runtime.purses.Purse` holds permits that were asked for ahead of the messages they are for, so
that a hand-out never waits for another machine: a look into an empty purse says NEVER and leaves word; one task asks
for all purses at once, and what comes opens gates.  Permits of a rate lapse after a part of its unit; those of a day
are good until it ends, so what a machine holds when the shared place goes away it may still let go, and nothing more of
that day.

When the shared place is away, or there is none, a rate is shared by counting heads: ``limit // workers``, beginning
:func:`apart_ms` after it was last asked for anything.  Until then the last unit may hold what others were granted.

The shared place and this machine's own clock for lengths of time (``mono``, ms) are all that is believed; the machine's
wall clock may be set at will.  Why the law holds: ``docs/decisions/0053-rates-of-many-machines.md``.
"""

import asyncio
from collections.abc import Callable, Iterable
from typing import Final

import structlog

from heliograph.deliver.rates import DAY, Days
from heliograph.ports import steady_ms
from heliograph.ports.cache import AHEAD, GRACE_MS, Answer, Ask, RateShare, ShareAway
from heliograph.runtime.purses import MARGIN_MS, DayPurse, Purse, span_ms

BEAT_MS: Final = 1_000
"""How often a machine is heard of, tells what it has of each day, and asks again for what it was refused."""
STEP_MS: Final = 100
"""Clocks may differ by this, and by a hundredth of what has passed, without having been set."""
WANTS: Final = 500
"""In one ask: some 25 KB, and a millisecond of the shared place."""

log = structlog.get_logger("heliograph.sharing")


def apart_ms(unit_ms: int, patience_ms: int) -> int:
    """So long after it last asked a machine may let go its own share: what others were granted before they knew that
    it is out of reach is more than a unit old by then."""
    return span_ms(unit_ms) + 2 * GRACE_MS + 2 * patience_ms + STEP_MS


class Sharing:
    """``share`` None: there is no shared place, every machine keeps to its share.  ``machine``: a name that no other
    life of any process has; ``workers``: the names of all that live.  ``granted`` is called with
    the names for which something may have opened; ``resized`` when the machines are others; ``recall`` gives what the
    store knows of a day: (name, machine, what it had)."""

    def __init__(
        self,
        share: RateShare | None,
        *,
        machine: str,
        workers: Callable[[], Iterable[str]] = tuple,
        mono: Callable[[], int] = steady_ms,
    ) -> None:
        self._share, self.machine, self._workers, self.mono = share, machine, workers, mono
        self.granted: Callable[[Iterable[str]], None] = lambda _names: None
        self.resized: Callable[[], None] = lambda: None
        self.recall: Callable[[int], Iterable[tuple[str, str, int]]] = lambda _day: ()
        self._patience = share.patience_ms if share else 0
        self._wanted: dict[Purse | DayPurse, None] = {}
        self._days: list[DayPurse] = []
        self._seq = 0
        self._units: tuple[int, ...] = ()
        self._epoch = ""
        self._contact = mono()
        """When this machine last asked as one that is not :attr:`away`; at first, when this life began."""
        self._known: tuple[int, int] | None = None
        """The shared clock as it was answered, and when that was asked."""
        self._beat_at = 0
        self._away = True
        """Until the first answer, too: nobody knows when an ask that was not answered will be read."""
        self._was_set = False
        self.day = 0
        self._alive: tuple[str, ...] = ()
        self._seen: dict[str, dict[str, int]] = {}
        self._tell: tuple[tuple[tuple[str, str, int], ...], tuple[str, ...]] | None = None
        self._heads: dict[int, int] = {}
        """Number of machines -> when there last were so many."""
        self._count = 1
        self._names: tuple[str, ...] = ()
        self._stirred = asyncio.Event()
        self.asks = self.failures = 0

    # -- what counters ask --

    @property
    def shared(self) -> bool:
        return self._share is not None

    def purse(self, name: str, limit: int, unit_ms: int) -> Purse:
        self._units = tuple(sorted({*self._units, unit_ms}))
        return Purse(self, name, limit, unit_ms)

    def day_purse(self, name: str, days: Days) -> DayPurse:
        self._days = [one for one in self._days if one.name != name]
        self._days.append(DayPurse(self, name, days))
        return self._days[-1]

    def want(self, purse: Purse | DayPurse) -> None:
        if purse not in self._wanted:
            self._wanted[purse] = None
            if not self._away:
                self._stirred.set()

    def apart(self, unit_ms: int) -> bool:
        """This machine is on its own for long enough."""
        return self._away and self.mono() - self._contact >= apart_ms(unit_ms, self._patience)

    def most_workers(self, within_ms: int) -> int:
        """The greatest number of live machines there was in so long."""
        least = self.mono() - within_ms
        return max([self._count, *(count for count, at in self._heads.items() if at > least)])

    def day_lasts(self) -> bool:
        """It is still the shared clock's day for which permits are held."""
        return self._known is not None and self._shared_now() < (self.day + 1) * DAY

    def _shared_now(self) -> int:
        """Not earlier than the shared clock."""
        assert self._known is not None
        now, sent = self._known
        return now + (self.mono() - sent) + MARGIN_MS

    @property
    def away(self) -> bool:
        return self._away

    @property
    def workers(self) -> int:
        return self._count

    @property
    def place(self) -> tuple[int, int]:
        """How many machines live, and which of them, in the order of their names, this one is."""
        return self._count, self._names.index(self.machine) if self._names else 0

    # -- asking --

    def question(self) -> Ask | None:
        """What to ask now, None when there is nothing."""
        mono = self.mono()
        self._count_heads(mono)
        beat = mono >= self._beat_at
        if self._share is None or (not beat and (self._away or not self._ready(mono))):
            return None
        purses = [one for one in self._wanted if one.retry_at <= mono][:WANTS]
        if beat or self._tell:
            purses += [one for one in self._days if one not in purses]
            self._beat_at = mono + BEAT_MS
        if not self._away:
            self._contact = mono
        self._asked = purses
        self._seq += 1
        recall, alive = self._words()
        return Ask(
            self.machine, self._seq, self._names, self._units, self.day,
            self._latest(), self._away, self._tell is not None, tuple(one.wants() for one in purses), recall, alive,
        )  # fmt: skip

    def _ready(self, mono: int) -> bool:
        return self._tell is not None or any(one.retry_at <= mono for one in self._wanted)

    def _words(self) -> tuple[tuple[tuple[str, str, int], ...], tuple[str, ...]]:
        """For an epoch that was not known: what the store has, and what was seen in the one before."""
        if self._tell is None:
            return (), ()
        seen, alive = self._tell
        return (*seen, *(one for one in self.recall(self.day) if one[1] != self.machine)), alive

    def claims(self) -> dict[str, int]:
        """By name: what this machine has of :attr:`day`, let go or held: for the store."""
        return {one.name: one.used + one.held for one in self._days if one.limit}

    def _latest(self) -> int:
        if self._was_set:
            return -1
        if self._known is None:
            return 0
        now, sent = self._known
        passed = self.mono() - sent
        return now + passed + passed // 100 + self._patience + STEP_MS

    def _count_heads(self, mono: int) -> None:
        names = set(self._workers())
        before, self._names = self._names, tuple(sorted({*names, self.machine}))
        count = len(self._names)
        self._heads[self._count] = mono
        if count != self._count:
            self._heads = {number: at for number, at in self._heads.items() if mono - at < DAY + DAY // AHEAD}
            self._count = count
        if self._names != before:
            self.resized()

    # -- hearing --

    def heard(self, answer: Answer, sent: int) -> None:
        """``sent``: when it was asked."""
        mono = self.mono()
        if answer.late:
            self._was_set = mono - sent <= self._patience
            self._beat_at = 0
            return
        if self._away:
            log.info("rates are shared", machine=self.machine)
            self._beat_at = 0  # to be heard of as one that is here
        self._was_set, self._away, self._known = False, False, (answer.now, sent)
        self._turn(answer)
        for purse, grant in zip(self._asked, answer.grants, strict=True):
            self._wanted.pop(purse, None)
            if isinstance(purse, DayPurse):
                purse.told(grant.others, self.day)
                purse.granted(grant.count, grant.wait_ms, mono)
            else:
                purse.granted(grant.count, grant.wait_ms, sent, mono)
            if purse.stuck and grant.wait_ms and (not isinstance(purse, DayPurse) or purse.waiting):
                self._wanted[purse] = None
        self.granted([purse.name for purse in self._asked if not purse.stuck])

    def _turn(self, answer: Answer) -> None:
        """Another day, another epoch: then what was known of the one before is told."""
        if answer.now // DAY != self.day:
            self.day = answer.now // DAY
            self._seen = {}
            for one in self._days:
                one.turned()
        if self._epoch == answer.epoch:
            self._tell, self._alive = None, answer.alive
            self._seen.update(answer.days)
        else:
            if self._epoch:
                log.warning("the shared place has forgotten rates: nothing of a rate goes for one unit of it")
            self._tell = (self._others(), tuple(name for name in self._alive if name != self.machine))
            self._beat_at = 0
        self._epoch = answer.epoch

    def _others(self) -> tuple[tuple[str, str, int], ...]:
        return tuple(
            (name, machine, count)
            for name, has in self._seen.items()
            for machine, count in has.items()
            if machine != self.machine
        )

    def failed(self) -> None:
        if not self._away:
            log.warning("rates are not shared: each machine will keep to its part", machine=self.machine)
        self.failures += 1
        self._away, self._beat_at = True, self.mono() + BEAT_MS

    # -- the task --

    async def run(self) -> None:
        """Ask, until cancelled."""
        while True:
            self._stirred.clear()
            await self.turn()
            try:
                async with asyncio.timeout(self.rest_ms() / 1000):
                    await self._stirred.wait()
            except TimeoutError:
                pass

    async def turn(self) -> None:
        """One question and its answer, if there is anything to ask."""
        sent = self.mono()
        ask = self.question()
        if self._away:
            self.open_apart()
        if ask is None or self._share is None:
            return
        self.asks += 1
        try:
            answer = await self._share.ask(ask)
        except ShareAway:
            self.failed()
        else:
            self.heard(answer, sent)

    def open_apart(self) -> None:
        """What waits for an answer that does not come may go on this machine's own share."""
        waiting = [one.name for one in self._wanted if not one.unit_ms or self.apart(one.unit_ms)]
        if waiting:
            self._wanted = {one: None for one in self._wanted if one.name not in waiting}
            self.granted(waiting)

    def rest_ms(self) -> int:
        """Until there is something to ask."""
        mono = self.mono()
        if self._share is None:
            return BEAT_MS
        times = [self._beat_at] if self._away else [self._beat_at, *(one.retry_at for one in self._wanted)]
        return max(min(times) - mono, 1)

    async def close(self) -> None:
        if self._share is not None:
            await self._share.close()
