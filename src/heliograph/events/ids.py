"""Identifiers and buckets: lower-case base32 of blake2b-128 over a length-prefixed, type-tagged tuple.

Equal inputs give equal ids on every machine and in every version; different tuples never collide by
concatenation, because each part carries its type and its length.  These encodings are on disk: never change them.
"""

from functools import lru_cache
from hashlib import blake2b

BUCKETS = 1024
"""Fixed for ever (design, section 7): Kafka partitions and Flink key groups are derived from it."""

WORKSPACE = 0
"""The only workspace today; every stored key and every id tuple begins with it."""

_ALPHABET = "abcdefghijklmnopqrstuvwxyz234567"
_PAIRS = [first + second for first in _ALPHABET for second in _ALPHABET]
"""Two base32 characters by their ten bits: an event needs a few ids, and ``base64.b32encode`` takes 6 us each."""


def _tagged(part: str | int | bytes | None) -> bytes:
    if type(part) is str:  # nearly always
        raw = part.encode()
        return b"s" + len(raw).to_bytes(4, "big") + raw
    match part:
        case None:
            return b"n\x00\x00\x00\x00"
        case bytes():
            return b"b" + len(part).to_bytes(4, "big") + part
        case int():
            text = str(int(part)).encode()
            return b"i" + len(text).to_bytes(4, "big") + text
        case _:
            return _tagged(str(part))


_PREFIX = _tagged(WORKSPACE)
_TEXT_HEADS = tuple(b"s" + length.to_bytes(4, "big") for length in range(256))
_NUMBER_HEADS = tuple(b"i" + length.to_bytes(4, "big") for length in range(256))
"""Type and length of what is short: a message has some ten ids."""


def digest(*parts: str | int | bytes | None) -> bytes:
    """16 bytes of blake2b over the tagged tuple (workspace, *parts)."""
    data = _PREFIX
    for part in parts:
        if type(part) is str and len(raw := part.encode()) < 256:
            data += _TEXT_HEADS[len(raw)] + raw
        elif type(part) is int and len(raw := b"%d" % part) < 256:
            data += _NUMBER_HEADS[len(raw)] + raw
        else:
            data += _tagged(part)
    return blake2b(data, digest_size=16).digest()


def make_id(*parts: str | int | bytes | None) -> str:
    """26 lower-case base32 characters naming the tuple (workspace, *parts)."""
    bits, pairs = int.from_bytes(digest(*parts), "big") << 2, _PAIRS
    high, low = bits >> 60, bits & 0xFFF_FFFF_FFFF_FFFF
    return (
        f"{pairs[high >> 60]}{pairs[high >> 50 & 1023]}{pairs[high >> 40 & 1023]}{pairs[high >> 30 & 1023]}"
        f"{pairs[high >> 20 & 1023]}{pairs[high >> 10 & 1023]}{pairs[high & 1023]}"
        f"{pairs[low >> 50]}{pairs[low >> 40 & 1023]}{pairs[low >> 30 & 1023]}"
        f"{pairs[low >> 20 & 1023]}{pairs[low >> 10 & 1023]}{pairs[low & 1023]}"
    )


def share(*parts: str | int | bytes | None) -> float:
    """A number in [0, 1) that is always the same for the same parts: how arms and holdouts are drawn."""
    return int.from_bytes(digest(*parts)[:7], "big") / (1 << 56)


@lru_cache(maxsize=2048)
def bucket(key: str) -> int:
    """The bucket (0..1023) of a person's key.  Remembered, because one event asks for it several times; few, because
    a key may be long."""
    return int.from_bytes(blake2b(key.encode(), digest_size=8).digest(), "big") % BUCKETS
