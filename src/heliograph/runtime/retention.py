"""Retention: what has become too old goes, a bounded portion at a time, between two commits."""

import asyncio
from typing import Final

import structlog

from heliograph.ports import Clock, Store
from heliograph.runtime.processor import Processor

DAY_MS: Final = 86_400_000
LOG_MS: Final = 7 * DAY_MS
HISTORY_MS: Final = 400 * DAY_MS
"""History, journal and messages."""
DEAD_LETTERS_MS: Final = 30 * DAY_MS
EVERY_S: Final = 1.0
"""A portion that drops nothing has still moved on: once a second, 500 people each, is a million in half an hour."""
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
