"""The law of shared rates on a real Redis that is paused, killed and emptied while three machines send; and that the
script says what its twin says."""

import asyncio
import itertools
import random
import time
from collections.abc import AsyncIterator, Callable
from itertools import pairwise

import pytest
import pytest_asyncio
from deploy.local.cluster import Cluster
from redis.asyncio import Redis

from heliograph.adapters.memory import MemoryShare
from heliograph.adapters.redis import RedisShare
from heliograph.config.settings import RedisSetting
from heliograph.deliver.rates import DAY, Rate
from heliograph.ports.cache import Answer, Ask, ShareAway, Want
from heliograph.runtime.sharing import Sharing
from heliograph.runtime.traffic_shared import SharedCounters

NAMES = ("m0", "m1", "m2")
RATE, DAILY = Rate(10, 1000), 100


class Sender:
    """A machine that always has mail, and notes when it let go what."""

    def __init__(self, redis: RedisSetting, name: str, gone: list[tuple[float, str]]) -> None:
        self.gone = gone
        self.share = RedisShare(redis.url, redis.prefix)
        self.sharing = Sharing(self.share, machine=name, workers=lambda: NAMES)
        counters = SharedCounters(self.sharing)
        self.pace = counters.pace("receiver:r", RATE)
        self.days = counters.days("sender:s:day", DAILY)

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self.sharing.run())
            while True:
                now = int(time.time() * 1000)
                for counter, name in ((self.pace, "rate"), (self.days, "day")):
                    if counter.opens(now) <= now:
                        counter.take(now)
                        self.gone.append((time.monotonic(), name))
                await asyncio.sleep(0.002)


def most(gone: list[tuple[float, str]], seconds: float) -> int:
    """In any stretch of so long."""
    times = sorted(at for at, name in gone if name == "rate")
    return max((sum(1 for at in times[i : i + 50] if at < times[i] + seconds) for i in range(len(times))), default=0)


@pytest_asyncio.fixture
async def shares(redis: RedisSetting) -> AsyncIterator[Callable[[], RedisShare]]:
    made: list[RedisShare] = []

    def new() -> RedisShare:
        made.append(RedisShare(redis.url, redis.prefix, 3.0))
        return made[-1]

    yield new
    for share in made:
        await share.close()


async def sending(redis: RedisSetting, trouble: Callable[[], None] | None) -> list[tuple[float, str]]:
    """What three machines let go, 10 s of it behind the trouble."""
    gone: list[tuple[float, str]] = []
    senders = [Sender(redis, name, gone) for name in NAMES]
    tasks = [asyncio.create_task(sender.run()) for sender in senders]
    await asyncio.sleep(7)
    if trouble is not None:
        await asyncio.to_thread(trouble)
    await asyncio.sleep(10)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    for sender in senders:
        await sender.share.close()
    return gone


@pytest.mark.parametrize("trouble", ["pause", "kill", "flush"])
async def test_three_machines_never_exceed_a_rate_or_a_day(redis: RedisSetting, cluster: Cluster, trouble: str) -> None:
    def paused() -> None:
        cluster.pause("redis")
        time.sleep(1.2)
        cluster.resume("redis")

    def killed() -> None:
        cluster.kill("redis")
        cluster.start("redis")

    def emptied() -> None:
        import redis as client

        client.Redis.from_url(redis.url).flushall()

    gone = await sending(redis, {"pause": paused, "kill": killed, "flush": emptied}[trouble])
    assert most(gone, 1.0) <= RATE.count
    assert sum(name == "day" for _, name in gone) <= DAILY
    rate = [at for at, name in gone if name == "rate"]
    assert len(rate) > 50, "hardly anything went"
    assert rate[-1] > gone[0][0] + 8, "it did not go on"


