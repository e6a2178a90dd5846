"""How stored keys are spelled: bytes whose order is the order of what they mean.

Every key begins with the workspace (u16); in per-person families (state, history, journal) the bucket (u16) of the
person's key comes next, so that a range of buckets can be exported, imported or moved.  Families that hold more than
one kind of row have a tag byte (:class:`Tag`) behind the workspace.  Numbers are big-endian, signed ones with their
sign bit flipped; text is UTF-8, escaped and ended when something follows, bare at the end of a key.  On disk: never
change any of it, only add.

==============  =============================================================  =========================================
family          key (behind the workspace)                                     value
==============  =============================================================  =========================================
state           bucket, key                                                    the blob as handed in
history         bucket, key, occurred_at, event_id                             received_at i64, position u64, event
log             position                                                       see :mod:`.rows`
wakeups         deadline, key                                                  (empty)
messages        ROWS, message_id                                               message
                BY_TIME, created_at newest first, message_id                   (empty)
                BY_PERSON, bucket, key, created_at newest first, message_id    (empty)
                BY_STATUS, status, created_at newest first, message_id         (empty)
                BY_BROADCAST, broadcast_id, status, created_at newest first,   (empty): those of broadcasts
                message_id
ledger          ROWS, address, topic                                           ledger row
                STOPPED, address, topic                                        (empty): suppressions in force
members         ROWS, name, bucket, key                                        since i64
                COUNTS, name                                                   exact number of rows, i64
journal         bucket, key, at, running number                                journal row
emails          address, key                                                   (empty)
dead_letters    ROWS, id                                                       dead letter
                BY_TIME, at newest first, id                                   (empty)
meta            NAMED, name                                                    the bytes as handed in
                OWN, name                                                      format, running numbers, sweep places
                PLANS, version u32                                             plan
                PLAN_TIMES, version u32                                        published_at i64
requests        request_id                                                     request, until it is answered
broadcasts      ROWS, broadcast_id                                             broadcast
                BY_TIME, created_at newest first, broadcast_id                 (empty)
==============  =============================================================  =========================================
"""

import struct
from functools import lru_cache

from heliograph.events.ids import WORKSPACE, bucket

SPACE = WORKSPACE.to_bytes(2, "big")
SPACE_END = (WORKSPACE + 1).to_bytes(2, "big")

_U16 = struct.Struct(">H")
_U32 = struct.Struct(">I")
_U64 = struct.Struct(">Q")
_FLIP = 1 << 63

BUCKETED = len(SPACE) + _U16.size
"""Where the person's key begins in per-person families."""

INSTANT = _U64.size
"""Bytes of a number in a key."""


class Tag:
    """The byte behind the workspace; on disk, append only."""

    ROWS = SPACE + b"\x00"
    BY_TIME = SPACE + b"\x01"
    BY_PERSON = SPACE + b"\x02"
    BY_STATUS = SPACE + b"\x03"
    BY_BROADCAST = SPACE + b"\x04"

    COUNTS = STOPPED = BY_TIME

    NAMED = SPACE + b"\x00"
    OWN = SPACE + b"\x01"
    PLANS = SPACE + b"\x02"
    PLAN_TIMES = SPACE + b"\x03"


def u32(number: int) -> bytes:
    return _U32.pack(number)


def i64(number: int) -> bytes:
    """Signed, so that bytes sort as numbers do."""
    return _U64.pack(number + _FLIP)


def from_i64(data: bytes, at: int = 0) -> int:
    number: int = _U64.unpack_from(data, at)[0]
    return number - _FLIP


def newest(instant: int) -> bytes:
    """A signed instant, so that bytes sort the latest first."""
    return _U64.pack(_FLIP - 1 - instant)


def text(part: str) -> bytes:
    """Text with something behind it: NUL becomes 00 FF, the end is 00 01, so no text is the beginning of another
    and order stays that of the code points."""
    return beginning(part) + b"\x00\x01"


def beginning(prefix: str) -> bytes:
    """What every text that begins with ``prefix`` begins with, as :func:`text` writes it."""
    return prefix.encode().replace(b"\x00", b"\x00\xff")


def end_of_text(data: bytes, at: int) -> int:
    """Where what follows the text that :func:`text` wrote at ``at`` begins."""
    return data.index(b"\x00\x01", at) + 2


def read_text(data: bytes, at: int) -> str:
    """The text that :func:`text` wrote at ``at``."""
    return data[at : end_of_text(data, at) - 2].replace(b"\x00\xff", b"\x00").decode()


def _bucket(key: str) -> bytes:
    return _U16.pack(bucket(key))


def in_bucket(key: str) -> bytes:
    """A person's key in storage order, bare: only at the end of a stored key."""
    return _bucket(key) + key.encode()


@lru_cache(maxsize=2048)
def person(key: str) -> bytes:
    """The beginning of everything stored under this person in a per-person family.  Remembered: history and journal of
    one event ask for it several times."""
    return SPACE + _bucket(key) + text(key)


def state(key: str) -> bytes:
    return SPACE + in_bucket(key)


def state_owner(stored: bytes) -> str:
    return stored[BUCKETED:].decode()


def state_bucket(stored: bytes) -> int:
    bucket: int = _U16.unpack_from(stored, len(SPACE))[0]
    return bucket


def event(key: str, occurred_at: int, event_id: str) -> bytes:
    return person(key) + i64(occurred_at) + event_id.encode()


def log(position: int) -> bytes:
    return SPACE + i64(position)


def wakeup(deadline: int, key: str) -> bytes:
    return SPACE + i64(deadline) + key.encode()


def read_wakeup(stored: bytes) -> tuple[int, str]:
    return from_i64(stored, len(SPACE)), stored[len(SPACE) + INSTANT :].decode()


def message_of(key: str) -> bytes:
    """The beginning of a person's messages in their index."""
    return Tag.BY_PERSON + _bucket(key) + text(key)


def message_in(broadcast_id: str, status: str) -> bytes:
    """The beginning of a broadcast's messages with this status in their index."""
    return Tag.BY_BROADCAST + text(broadcast_id) + text(status)


def after(prefix: bytes) -> bytes:
    """The first key behind everything that begins with ``prefix``."""
    trimmed = prefix.rstrip(b"\xff")
    return trimmed[:-1] + bytes((trimmed[-1] + 1,))
