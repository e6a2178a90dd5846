"""Where a bucket's records live in a partitioned log: a pure function of the bucket, the same for every producer.

It is what Kafka's default partitioner makes of the topic key :func:`partition_key` (murmur2, as in
``org.apache.kafka.common.utils.Utils``), so producers of any make agree with ours.
"""

from functools import lru_cache

from heliograph.events.ids import BUCKETS

_M, _MASK = 0x5BD1E995, 0xFFFFFFFF


def partition_key(bucket: int) -> bytes:
    """The topic key of every record of this bucket: two bytes, big-endian."""
    return bucket.to_bytes(2, "big")


def murmur2(data: bytes) -> int:
    """Kafka's 32-bit hash, as an unsigned number."""
    size = len(data)
    h = (0x9747B28C ^ size) & _MASK
    for at in range(0, size - size % 4, 4):
        k = int.from_bytes(data[at : at + 4], "little") * _M & _MASK
        h = h * _M & _MASK ^ ((k ^ k >> 24) * _M & _MASK)
    if rest := data[size - size % 4 :]:
        h = (h ^ int.from_bytes(rest, "little")) * _M & _MASK
    h = (h ^ h >> 13) * _M & _MASK
    return h ^ h >> 15


@lru_cache(maxsize=BUCKETS)
def partition_of(bucket: int, partitions: int) -> int:
    """The partition (0..partitions - 1) of a bucket."""
    return (murmur2(partition_key(bucket)) & 0x7FFFFFFF) % partitions


def buckets_of(partition: int, partitions: int) -> list[int]:
    """The buckets that live there, ascending."""
    return [bucket for bucket in range(BUCKETS) if partition_of(bucket, partitions) == partition]
