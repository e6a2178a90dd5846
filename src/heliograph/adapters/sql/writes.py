"""From a :class:`~heliograph.ports.Commit` to one SQL statement.

A commit is one statement, so one round trip and one transaction, and no lock is ever held while a client thinks (or is
paused, or dead)::

    WITH held AS MATERIALIZED (SELECT held(...)), -- only where there is something to check; raises, or is true
         <the parts that have something to write>,
         process AS (<this process has committed so much>)
    SELECT <refuse when a new message, or another plan of this version, was there after all>

The parts stand in :mod:`.parts`; what ``held`` checks, and in which order, in the migration that made it.  Its queries
see what others committed while it waited for their locks; the writes behind it do so, too (``ON CONFLICT``).
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final

from heliograph.adapters.sql.parts import PARTS
from heliograph.adapters.sql.spell import place
from heliograph.events.ids import digest
from heliograph.ports import Commit

GUARD_SLOTS: Final = 256
"""Locks that addresses share.  A server has room for 6,400 by default (64 a connection), a commit may look at 2,048
addresses, and sharing one costs a wait of a commit's length only where somebody writes an address that falls there."""

_PROCESS: Final = (
    "process AS (INSERT INTO processes AS p (workspace, process, name, committed, last_at, seen_at, publishing_until) "
    "VALUES (0, $1::bigint, '', $2::bigint, $3::bigint, now_ms(), 0) ON CONFLICT (workspace, process) DO UPDATE SET "
    "committed = excluded.committed, last_at = greatest(p.last_at, excluded.last_at), seen_at = excluded.seen_at)"
)
_HELD: Final = (
    "held AS MATERIALIZED (SELECT held({0}::bytea, {1}::integer[], {2}::bigint[], {3}::integer[], {4}::boolean[], "
    "{5}::bytea[], {6}::bytea[], {7}::bytea[], {8}::boolean[], {9}::bigint[], {10}::bytea[], {11}::bigint[]) AS held)"
)
_HELD_VALUES: Final = 12


@lru_cache(maxsize=512)
def _statement(parts: tuple[tuple[int, int], ...], held: bool, synced: bool) -> str:
    """``parts``: (which, its columns).  $1 process, $2 number of the commit, $3 its last instant."""
    first, expressions = 4, []
    if held:
        expressions.append(_HELD.format(*(f"${first + n}" for n in range(_HELD_VALUES))))
        first += _HELD_VALUES
    wait = " AND (SELECT held FROM held)" if held else ""
    short = []
    for which, width in parts:
        part, values = PARTS[which], [f"${first + n}" for n in range(width)]
        expressions.append(f"write_{part.name} AS ({part.sql.format(*values, held=wait, process='$1::bigint')})")
        if part.whole:
            short.append(f"(SELECT count(*) FROM write_{part.name}) < cardinality({values[0]})")
        first += width
    last = f"CASE WHEN {' OR '.join(short)} THEN refuse() END" if short else "1"
    asked = "(SELECT held FROM held), " if held else ""  # else a commit that only checks would not even do that
    lazy = "" if synced else ", set_config('synchronous_commit', 'off', true)"
    return f"WITH {', '.join([*expressions, _PROCESS])} SELECT {asked}{last}{lazy}"


def spelled(commit: Commit, process: int, number: int, synced: bool) -> tuple[str, list[object]]:
    """The statement and its values.  ValueError where a text has no UTF-8, or a row in ``bases`` kept its ``rev``."""
    _check_revs(commit)
    last_at = max((record.received_at for _, record in commit.log), default=0)
    values: list[object] = [process, number, last_at]
    held = bool(commit.fence or commit.guards or commit.bases or commit.ledger)
    if held:
        values += _checks(commit)
    parts = []
    for which, part in enumerate(PARTS):
        if rows := list(part.rows(commit)):
            columns = list(zip(*rows, strict=True))
            parts.append((which, len(columns)))
            values += columns
    return _statement(tuple(parts), held, synced), values


def _check_revs(commit: Commit) -> None:
    kept = [id for id, base in commit.bases.items() if id in commit.messages and commit.messages[id].rev <= base]
    if kept:
        raise ValueError(f"message {kept[0]} was changed under a base and its rev did not grow")


def _checks(commit: Commit) -> list[object]:
    """The values of ``held``: the fence, the locks of addresses, the words as they were read, messages as they were."""
    fence = commit.fence
    claims = sorted(fence.epochs.items()) if fence else []
    said = [
        (place(address), place(row.topic), row.given, row.at)
        for address, rows in commit.guards.items()
        for row in rows.values()
    ]
    slots = dict.fromkeys(map(_slot, commit.guards), False) | {_slot(at): True for at, _ in commit.ledger}
    bases = sorted((place(id), rev) for id, rev in commit.bases.items())
    return [
        fence.owner.encode() if fence else b"",
        *_columns(claims, 2),
        *_columns(sorted(slots.items()), 2),
        [place(address) for address in commit.guards],
        *_columns(said, 4),
        *_columns(bases, 2),
    ]


def _slot(address: str) -> int:
    return int.from_bytes(digest(address)[:2], "big") % GUARD_SLOTS


def _columns(rows: Sequence[tuple[Any, ...]], width: int) -> Sequence[Sequence[Any]]:
    return list(zip(*rows, strict=True)) if rows else [()] * width
