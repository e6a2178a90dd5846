"""The contract of a cache of profiles, on the memory twin; on Redis: ``tests/cluster/test_redis_cache.py``."""

import pytest

from heliograph.adapters.memory import MemoryProfiles
from heliograph.ports.cache import Cached
from tests.contracts.cache_laws import *  # noqa: F403


@pytest.fixture
def pair() -> tuple[MemoryProfiles, MemoryProfiles]:
    one = MemoryProfiles()
    return one, MemoryProfiles(beside=one)


def test_what_was_missed_is_never_answered_with_what_was_there_before(
    pair: tuple[MemoryProfiles, MemoryProfiles],
) -> None:
    one, other = pair
    one.put({"u:1": Cached(7, b"old"), "u:2": Cached(7, b"old")})
    one.broken = True
    one.put({"u:1": Cached(8, b"new")})
    assert one.away()
    assert one.get({"u:1": 0}) == {}
    one.broken = False
    assert one.get({"u:1": 0}) == other.get({"u:1": 0, "u:2": 0}) == {}
