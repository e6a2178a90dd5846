"""A :class:`~heliograph.ports.Store` in PostgreSQL, for many processes: every read and every commit is one statement.

Statements are spelled where they are asked; what a commit writes stands in :mod:`.writes`.  Any thread may call: the
connections live on a loop in a thread of their own (:mod:`.driver`).
"""

from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

from heliograph.adapters.cursor import decode_cursor
from heliograph.adapters.sql import retention, schema
from heliograph.adapters.sql.committer import Committer
from heliograph.adapters.sql.driver import Driver
from heliograph.adapters.sql.pages import EVERYTHING_BEFORE, first, newest_behind, page, place_behind
from heliograph.adapters.sql.parts import person
from heliograph.adapters.sql.spell import behind, is_cut, place
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
)

LISTING: Final = 24
"""A listing of everything (open messages, open requests) may take so many times the usual timeout."""
COUNTED: Final = 4_000
"""People looked at to estimate how many there are."""
POSITIONS: Final = 1 << 32
"""Of one life of a process: ids of records are made from a position, so none is ever used twice, also in its next life
and beside others.  Two million lives fit below 2^53, where JSON ends."""

_event = msgspec.msgpack.Decoder(Event).decode
_message = msgspec.msgpack.Decoder(MessageRow).decode
_journal = msgspec.msgpack.Decoder(JournalRow).decode
_ledger = msgspec.msgpack.Decoder(LedgerRow).decode
_dead_letter = msgspec.msgpack.Decoder(DeadLetter).decode
_request = msgspec.msgpack.Decoder(RequestRow).decode
_broadcast = msgspec.msgpack.Decoder(BroadcastRow).decode

_IN: Final = "WHERE workspace = 0"


