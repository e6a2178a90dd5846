"""Retention: what has become too old goes, a bounded portion at a time, between two commits.  Visitors who did not come
back are looked for here, too; that they are forgotten is decided like everything else, by a record."""

import asyncio
from collections.abc import Callable
from typing import Final

import structlog

from heliograph import decide
from heliograph.ports import Busy, Clock, Store
from heliograph.runtime.processor import Processor
from heliograph.runtime.work import Expiries, Work

DAY_MS: Final = 86_400_000
LOG_MS: Final = 7 * DAY_MS
HISTORY_MS: Final = 400 * DAY_MS
"""History, journal and messages."""
DEAD_LETTERS_MS: Final = 30 * DAY_MS
EVERY_S: Final = 1.0
"""A portion that drops nothing has still moved on: once a second, 500 people each, is a million in half an hour."""
KEYS_A_PORTION: Final = 500
ROUND_S: Final = 600.0
"""From the end of one round through all keys to the next."""
BREATH_S: Final = 0.05
"""Between two portions, for the commits that wait."""

log = structlog.get_logger("heliograph.retention")


async def keep_expiring(store: Store, clock: Clock, processor: Processor) -> None:
    """Until cancelled."""
    while True:
        gone = 0
        while portion := await processor.apart(lambda: expire(store, clock.now())):
            gone += portion
            await asyncio.sleep(BREATH_S)
        if gone:
            log.info("expired", rows=gone)
        await asyncio.sleep(EVERY_S)


def expire(store: Store, now: int) -> int:
    """One portion; how many rows went."""
    return store.expire(
        log_before=now - LOG_MS, history_before=now - HISTORY_MS, dead_letters_before=now - DEAD_LETTERS_MS
    )


class Forgetter:
    """Goes round all keys and appends ``Expire`` to the idle ones (:mod:`heliograph.decide.expiry`)."""

    def __init__(self, store: Store, clock: Clock, put: Callable[[Work], None]) -> None:
        self._store, self._clock, self._put = store, clock, put
        self._after: str | None = None

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self.portion()
            await asyncio.sleep(EVERY_S if self._after else ROUND_S)

    async def portion(self) -> int:
        """The next few keys; how many seemed idle."""
        keys = await asyncio.to_thread(self._store.keys, self._after, KEYS_A_PORTION)
        self._after = keys[-1] if keys else None
        idle = await asyncio.to_thread(idle_keys, self._store, keys, self._clock.now())
        if idle:
            work = Expiries(idle)
            try:
                self._put(work)
                await work.done
            except Busy:
                log.info("too busy to forget", keys=len(idle))  # the next round finds them again
        return len(idle)


def idle_keys(store: Store, keys: list[str], now: int) -> list[str]:
    anonymous = [key for key in keys if key.startswith("a:")]
    blobs = zip(anonymous, store.states(anonymous), strict=True)
    return [key for key, blob in blobs if blob is not None and decide.is_idle(decide.decode_state(blob), now)]
