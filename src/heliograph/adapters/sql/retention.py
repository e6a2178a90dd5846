"""What is too old goes, a bounded number of rows per call, in the place of one process that leads.

History and journal are kept per person, so old rows lie scattered: each call looks at the next rows of the table's key,
without touching the rows themselves, and remembers in ``sweeps`` where it stopped.  Messages and dead letters go by
their index by time, from the oldest; of messages, unfinished ones stay.
"""

from typing import Final

import asyncpg
import msgspec

from heliograph.adapters.sql.driver import Driver
from heliograph.adapters.sql.spell import place
from heliograph.ports import UNFINISHED

ROWS_A_CALL: Final = 5_000
"""Looked at per table and call: some 10 ms of the server's time."""
PROCESS_MS: Final = 7 * 86_400_000
"""How long a process may be silent before it is forgotten; it has to be started again then."""

_KEYS: Final = {"history": ("occurred_at", "event_id"), "journal": ("at", "number")}
_RECEIVED: Final = {"history": "received_at", "journal": "at"}
_BEGINNING: Final = {"history": (-1, b"", 0, b""), "journal": (-1, b"", 0, 0)}

_MESSAGES: Final = (
    "DELETE FROM messages WHERE workspace = 0 AND message_id IN (SELECT message_id FROM messages WHERE workspace = 0 "
    "AND ~created_at > ~$1::bigint AND NOT status = ANY ($2::bytea[]) "
    "ORDER BY ~created_at DESC, message_id DESC LIMIT $3)"
)
_DEAD_LETTERS: Final = (
    "DELETE FROM dead_letters WHERE workspace = 0 AND id IN (SELECT id FROM dead_letters WHERE workspace = 0 "
    "AND ~at > ~$1::bigint ORDER BY ~at DESC, id DESC LIMIT $2)"
)
_PROCESSES: Final = (
    "DELETE FROM processes p WHERE workspace = 0 AND seen_at < now_ms() - $1::bigint AND publishing_until < now_ms() "
    "AND NOT EXISTS (SELECT 1 FROM relay r WHERE r.workspace = 0 AND r.holder = p.process)"
)
_STOPPED: Final = "SELECT place FROM sweeps WHERE workspace = 0 AND name = $1 FOR UPDATE"
_STOP: Final = (
    "INSERT INTO sweeps (workspace, name, place) VALUES (0, $1, $2) "
    "ON CONFLICT (workspace, name) DO UPDATE SET place = excluded.place"
)


def expire(driver: Driver, history_before: int, dead_letters_before: int) -> int:
    """How many rows went."""

    async def work(connection: asyncpg.Connection) -> int:
        gone = 0
        for table in _KEYS:
            async with connection.transaction():
                gone += await _sweep(connection, table, history_before)
        unfinished = sorted(map(place, UNFINISHED))
        gone += _count(await connection.execute(_MESSAGES, history_before, unfinished, ROWS_A_CALL))
        gone += _count(await connection.execute(_DEAD_LETTERS, dead_letters_before, ROWS_A_CALL))
        await connection.execute(_PROCESSES, PROCESS_MS)
        return gone

    return driver.run(driver.ask(work))


async def _sweep(connection: asyncpg.Connection, table: str, before: int) -> int:
    name = table.encode()
    kept = await connection.fetchval(_STOPPED, name)
    start = msgspec.msgpack.decode(kept) if kept else _BEGINNING[table]
    rows = await connection.fetch(_look(table), *start, before, ROWS_A_CALL)
    old = [tuple(row)[:-1] for row in rows if row[-1]]
    gone = _count(await connection.execute(_drop(table), *zip(*old, strict=True), before)) if old else 0
    end = tuple(rows[-1])[:-1] if len(rows) == ROWS_A_CALL else _BEGINNING[table]
    await connection.execute(_STOP, name, msgspec.msgpack.encode(end))
    return gone


def _look(table: str) -> str:
    """The next places, and whether each is old as far as its key tells: the index alone is read."""
    at, id = _KEYS[table]
    return (
        f"SELECT bucket, key, {at}, {id}, {at} < $5::bigint FROM {table} WHERE workspace = 0 "
        f"AND (bucket, key, {at}, {id}) > ($1, $2, $3, $4) ORDER BY bucket, key, {at}, {id} LIMIT $6"
    )


def _drop(table: str) -> str:
    at, id = _KEYS[table]
    kind = "bytea" if id == "event_id" else "bigint"
    return (
        f"DELETE FROM {table} h USING unnest($1::smallint[], $2::bytea[], $3::bigint[], $4::{kind}[]) "
        f"AS t (b, k, a, i) WHERE h.workspace = 0 AND h.bucket = t.b AND h.key = t.k AND h.{at} = t.a AND h.{id} = t.i "
        f"AND h.{_RECEIVED[table]} < $5"
    )


def _count(tag: str) -> int:
    """Of PostgreSQL's ``DELETE 7``."""
    return int(tag.rpartition(" ")[2])
