"""What a brain that lives elsewhere says about one record: the value of the topic ``effects``.

The brain runs ``step`` and knows nothing of mail, ledgers or indexes; whoever reads this carries the effects out
(:mod:`heliograph.runtime.chunk`), exactly as if it had decided itself.  Hops are not among the effects: they are in the
log by then, as records of their own.  The bytes begin with a version; fields are only ever appended.
"""

from typing import Final, TypeAlias

import msgspec

from heliograph.decide.effects import (
    CallWebhook,
    CancelMessage,
    ChangeLedger,
    DecideMessage,
    DropWebhook,
    Duplicate,
    Fact,
    IndexEmail,
    SetMembership,
)
from heliograph.events.record import Record, decode_record, encode_record

VERSION: Final = 1

Told: TypeAlias = (
    DecideMessage
    | CancelMessage
    | CallWebhook
    | DropWebhook
    | SetMembership
    | ChangeLedger
    | IndexEmail
    | Fact
    | Duplicate
)


class Decided(msgspec.Struct, frozen=True):
    """``record`` as it stood in the log; its ``effects`` in order; ``state``: the key's blob behind it, None when
    nothing is left of it; ``deadline``: its earliest timer (ms), None for none."""

    record: Record
    effects: list[Told]
    state: bytes | None
    deadline: int | None


class DecidedError(ValueError):
    """These bytes are none of ours, or of a newer version: stop, never guess."""


class _Wire(msgspec.Struct, array_like=True, gc=False):
    record: bytes
    effects: list[Told]
    state: bytes | None
    deadline: int | None


_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(_Wire)


def encode_decided(decided: Decided, record: bytes = b"") -> bytes:
    """``record``: its bytes, where they are at hand."""
    wire = _Wire(record or encode_record(decided.record), decided.effects, decided.state, decided.deadline)
    return bytes((VERSION,)) + _ENCODER.encode(wire)


def decode_decided(data: bytes) -> Decided:
    """The inverse; :class:`DecidedError` or :class:`~heliograph.events.record.RecordError` on anything else."""
    if not data or data[0] != VERSION:
        raise DecidedError(f"not what a brain of version {VERSION} or older says (version {data[:1].hex() or 'none'})")
    try:
        wire = _DECODER.decode(memoryview(data)[1:])
    except msgspec.MsgspecError as error:
        raise DecidedError(f"damaged: {error}") from error
    return Decided(decode_record(wire.record), wire.effects, wire.state, wire.deadline)
