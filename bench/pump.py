"""Batches as fast as they are taken, a fixed number under way: closed loop."""

import asyncio
import time
from collections.abc import Sequence

from bench import traffic
from bench.server import WRITE_KEY
from heliograph.simulate.client import Job, Pool


async def pump(url: str, bodies: Sequence[bytes], under_way: int) -> tuple[int, float, dict[int, int]]:
    """(events accepted, seconds, statuses); bodies beyond what the pool may hold wait here."""
    pool = Pool(url, WRITE_KEY, under_way)
    await pool.open()
    started = time.monotonic()
    for body in bodies:
        while pool.under_way >= 2 * under_way:  # noqa: ASYNC110 - the pool has no event for this
            await asyncio.sleep(0.001)
        pool.submit(Job(asyncio.get_running_loop().time(), traffic.BATCH, b"/v1/batch", body))
    await pool.drain(60)
    pool.close()
    return pool.events_ok, time.monotonic() - started, pool.statuses