class PostgresRows:
    """``url``: ``postgresql://user:password@host:5432/name?sslmode=verify-full``.  ``pool``: connections at most.
    ``timeout_s``: of every call but listings.  ``name``: who this is, for people who look into ``processes``.

    Raises :class:`StoreAway`, :class:`StoreTooNew` or :class:`StoreFailed` (the database needs an upgrade)."""

    def __init__(self, url: str, *, pool: int = 8, timeout_s: float = 5.0, name: str = "") -> None:
        self._db = Driver(url, pool=pool, timeout_s=timeout_s)
        try:
            schema.check(self._schema())
            self._committer = Committer(self._db, name)
        except BaseException:
            self._db.close()
            raise
        self._position = self._committer.process * POSITIONS

    def _schema(self) -> str:
        if not self._db.row("SELECT 1 FROM pg_tables WHERE tablename = 'alembic_version'"):
            return ""
        found = self._db.row("SELECT version_num FROM alembic_version")
        return "" if found is None else str(found[0])

    # -- writing --

    def commit(self, commit: Commit, *, sync: bool = True) -> None:
        if commit.empty:
            return
        self._committer.commit(commit, sync)
        if commit.log:
            self._position = max(self._position, commit.log[-1][0])

    def expire(self, *, log_before: int, history_before: int, dead_letters_before: int) -> int:
        """The log is not here; ``log_before`` says nothing."""
        return retention.expire(self._db, history_before, dead_letters_before)

    # -- states --

    def states(self, keys: Sequence[str]) -> list[bytes | None]:
        if not keys:
            return []
        buckets, places = zip(*map(person, keys), strict=True)
        rows = self._db.rows(
            "SELECT s.blob FROM unnest($1::smallint[], $2::bytea[]) WITH ORDINALITY AS t (bucket, key, turn) "
            "LEFT JOIN states s ON s.workspace = 0 AND s.bucket = t.bucket AND s.key = t.key ORDER BY t.turn",
            buckets, places,
        )  # fmt: skip
        return [row[0] for row in rows]

    def keys(self, after: str | None = None, limit: int = 1000) -> list[str]:
        rows = self._db.rows(
            f"SELECT key FROM states {_IN} AND (bucket, key) > ($1, $2) ORDER BY bucket, key LIMIT $3",
            *place_behind(after), limit,
        )  # fmt: skip
        return self._texts([row[0] for row in rows])

    # -- log and history --

    def last_position(self) -> int:
        """Of this process alone: behind everything that it, or any before it, ever appended."""
        return self._position

    def last_received_at(self) -> int:
        """The latest that any process committed."""
        row = self._db.row(f"SELECT coalesce(max(last_at), 0) FROM processes {_IN}")
        return int(row[0]) if row else 0

    def log(self, after: int = 0, limit: int = 1000) -> list[tuple[int, Record]]:
        return []

    def history(self, key: str, since: int = 0, until: int | None = None) -> Iterator[Event]:
        rows = self._db.rows(
            f"SELECT data FROM history {_IN} AND bucket = $1 AND key = $2 AND occurred_at >= $3 "
            "AND ($4::bigint IS NULL OR occurred_at < $4) ORDER BY occurred_at, event_id",
            *person(key), since, until,
        )  # fmt: skip
        return (_event(row[0]) for row in rows)

    def history_part(
        self, key: str, names: frozenset[str] | None, after: tuple[int, str] | None = None, limit: int = 500
    ) -> tuple[list[Event], tuple[int, str] | None]:
        at, id = EVERYTHING_BEFORE if after is None else (after[0], place(after[1]))
        wanted = None if names is None else sorted(place(name) for name in names if name.isascii())
        rows = self._db.rows(
            "SELECT occurred_at, event_id, "
            "CASE WHEN $5::bytea[] IS NULL OR name IS NULL OR name = ANY ($5) THEN data END "
            f"FROM history {_IN} AND bucket = $1 AND key = $2 AND (occurred_at, event_id) > ($3, $4) "
            "ORDER BY occurred_at, event_id LIMIT $6",
            *person(key), at, id, wanted, limit,
        )  # fmt: skip
        events = [_event(row[2]) for row in rows if row[2] is not None]
        return events, (rows[-1][0], self._texts([rows[-1][1]])[0]) if rows and len(rows) == limit else None

    def recent_history(self, key: str, limit: int) -> list[Event]:
        rows = self._db.rows(
            f"SELECT data FROM history {_IN} AND bucket = $1 AND key = $2 "
            "ORDER BY occurred_at DESC, event_id DESC LIMIT $3",
            *person(key), limit,
        )  # fmt: skip
        return [_event(row[0]) for row in rows]

    # -- wake-ups --

    def due(self, now: int, limit: int = 1000) -> list[tuple[int, str]]:
        rows = self._db.rows(
            f"SELECT deadline, key FROM wakeups {_IN} AND deadline <= $1 ORDER BY deadline, key LIMIT $2", now, limit
        )
        return list(zip([row[0] for row in rows], self._texts([row[1] for row in rows]), strict=True))

    def next_due(self) -> int | None:
        row = self._db.row(f"SELECT deadline FROM wakeups {_IN} ORDER BY deadline LIMIT 1")
        return None if row is None else int(row[0])

    # -- messages --

    def message(self, message_id: str) -> MessageRow | None:
        row = self._db.row(f"SELECT row FROM messages {_IN} AND message_id = $1", place(message_id))
        return None if row is None else _message(row[0])

    def messages(
        self,
        *,
        key: str | None = None,
        status: str | None = None,
        broadcast: str | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> tuple[list[MessageRow], str | None]:
        values: list[object] = [*newest_behind(cursor), limit + 1]
        tests, source = ["(~created_at, message_id) > ($1::bigint, $2::bytea)"], "messages"

        def test(sql: str, *more: object) -> None:
            tests.append(sql.format(*(f"${len(values) + n}" for n in range(1, len(more) + 1))))
            values.extend(more)

        if key is not None:
            test("bucket = {}::smallint AND key = {}::bytea", *person(key))
        if broadcast is not None:
            test("broadcast AND journey = {}::bytea", place(journey_of(broadcast)))
        if status is not None:
            test("status = {}::bytea", place(status))
        elif broadcast is not None and key is None:
            source = self._each_status(tests, values)
        where = f"{_IN} AND {' AND '.join(tests)}"
        sql = f"SELECT row FROM {source} {where} ORDER BY ~created_at, message_id LIMIT $3::bigint"
        rows = [_message(row[0]) for row in self._db.rows(sql, *values)]
        return page(rows, limit, lambda row: (row.created_at, row.message_id))

    @staticmethod
    def _each_status(tests: list[str], values: list[object]) -> str:
        """A broadcast's index is by status: the newest of each, merged."""
        values.append(sorted(place(status) for status in STATUSES))
        return (
            f"(SELECT m.* FROM unnest(${len(values)}::bytea[]) AS s (of_status), LATERAL ("
            f"SELECT * FROM messages {_IN} AND status = of_status AND {' AND '.join(tests)} "
            "ORDER BY ~created_at, message_id LIMIT $3::bigint) AS m) AS messages"
        )

    def unfinished_messages(self) -> Iterator[MessageRow]:
        return self.unfinished_in(range(BUCKETS))

    def unfinished_in(self, buckets: Sequence[int]) -> Iterator[MessageRow]:
        rows = self._db.rows(
            f"SELECT row FROM messages {_IN} AND status = ANY ($1::bytea[]) AND bucket = ANY ($2::smallint[])",
            sorted(map(place, UNFINISHED)), list(buckets), patience=LISTING,
        )  # fmt: skip
        return (_message(row[0]) for row in rows)

    def queued_messages(self, after: tuple[int, str], limit: int) -> list[MessageRow]:
        rows = self._db.rows(
            f"SELECT row FROM messages {_IN} AND status = $1 AND (~created_at, message_id) < ($2, $3) "
            "ORDER BY ~created_at DESC, message_id DESC LIMIT $4",
            place("queued"), ~after[0], place(after[1]), limit,
        )  # fmt: skip
        return [_message(row[0]) for row in rows]

    # -- requests --

    def request(self, request_id: str) -> RequestRow | None:
        row = self._db.row(f"SELECT row FROM requests {_IN} AND request_id = $1", place(request_id))
        return None if row is None else _request(row[0])

    def requests(self, after: str = "") -> Iterator[RequestRow]:
        rows = self._db.rows(
            f"SELECT row FROM requests {_IN} AND request_id > $1 ORDER BY request_id", place(after), patience=LISTING
        )
        return (_request(row[0]) for row in rows)

    # -- broadcasts --

    def broadcast(self, broadcast_id: str) -> BroadcastRow | None:
        row = self._db.row(f"SELECT row FROM broadcasts {_IN} AND broadcast_id = $1", place(broadcast_id))
        return None if row is None else _broadcast(row[0])

    def broadcasts(self, limit: int = 100, cursor: str | None = None) -> tuple[list[BroadcastRow], str | None]:
        rows = self._db.rows(
            f"SELECT row FROM broadcasts {_IN} AND (~created_at, broadcast_id) > ($1, $2) "
            "ORDER BY ~created_at, broadcast_id LIMIT $3",
            *newest_behind(cursor), limit + 1,
        )  # fmt: skip
        return page(map(_broadcast, first(rows)), limit, lambda row: (row.created_at, row.broadcast_id))

    # -- consent and suppression --

    def ledger(self, address: str) -> list[LedgerRow]:
        rows = self._db.rows(f"SELECT row FROM ledger {_IN} AND address = $1 ORDER BY topic", place(address))
        return [_ledger(row[0]) for row in rows]

    def suppressions(
        self, limit: int = 100, cursor: str | None = None, *, prefix: str = ""
    ) -> tuple[list[LedgerRow], str | None]:
        address, topic = ("", "") if cursor is None else decode_cursor(cursor, (str, str))
        start = prefix.encode()
        rows = self._db.rows(
            f"SELECT row FROM ledger {_IN} AND (address, topic) > ($1, $2) AND address >= $3 AND address < $4 "
            "AND NOT given AND substring(topic FROM 1 FOR 1) = '\\x21'::bytea ORDER BY address, topic LIMIT $5",
            place(str(address)), place(str(topic)), start, behind(start), limit + 1,
        )  # fmt: skip
        return page(map(_ledger, first(rows)), limit, lambda row: (row.address, row.topic))

    def words(self, after: tuple[str, str] | None = None, limit: int = 1000) -> list[LedgerRow]:
        rows = self._db.rows(
            f"SELECT row FROM ledger {_IN} AND (address, topic) > ($1, $2) ORDER BY address, topic LIMIT $3",
            *map(place, after or ("", "")), limit,
        )  # fmt: skip
        return [_ledger(row[0]) for row in rows]

    # -- look-ups --

    def keys_of_email(self, address: str) -> list[str]:
        rows = self._db.rows(f"SELECT key FROM emails {_IN} AND address = $1 ORDER BY key", place(address))
        return self._texts(list(first(rows)))

    def emails(self, prefix: str = "", limit: int = 1000) -> list[str]:
        start = prefix.encode()
        rows = self._db.rows(
            f"SELECT DISTINCT address FROM emails {_IN} AND address >= $1 AND address < $2 ORDER BY address LIMIT $3",
            start, behind(start), limit,
        )  # fmt: skip
        return self._texts(list(first(rows)))

    def members(
        self, name: str, limit: int = 100, cursor: str | None = None, *, after: str | None = None
    ) -> tuple[list[tuple[str, int]], str | None]:
        if cursor is not None:
            after = str(decode_cursor(cursor, (str,))[0])
        rows = self._db.rows(
            f"SELECT key, since FROM members {_IN} AND name = $1 AND (bucket, key) > ($2, $3) "
            "ORDER BY bucket, key LIMIT $4",
            place(name), *place_behind(after), limit + 1,
        )  # fmt: skip
        keys = self._texts([row[0] for row in rows])
        found = [(key, row[1]) for key, row in zip(keys, rows, strict=True)]
        return page(found, limit, lambda row: (row[0],))

    def member_count(self, name: str) -> int:
        row = self._db.row(
            f"SELECT coalesce(sum(people), 0)::bigint FROM member_counts {_IN} AND name = $1", place(name)
        )
        return int(row[0]) if row else 0

    def journal(self, key: str, limit: int = 200, before: int | None = None) -> list[JournalRow]:
        rows = self._db.rows(
            f"SELECT row FROM journal {_IN} AND bucket = $1 AND key = $2 AND ($3::bigint IS NULL OR at < $3) "
            "ORDER BY at DESC, number DESC LIMIT $4",
            *person(key), before, limit,
        )  # fmt: skip
        return [_journal(row[0]) for row in rows]

    def dead_letters(self, limit: int = 100, cursor: str | None = None) -> tuple[list[DeadLetter], str | None]:
        rows = self._db.rows(
            f"SELECT row FROM dead_letters {_IN} AND (~at, id) > ($1, $2) ORDER BY ~at, id LIMIT $3",
            *newest_behind(cursor), limit + 1,
        )  # fmt: skip
        return page(map(_dead_letter, first(rows)), limit, lambda row: (row.at, row.id))

    def dead_letter(self, id: str) -> DeadLetter | None:
        row = self._db.row(f"SELECT row FROM dead_letters {_IN} AND id = $1", place(id))
        return None if row is None else _dead_letter(row[0])

    # -- plans and small things --

    def plan(self, version: int | None = None) -> PlanRow | None:
        row = self._db.row(
            f"SELECT version, document, published_at FROM plans {_IN} AND ($1::bigint IS NULL OR version = $1) "
            "ORDER BY version DESC LIMIT 1",
            version,
        )
        return None if row is None else PlanRow(row[0], row[1], row[2])

    def plans(self) -> list[tuple[int, int]]:
        rows = self._db.rows(f"SELECT version, published_at FROM plans {_IN} ORDER BY version")
        return [(row[0], row[1]) for row in rows]

    def meta(self, name: str) -> bytes | None:
        row = self._db.row(f"SELECT value FROM meta {_IN} AND name = $1", place(name))
        return None if row is None else bytes(row[0])

    def metas(self, prefix: str = "") -> list[str]:
        start = prefix.encode()
        rows = self._db.rows(
            f"SELECT name FROM meta {_IN} AND name >= $1 AND name < $2 ORDER BY name", start, behind(start)
        )
        return self._texts(list(first(rows)))

    def counts(self) -> dict[str, int]:
        """People are counted where they are few, else told from how full the first buckets are; messages and wake-ups
        as PostgreSQL last estimated them."""
        row = self._db.row(
            f"WITH enough AS (SELECT bucket FROM states {_IN} ORDER BY bucket, key OFFSET $1 LIMIT 1), "
            "seen AS (SELECT coalesce((SELECT bucket FROM enough), $2 - 1) AS bucket) "
            f"SELECT (SELECT count(*) FROM states {_IN} AND bucket <= (SELECT bucket FROM seen)), "
            "(SELECT bucket FROM seen), "
            "(SELECT greatest(reltuples, 0)::bigint FROM pg_class WHERE oid = 'messages'::regclass), "
            "(SELECT greatest(reltuples, 0)::bigint FROM pg_class WHERE oid = 'wakeups'::regclass), "
            "pg_database_size(current_database())",
            COUNTED, BUCKETS,
        )  # fmt: skip
        people, last, messages, wakeups, size = row or (0, 0, 0, 0, 0)
        profiles = people * BUCKETS // (last + 1)
        return {"profiles": profiles, "log": 0, "messages": messages, "wakeups": wakeups, "bytes": size}

    def close(self) -> None:
        self._committer.leave()
        self._db.close()

    def _texts(self, places: list[bytes]) -> list[str]:
        """What these stand for: nearly always themselves."""
        cut = [at for at in places if is_cut(at)]
        whole = {}
        if cut:
            rows = self._db.rows(f"SELECT place, whole FROM long_texts {_IN} AND place = ANY ($1::bytea[])", cut)
            whole = {row[0]: row[1] for row in rows}
        return [whole.get(at, at).decode() for at in places]
