"""Records: the entries of the log.  Everything a decision depends on is in one of them.

Layout (design, section 7), big-endian::

    magic 'H' | u8 version | u8 kind | u8 flags | u16 workspace | u16 bucket | i64 received_at
    | u32 plan_version | u16 len, key | u16 len, record_id | payload (msgpack of the body)

The body is a frozen struct chosen by ``kind``.  A *hop* is a record that ``step`` emitted for another key; its id is
``H(parent record id, index)`` and it carries its parent's ``received_at``.  A body that a merged key may forward
counts in ``hops`` how often that happened (at most :data:`MAX_HOPS`).
"""

import struct
from enum import IntEnum
from typing import Any, NamedTuple, TypeAlias

import msgspec

from heliograph.events.event import Event
from heliograph.events.ids import WORKSPACE, bucket

MAGIC = 0x48
VERSION = 1
_HEADER = struct.Struct(">BBBBHHqI")
_LEN = struct.Struct(">H")

MAX_HOPS = 8
HISTORICAL = 0x01
"""Flag: the event was imported."""


class LedgerRow(msgspec.Struct, frozen=True, array_like=True):
    """The present word of one address on one topic, as the consent and suppression ledger has it.

    ``topic`` is a consent topic, or ``!bounce``, ``!manual`` (stop all mail) or ``!complaint`` (stops marketing);
    for those, ``given`` False means suppressed.  ``at`` is the change's own time: last writer wins, a withdrawal
    wins ties.
    """

    address: str
    topic: str
    given: bool
    at: int
    source: str = ""
    text_version: str = ""
    proof: str = ""


class Wake(msgspec.Struct, frozen=True, array_like=True):
    """Timers are due: the record only moves engine time."""


class Link(msgspec.Struct, frozen=True, array_like=True):
    """To an anonymous (or aliased) key: ``to`` says it is the same person, answer with your state."""

    to: str


class Unlink(msgspec.Struct, frozen=True, array_like=True):
    """To the former user of a shared device: ``source`` forwards to somebody else now, ask again before you rely
    on it."""

    source: str


class MergeInto(msgspec.Struct, frozen=True, array_like=True):
    """The answer to :class:`Link`: the whole state of ``source`` (empty when it has none or moves no history)."""

    source: str
    state: bytes
    hops: int = 0


class Outcome(msgspec.Struct, frozen=True, array_like=True):
    """What became of a message.  ``kind``: sent, skipped, bounced, expired, cancelled, unknown, missed, delivered,
    opened, clicked, complained, unsubscribed.  ``missed``: its ``not_after`` went by before its commit point, decide
    again.  ``machine`` marks scanners and mail proxies: recorded, never acted on."""

    message_id: str
    kind: str
    at: int
    reason: str = ""
    machine: bool = False
    properties: dict[str, Any] = {}
    hops: int = 0


class LedgerChange(msgspec.Struct, frozen=True, array_like=True):
    """Rows of the ledger that changed for an address this key holds."""

    rows: list[LedgerRow]
    hops: int = 0


class Touch(msgspec.Struct, frozen=True, array_like=True):
    """A sweep after a publish: reconcile this key with ``plan`` now.  ``folds``: condition id -> the state that the
    runtime folded from this key's history."""

    plan: int
    folds: dict[str, Any] = {}


class Offer(msgspec.Struct, frozen=True, array_like=True):
    """A broadcast comes by this person.  ``plan`` and ``folds``: what history says about conditions that were new, as
    in :class:`Touch`; ``plan`` 0 when nothing had to be folded."""

    broadcast: str
    plan: int = 0
    folds: dict[str, Any] = {}
    hops: int = 0


class ListChange(msgspec.Struct, frozen=True, array_like=True):
    """An import put this person on a static list, or took them off."""

    name: str
    on: bool
    at: int
    hops: int = 0


class Expire(msgspec.Struct, frozen=True, array_like=True):
    """To a key that nobody was heard from for a while: forget it, if by now ``idle_ms`` have passed."""

    idle_ms: int


class EventBody(msgspec.Struct, frozen=True, array_like=True):
    """An event, with what the processor attached: the ledger rows of the address that it sets; and, when it was
    forwarded from a merged key, how many hops it has behind it.  ``depth``: how many ``update`` and ``emit`` steps led
    from an event that came from outside to this one (at most :data:`MAX_HOPS`)."""

    event: Event
    rows: list[LedgerRow] = []
    hops: int = 0
    depth: int = 0


class Enter(msgspec.Struct, frozen=True, array_like=True):
    """The API asks this person into a journey; ``event`` is what it was given, as entry event."""

    journey: str
    event: Event
    hops: int = 0


class Adopt(msgspec.Struct, frozen=True, array_like=True):
    """A person who moves in from another deployment, with everything that is known of them (``state``: the blob of
    :func:`heliograph.decide.encode_state`).  Whoever lives here already stays."""

    state: bytes


