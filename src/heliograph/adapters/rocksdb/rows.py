"""How stored values are spelled: msgpack arrays of the structs in ``ports`` and ``events``, and two rows of our own.

*Log row*: a tag byte, then the record as :func:`~heliograph.events.record.encode_record` writes it.  ``POINTER``: its
event is in history under (key, occurred_at, event_id) and only these two fields of it are here; whatever else the
record carries (ledger rows, hops) stays.  ``INLINE``: all of it is here, because it carries no event, or because
history already had another event under that triple.

*History row*: received_at and the position of the last log row that points here (for retention), then the event.
"""

import struct

import msgspec
from msgspec.structs import replace

from heliograph.events.event import Event
from heliograph.events.record import EventBody, Head, LedgerRow, Record, decode_record, encode_record, record_head
from heliograph.ports import BroadcastRow, DeadLetter, JournalRow, MessageRow, PlanRow, RequestRow

INLINE = b"\x00"
POINTER = b"\x01"
_RECEIVED_AT = struct.Struct(">q")
_RECEIVED_AT_OFFSET = 1 + 8  # the tag, then the fixed head of a record
_KEPT = struct.Struct(">qQ")


class EventHead(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """The first fields of an event."""

    event_id: str
    type: str
    name: str
    occurred_at: int


encode = msgspec.msgpack.Encoder().encode
event_head = msgspec.msgpack.Decoder(EventHead).decode
event = msgspec.msgpack.Decoder(Event).decode
message = msgspec.msgpack.Decoder(MessageRow).decode
journal_row = msgspec.msgpack.Decoder(JournalRow).decode
ledger_row = msgspec.msgpack.Decoder(LedgerRow).decode
dead_letter = msgspec.msgpack.Decoder(DeadLetter).decode
plan = msgspec.msgpack.Decoder(PlanRow).decode
request = msgspec.msgpack.Decoder(RequestRow).decode
broadcast = msgspec.msgpack.Decoder(BroadcastRow).decode


def log_inline(record: Record) -> bytes:
    return INLINE + encode_record(record)


def log_pointer(record: Record, body: EventBody) -> bytes:
    place = Event(event_id=body.event.event_id, type="", name="", occurred_at=body.event.occurred_at)
    pointer = EventBody(place, body.rows, body.hops, body.depth)
    return POINTER + encode_record(record, pointer)


def log_received_at(row: bytes) -> int:
    """Without decoding the rest."""
    at: int = _RECEIVED_AT.unpack_from(row, _RECEIVED_AT_OFFSET)[0]
    return at


def log_head(row: bytes) -> Head:
    """Without decoding the rest."""
    return record_head(row, 1)


def log_record(row: bytes) -> tuple[Record, Event | None]:
    """The record, and the place of its event in history when that is where it is."""
    record = decode_record(row[1:])
    if row[:1] == POINTER and isinstance(record.body, EventBody):
        return record, record.body.event
    return record, None


def with_event(record: Record, found: Event) -> Record:
    """A pointer followed."""
    assert isinstance(record.body, EventBody)
    return replace(record, body=replace(record.body, event=found))


def history_row(received_at: int, position: int, data: bytes) -> bytes:
    return _KEPT.pack(received_at, position) + data


def history_head(row: bytes) -> tuple[int, int]:
    """(received_at, position of the last log row that points here)."""
    received_at, position = _KEPT.unpack_from(row)
    return received_at, position


def history_data(row: bytes) -> bytes:
    return row[_KEPT.size :]


def history_about(row: bytes) -> EventHead:
    """The beginning of the event, without building the rest."""
    return event_head(memoryview(row)[_KEPT.size :])


def history_event(row: bytes) -> Event:
    return event(memoryview(row)[_KEPT.size :])
