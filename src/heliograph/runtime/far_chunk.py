"""A chunk whose brain is far: records that are appended leave for the log, and what the brain said is carried out.

Every record gets an id that follows from what it says and why, never from a position: there is none.  So a chunk that
is decided again, because something was otherwise than it had been read, leaves the same records, and a copy is passed
over by the brain.
"""

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import structlog
from msgspec.structs import replace

from heliograph.decide import effects as fx
from heliograph.decide.broadcasts import broadcast_of
from heliograph.decide.decided import Decided, DecidedTooNew, decode_decided
from heliograph.events.event import Event
from heliograph.events.identity import email_of
from heliograph.events.ids import bucket, make_id
from heliograph.events.partitions import partition_key
from heliograph.events.record import (
    HISTORICAL,
    Answer,
    Body,
    EventBody,
    LedgerChange,
    Outcome,
    Record,
    encode_record,
)
from heliograph.ports import BroadcastRow, Clock, Commit, DeadLetter, Entry, Fence, MessageRow, Relayed, StoreTooNew
from heliograph.ports.stream import EFFECTS, RECORDS
from heliograph.runtime.applying import APPLY
from heliograph.runtime.chunk import Chunk, UndecidedError
from heliograph.runtime.desk import Desk
from heliograph.runtime.far_desk import FarDesk
from heliograph.runtime.feedback import note_feedback
from heliograph.runtime.work import Work

log = structlog.get_logger("heliograph.carry")

_encode = msgspec.msgpack.Encoder().encode


class FarChunk(Chunk):
    """``fenced``: the partitions under whose claims this is done."""

    desk: FarDesk
    far = True

    def __init__(self, desk: Desk, clock: Clock) -> None:
        super().__init__(desk, clock)
        commit = self.commit
        commit.relay, commit.offsets, commit.bases, commit.guards = [], {}, {}, {}
        self.fenced: dict[int, int] = {}
        self.numbers: dict[str, int] = {}
        """Key -> the number of its last decision in here."""
        self._left: set[str] = set()

    # -- records: they leave --

    def append_event(self, event: Event, key: str) -> bool:
        """Whether it was seen before, only the brain knows."""
        at = self.now()
        event = replace(event, occurred_at=min(event.occurred_at, at))
        address = email_of(event)
        rows = list(self.desk.words(address).values()) if address else []
        self._leave(key, event.event_id, EventBody(event, rows), HISTORICAL if event.historical else 0)
        self.duplicate = False
        return False

    def append(self, key: str, body: Body, *cause: str | int) -> None:
        self.hop(key, body, 0, *cause)

    def hop(self, key: str, body: Body, flags: int, *cause: str | int) -> None:
        if not self.untold:
            self._leave(key, make_id("far", type(body).__name__, key, _encode(body), *cause), body, flags)

    def _leave(self, key: str, name: str, body: Body, flags: int) -> None:
        if name in self._left:
            return
        self._left.add(name)
        record = Record(key, name, self.now(), self.desk.plan.version, body, flags)
        self.commit.relay.append(Relayed(name, RECORDS, partition_key(bucket(key)), encode_record(record)))

    def drain(self) -> None:
        """What follows is in the log, sooner or later."""

    def replay(self, record: Record) -> None:
        raise UndecidedError("a log is replayed where the brain is")

    # -- what the brain said --

    def carry(self, decided: Decided) -> None:
        """Carry out a decision; one that was is passed over."""
        record, desk = decided.record, self.desk
        if decided.number and decided.number <= desk.number(record.key):
            return
        desk.position += 1
        desk.tally.partition = desk.partition_of(record.key)
        self.commit.log.append((desk.position, record))
        self.commit.states[record.key] = decided.state
        self.numbers[record.key] = decided.number
        desk.write_state(record.key, decided.state, decided.number)
        if isinstance(record.body, Answer):
            self._end_request(record.body.request_id)
        elif isinstance(record.body, Outcome) and not record.body.hops:
            note_feedback(self, record.body)
        elif isinstance(record.body, EventBody) and not record.body.hops:
            desk.catching_up.carried(desk.tally.partition, record.received_at, self.now())
        for effect in decided.effects:
            _APPLY[type(effect)](self, record, effect)

    def _standing(self, record: Record, effect: fx.DecideMessage) -> MessageRow | None:
        """Nearly always this is its first decision, and there is no row to be read."""
        first = effect.created_at >= record.received_at and not broadcast_of(effect.journey)
        return None if first and self.desk.unwritten(effect.message_id) else self.desk.message(effect.message_id)

    def _take_address(self, record: Record, effect: fx.IndexEmail) -> None:
        """What the ledger says of an address that somebody takes, as far as the record did not bring it."""
        self._email(record, effect)
        if not effect.on:
            return
        brought = set(record.body.rows) if isinstance(record.body, EventBody | LedgerChange) else set()
        missing = [row for row in self.desk.words(effect.address).values() if row not in brought]
        if missing:
            self.hop(record.key, LedgerChange(missing), record.flags, record.id)

    def counting(self, broadcast_id: str, key: str) -> BroadcastRow | None:
        """In the part of this person's partition; mail that is reported when that is somebody else's is not counted."""
        return self.desk.part(broadcast_id, self.desk.partition_of(key)) if self.desk.is_mine(key) else None

    # -- messages --

    def write_message(self, row: MessageRow, *, first: bool = False) -> None:
        base = self.desk.bases.setdefault(row.message_id, -1 if first else row.rev)
        super().write_message(replace(row, rev=base + 1), first=first)

    def under(self, key: str) -> None:
        """What is done for this person is done only as long as their partition is ours."""
        assert self.desk.leases is not None
        partition = self.desk.partition_of(key)
        self.fenced[partition] = self.desk.leases.epochs[partition]

    # -- the end --

    def finish(self) -> Commit:
        commit, desk = self.commit, self.desk
        commit.bases, commit.guards = desk.bases, desk.guards
        if self.fenced and desk.leases is not None:
            commit.fence = Fence(desk.leases.owner, self.fenced)
        commit.meta.update(desk.tally.changes())
        commit.meta.update(desk.changed_parts())
        commit.meta.update(desk.changed_walks())
        commit.broadcasts.update(desk.changed_broadcasts)
        if not any(getattr(commit, name) for name in _WRITTEN):
            commit.bases, commit.guards, commit.fence = {}, {}, None  # what is not written need not be checked
        return commit


