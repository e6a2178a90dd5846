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
    nothing is left of it; ``deadline``: its earliest timer (ms), None for none.

    ``number``: :func:`next_number` of the key, also kept in the state (``State.number``).  A brain
    that was restored says again what it said since its checkpoint, with the same numbers: who carries it out passes
    over what is not above the last number of the key.
    """

    record: Record
    effects: list[Told]
    state: bytes | None
    deadline: int | None
    number: int = 0


def next_number(last: int, received_at: int) -> int:
    """The number of a key's next decision: above its ``last`` one (0 for none), also when the key was forgotten in
    between; from 1,000 decisions in a millisecond on it runs ahead of the clock."""
    return max(last + 1, received_at * 1000)


class DecidedError(ValueError):
    """These bytes are none of ours."""


class DecidedTooNew(DecidedError):
    """A newer brain said this: stop, never guess; a newer program carries it out."""


class _Wire(msgspec.Struct, array_like=True, gc=False):
    record: bytes
    effects: list[Told]
    state: bytes | None
    deadline: int | None
    number: int = 0


_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(_Wire)


def encode_decided(decided: Decided, record: bytes = b"") -> bytes:
    """``record``: its bytes, where they are at hand."""
    wire = _Wire(record or encode_record(decided.record), decided.effects, decided.state, decided.deadline,
                 decided.number)  # fmt: skip
    return bytes((VERSION,)) + _ENCODER.encode(wire)


def decode_decided(data: bytes) -> Decided:
    """The inverse; :class:`DecidedError` or :class:`~heliograph.events.record.RecordError` on anything else."""
    if data and data[0] > VERSION:
        raise DecidedTooNew(
            f"said by a brain of version {data[0]}; this program knows {VERSION}: update workers before the brain"
        )
    if not data or data[0] != VERSION:
        raise DecidedError(f"not what a brain of version {VERSION} or older says (version {data[:1].hex() or 'none'})")
    try:
        wire = _DECODER.decode(memoryview(data)[1:])
    except msgspec.MsgspecError as error:
        raise DecidedError(f"damaged: {error}") from error
    return Decided(decode_record(wire.record), wire.effects, wire.state, wire.deadline, wire.number)
