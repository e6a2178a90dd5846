"""The sweep after a publish: one ``Touch`` for every key, in portions, behind live traffic."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

import msgspec

from heliograph.ports import Busy, Store
from heliograph.runtime.meter import Meter
from heliograph.runtime.work import Touches, Work

META = "sweep"
PORTION = 256
"""Keys of one piece of work: some 10 ms that a live event may have to wait."""
BUSY_PAUSE_S = 0.5


class Progress(msgspec.Struct, array_like=True):
    """``after``: the last key touched.  ``total``: keys when it began, an estimate.  ``ended_at`` 0: still running."""

    plan: int
    started_at: int
    after: str | None = None
    done: int = 0
    total: int = 0
    ended_at: int = 0

    def encoded(self) -> bytes:
        return msgspec.msgpack.encode(self)


def read_progress(store: Store) -> Progress | None:
    data = store.meta(META)
    return msgspec.msgpack.decode(data, type=Progress) if data else None


class Sweeper:
    """Resumes where it was after a restart, because progress is written with each portion."""

    def __init__(
        self,
        store: Store,
        meter: Meter,
        put: Callable[[Work], None],
        *,
        live: Callable[[], int],
        now: Callable[[], int],
    ) -> None:
        self._store, self._meter, self._put, self._live, self._now = store, meter, put, live, now
        self._stirred = asyncio.Event()
        self._stirred.set()

    def stir(self) -> None:
        """A publish has written new progress."""
        self._stirred.set()

    def building(self) -> dict[str, Any] | None:
        progress = read_progress(self._store)
        if progress is None or progress.ended_at:
            return None
        return {"plan": progress.plan, "done": progress.done, "total": max(progress.total, progress.done)}

    def left(self) -> int:
        """Keys still to touch, an estimate."""
        building = self.building()
        return building["total"] - building["done"] if building else 0

    async def run(self) -> None:
        while True:
            await self._stirred.wait()
            self._stirred.clear()
            while (progress := read_progress(self._store)) is not None and not progress.ended_at:
                await self._portion(progress)

    async def _portion(self, progress: Progress) -> None:
        started = time.perf_counter()
        keys = self._store.keys(progress.after, PORTION)
        if keys:
            following = msgspec.structs.replace(progress, after=keys[-1], done=progress.done + len(keys))
        else:
            following = msgspec.structs.replace(progress, ended_at=self._now())
        work = Touches(keys, progress.plan, {META: following.encoded()})
        try:
            self._put(work)
            await work.done
        except Busy:
            await asyncio.sleep(BUSY_PAUSE_S)
            return
        self._meter.count("sweep_keys_total", by=len(keys))
        if self._live():
            await asyncio.sleep(2 * (time.perf_counter() - started))
