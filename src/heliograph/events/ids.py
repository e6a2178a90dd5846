"""Identifiers and buckets: lower-case base32 of blake2b-128 over a length-prefixed, type-tagged tuple.

Equal inputs give equal ids on every machine and in every version; different tuples never collide by
concatenation, because each part carries its type and its length.  These encodings are on disk: never change them.
"""

from base64 import b32encode
from hashlib import blake2b

BUCKETS = 1024
"""Fixed for ever (design, section 7): Kafka partitions and Flink key groups are derived from it."""

WORKSPACE = 0
"""The only workspace today; every stored key and every id tuple begins with it."""


def _tagged(part: str | int | bytes | None) -> bytes:
    match part:
        case None:
            return b"n\x00\x00\x00\x00"
        case bytes():
            return b"b" + len(part).to_bytes(4, "big") + part
        case int():
            text = str(int(part)).encode()
            return b"i" + len(text).to_bytes(4, "big") + text
        case _:
            raw = part.encode()
            return b"s" + len(raw).to_bytes(4, "big") + raw


def digest(*parts: str | int | bytes | None) -> bytes:
    """16 bytes of blake2b over the tagged tuple (workspace, *parts)."""
    return blake2b(_tagged(WORKSPACE) + b"".join(map(_tagged, parts)), digest_size=16).digest()


def make_id(*parts: str | int | bytes | None) -> str:
    """26 lower-case base32 characters naming the tuple (workspace, *parts)."""
    return b32encode(digest(*parts))[:26].decode().lower()


def share(*parts: str | int | bytes | None) -> float:
    """A number in [0, 1) that is always the same for the same parts: how arms and holdouts are drawn."""
    return int.from_bytes(digest(*parts)[:7], "big") / (1 << 56)


def bucket(key: str) -> int:
    """The bucket (0..1023) of a person's key."""
    return int.from_bytes(blake2b(key.encode(), digest_size=8).digest(), "big") % BUCKETS
