"""Leases: which partitions of ``effects`` are this process's, and until when it may hand out mail.

The store's clock says when a lease ends; ours only says how long ago we asked for it, by a clock that nobody sets and
that goes on while a machine sleeps.  So what is counted here ends before what the store counts: from the moment at
which a claim or renewal was *asked for*, less a margin.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import structlog

from heliograph.ports import Claim, SharedStore, StoreAway, steady_ms

MARGIN: Final = 0.1
"""Of a lease: what two machines' clocks may differ in a lease's length, and then some."""
END_S: Final = 0.5
RENEWALS: Final = 4
"""In one lease's length: two may fail before mail stops."""

log = structlog.get_logger("heliograph.leases")


async def _nothing() -> None:
    pass


class Leases:
    """``epochs``: partition -> the epoch under which it is ours.  Others hold on to this dict: it stays the same.
    ``claimed`` is awaited behind each claim, when the former owner can commit no more, and before anybody here takes
    these people for ours."""

    def __init__(self, store: SharedStore, owner: str, lease_ms: int, *, steady: Callable[[], int] = steady_ms) -> None:
        self.owner, self.lease_ms = owner, lease_ms
        self.epochs: dict[int, int] = {}
        self._store, self._steady = store, steady
        self.claimed: Callable[[], Awaitable[None]] = _nothing
        self._until = 0

    @property
    def until(self) -> int:
        """The instant (:func:`steady_ms`) from which on nothing may be handed out."""
        return self._until if self.epochs else 0

    def left_ms(self) -> int:
        return max(self.until - self._steady(), 0)

    def _ends(self, asked_at: int) -> int:
        return asked_at + int(self.lease_ms * (1 - MARGIN))

    async def claim(self, partitions: Sequence[int]) -> tuple[list[Claim], int]:
        """Take them over; the claims, and in how many ms whoever had them before will have stopped for certain."""
        asked_at = self._steady()
        claims = await asyncio.to_thread(self._store.claim, self.owner, partitions, self.lease_ms)
        await self.claimed()
        ends = self._ends(asked_at)
        self._until = min(self._until, ends) if self.epochs.keys() - set(partitions) else ends
        self.epochs.update((one.partition, one.epoch) for one in claims)
        return claims, max((one.former_ms for one in claims), default=0)

    async def renew(self) -> list[int]:
        """Go on; the partitions that turned out to be somebody else's.  :class:`StoreAway`."""
        epochs, asked_at = dict(self.epochs), self._steady()
        if not epochs:
            return []
        if await asyncio.to_thread(self._store.renew, self.owner, epochs, self.lease_ms):
            self._until = self._ends(asked_at)
            return []
        return await self.review()

    async def review(self) -> list[int]:
        """Ask whose they are, and forget those that are no longer ours: which."""
        known = {one.partition: one for one in await asyncio.to_thread(self._store.claims)}
        lost = [name for name, epoch in self.epochs.items() if not self._is_ours(known.get(name), epoch)]
        for partition in lost:
            self.epochs.pop(partition, None)
        if lost:
            log.warning("partitions are somebody else's now", partitions=lost)
        return lost

    def _is_ours(self, claim: Claim | None, epoch: int) -> bool:
        return claim is not None and (claim.owner, claim.epoch) == (self.owner, epoch)

    async def release(self, epochs: dict[int, int]) -> None:
        """Nobody need wait for their ends."""
        with contextlib.suppress(StoreAway):
            await asyncio.to_thread(self._store.release, self.owner, epochs)

    async def keep(self, lost: Callable[[Sequence[int]], Awaitable[None]]) -> None:
        """Renew on time, until cancelled."""
        while True:
            await asyncio.sleep(self.lease_ms / 1000 / RENEWALS)
            try:
                if gone := await self.renew():
                    await lost(gone)
            except StoreAway as error:
                log.warning("leases cannot be renewed", left_ms=self.left_ms(), error=str(error))


async def leading(store: SharedStore, owner: str, job: str, lease_ms: int, run: Callable[[], Awaitable[None]]) -> None:
    """Do a job that one process at a time may do (sweeps, broadcasts, retention), until cancelled: ``run`` is started
    when the store says that we lead, and cancelled before that ends."""
    task: asyncio.Future[None] | None = None
    until = 0
    try:
        while True:
            asked_at = steady_ms()
            try:
                if await asyncio.to_thread(store.lead, owner, job, lease_ms):
                    until = asked_at + int(lease_ms * (1 - MARGIN))
            except StoreAway:
                pass
            if steady_ms() < until and task is None:
                log.info("leading", job=job)
                task = asyncio.ensure_future(run())
            elif steady_ms() >= until and task is not None:
                await _end(task)
                task = None
            if task is not None and task.done():
                _ended(task, job)
                task = None
            await asyncio.sleep(lease_ms / 1000 / RENEWALS)
    finally:
        if task is not None:
            await _end(task)


def _ended(task: "asyncio.Future[None]", job: str) -> None:
    """It was done, or the store was away: it begins again with the next look.  Anything else is a bug."""
    try:
        task.result()
    except StoreAway as error:
        log.warning("a job stopped: the store does not answer", job=job, error=str(error))


async def _end(task: "asyncio.Future[None]") -> None:
    """Some clients swallow a cancellation (``asyncio.wait_for`` of Python 3.11 does, when what it waits for comes in
    the same turn): so again, until it is over."""
    while not task.done():
        task.cancel()
        await asyncio.wait([task], timeout=END_S)
    with contextlib.suppress(asyncio.CancelledError, StoreAway):
        task.result()