_APPLY: dict[type, Callable[[FarChunk, Record, Any], None]] = {**APPLY, fx.IndexEmail: FarChunk._take_address}
_WRITTEN = tuple({field.name for field in msgspec.structs.fields(Commit)} - {"bases", "guards", "fence"})


class Carry(Work):
    """Decisions of one partition, in order, under the claim with this ``epoch``; behind them, in the same commit, the
    offset from which to go on.  When the partition is somebody else's by then, nothing is done."""

    internal = patient = True

    def __init__(self, partition: int, epoch: int, entries: Sequence[Entry], ended: "Callable[[Carry], None]") -> None:
        self.partition, self.epoch = partition, epoch
        self.records = len(entries)
        self.size = sum(len(entry.value) for entry in entries)
        self._entries, self._ended = entries, ended
        self._decided: dict[int, Decided] = {}
        self._broken: dict[int, str] = {}
        self._too_new: DecidedTooNew | StoreTooNew | None = None
        self._at = 0

    def prepare(self, desk: Desk) -> None:
        assert isinstance(desk, FarDesk)
        if not self._holds(desk):
            return
        for entry in self._entries:
            self._at = entry.offset
            if entry.offset not in self._broken:
                try:
                    self._decided[entry.offset] = decode_decided(entry.value)
                except DecidedTooNew as error:
                    self._too_new = error
                    raise
        try:
            desk.catch_up(max((one.record.plan_version for one in self._decided.values()), default=0))
        except StoreTooNew as error:
            self._too_new = error
            raise
        desk.fetch_numbers([one.record.key for one in self._decided.values() if one.number])

    def decide(self, chunk: Chunk) -> None:
        assert isinstance(chunk, FarChunk)
        desk = chunk.desk
        if not self._holds(desk):
            return
        begin = desk.applied.get(self.partition, -1)
        for entry in self._entries:
            if entry.offset >= begin:
                self._carry(chunk, entry)
        chunk.fenced[self.partition] = self.epoch
        desk.applied[self.partition] = end = max(begin, self._entries[-1].offset + 1)
        chunk.commit.offsets[EFFECTS, self.partition] = end

    def _holds(self, desk: FarDesk) -> bool:
        return desk.leases is not None and desk.leases.epochs.get(self.partition) == self.epoch

    def _carry(self, chunk: FarChunk, entry: Entry) -> None:
        self._at = entry.offset
        if (why := self._broken.get(entry.offset)) is None:
            chunk.carry(self._decided[entry.offset])
            return
        name = make_id("effects", self.partition, entry.offset)
        chunk.dead_letter(DeadLetter(id=name, at=chunk.now(), reason=why, event_name="", payload=b"{}"))

    def isolate(self) -> bool:
        if self._too_new is not None:
            raise self._too_new  # nothing is lost by it: a newer process goes on here
        log.error("a decision cannot be carried out", partition=self.partition, offset=self._at)
        self._broken[self._at] = (
            f"internal: what was decided cannot be carried out (effects {self.partition}/{self._at})"
        )
        return True

    def settled(self) -> None:
        self._ended(self)

    def failed(self, error: Exception) -> None:
        self._ended(self)
