"""What is too old goes, a bounded number of rows per call.

The log goes from its front with one ``delete_range``.  History and journal are kept per person, so old rows lie
scattered: each call looks at the next ``ROWS_A_CALL`` rows of the sweep, skips from a person's first young row to the
next person with one seek, and remembers in a meta row where it stopped.  Messages and dead letters go by their index
by time, from the oldest.  Nothing here is synced: what a power loss brings back expires again.
"""

from collections.abc import Callable, Iterator

from heliograph.adapters.rocksdb import rows, spell
from heliograph.adapters.rocksdb.database import Batch, Database, Family, Row
from heliograph.adapters.rocksdb.spell import Tag
from heliograph.adapters.rocksdb.writer import message_indexes
from heliograph.ports import UNFINISHED

ROWS_A_CALL = 500
"""Rows or people looked at per family and call: a few milliseconds, less than a chunk of live work, which waits.  Twice
a second that is 86 million a day."""

_SWEPT = {"history": Tag.OWN + b"swept_history", "journal": Tag.OWN + b"swept_journal"}


class Retention:
    """One call of ``expire``: fills a batch, counts what goes."""

    def __init__(self, database: Database, last_position: int) -> None:
        self.batch = Batch()
        self.gone = 0
        self.changed = False
        self._db = database
        self._last_position = last_position

    def log(self, before: int) -> int:
        """Drops from the front, never the last row; returns the first position that stays."""
        family = self._db.family("log")
        last = spell.log(self._last_position)
        first = last
        for seen, (key, row) in enumerate(family.scan(spell.SPACE, last)):
            if rows.log_received_at(row) >= before or seen == ROWS_A_CALL:
                first = key
                break
            self._gone()
        if self.gone:
            self.batch.delete_range(family, spell.SPACE, first)
        return spell.from_i64(first, len(spell.SPACE))

    def history(self, before: int, first_position: int) -> None:
        def old(row: bytes) -> bool:
            received_at, position = rows.history_head(row)
            return received_at < before and position < first_position

        self._sweep("history", before, old)

    def journal(self, before: int) -> None:
        self._sweep("journal", before, lambda row: True)

    def _sweep(self, name: str, before: int, old: Callable[[bytes], bool]) -> None:
        family, meta = self._db.family(name), self._db.family("meta")
        start = meta.get(_SWEPT[name]) or spell.SPACE
        place = start
        iterator = family.seeker()
        iterator.seek(start)
        for _ in range(ROWS_A_CALL):
            place = iterator.key() if iterator.valid() else spell.SPACE_END
            if place >= spell.SPACE_END:
                place = spell.SPACE
                break
            owner = spell.end_of_text(place, spell.BUCKETED)
            if spell.from_i64(place, owner) >= before:
                iterator.seek(spell.after(place[:owner]))
                continue
            if old(iterator.value()):
                self.batch.delete(family, place)
                self._gone()
            iterator.next()
        if place != start:
            self.batch.put(meta, _SWEPT[name], place)
            self.changed = True

    def messages(self, before: int) -> None:
        family = self._db.family("messages")
        for index, _ in _oldest(family, before):
            place = Tag.ROWS + index[len(Tag.BY_TIME) + spell.INSTANT :]
            found = family.get(place)
            row = None if found is None else rows.message(found)
            if row is None or row.status in UNFINISHED:
                continue
            for key in (place, *message_indexes(row)):
                self.batch.delete(family, key)
            self._gone()

    def dead_letters(self, before: int) -> None:
        family = self._db.family("dead_letters")
        for index, _ in _oldest(family, before):
            self.batch.delete(family, index)
            self.batch.delete(family, Tag.ROWS + index[len(Tag.BY_TIME) + spell.INSTANT :])
            self._gone()

    def _gone(self) -> None:
        self.gone += 1
        self.changed = True


def _oldest(family: Family, before: int) -> Iterator[Row]:
    """Index rows by time from the oldest, as far as they are older than ``before``; a bounded number."""
    old = family.scan(Tag.BY_TIME + spell.newest(before - 1), spell.after(Tag.BY_TIME), backwards=True)
    return (row for _, row in zip(range(ROWS_A_CALL), old, strict=False))
