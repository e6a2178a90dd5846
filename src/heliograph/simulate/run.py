"""Send the calls when they are due, count what came back."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from heliograph.simulate.client import Job, Pool
from heliograph.simulate.shapes import SHAPES, arrivals, recorded
from heliograph.simulate.shop import Shop

BATCH = 100
"""Events in a batch with ``--api batch``."""
ANSWER_TIMEOUT_S = 30.0


class Options(msgspec.Struct, frozen=True):
    """``rate``: events a second.  ``api``: single or batch.  ``shape``: steady, spike, ramp or ``replay:FILE``."""

    url: str
    write_key: str
    profiles: int = 10_000
    rate: float = 100.0
    duration_s: float = 10.0
    seed: int = 1
    api: str = "single"
    shape: str = "steady"
    connections: int = 64


class Summary(msgspec.Struct, frozen=True):
    """Latencies in ms, from the instant a call was due to its 200."""

    events: int
    accepted: int
    seconds: float
    rate: float
    statuses: dict[str, int]
    dropped: int
    unanswered: int
    p50_ms: float
    p99_ms: float
    p999_ms: float
    max_ms: float


def percentile(ordered: list[float], share: float) -> float:
    """The value below which ``share`` of the ordered values lie; 0 when there are none."""
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else 0.0


def schedule(options: Options) -> Iterator[tuple[float, dict[str, Any]]]:
    """(seconds from the start, call), in order."""
    if options.shape.startswith("replay:"):
        return recorded(Path(options.shape.removeprefix("replay:")))
    if options.shape not in SHAPES:
        raise ValueError(f"--shape {options.shape}: one of {', '.join(SHAPES)} or replay:FILE")
    due = arrivals(options.shape, options.rate, options.duration_s, options.seed)
    shop = Shop(options.seed, options.profiles, options.url.rstrip("/") + "/shop")
    return zip(due, shop, strict=False)


def jobs(options: Options, calls: Iterator[tuple[float, dict[str, Any]]]) -> Iterator[tuple[float, int, bytes]]:
    """(due, events, body); a batch is due with its last event."""
    encode = msgspec.json.encode
    if options.api == "single":
        for due, call in calls:
            yield due, 1, encode(call)
        return
    batch: list[dict[str, Any]] = []
    due = 0.0
    for due, call in calls:
        batch.append(call)
        if len(batch) == BATCH:
            yield due, BATCH, encode({"batch": batch})
            batch = []
    if batch:
        yield due, len(batch), encode({"batch": batch})


async def simulate(options: Options, progress: Callable[[int, int], None] | None = None) -> Summary:
    """Run it; ``progress(events sent, events accepted)`` is called about ten times a second."""
    loop = asyncio.get_running_loop()
    pool = Pool(options.url, options.write_key, options.connections)
    await pool.open()
    started = loop.time()
    sent, shown = 0, started
    try:
        for number, (due, events, body) in enumerate(jobs(options, schedule(options))):
            if (ahead := started + due - loop.time()) > 0 or number % 64 == 0:
                await asyncio.sleep(max(0.0, ahead))
            pool.submit(Job(started + due, events, path_of(body), body))
            sent += events
            if progress and loop.time() - shown > 0.1:
                shown = loop.time()
                progress(sent, pool.events_ok)
        await pool.drain(ANSWER_TIMEOUT_S)
    finally:
        pool.close()
    return summarise(sent, loop.time() - started, pool)


def path_of(body: bytes) -> bytes:
    """``{"type":"track",...`` says its path in its first bytes; a batch begins with its name."""
    return b"/v1/batch" if body.startswith(b'{"batch"') else b"/v1/" + body[9 : body.index(b'"', 9)]


def summarise(sent: int, seconds: float, pool: Pool) -> Summary:
    latencies = sorted(pool.latencies)
    return Summary(
        events=sent,
        accepted=pool.events_ok,
        seconds=seconds,
        rate=pool.events_ok / seconds if seconds else 0.0,
        statuses={str(status): count for status, count in pool.statuses.items()},
        dropped=pool.dropped,
        unanswered=pool.broken + pool.under_way,
        p50_ms=percentile(latencies, 0.5) * 1000,
        p99_ms=percentile(latencies, 0.99) * 1000,
        p999_ms=percentile(latencies, 0.999) * 1000,
        max_ms=(latencies[-1] if latencies else 0.0) * 1000,
    )