class Answer(msgspec.Struct, frozen=True, array_like=True):
    """What a ``webhook`` step's request came to: ``ok`` with the decoded JSON ``body`` (None when it was no JSON), or
    not, with the ``reason``.  ``status`` is that of HTTP, 0 when nobody answered."""

    request_id: str
    ok: bool
    status: int = 0
    body: Any = None
    reason: str = ""
    hops: int = 0


Body: TypeAlias = (
    EventBody
    | Wake
    | Link
    | MergeInto
    | Outcome
    | LedgerChange
    | Touch
    | ListChange
    | Unlink
    | Expire
    | Enter
    | Answer
    | Offer
    | Adopt
)


class Kind(IntEnum):
    """The kinds of record.  Numbers are on disk: append only."""

    EVENT = 1
    WAKE = 2
    LINK = 3
    MERGE_INTO = 4
    OUTCOME = 5
    LEDGER = 6
    TOUCH = 7
    LIST = 8
    UNLINK = 9
    EXPIRE = 10
    ENTER = 11
    ANSWER = 12
    OFFER = 13
    ADOPT = 14


BODY_TYPES: dict[Kind, type[Body]] = {
    Kind.EVENT: EventBody,
    Kind.WAKE: Wake,
    Kind.LINK: Link,
    Kind.MERGE_INTO: MergeInto,
    Kind.OUTCOME: Outcome,
    Kind.LEDGER: LedgerChange,
    Kind.TOUCH: Touch,
    Kind.LIST: ListChange,
    Kind.UNLINK: Unlink,
    Kind.EXPIRE: Expire,
    Kind.ENTER: Enter,
    Kind.ANSWER: Answer,
    Kind.OFFER: Offer,
    Kind.ADOPT: Adopt,
}
_KIND_OF = {body: kind for kind, body in BODY_TYPES.items()}
_ENCODER = msgspec.msgpack.Encoder()
_DECODERS = {kind: msgspec.msgpack.Decoder(body) for kind, body in BODY_TYPES.items()}


class Record(msgspec.Struct, frozen=True, gc=False):
    """One entry of the log.  ``received_at`` (ms) is stamped at append; ``id`` is the event id for an event that
    arrived from outside, a derived id for everything else."""

    key: str
    id: str
    received_at: int
    plan_version: int
    body: Body
    flags: int = 0
    workspace: int = WORKSPACE

    @property
    def kind(self) -> Kind:
        return _KIND_OF[type(self.body)]


class RecordError(ValueError):
    """These bytes are no record of a version this code knows: stop, never guess."""


def encode_record(record: Record, body: Body | None = None) -> bytes:
    """``body``: written in the place of the record's own, of the same kind."""
    key, rid = record.key.encode(), record.id.encode()
    return b"".join(
        (
            _HEADER.pack(
                MAGIC,
                VERSION,
                record.kind,
                record.flags,
                record.workspace,
                bucket(record.key),
                record.received_at,
                record.plan_version,
            ),
            _LEN.pack(len(key)),
            key,
            _LEN.pack(len(rid)),
            rid,
            _ENCODER.encode(record.body if body is None else body),
        )
    )


class Head(NamedTuple):
    """What stands in front of a record's body."""

    kind: int
    flags: int
    bucket: int
    received_at: int
    key: str


def record_head(data: bytes, offset: int = 0) -> Head:
    """The head of what :func:`encode_record` wrote at ``offset``, for readers that pass most records over."""
    _, _, kind, flags, _, in_bucket, received_at, _ = _HEADER.unpack_from(data, offset)
    at = offset + _HEADER.size
    (size,) = _LEN.unpack_from(data, at)
    return Head(kind, flags, in_bucket, received_at, data[at + 2 : at + 2 + size].decode())


def decode_record(data: bytes) -> Record:
    """The inverse of :func:`encode_record`; :class:`RecordError` on anything else."""
    try:
        magic, version, kind, flags, workspace, _bucket, received_at, plan_version = _HEADER.unpack_from(data)
        if magic != MAGIC or version > VERSION:
            raise RecordError(f"not a record of version {VERSION} or older (magic {magic:#x}, version {version})")
        at = _HEADER.size
        (size,) = _LEN.unpack_from(data, at)
        key = data[at + 2 : at + 2 + size].decode()
        at += 2 + size
        (size,) = _LEN.unpack_from(data, at)
        rid = data[at + 2 : at + 2 + size].decode()
        body: Body = _DECODERS[Kind(kind)].decode(memoryview(data)[at + 2 + size :])
    except RecordError:
        raise
    except (struct.error, UnicodeDecodeError, msgspec.MsgspecError, ValueError) as error:
        raise RecordError(f"damaged record: {error}") from error
    return Record(key, rid, received_at, plan_version, body, flags, workspace)
