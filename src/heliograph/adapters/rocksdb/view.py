"""A data folder as it was at one instant, read beside the process that owns it.

A RocksDB secondary: it takes no lock, writes nothing into the folder, and holds every file open that it needs, so the
owner writes and compacts on undisturbed while the view stays where it is.  Its own log goes to a temporary folder.
All reads of :class:`~heliograph.adapters.rocksdb.store.RocksStore` work; beside them are the sweeps that a backtest
needs, which decode as little as they can.
"""

import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, NoReturn

from heliograph.adapters.rocksdb import rows, spell
from heliograph.adapters.rocksdb.database import Database, Row
from heliograph.adapters.rocksdb.store import RocksStore
from heliograph.events.event import Event
from heliograph.events.ids import BUCKETS
from heliograph.events.record import Head, Record
from heliograph.ports import JournalRow, StoreFailed

MEMORY = Path("/dev/shm")
"""Where a view keeps its own log, if there is such a thing: one that reads at idle priority must not hold up the disk's
journal, on which the owner waits when it syncs."""
_TRIES = 5
"""A file that the owner compacts away between our look at the list of files and our opening of it costs one."""


class Kept(NamedTuple):
    """A row of history: when its event was first received, and the event still encoded."""

    key: str
    occurred_at: int
    event_id: str
    received_at: int
    position: int
    data: bytes

    def event(self) -> Event:
        return rows.event(self.data)


class Logged(NamedTuple):
    """A row of the log, still encoded."""

    position: int
    head: Head
    row: bytes

    def record(self) -> tuple[Record, Event | None]:
        """The record, and the place of its event when that is in history (its id and ``occurred_at``)."""
        return rows.log_record(self.row)


class RocksView(RocksStore):
    """Raises what :class:`RocksStore` raises, but never :class:`~heliograph.ports.StoreLocked`."""

    def __init__(self, path: Path) -> None:
        if not (path / "CURRENT").is_file():
            raise StoreFailed(f"{path} is no data folder of Heliograph: it has no database.")
        # The folder goes as soon as its log is open: a process that is killed leaves nothing behind.
        with tempfile.TemporaryDirectory(prefix="heliograph-view-", dir=MEMORY if MEMORY.is_dir() else None) as own:
            self._db = _opened(path, Path(own))
        self._db.catch_up()  # what was written, and moved from one file to another, while we opened
        self._check_format(path)
        self._writing, self._visible = threading.Lock(), threading.Lock()
        self._pending_lock = threading.Lock()
        self._none_pending_before = spell.SPACE
        self.look()

    def look(self) -> None:
        """Note where the log ends."""
        self._tally = self._read_tally()
        self._counts = self._read_counts()

    def catch_up(self) -> None:
        """From now on show what the owner has written by now."""
        self._db.catch_up()
        self.look()

    def history_rows(self) -> int:
        """How many rows history has, an estimate."""
        return self._db.family("history").estimate("estimate-num-keys")

    def commit(self, *_: object, **__: object) -> NoReturn:
        raise StoreFailed("This view of the data folder is read-only.")

    expire = commit

    # -- sweeps --

    def blobs(self) -> Iterator[tuple[str, bytes]]:
        """Every key with its state, in storage order."""
        for key, blob in self._db.family("state").scan(spell.SPACE, spell.SPACE_END):
            yield spell.state_owner(key), blob

    def logged(self, after: int = 0) -> Iterator[Logged]:
        """The log from behind this position."""
        for key, row in self._db.family("log").scan(spell.log(after + 1), spell.SPACE_END):
            yield Logged(spell.from_i64(key, len(spell.SPACE)), rows.log_head(row), row)

    def first_logged(self) -> Logged | None:
        """The oldest record that the log still has."""
        return next(self.logged(), None)

    def kept(self, buckets: range) -> Iterator[Kept]:
        """History of these buckets, in storage order: person by person, by (occurred_at, event_id)."""
        start, end = (spell.SPACE + at.to_bytes(2, "big") for at in (buckets.start, min(buckets.stop, BUCKETS)))
        return _kept(self._db.family("history").scan(start, end))

    def kept_of(self, key: str) -> Iterator[Kept]:
        """History of one key."""
        owner = spell.person(key)
        return _kept(self._db.family("history").scan(owner, spell.after(owner)))

    def facts(self, key: str) -> Iterator[JournalRow]:
        """The whole journal of a key, oldest first."""
        owner = spell.person(key)
        stored = self._db.family("journal").scan(owner, spell.after(owner))
        return (rows.journal_row(row) for _, row in stored)


def _opened(path: Path, own: Path) -> Database:
    for _ in range(_TRIES - 1):
        try:
            return Database(path, watching=own)
        except StoreFailed:
            continue
    return Database(path, watching=own)


def _kept(stored: Iterator[Row]) -> Iterator[Kept]:
    """A person's rows follow each other: their key is read once."""
    owner, key = b"", ""
    for place, value in stored:
        if not owner or not place.startswith(owner):
            owner = place[: spell.end_of_text(place, spell.BUCKETED)]
            key = spell.read_text(owner, spell.BUCKETED)
        at = len(owner)
        received_at, position = rows.history_head(value)
        event_id = place[at + spell.INSTANT :].decode()
        yield Kept(key, spell.from_i64(place, at), event_id, received_at, position, rows.history_data(value))
