"""The store of one machine: a :class:`~heliograph.ports.Store` in RocksDB, one batch per commit.

One thread writes at a time (a lock sees to it), any thread reads.  Each read touches one column family, through one
iterator or one snapshot, so it answers from one instant; only the log looks into a second one (history), whose rows
outlive those of the log that point at them.  Keys are spelled in :mod:`.spell`, values in :mod:`.rows`, what a commit
writes in :mod:`.writer`, what goes with age in :mod:`.retention`, RocksDB's errors and options in :mod:`.database`
and :mod:`.options`.
"""

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from heapq import merge
from itertools import groupby, islice
from pathlib import Path
from typing import TypeVar

from heliograph.adapters.cursor import decode_cursor, encode_cursor
from heliograph.adapters.rocksdb import rows, spell
from heliograph.adapters.rocksdb.database import Batch, Database, View
from heliograph.adapters.rocksdb.retention import Retention
from heliograph.adapters.rocksdb.spell import Tag
from heliograph.adapters.rocksdb.writer import JOURNAL_ROWS, Tally, Writer
from heliograph.decide.broadcasts import journey_of
from heliograph.deliver.lifecycle import STATUSES
from heliograph.events.event import Event
from heliograph.events.ids import BUCKETS
from heliograph.events.record import LedgerRow, Record
from heliograph.ports import (
    UNFINISHED,
    BroadcastRow,
    Commit,
    DeadLetter,
    JournalRow,
    MessageRow,
    PlanRow,
    RequestRow,
    StoreTooNew,
)

T = TypeVar("T")

COUNTED = 4000
"""People that an estimate of how many there are looks at, to the end of the bucket in which that many are reached.
Twice as many at most: beyond that, with over four million people, RocksDB's own estimate stands."""

FORMAT = 1
"""The version of everything in :mod:`.spell` and :mod:`.rows`; a folder with a higher one stops the start."""
_FORMAT = Tag.OWN + b"format"


