"""The shared log on a real broker: entries a second, time to the acknowledgement, CPU an entry of its client.

    sh scripts/servers.sh && .venv/bin/python -m bench.stream

One broker of its own on this machine (``deploy/local``), eight partitions, entries of 512 bytes (lz4 takes half).
"""

import asyncio
import os
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from deploy.local.cluster import Cluster

from heliograph.adapters.kafka import KafkaStream, ensure_topics
from heliograph.config import KafkaSetting
from heliograph.ports.stream import RECORDS, Appender, Post, Reader, Stream

VALUE = os.urandom(200) + b'{"event":"Product Viewed","properties":{"price":12}}' * 6
SHAPES = ((1, 1, 1_000), (64, 1, 300), (8, 100, 100), (8, 500, 40))
"""Callers, entries of each call, calls of each caller."""


class Everything:
    async def assigned(self, partitions: object) -> dict[tuple[str, int], int]:
        return {}

    async def revoked(self, partitions: object, lost: bool) -> None:
        pass


def posts(first: int, count: int) -> list[Post]:
    return [Post(RECORDS, (n % 1024).to_bytes(2, "big"), VALUE) for n in range(first, first + count)]


async def measured(name: str, entries: int, work: Callable[[list[float]], Awaitable[object]]) -> None:
    """``work`` adds the time of each of its calls."""
    times: list[float] = []
    began, cpu = time.perf_counter(), time.process_time()
    await work(times)
    took, cpu = time.perf_counter() - began, time.process_time() - cpu
    times.sort()
    p50, p99 = (times[int(len(times) * share)] * 1000 for share in (0.5, 0.99))
    each = f"CPU {cpu / entries * 1e6:6.1f} us an entry"
    print(f"{name:24} {entries / took:9,.0f}/s   p50 {p50:7.2f}  p99 {p99:7.2f} ms   {each}")


async def appending(appender: Appender, callers: int, size: int, calls: int) -> None:
    async def caller(number: int, times: list[float]) -> None:
        for call in range(calls):
            began = time.perf_counter()
            await appender.append(posts(number * 7 + call, size))
            times.append(time.perf_counter() - began)

    async def work(times: list[float]) -> None:
        await asyncio.gather(*(caller(number, times) for number in range(callers)))

    await measured(f"append: {callers} x {size}", callers * size * calls, work)


async def reading(reader: Reader) -> None:
    there = sum(end for _, end in (await reader.ends(RECORDS)).values())

    async def work(times: list[float]) -> None:
        left = there
        while left:
            began = time.perf_counter()
            left -= len(await reader.read(1_000, 1.0))
            times.append(time.perf_counter() - began)

    await measured("read, from the oldest", there, work)


async def passing(stream: Stream, reader: Reader) -> None:
    """From ``append`` to ``read``."""
    appender = stream.appender()

    async def work(times: list[float]) -> None:
        for number in range(1_000):
            began = time.perf_counter()
            acknowledged = asyncio.ensure_future(appender.append(posts(number, 1)))
            while not await reader.read(10, 1.0):
                pass
            times.append(time.perf_counter() - began)
            await acknowledged

    await measured("append to read, by ones", 1_000, work)


async def run(brokers: str) -> None:
    setting = KafkaSetting(brokers=brokers, prefix="bench", partitions=8, replication=1, timeout="PT30S")
    ensure_topics(setting)
    stream = KafkaStream(setting)
    appender = stream.appender()
    await appender.append(posts(0, 100))
    for callers, size, calls in SHAPES:
        await appending(appender, callers, size, calls)
    reader = stream.reader([RECORDS], Everything(), group=None)
    await reading(reader)
    await passing(stream, reader)
    await stream.close()


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="bench-stream-") as folder:
        cluster = Cluster(Path(folder))
        try:
            cluster.start("kafka")
            asyncio.run(run(str(cluster.addresses["kafka"]["brokers"])))
        finally:
            cluster.stop()
        print(f"load of the machine in the last minute: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")


if __name__ == "__main__":
    main()
