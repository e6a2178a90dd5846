"""Wake-ups: one deadline per key lies in the store; this task turns each into a record when its instant has come."""

import asyncio
from collections.abc import Callable

import structlog

from heliograph.ports import Clock, Store
from heliograph.runtime.meter import Meter
from heliograph.runtime.work import Wakes, Work

PORTION = 256
"""Keys woken by one piece of work: some 10 ms of deciding, so that live events are decided beside a burst of timers."""
PORTIONS = 2
"""Pieces under way at once: one is decided while the other is written."""
GATHER_S = 0.005
"""Between two portions of a steady trickle, because a commit for each timer would cost several times the timer.  A
timer that comes alone fires at once, and a full portion follows the one before at once."""
LONGEST_SLEEP_S = 1.0
"""The wall clock may be set: look again at least this often."""

log = structlog.get_logger("heliograph.wakeups")


class Wakeups:
    """After a restart everything overdue is due at once, so it fires at once."""

    def __init__(self, store: Store, clock: Clock, meter: Meter, put: Callable[[Work], None]) -> None:
        self._store, self._clock, self._meter, self._put = store, clock, meter, put
        self._stirred = asyncio.Event()
        self._under_way: dict[str, int] = {}
        self._portions = 0
        self._served: dict[str, int] = {}
        self._stale: set[str] = set()
        self._next: int | None = None
        self._again_at = 0.0
        """When the next portion may begin, by the loop's clock."""

    def notice(self, deadline: int | None) -> None:
        """A commit set this deadline."""
        if deadline is not None and (self._next is None or deadline < self._next):
            self._stirred.set()

    def stir(self) -> None:
        """Look now: the clock was moved."""
        self._stirred.set()

    async def run(self) -> None:
        while True:
            self._stirred.clear()
            while self._portions < PORTIONS and not self._early() and (due := self._due()):
                self._wake(due)
            await self._sleep()

    def _early(self) -> float:
        """Seconds until the next portion may begin."""
        return max(self._again_at - asyncio.get_running_loop().time(), 0.0)

    def _due(self) -> list[tuple[int, str]]:
        passed_over = len(self._under_way) + len(self._stale)
        due = self._store.due(self._clock.now(), PORTION + passed_over)
        fresh = [(at, key) for at, key in due if key not in self._under_way and key not in self._stale]
        for at, key in fresh:
            if self._served.get(key) == at:
                log.error("a wake-up was served and is still due", key=key, deadline=at)
                self._stale.add(key)
        return [(at, key) for at, key in fresh if key not in self._stale][:PORTION]

    def _wake(self, due: list[tuple[int, str]]) -> None:
        self._under_way.update((key, at) for at, key in due)
        self._portions += 1
        if len(due) < PORTION:
            self._again_at = asyncio.get_running_loop().time() + GATHER_S
        self._put(Wakes(due, self._ended, self._meter))

    def _ended(self, work: Wakes) -> None:
        self._portions -= 1
        if len(self._served) > PORTIONS * PORTION:
            self._served.clear()
        self._served.update((key, self._under_way.pop(key)) for _, key in work.due)
        self._stale |= work.broken
        self._stirred.set()

    async def _sleep(self) -> None:
        """Until the earliest deadline, the end of a portion or an earlier deadline."""
        self._next = self._store.next_due()
        seconds = LONGEST_SLEEP_S
        if self._next is not None and not self._under_way:
            ahead = max(self._next - self._clock.now(), 1) / 1000
            seconds = min(max(ahead, self._early()), LONGEST_SLEEP_S)
        try:
            async with asyncio.timeout(seconds):
                await self._stirred.wait()
        except TimeoutError:
            pass
