"""MX roll-up: finding out, beside everything else, which receiver a domain belongs to.

A domain is a receiver of its own until its MX is known; then what waits for it moves into the lanes of the receiver
that it is part of.  Nobody ever waits for a look-up.
"""

import asyncio
import heapq
from typing import Final

from heliograph.ports import Clock, MxLookup
from heliograph.runtime.traffic import Traffic

AT_ONCE: Final = 20
"""Questions under way: a resolver that answers in 50 ms then tells 400 domains a second."""
PENDING: Final = 5_000
"""Domains that wait to be asked about; one more stays its own receiver until it is mailed to again."""
HOLDS_MS: Final = 3_600_000
"""An answer is asked for again after an hour, if the domain is still mailed to: receivers move, seldom."""


class Rollup:
    """Asks for what :attr:`Traffic.ask` wants to know and tells :meth:`Traffic.learned`."""

    def __init__(self, lookup: MxLookup, traffic: Traffic, clock: Clock) -> None:
        self._lookup, self._traffic, self._clock = lookup, traffic, clock
        self._pending: dict[str, None] = {}
        self._until: list[tuple[int, str]] = []
        self._stirred = asyncio.Event()
        traffic.ask = self.ask

    def ask(self, domain: str) -> None:
        """Somebody mails to it and nobody knows its MX."""
        if len(self._pending) < PENDING:
            self._pending[domain] = None
            self._stirred.set()

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as group:
            for _ in range(AT_ONCE):
                group.create_task(self._work())

    async def _work(self) -> None:
        while True:
            while self._pending:
                domain = next(iter(self._pending))
                del self._pending[domain]
                await self.find(domain)
            self._stirred.clear()
            await self._stirred.wait()

    async def find(self, domain: str) -> None:
        """Ask for one; no answer leaves it its own receiver."""
        hosts = [host for _, host in (await self._lookup.mx(domain)).hosts]
        now = self._clock.now()
        self._traffic.learned(domain, hosts)
        heapq.heappush(self._until, (now + HOLDS_MS, domain))
        while self._until and self._until[0][0] <= now:
            self._traffic.refresh(heapq.heappop(self._until)[1])
