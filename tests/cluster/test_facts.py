"""Facts from a real Kafka: loaders share the partitions, one dies, nothing is lost and nothing counts twice."""

import asyncio
import contextlib
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest

from heliograph.adapters.clickhouse import ClickhouseSink, place_of
from heliograph.adapters.kafka import KafkaStream, ensure_topics
from heliograph.adapters.rocksdb import RocksView
from heliograph.bootstrap.facts import Job
from heliograph.config.settings import KafkaSetting
from heliograph.decide.decided import Decided, encode_decided
from heliograph.events.ids import bucket
from heliograph.events.partitions import partition_key
from heliograph.ports import Post
from heliograph.ports.stream import EFFECTS
from heliograph.runtime.fact_sources import facts_of
from tests.adapters.clickhouse.kit import HUGE, journal, recorded
from tests.clickhouse_servers import ChdbServer

pytest.importorskip("clickhouse_connect")


def posts(folder: Path) -> list[Post]:
    with contextlib.closing(RocksView(folder)) as view:
        logged = view.log(0, HUGE)
        facts = facts_of(view, logged)
    told: dict[int, list[Any]] = {**facts}
    return [
        Post(EFFECTS, partition_key(bucket(record.key)), encode_decided(Decided(record, told.get(at, []), None, None)))
        for at, record in logged
    ]


@contextlib.contextmanager
def loader(job: Job) -> Any:
    with subprocess.Popen(
        [sys.executable, "-m", "heliograph.bootstrap.facts"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL
    ) as process:
        assert process.stdin is not None
        process.stdin.write(msgspec.json.encode(job) + b"\n")
        process.stdin.flush()
        try:
            yield process
        finally:
            process.kill()


def counted(sink: ClickhouseSink, wanted: int, patience_s: float = 300.0) -> int:
    found, until = -1, time.monotonic() + patience_s
    while found < wanted and time.monotonic() < until:
        with contextlib.suppress(Exception):
            found = sink.query("SELECT count() FROM facts", 1).rows[0][0]
        time.sleep(0.2)
    return found


async def test_loaders_share_a_topic_and_one_that_is_killed_costs_nothing(tmp_path: Path, kafka: KafkaSetting) -> None:
    folder = recorded(tmp_path / "data", 9)
    said = len(journal(folder))
    entries = posts(folder)
    await asyncio.to_thread(ensure_topics, kafka)
    stream = KafkaStream(kafka)
    appender = stream.appender()
    half = len(entries) // 2
    with ChdbServer(tmp_path / "server") as server:
        job = Job(f"{server.url}/facts", kafka=kafka)
        sink = ClickhouseSink(place_of(job.url))
        with loader(job) as first, loader(job):
            await appender.append(entries[:half])
            await asyncio.sleep(4)
            first.kill()
            await appender.append(entries[half:])
            await appender.append(entries[half:])  # the brain was restored and says it again
            assert await asyncio.to_thread(counted, sink, said) == said
        sink.close()
    await stream.close()
