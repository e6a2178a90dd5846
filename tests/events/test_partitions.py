"""Where a bucket's records live: as Kafka's own partitioner has it (``tests/cluster/test_kafka.py`` asks it)."""

import pytest

from heliograph.events.ids import BUCKETS
from heliograph.events.partitions import buckets_of, murmur2, partition_key, partition_of

KAFKAS_OWN = {
    b"21": -973932308,
    b"foobar": -790332482,
    b"a-little-bit-long-string": -985981536,
    b"a-little-bit-longer-string": -1486304829,
    b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
    b"abc": 479470107,
}
"""``org.apache.kafka.common.utils.UtilsTest.testMurmur2``."""


@pytest.mark.parametrize("data", KAFKAS_OWN, ids=bytes.decode)
def test_the_hash_is_kafkas(data: bytes) -> None:
    assert murmur2(data) == KAFKAS_OWN[data] & 0xFFFFFFFF


@pytest.mark.parametrize("partitions", [1, 2, 3, 8, 32, 100, 1024])
def test_every_bucket_lives_in_exactly_one_partition(partitions: int) -> None:
    homes = [buckets_of(partition, partitions) for partition in range(partitions)]
    assert sorted(bucket for home in homes for bucket in home) == list(range(BUCKETS))
    assert all(partition_of(bucket, partitions) == number for number, home in enumerate(homes) for bucket in home)


def test_no_partition_of_32_has_more_than_one_and_a_half_shares() -> None:
    assert max(len(buckets_of(partition, 32)) for partition in range(32)) <= 48


def test_keys_sort_and_differ_as_buckets_do() -> None:
    keys = [partition_key(bucket) for bucket in range(BUCKETS)]
    assert keys == sorted(set(keys))
    assert {len(key) for key in keys} == {2}
