"""From a :class:`~heliograph.ports.Commit` to one batch of rows.

Some rows depend on what is there: an index row moves when the status of a message changes, a member counts only once,
an event goes into history only if its place is free.  These are read here, before the batch is written, in the one
thread that writes.  ``Tally`` holds the running numbers; it is replaced only after the batch is on disk, so a commit
that fails leaves no trace.
"""

from collections.abc import Iterable

import msgspec
from msgspec.structs import replace

from heliograph.adapters.rocksdb import rows, spell
from heliograph.adapters.rocksdb.database import Batch, Database, Family
from heliograph.adapters.rocksdb.spell import Tag
from heliograph.decide.broadcasts import broadcast_of
from heliograph.events.record import EventBody, LedgerRow, Record
from heliograph.ports import BroadcastRow, Commit, DeadLetter, JournalRow, MessageRow, PlanRow, RequestRow

JOURNAL_ROWS = Tag.OWN + b"journal_rows"
"""Meta row: how many journal rows were ever written; the next one's running number."""


class Tally(msgspec.Struct, frozen=True):
    """Numbers that every commit may move."""

    last_position: int = 0
    last_received_at: int = 0
    journal_rows: int = 0


class Writer:
    """Fills one batch.  ``tally`` and ``counts`` say what holds once it is written."""

    def __init__(self, database: Database, tally: Tally, counts: dict[str, int]) -> None:
        self.batch = Batch()
        self.tally = tally
        self.counts: dict[str, int] = {}
        self._known_counts = counts
        self._db = database

    def fill(self, commit: Commit) -> None:
        self._log(commit.log)
        state = self._db.family("state")
        for key, blob in commit.states.items():
            if blob is None:
                self.batch.delete(state, spell.state(key))
            else:
                self.batch.put(state, spell.state(key), blob)
        self._wakeups(commit.wakeups)
        if commit.messages:
            self._messages(commit.messages)
        self._ledger(commit.ledger)
        self._members(commit.members)
        self._journal(commit.journal)
        self._emails(commit.emails)
        for letter in commit.dead_letters.values():
            self._dead_letter(letter)
        meta = self._db.family("meta")
        for name, value in commit.meta.items():
            place = Tag.NAMED + name.encode()
            self.batch.delete(meta, place) if value is None else self.batch.put(meta, place, value)
        if commit.plan is not None:
            self._plan(meta, commit.plan)
        self._requests(commit.requests)
        for id, row in commit.broadcasts.items():
            self._broadcast(id, row)

    # -- log and history --
    def _log(self, log: list[tuple[int, Record]]) -> None:
        last = self.tally.last_position
        for position, _ in log:
            if position <= last:
                raise ValueError(f"position {position} is not above {last}: is there a second writer?")
            last = position
        if not log:
            return
        family = self._db.family("log")
        places = [_place(record) for _, record in log]
        kept = self._kept(place for place in places if place is not None)
        put, handle = self.batch.batch.put, family.handle  # without detours, as in _journal
        for (position, record), place in zip(log, places, strict=True):
            put(spell.log(position), self._log_row(position, record, place, kept), handle)
        self.tally = replace(self.tally, last_position=last, last_received_at=log[-1][1].received_at)

    def _kept(self, places: Iterable[bytes]) -> dict[bytes, bytes | None]:
        """What history has at these places."""
        wanted = list(places)
        return dict(zip(wanted, self._db.family("history").get_many(wanted), strict=True)) if wanted else {}

    def _log_row(self, position: int, record: Record, place: bytes | None, kept: dict[bytes, bytes | None]) -> bytes:
        body = record.body
        if place is None or not isinstance(body, EventBody):
            return rows.log_inline(record)
        data = rows.encode(body.event)
        there = kept[place]
        if there is None:
            row = rows.history_row(record.received_at, position, data)
        elif rows.history_data(there) == data:
            row = rows.history_row(rows.history_head(there)[0], position, data)
        else:
            return rows.log_inline(record)
        kept[place] = row
        self.batch.put(self._db.family("history"), place, row)
        return rows.log_pointer(record, body)

    # -- wake-ups --
    def _wakeups(self, moves: dict[str, tuple[int | None, int | None]]) -> None:
        family = self._db.family("wakeups")
        for key, (old, new) in moves.items():
            if old == new:
                continue
            if old is not None:
                self.batch.delete(family, spell.wakeup(old, key))
            if new is not None:
                self.batch.put(family, spell.wakeup(new, key))

    # -- messages --
    def _messages(self, messages: dict[str, MessageRow]) -> None:
        family = self._db.family("messages")
        places = [Tag.ROWS + id.encode() for id in messages]
        for place, old, row in zip(places, family.get_many(places), messages.values(), strict=True):
            before = set() if old is None else message_indexes(rows.message(old))
            now = message_indexes(row)
            self.batch.put(family, place, rows.encode(row))
            self._move(family, before, now)

    def _move(self, family: Family, before: set[bytes], now: set[bytes]) -> None:
        for index in before - now:
            self.batch.delete(family, index)
        for index in now - before:
            self.batch.put(family, index)

    # -- consent and suppression --
    def _ledger(self, changes: dict[tuple[str, str], LedgerRow]) -> None:
        family = self._db.family("ledger")
        for (address, topic), row in changes.items():
            place = spell.text(address) + topic.encode()
            self.batch.put(family, Tag.ROWS + place, rows.encode(row))
            if topic.startswith("!"):
                change = self.batch.delete if row.given else self.batch.put
                change(family, Tag.STOPPED + place)

    # -- look-ups --
    def _members(self, changes: dict[tuple[str, str], int | None]) -> None:
        if not changes:
            return
        family = self._db.family("members")
        places = [Tag.ROWS + spell.text(name) + spell.in_bucket(key) for name, key in changes]
        there = family.get_many(places)
        for ((name, _), since), place, old in zip(changes.items(), places, there, strict=True):
            self._count(name, (since is not None) - (old is not None))
            if since is not None:
                self.batch.put(family, place, spell.i64(since))
            elif old is not None:
                self.batch.delete(family, place)
        for name, count in self.counts.items():
            self.batch.put(family, Tag.COUNTS + name.encode(), spell.i64(count))

    def _count(self, name: str, change: int) -> None:
        if change:
            self.counts[name] = self.counts.get(name, self._known_counts.get(name, 0)) + change

    def _journal(self, facts: list[tuple[str, JournalRow]]) -> None:
        if not facts:
            return
        number, i64, person, encode = self.tally.journal_rows, spell.i64, spell.person, rows.encode
        put, handle = self.batch.batch.put, self._db.family("journal").handle  # the most rows of all: no detours
        for key, row in facts:
            number += 1
            put(person(key) + i64(row.at) + i64(number), encode(row), handle)
        self.batch.put(self._db.family("meta"), JOURNAL_ROWS, spell.i64(number))
        self.tally = replace(self.tally, journal_rows=number)

    def _emails(self, changes: dict[tuple[str, str], bool]) -> None:
        family = self._db.family("emails")
        for (address, key), held in changes.items():
            change = self.batch.put if held else self.batch.delete
            change(family, spell.SPACE + spell.text(address) + key.encode())

    def _dead_letter(self, letter: DeadLetter) -> None:
        family = self._db.family("dead_letters")
        place = Tag.ROWS + letter.id.encode()
        old = family.get(place)
        before = set() if old is None else {letter_index(rows.dead_letter(old))}
        self.batch.put(family, place, rows.encode(letter))
        self._move(family, before, {letter_index(letter)})

    def _requests(self, changes: dict[str, RequestRow | None]) -> None:
        family = self._db.family("requests")
        for id, row in changes.items():
            if row is None:
                self.batch.delete(family, spell.SPACE + id.encode())
            else:
                self.batch.put(family, spell.SPACE + id.encode(), rows.encode(row))

    def _broadcast(self, id: str, row: BroadcastRow | None) -> None:
        family = self._db.family("broadcasts")
        place = Tag.ROWS + id.encode()
        old = family.get(place)
        before = set() if old is None else {broadcast_index(rows.broadcast(old))}
        if row is None:
            self.batch.delete(family, place)
        else:
            self.batch.put(family, place, rows.encode(row))
        self._move(family, before, set() if row is None else {broadcast_index(row)})

    def _plan(self, meta: Family, plan: PlanRow) -> None:
        version = spell.u32(plan.version)
        self.batch.put(meta, Tag.PLANS + version, rows.encode(plan))
        self.batch.put(meta, Tag.PLAN_TIMES + version, spell.i64(plan.published_at))


def _place(record: Record) -> bytes | None:
    """Where the event of this record goes in history."""
    body = record.body
    return spell.event(record.key, body.event.occurred_at, body.event.event_id) if isinstance(body, EventBody) else None


def message_indexes(row: MessageRow) -> set[bytes]:
    """Every index row of a message."""
    place = spell.newest(row.created_at) + row.message_id.encode()
    indexes = {
        Tag.BY_TIME + place,
        spell.message_of(row.key) + place,
        Tag.BY_STATUS + spell.text(row.status) + place,
    }
    if broadcast_id := broadcast_of(row.journey):
        indexes.add(spell.message_in(broadcast_id, row.status) + place)
    return indexes


def broadcast_index(row: BroadcastRow) -> bytes:
    return Tag.BY_TIME + spell.newest(row.created_at) + row.broadcast_id.encode()


def letter_index(letter: DeadLetter) -> bytes:
    return Tag.BY_TIME + spell.newest(letter.at) + letter.id.encode()
