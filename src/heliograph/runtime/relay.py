"""The relay: what commits left for the shared log, on its way there, behind them.

A row of :attr:`heliograph.ports.Commit.relay` is on disk before it is published and goes when it was acknowledged: at
least once, under an id that says what it is, so that a second copy is passed over.  Each process publishes what its own
commits left, in their order, and what a dead one left behind: so what one process said about a person stays in order.
"""

import asyncio
import contextlib
from typing import Final

import structlog

from heliograph.ports import Appender, SharedStore, StoreAway, StreamAway, StreamRefused
from heliograph.ports.stream import Post
from heliograph.runtime.meter import Meter

PORTION: Final = 1_000
"""Rows of some 300 bytes: one look at the store, one acknowledgement."""
IDLE_S: Final = 0.1
"""How long what a dead process left may lie once it is given out to us."""
AWAY_S: Final = 1.0

log = structlog.get_logger("heliograph.relay")


class Relay:
    """``owner``: the name of this process, for its log."""

    def __init__(self, store: SharedStore, appender: Appender, meter: Meter, *, owner: str = "") -> None:
        self._store, self._appender, self._meter = store, appender, meter
        self._log = log.bind(owner=owner) if owner else log
        self._stirred = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.why = ""
        """What keeps the log from taking it, "" for nothing."""

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="relay")

    async def stop(self, patience_s: float = 5.0) -> None:
        """Publish what is there, for at most so long; whoever comes next finds the rest."""
        with contextlib.suppress(TimeoutError, StoreAway, StreamAway, StreamRefused):
            async with asyncio.timeout(patience_s):
                while await self.portion():
                    pass
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def stir(self) -> None:
        """A commit left something."""
        self._stirred.set()

    async def _run(self) -> None:
        while True:
            self._stirred.clear()
            try:
                while await self.portion() == PORTION:
                    pass
                self.why = ""
                await self._rest(IDLE_S)
            except (StoreAway, StreamAway, StreamRefused) as error:
                if not self.why:
                    self._log.warning("the relay waits", error=str(error))
                self.why = "" if isinstance(error, StoreAway) else str(error) or type(error).__name__
                await asyncio.sleep(AWAY_S)

    async def _rest(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stirred.wait()

    async def portion(self) -> int:
        """Publish the next few of ours (and of who died); how many."""
        rows = await asyncio.to_thread(self._store.relayed, PORTION)
        if rows:
            await self._appender.append([Post(row.topic, row.key, row.value) for _, row in rows])
            await asyncio.to_thread(self._store.forget_relayed, [number for number, _ in rows])
            self._meter.count("relayed_total", by=len(rows))
        return len(rows)
