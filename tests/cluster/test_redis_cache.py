"""The contract of a cache of profiles on a real Redis, which is paused, killed and emptied meanwhile."""

import time
from collections.abc import Callable, Iterator

import pytest
from deploy.local.cluster import Cluster
from redis import Redis

from heliograph.adapters.redis import RedisProfiles
from heliograph.config.settings import RedisSetting
from heliograph.ports.cache import Cached
from tests.contracts.cache_laws import *  # noqa: F403

Pair = tuple[RedisProfiles, RedisProfiles]
TIMEOUT_S = 2.0


@pytest.fixture
def pair(redis: RedisSetting) -> Iterator[Pair]:
    caches = [RedisProfiles(redis.url, redis.prefix, TIMEOUT_S, probe_s=0.05) for _ in range(2)]
    yield caches[0], caches[1]
    for cache in caches:
        cache.close()


def until(true: Callable[[], bool], seconds: float = 10) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not come to pass"
        time.sleep(0.01)


def test_a_paused_redis_costs_one_timeout_and_what_was_missed_is_not_answered(pair: Pair, cluster: Cluster) -> None:
    one, other = pair
    one.put({"u:1": Cached(7, b"old"), "u:2": Cached(7, b"two")})
    cluster.pause("redis")
    began = time.monotonic()
    one.put({"u:1": Cached(8, b"new")})
    for _ in range(1000):
        assert one.get({"u:1": 0}) == {}
    assert time.monotonic() - began < 1000 * TIMEOUT_S / 10, "each call waited for itself"
    cluster.resume("redis")
    until(lambda: not one.away())
    assert one.get({"u:1": 0}) == other.get({"u:1": 0, "u:2": 0}) == {}
    assert one.counts()["away"] == 1000


def test_reads_that_failed_lose_nothing(pair: Pair, cluster: Cluster) -> None:
    one, _ = pair
    one.put({"u:1": Cached(7, b"seven")})
    cluster.pause("redis")
    assert one.get({"u:1": 0}) == {}
    cluster.resume("redis")
    until(lambda: not one.away())
    assert one.get({"u:1": 0}) == {"u:1": b"seven"}


def test_another_redis_with_an_old_copy_answers_nothing(pair: Pair, cluster: Cluster, redis: RedisSetting) -> None:
    """A restart from a snapshot, a replica that lags: the entries are there again, and are not found."""
    one, other = pair
    one.put({"u:1": Cached(7, b"old")})
    raw = Redis.from_url(redis.url)
    copy = {key: raw.dump(key) for key in raw.keys(f"{redis.prefix}:*")}
    one.put({"u:1": Cached(8, b"new")})
    cluster.kill("redis")
    assert one.get({"u:1": 0}) == {}
    cluster.start("redis")
    for key, value in copy.items():
        raw.restore(key, 0, value, replace=True)
    until(lambda: not one.away())
    other.get({"u:1": 0})
    until(lambda: not other.away())
    assert one.get({"u:1": 0}) == other.get({"u:1": 0}) == {}


def test_an_emptied_redis_is_filled_again(pair: Pair, redis: RedisSetting) -> None:
    one, other = pair
    one.put({"u:1": Cached(7, b"old")})
    Redis.from_url(redis.url).flushall()
    assert one.get({"u:1": 0}) == {}
    one.put({"u:1": Cached(8, b"new")})
    assert other.get({"u:1": 0}) == {"u:1": b"new"}


def test_every_entry_lapses_and_the_word_stays(pair: Pair, redis: RedisSetting) -> None:
    """What ``volatile-lru`` may drop is all that it has to."""
    pair[0].put({f"u:{number}": Cached(1, b"x") for number in range(20)})
    raw = Redis.from_url(redis.url)
    entries = raw.keys(f"{redis.prefix}:p:*")
    assert len(entries) == 20
    assert all(0 < raw.ttl(entry) <= 24 * 3600 for entry in entries)
    assert raw.ttl(f"{redis.prefix}:generation") == -1