async def test_what_the_twin_says_the_script_says(redis: RedisSetting, shares: Callable[[], RedisShare]) -> None:
    """A random walk of asks, real time for both: the same grants, up to what a ms more or less decides."""
    seed = random.randrange(1 << 30)
    chance, share = random.Random(seed), shares()
    twin = MemoryShare(lambda: int(time.time() * 1000))
    both: list[tuple[Answer, Answer]] = []
    seqs = dict.fromkeys(NAMES, 0)
    for _ in range(400):
        machine = chance.choice(NAMES)
        seqs[machine] += 1
        wants = tuple(
            Want("w", 50, 200, chance.randrange(5)) if chance.random() < 0.5 else Want("d", 40, 0, chance.randrange(3))
            for _ in range(chance.randrange(3))
        )
        told = chance.random() < 0.1
        recall = (("d", "gone", 3),) if told else ()
        today, fresh = int(time.time() * 1000) // DAY, chance.random() < 0.05
        ask = Ask(machine, seqs[machine], NAMES, (200,), today, 0, fresh, told, wants, recall)
        both.append((await share.ask(ask), twin.answer(ask)))
        await asyncio.sleep(0.02)
    granted = [[sum(grant.count for grant in answer.grants) for answer in side] for side in zip(*both, strict=True)]
    differ = sum(ours != theirs for ours, theirs in zip(*granted, strict=True))
    assert sum(granted[0]) > 50, seed
    assert differ <= 20, f"seed {seed}: {differ} of 400 answers differ"
    assert abs(sum(granted[0]) - sum(granted[1])) <= 30, seed
    assert all(a.days.keys() == b.days.keys() and len(a.grants) == len(b.grants) for a, b in both), seed
    assert all(a.now <= b.now + 1 for a, b in both), seed
    assert all(a.now <= b.now for (a, _), (b, _) in pairwise(both)), seed


async def test_an_ask_that_comes_late_or_twice_is_refused(shares: Callable[[], RedisShare]) -> None:
    share = shares()
    first = await share.ask(Ask("m", 2, ("m",)))
    assert (await share.ask(Ask("m", 2, ("m",)))).late
    assert (await share.ask(Ask("m", 3, ("m",), latest=first.now - 1))).late
    assert not (await share.ask(Ask("m", 3, ("m",), latest=first.now + 60_000))).late


async def test_nothing_lasts_that_nobody_asks_for(redis: RedisSetting, shares: Callable[[], RedisShare]) -> None:
    share = shares()
    await share.ask(Ask("m", 1, ("m",), (20,), wants=(Want("short", 5, 20, 1),)))
    await asyncio.sleep(0.05)
    await share.ask(Ask("m", 2, ("m",), (20,), wants=(Want("short", 5, 20, 1),)))
    client = Redis.from_url(redis.url)
    key = f"{{{redis.prefix}:rates}}"
    assert await client.hexists(key, "w:short")
    await asyncio.sleep(0.05)
    await share.ask(Ask("m", 3, ("m",)))
    assert not await client.hexists(key, "w:short")
    await client.aclose()


async def test_who_is_cancelled_while_an_answer_comes_has_ended(shares: Callable[[], RedisShare]) -> None:
    share, numbers = shares(), itertools.count(1)

    async def ask_on() -> None:
        while True:
            await share.ask(Ask("m", next(numbers), ("m",)))

    for turns in range(200):
        asking = asyncio.create_task(ask_on())
        for _ in range(turns % 10):
            await asyncio.sleep(0)
        asking.cancel()
        assert (await asyncio.wait([asking], timeout=20))[0], turns


async def test_without_redis_an_ask_ends_in_its_time(cluster: Cluster, redis: RedisSetting) -> None:
    share = RedisShare(redis.url, redis.prefix, 3.0)
    await share.ask(Ask("m", 1, ("m",)))
    cluster.pause("redis")
    began = time.monotonic()
    with pytest.raises(ShareAway):
        await share.ask(Ask("m", 2, ("m",)))
    assert time.monotonic() - began < 30
    cluster.resume("redis")
    await share.close()
