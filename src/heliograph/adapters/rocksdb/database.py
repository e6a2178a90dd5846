"""The database file: open, read a family, write one batch, close; and what its errors mean.

``rocksdict`` raises bare exceptions whose text is RocksDB's; here, and only here, they become the errors of the port.
"""

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import cast

from rocksdict import AccessType, ColumnFamily, Rdict, RdictIter, Snapshot, WriteBatch

from heliograph.adapters.rocksdb import options
from heliograph.ports import StoreFailed, StoreFull, StoreLocked, StoreTooNew

Row = tuple[bytes, bytes]


def _scan(source: Rdict | Snapshot, start: bytes, end: bytes, backwards: bool) -> Iterator[Row]:
    """The iterator begins here, at the call; bounds are kept by us, because those of ``rocksdict`` 0.3.29 are not safe
    (a lower bound is taken for an upper one, and a bound is freed with its ReadOptions while iterators use it)."""
    if backwards:
        return _down_to(start, end, cast(Iterator[Row], source.items(backwards=True, from_key=end)))
    return _up_to(end, cast(Iterator[Row], source.items(from_key=start)))


def _up_to(end: bytes, rows: Iterator[Row]) -> Iterator[Row]:
    for row in rows:
        if row[0] >= end:
            return
        yield row


def _down_to(start: bytes, end: bytes, rows: Iterator[Row]) -> Iterator[Row]:
    for row in rows:
        if row[0] < start:
            return
        if row[0] != end:
            yield row


class View:
    """One family as it was at one instant."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot

    def row(self, key: bytes) -> bytes:
        """The row that an index of this family names, so it must be there."""
        value: bytes = self._snapshot[key]
        return value

    def scan(self, start: bytes, end: bytes, *, backwards: bool = False) -> Iterator[Row]:
        """Rows with ``start <= key < end``."""
        return _scan(self._snapshot, start, end, backwards)


class Family:
    """One column family."""

    def __init__(self, rows: Rdict, handle: ColumnFamily) -> None:
        self._rows = rows
        self.handle = handle

    def get(self, key: bytes) -> bytes | None:
        value: bytes | None = self._rows.get(key)
        return value

    def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        return cast(list[bytes | None], self._rows.get(list(keys)))

    def scan(self, start: bytes, end: bytes, *, backwards: bool = False) -> Iterator[Row]:
        """Rows with ``start <= key < end``, as they are now: what is written later does not show."""
        return _scan(self._rows, start, end, backwards)

    def seeker(self) -> RdictIter:
        """For sweeps that leap: RocksDB's own iterator."""
        return self._rows.iter()

    def view(self) -> View:
        return View(self._rows.snapshot())

    def estimate(self, name: str) -> int:
        return self._rows.property_int_value(f"rocksdb.{name}") or 0

    def close(self) -> None:
        self._rows.close()


class Batch:
    """What one commit changes."""

    def __init__(self) -> None:
        self.batch = WriteBatch(raw_mode=True)

    def put(self, family: Family, key: bytes, value: bytes = b"") -> None:
        self.batch.put(key, value, family.handle)

    def delete(self, family: Family, key: bytes) -> None:
        self.batch.delete(key, family.handle)

    def delete_range(self, family: Family, start: bytes, end: bytes) -> None:
        """Keys with ``start <= key < end``."""
        self.batch.delete_range(start, end, family.handle)


class Database:
    def __init__(self, path: Path, watching: Path | None = None) -> None:
        """Raises :class:`StoreLocked`, :class:`StoreTooNew`, :class:`StoreFull` or :class:`StoreFailed`.

        ``watching``: read only, also while another process owns the folder, as a RocksDB *secondary* that keeps its own
        log file there.  It shows one instant, whatever is written or compacted meanwhile, until :meth:`catch_up`."""
        self.path = path
        try:
            if watching is None:
                path.mkdir(parents=True, exist_ok=True)
                self._db = Rdict(str(path), options.database(), options.families())
            else:
                secondary = AccessType.secondary(str(watching))
                self._db = Rdict(str(path), options.watcher(), options.families(), access_type=secondary)
        except OSError as error:
            raise StoreFailed(f"The data folder {path} cannot be used: {error.strerror}.") from error
        except Exception as error:
            raise _open_error(path, str(error)) from error
        self._families = {name: self._open(name) for name in options.WRITE_BUFFERS}

    def _open(self, name: str) -> Family:
        return Family(self._db.get_column_family(name), self._db.get_column_family_handle(name))

    def family(self, name: str) -> Family:
        return self._families[name]

    def write(self, batch: Batch) -> None:
        """All of the batch or, with an exception, nothing; a crash of the process keeps it, a power loss may not."""
        try:
            self._db.write(batch.batch)
        except Exception as error:
            raise _write_error(self.path, str(error)) from error

    def sync(self) -> None:
        """Make what was written survive power loss.  A call of its own rather than a synced write, because
        ``rocksdict`` keeps the interpreter lock while it writes and gives it up here: others work meanwhile."""
        try:
            self._db.flush_wal(True)
        except Exception as error:
            # The batch is visible here and perhaps not on disk: no retry can tell, a restart can.
            raise StoreFailed(f"The disk under {self.path} did not keep what was written to it: {error}") from error

    def catch_up(self) -> None:
        """A secondary shows what its primary has written by now."""
        try:
            self._db.try_catch_up_with_primary()
        except Exception as error:
            raise StoreFailed(f"The data folder {self.path} can no longer be followed: {error}") from error

    def size(self) -> int:
        """Bytes on disk, with the write-ahead log."""
        total = 0
        for file in self.path.iterdir():
            with contextlib.suppress(FileNotFoundError):  # compaction has just removed it
                total += file.stat().st_size
        return total

    def close(self) -> None:
        """Lets go of the folder, once nobody holds an iterator any more."""
        for family in self._families.values():
            family.close()
        self._families.clear()
        self._db.close()


def _open_error(path: Path, text: str) -> Exception:
    if "lock" in text.lower() and ("hold by" in text or "LOCK" in text):
        return StoreLocked(
            f"The data folder {path} is in use by another Heliograph process. "
            "Stop that one first, or start this one with another --data folder."
        )
    if "Column families not opened" in text:
        return StoreTooNew(f"The data folder {path} was written by a newer version of Heliograph; use that version.")
    if "Column family not found" in text:
        return StoreFailed(
            f"The data folder {path} was last used by an older version of Heliograph; start a server of this version "
            "with it once, then look at it again."
        )
    if "No space left" in text:
        return StoreFull(f"The disk under {path} is full: {text}")
    return StoreFailed(f"The data folder {path} cannot be opened: {text}")


def _write_error(path: Path, text: str) -> Exception:
    """RocksDB resumes by itself from a full disk: every five seconds it looks whether there is room again, then writes
    out what it holds in memory and begins a new write-ahead log, without the torn end of the old one."""
    if "No space left" in text:
        return StoreFull(f"The disk under {path} is full.")
    return StoreFailed(f"The disk under {path} refused a write: {text}")
