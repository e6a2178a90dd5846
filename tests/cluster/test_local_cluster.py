"""The local cluster itself: what is started answers, what is killed comes back, and nothing survives ``stop``."""

import contextlib
import smtplib
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import asyncpg
import redis.asyncio
from deploy.local.cluster import HERE, Cluster

from heliograph.config.settings import PostgresSetting, RedisSetting
from tests.cluster.conftest import Sink


async def test_each_test_has_an_empty_database(postgres: PostgresSetting) -> None:
    connection = await asyncpg.connect(postgres.url)
    try:
        assert await connection.fetch("select 1 from information_schema.tables where table_schema = 'public'") == []
        assert await connection.fetchval("show fsync") == "on"
    finally:
        await connection.close()


async def test_redis_answers(redis: RedisSetting) -> None:
    await _set_and_get(redis)


async def test_what_was_killed_is_up_again_at_the_same_address(cluster: Cluster, redis: RedisSetting) -> None:
    cluster.kill("redis")
    assert cluster.status()["redis"] == "down"
    cluster.start("redis")
    await _set_and_get(redis)


async def _set_and_get(setting: RedisSetting) -> None:
    async with redis.asyncio.from_url(setting.url) as client:
        await client.set(f"{setting.prefix}:one", b"1")
        assert await client.get(f"{setting.prefix}:one") == b"1"


def test_the_sink_keeps_what_it_takes(sink: Sink) -> None:
    host, port = sink.url.removeprefix("smtp://").partition("?")[0].split(":")
    before = len(sink.mails())
    with smtplib.SMTP(host, int(port)) as client:
        for number in range(3):
            client.sendmail("a@shop.example", f"p{number}@people.example", f"Subject: {number}\r\n\r\nFrom me\r\n")
    taken = sink.mails()[before:]
    assert [number for number, mail in enumerate(taken) if f"<p{number}@people.example>".encode() in mail] == [0, 1, 2]


def test_stop_ends_what_another_process_started(new_cluster: Callable[[], Cluster]) -> None:
    """As after a crash: the starter is gone, its servers are not."""
    cluster = new_cluster()
    command = [sys.executable, str(HERE / "cluster.py"), "--run", str(cluster.run), "start", "postgres", "redis"]
    subprocess.run(command, check=True, capture_output=True)
    assert cluster.status() == {"postgres": "running", "redis": "running"}
    alive = [pid for name in cluster.names() for pid in cluster.pids(name)]
    cluster.pause("redis")
    cluster.stop()
    assert cluster.status() == {"postgres": "down", "redis": "down"}
    assert [pid for pid in alive if (state := _state(pid)) and state not in "ZX"] == []


def _state(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    return ""