class RocksStore:
    def __init__(self, path: Path) -> None:
        """Raises :class:`StoreLocked`, :class:`StoreTooNew`, :class:`StoreFull` or :class:`StoreFailed`."""
        self._db = Database(path)
        try:
            self._check_format(path)
            self._tally = self._read_tally()
            self._counts = self._read_counts()
        except BaseException:
            self._db.close()
            raise
        self._writing = threading.Lock()
        self._visible = threading.Lock()  # rows and the counts of them are seen together
        self._pending_lock = threading.Lock()
        self._none_pending_before = spell.SPACE

    def _check_format(self, path: Path) -> None:
        meta = self._db.family("meta")
        found = meta.get(_FORMAT)
        if found is None:
            batch = Batch()
            batch.put(meta, _FORMAT, spell.u32(FORMAT))
            self._db.write(batch)
            self._db.sync()
        elif int.from_bytes(found, "big") > FORMAT:
            raise StoreTooNew(
                f"The data folder {path} has format {int.from_bytes(found, 'big')}, this version of Heliograph knows "
                f"{FORMAT}; use the version that wrote it."
            )

    def _read_tally(self) -> Tally:
        journal_rows = self._db.family("meta").get(JOURNAL_ROWS)
        count = 0 if journal_rows is None else spell.from_i64(journal_rows)
        for key, row in self._db.family("log").scan(spell.SPACE, spell.SPACE_END, backwards=True):
            return Tally(spell.from_i64(key, len(spell.SPACE)), rows.log_received_at(row), count)
        return Tally(journal_rows=count)

    def _read_counts(self) -> dict[str, int]:
        stored = self._db.family("members").scan(Tag.COUNTS, spell.after(Tag.COUNTS))
        return {key[len(Tag.COUNTS) :].decode(): spell.from_i64(value) for key, value in stored}

    # -- writing --
    def commit(self, commit: Commit, *, sync: bool = True) -> None:
        if commit.empty:
            return
        with self._writing:
            writer = Writer(self._db, self._tally, self._counts)
            writer.fill(commit)
            with self._visible:
                self._db.write(writer.batch)
                self._tally = writer.tally
                self._counts.update(writer.counts)
            self._note_wakeups(commit)
            if sync:
                self._db.sync()

    def expire(self, *, log_before: int, history_before: int, dead_letters_before: int) -> int:
        with self._writing:
            retention = Retention(self._db, self._tally.last_position)
            first = retention.log(log_before)
            retention.history(history_before, first)
            retention.journal(history_before)
            retention.messages(history_before)
            retention.dead_letters(dead_letters_before)
            if retention.changed:
                self._db.write(retention.batch)
            return retention.gone

    # -- states --
    def states(self, keys: Sequence[str]) -> list[bytes | None]:
        return self._db.family("state").get_many([spell.state(key) for key in keys]) if keys else []

    def keys(self, after: str | None = None, limit: int = 1000) -> list[str]:
        start = spell.SPACE if after is None else spell.state(after) + b"\x00"
        found = self._db.family("state").scan(start, spell.SPACE_END)
        return [spell.state_owner(key) for key, _ in islice(found, limit)]

    # -- log and history --
    def last_position(self) -> int:
        return self._tally.last_position

    def last_received_at(self) -> int:
        return self._tally.last_received_at

    def log(self, after: int = 0, limit: int = 1000) -> list[tuple[int, Record]]:
        stored = islice(self._db.family("log").scan(spell.log(after + 1), spell.SPACE_END), limit)
        found = [(spell.from_i64(key, len(spell.SPACE)), *rows.log_record(row)) for key, row in stored]
        places = [spell.event(record.key, at.occurred_at, at.event_id) for _, record, at in found if at is not None]
        events = iter(self._db.family("history").get_many(places) if places else ())
        whole = ((position, record if at is None else _follow(record, next(events))) for position, record, at in found)
        return [(position, record) for position, record in whole if record is not None]

    def history(self, key: str, since: int = 0, until: int | None = None) -> Iterator[Event]:
        owner = spell.person(key)
        end = spell.after(owner) if until is None else owner + spell.i64(until)
        stored = self._db.family("history").scan(owner + spell.i64(since), end)
        return (rows.history_event(row) for _, row in stored)

    def history_part(
        self, key: str, names: frozenset[str] | None, after: tuple[int, str] | None = None, limit: int = 500
    ) -> tuple[list[Event], tuple[int, str] | None]:
        owner = spell.person(key)
        start = owner if after is None else spell.event(key, *after) + b"\x00"
        found = []
        stored = self._db.family("history").scan(start, spell.after(owner))
        for count, (_, row) in enumerate(stored, 1):
            head = rows.history_about(row)
            if names is None or head.name in names or not head.name.isascii():
                found.append(rows.history_event(row))
            if count == limit:
                return found, (head.occurred_at, head.event_id)
        return found, None

    def recent_history(self, key: str, limit: int) -> list[Event]:
        owner = spell.person(key)
        stored = self._db.family("history").scan(owner, spell.after(owner), backwards=True)
        return [rows.history_event(row) for _, row in islice(stored, limit)]

    # -- wake-ups --
    def due(self, now: int, limit: int = 1000) -> list[tuple[int, str]]:
        return self._pending(spell.SPACE + spell.i64(now + 1), limit)

    def next_due(self) -> int | None:
        found = self._pending(spell.SPACE_END, 1)
        return found[0][0] if found else None

    def _pending(self, end: bytes, limit: int) -> list[tuple[int, str]]:
        """Begins where the earliest may be: before it lie only the marks of wake-ups that have fired, by the
        thousand, and a scan from the front would step over each of them."""
        with self._pending_lock:
            start = self._none_pending_before
            if limit <= 0 or start >= end:
                return []
            found = [key for key, _ in islice(self._db.family("wakeups").scan(start, end), limit)]
            self._none_pending_before = found[0] if found else end
        return [spell.read_wakeup(key) for key in found]

    def _note_wakeups(self, commit: Commit) -> None:
        new = [(at, key) for key, (_, at) in commit.wakeups.items() if at is not None]
        if new:
            with self._pending_lock:
                self._none_pending_before = min(self._none_pending_before, spell.wakeup(*min(new)))

    # -- messages --
    def message(self, message_id: str) -> MessageRow | None:
        found = self._db.family("messages").get(Tag.ROWS + message_id.encode())
        return None if found is None else rows.message(found)

    def messages(
        self,
        *,
        key: str | None = None,
        status: str | None = None,
        broadcast: str | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> tuple[list[MessageRow], str | None]:
        if key is not None:
            indexes = [spell.message_of(key)]
        elif broadcast is not None:
            statuses = sorted(STATUSES) if status is None else [status]
            indexes = [spell.message_in(broadcast, one) for one in statuses]
        else:
            indexes = [Tag.BY_TIME if status is None else Tag.BY_STATUS + spell.text(status)]
        view = self._db.family("messages").view()
        found = merge(*(map(rows.message, _named_by(index, view, cursor)) for index in indexes), key=_newest)
        journey = None if broadcast is None else journey_of(broadcast)
        chosen = (row for row in found if status in (None, row.status) and journey in (None, row.journey))
        return _page(chosen, limit, lambda row: (row.created_at, row.message_id))

    def unfinished_messages(self) -> Iterator[MessageRow]:
        view = self._db.family("messages").view()
        indexes = (Tag.BY_STATUS + spell.text(status) for status in sorted(UNFINISHED))
        return (rows.message(row) for index in indexes for row in _named_by(index, view))

    def queued_messages(self, after: tuple[int, str], limit: int) -> list[MessageRow]:
        index = Tag.BY_STATUS + spell.text("queued")
        view = self._db.family("messages").view()
        stored = view.scan(index, index + spell.newest(after[0]) + after[1].encode(), backwards=True)
        ids = (key[len(index) + spell.INSTANT :] for key, _ in islice(stored, limit))
        return [rows.message(view.row(Tag.ROWS + id)) for id in ids]

    # -- requests --
    def request(self, request_id: str) -> RequestRow | None:
        found = self._db.family("requests").get(spell.SPACE + request_id.encode())
        return None if found is None else rows.request(found)

    def requests(self, after: str = "") -> Iterator[RequestRow]:
        stored = self._db.family("requests").scan(spell.SPACE + after.encode() + b"\x00" * bool(after), spell.SPACE_END)
        return (rows.request(row) for _, row in stored)

    # -- broadcasts --
    def broadcast(self, broadcast_id: str) -> BroadcastRow | None:
        found = self._db.family("broadcasts").get(Tag.ROWS + broadcast_id.encode())
        return None if found is None else rows.broadcast(found)

    def broadcasts(self, limit: int = 100, cursor: str | None = None) -> tuple[list[BroadcastRow], str | None]:
        view = self._db.family("broadcasts").view()
        found = map(rows.broadcast, _named_by(Tag.BY_TIME, view, cursor))
        return _page(found, limit, lambda row: (row.created_at, row.broadcast_id))

    # -- consent and suppression --
    def ledger(self, address: str) -> list[LedgerRow]:
        owner = Tag.ROWS + spell.text(address)
        return [rows.ledger_row(row) for _, row in self._db.family("ledger").scan(owner, spell.after(owner))]

    def suppressions(
        self, limit: int = 100, cursor: str | None = None, *, prefix: str = ""
    ) -> tuple[list[LedgerRow], str | None]:
        start = all_of_them = Tag.STOPPED + spell.beginning(prefix)
        if cursor is not None:
            address, topic = decode_cursor(cursor, (str, str))
            start = max(start, Tag.STOPPED + spell.text(str(address)) + str(topic).encode() + b"\x00")
        view = self._db.family("ledger").view()
        stopped = view.scan(start, spell.after(all_of_them))
        found = (rows.ledger_row(view.row(Tag.ROWS + key[len(Tag.STOPPED) :])) for key, _ in stopped)
        return _page(found, limit, lambda row: (row.address, row.topic))

    def words(self, after: tuple[str, str] | None = None, limit: int = 1000) -> list[LedgerRow]:
        start = Tag.ROWS
        if after is not None:
            start += spell.text(after[0]) + after[1].encode() + b"\x00"
        stored = self._db.family("ledger").scan(start, spell.after(Tag.ROWS))
        return [rows.ledger_row(row) for _, row in islice(stored, limit)]

    # -- look-ups --
    def keys_of_email(self, address: str) -> list[str]:
        owner = spell.SPACE + spell.text(address)
        return [key[len(owner) :].decode() for key, _ in self._db.family("emails").scan(owner, spell.after(owner))]

    def emails(self, prefix: str = "", limit: int = 1000) -> list[str]:
        start = spell.SPACE + spell.beginning(prefix)
        stored = self._db.family("emails").scan(start, spell.after(start))
        held = (spell.read_text(key, len(spell.SPACE)) for key, _ in stored)
        return list(islice((address for address, _ in groupby(held)), limit))

    def members(
        self, name: str, limit: int = 100, cursor: str | None = None, *, after: str | None = None
    ) -> tuple[list[tuple[str, int]], str | None]:
        owner = Tag.ROWS + spell.text(name)
        start = owner
        if cursor is not None:
            after = str(decode_cursor(cursor, (str,))[0])
        if after is not None:
            start += spell.in_bucket(after) + b"\x00"
        stored = self._db.family("members").scan(start, spell.after(owner))
        found = ((key[len(owner) + 2 :].decode(), spell.from_i64(since)) for key, since in stored)
        return _page(found, limit, lambda row: (row[0],))

    def member_count(self, name: str) -> int:
        with self._visible:
            return self._counts.get(name, 0)

    def journal(self, key: str, limit: int = 200, before: int | None = None) -> list[JournalRow]:
        owner = spell.person(key)
        end = spell.after(owner) if before is None else owner + spell.i64(before)
        stored = self._db.family("journal").scan(owner, end, backwards=True)
        return [rows.journal_row(row) for _, row in islice(stored, limit)]

    def dead_letters(self, limit: int = 100, cursor: str | None = None) -> tuple[list[DeadLetter], str | None]:
        view = self._db.family("dead_letters").view()
        found = map(rows.dead_letter, _named_by(Tag.BY_TIME, view, cursor))
        return _page(found, limit, lambda row: (row.at, row.id))

    def dead_letter(self, id: str) -> DeadLetter | None:
        found = self._db.family("dead_letters").get(Tag.ROWS + id.encode())
        return None if found is None else rows.dead_letter(found)

    # -- plans and small things --
    def plan(self, version: int | None = None) -> PlanRow | None:
        start = Tag.PLANS if version is None else Tag.PLANS + spell.u32(version)
        end = spell.after(Tag.PLANS) if version is None else start + b"\x00"
        for _, row in self._db.family("meta").scan(start, end, backwards=True):
            return rows.plan(row)
        return None

    def plans(self) -> list[tuple[int, int]]:
        stored = self._db.family("meta").scan(Tag.PLAN_TIMES, spell.after(Tag.PLAN_TIMES))
        return [(int.from_bytes(key[len(Tag.PLAN_TIMES) :], "big"), spell.from_i64(at)) for key, at in stored]

    def meta(self, name: str) -> bytes | None:
        return self._db.family("meta").get(Tag.NAMED + name.encode())

    def metas(self, prefix: str = "") -> list[str]:
        start = Tag.NAMED + prefix.encode()
        stored = self._db.family("meta").scan(start, spell.after(start))
        return [key[len(Tag.NAMED) :].decode() for key, _ in stored]

    def counts(self) -> dict[str, int]:
        """Estimates: RocksDB counts a row that was replaced and not yet compacted twice.  A person's is replaced with
        every event, so people are counted where they are few, else told from how full the first buckets are."""
        return {
            "profiles": self._people(),
            "log": self._db.family("log").estimate("estimate-num-keys"),
            "messages": self._db.family("messages").estimate("estimate-num-keys")
            // 4,  # one row, three indexes; four of a broadcast
            "wakeups": self._db.family("wakeups").estimate("estimate-num-keys"),
            "bytes": self._db.size(),
        }

    def _people(self) -> int:
        """Buckets are drawn by a hash: with 4,000 people looked at (some 5 ms) the standard error is 1.6 %."""
        iterator, looked = self._db.family("state").seeker(), 0
        iterator.seek(spell.SPACE)
        last = -1
        while iterator.valid() and (key := iterator.key()) < spell.SPACE_END:
            here = spell.state_bucket(key)
            if here != last and looked >= COUNTED:
                return looked * BUCKETS // here
            if looked >= COUNTED * 2:
                return max(looked, self._db.family("state").estimate("estimate-num-keys"))
            looked, last = looked + 1, here
            iterator.next()
        return looked

    def close(self) -> None:
        with self._writing:
            self._db.close()


def _follow(record: Record, row: bytes | None) -> Record | None:
    """None when the row of the log went with age between the two reads: then so did what it pointed at."""
    return None if row is None else rows.with_event(record, rows.history_event(row))


def _newest(row: MessageRow) -> tuple[int, bytes]:
    return -row.created_at, row.message_id.encode()


def _named_by(index: bytes, view: View, cursor: str | None = None) -> Iterator[bytes]:
    """The rows that an index by time names, the newest first: behind its prefix come the instant and the id."""
    start = index
    if cursor is not None:
        at, id = decode_cursor(cursor, (int, str))
        start += spell.newest(int(at)) + str(id).encode() + b"\x00"
    named = (key[len(index) + spell.INSTANT :] for key, _ in view.scan(start, spell.after(index)))
    return (view.row(Tag.ROWS + id) for id in named)


def _page(found: Iterable[T], limit: int, place: Callable[[T], Sequence[str | int]]) -> tuple[list[T], str | None]:
    """The first ``limit`` rows, and where the next page begins if there is one."""
    page = list(islice(found, limit + 1))
    if len(page) <= limit:
        return page, None
    return page[:limit], encode_cursor(*place(page[limit - 1])) if limit else None
