"""A :class:`~heliograph.ports.Store` in plain dicts and sorted lists: simple, obviously right, gone with the process.

It is the oracle of the contract suite, so it prefers the plain way: rows are kept encoded, as a disk would keep them
(nothing is shared with the caller), lists are sorted when read, one lock makes every call atomic.
"""

import threading
from bisect import bisect_right, insort
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import update_wrapper
from typing import Any, Concatenate, ParamSpec, TypeVar

import msgspec

from heliograph.adapters.cursor import decode_cursor, encode_cursor
from heliograph.decide.broadcasts import journey_of
from heliograph.events.event import Event
from heliograph.events.ids import bucket
from heliograph.events.record import EventBody, LedgerRow, Record, decode_record, encode_record
from heliograph.ports import (
    UNFINISHED,
    BroadcastRow,
    Commit,
    DeadLetter,
    JournalRow,
    MessageRow,
    PlanRow,
    RequestRow,
    StoreFull,
)

P = ParamSpec("P")
R = TypeVar("R")
S = TypeVar("S", bound="MemoryStore")
T = TypeVar("T")

_encode = msgspec.msgpack.encode
_event = msgspec.msgpack.Decoder(Event).decode
_message = msgspec.msgpack.Decoder(MessageRow).decode
_journal_row = msgspec.msgpack.Decoder(JournalRow).decode
_dead_letter = msgspec.msgpack.Decoder(DeadLetter).decode
_broadcast = msgspec.msgpack.Decoder(BroadcastRow).decode


class _Kept(msgspec.Struct):
    """An event in history.  ``position``: of the last log row that points here."""

    received_at: int
    position: int
    data: bytes


def _storage_order(key: str) -> tuple[int, str]:
    return bucket(key), key


def _page(rows: Iterable[T], limit: int, place: Callable[[T], Sequence[str | int]]) -> tuple[list[T], str | None]:
    """The first ``limit`` rows, and where the next page begins if there is one."""
    rows = list(rows)
    page = rows[:limit]
    return page, encode_cursor(*place(page[-1])) if page and len(rows) > limit else None


def _atomic(method: "Callable[Concatenate[S, P], R]") -> "Callable[Concatenate[S, P], R]":
    def locked(self: S, /, *args: P.args, **kwargs: P.kwargs) -> R:
        with self._lock:
            return method(self, *args, **kwargs)

    update_wrapper(locked, method)
    return locked


class MemoryStore:
    """``full = True`` makes every commit raise :class:`StoreFull`, as a full disk does."""

    def __init__(self) -> None:
        self.full = False
        self._lock = threading.RLock()
        self._states: dict[str, bytes] = {}
        self._log: list[tuple[int, int, bytes]] = []  # position, received_at, record
        self._history: dict[str, dict[tuple[int, str], _Kept]] = {}
        self._wakeups: list[tuple[int, str]] = []
        self._messages: dict[str, bytes] = {}
        self._ledger: dict[tuple[str, str], LedgerRow] = {}
        self._members: dict[str, dict[str, int]] = {}
        self._journal: dict[str, list[bytes]] = {}
        self._emails: dict[str, set[str]] = {}
        self._dead_letters: dict[str, bytes] = {}
        self._plans: dict[int, PlanRow] = {}
        self._meta: dict[str, bytes] = {}
        self._requests: dict[str, RequestRow] = {}
        self._broadcasts: dict[str, bytes] = {}

    @_atomic
    def commit(self, commit: Commit, *, sync: bool = True) -> None:
        if self.full:
            raise StoreFull("the store was told that its disk is full")
        log = self._checked_log(commit)
        messages = {id: _encode(row) for id, row in commit.messages.items()}
        journal = [(key, _encode(row)) for key, row in commit.journal]
        dead_letters = {id: _encode(letter) for id, letter in commit.dead_letters.items()}
        broadcasts = {id: None if row is None else _encode(row) for id, row in commit.broadcasts.items()}
        # Nothing below can fail: all or nothing.
        for position, record, data in log:
            self._append(position, record, data)
            if isinstance(record.body, EventBody):
                self._remember(position, record, record.body.event)
        for key, (old, new) in commit.wakeups.items():
            self._move_wakeup(key, old, new)
        for (name, key), since in commit.members.items():
            self._set_member(name, key, since)
        for key, fact in journal:
            self._journal.setdefault(key, []).append(fact)
        for (address, key), held in commit.emails.items():
            holders = self._emails.setdefault(address, set())
            holders.add(key) if held else holders.discard(key)
        if commit.plan is not None:
            self._plans[commit.plan.version] = msgspec.structs.replace(commit.plan)
        for key, blob in commit.states.items():
            self._set_state(key, blob)
        self._messages.update(messages)
        self._ledger.update(commit.ledger)
        self._dead_letters.update(dead_letters)
        for name, value in commit.meta.items():
            self._set_meta(name, value)
        for id, row in commit.requests.items():
            self._set_request(id, row)
        for id, written in broadcasts.items():
            self._set_broadcast(id, written)

    def _checked_log(self, commit: Commit) -> list[tuple[int, Record, bytes]]:
        last, rows = self.last_position(), []
        for position, record in commit.log:
            if position <= last:
                raise ValueError(f"position {position} is not above {last}: is there a second writer?")
            rows.append((position, record, encode_record(record)))
            last = position
        return rows

    def _append(self, position: int, record: Record, data: bytes) -> None:
        self._log.append((position, record.received_at, data))

    def _remember(self, position: int, record: Record, event: Event) -> None:
        data = _encode(event)
        rows = self._history.setdefault(record.key, {})
        kept = rows.setdefault((event.occurred_at, event.event_id), _Kept(record.received_at, position, data))
        if kept.data == data:
            kept.position = position

    def _move_wakeup(self, key: str, old: int | None, new: int | None) -> None:
        if old is not None and (old, key) in self._wakeups:
            self._wakeups.remove((old, key))
        if new is not None and (new, key) not in self._wakeups:
            insort(self._wakeups, (new, key))

    def _set_state(self, key: str, blob: bytes | None) -> None:
        if blob is None:
            self._states.pop(key, None)
        else:
            self._states[key] = blob

    def _set_member(self, name: str, key: str, since: int | None) -> None:
        members = self._members.setdefault(name, {})
        if since is None:
            members.pop(key, None)
        else:
            members[key] = since

    def _set_broadcast(self, id: str, written: bytes | None) -> None:
        if written is None:
            self._broadcasts.pop(id, None)
        else:
            self._broadcasts[id] = written

    def _set_meta(self, name: str, value: bytes | None) -> None:
        if value is None:
            self._meta.pop(name, None)
        else:
            self._meta[name] = value

    def _set_request(self, id: str, row: RequestRow | None) -> None:
        if row is None:
            self._requests.pop(id, None)
        else:
            self._requests[id] = row

    # -- states --
    @_atomic
    def states(self, keys: Sequence[str]) -> list[bytes | None]:
        return [self._states.get(key) for key in keys]

    @_atomic
    def keys(self, after: str | None = None, limit: int = 1000) -> list[str]:
        ordered = sorted(self._states, key=_storage_order)
        start = 0 if after is None else bisect_right(ordered, _storage_order(after), key=_storage_order)
        return ordered[start : start + limit]

    # -- log and history --
    @_atomic
    def last_position(self) -> int:
        return self._log[-1][0] if self._log else 0

    @_atomic
    def last_received_at(self) -> int:
        return self._log[-1][1] if self._log else 0

    @_atomic
    def log(self, after: int = 0, limit: int = 1000) -> list[tuple[int, Record]]:
        start = bisect_right(self._log, after, key=lambda row: row[0])
        return [(position, decode_record(data)) for position, _, data in self._log[start : start + limit]]

    @_atomic
    def history(self, key: str, since: int = 0, until: int | None = None) -> Iterator[Event]:
        rows = sorted(self._history.get(key, {}).items())
        return iter([_event(kept.data) for (at, _), kept in rows if since <= at and (until is None or at < until)])

    @_atomic
    def history_part(
        self, key: str, names: frozenset[str] | None, after: tuple[int, str] | None = None, limit: int = 500
    ) -> tuple[list[Event], tuple[int, str] | None]:
        rows = sorted((place, kept) for place, kept in self._history.get(key, {}).items() if not after or place > after)
        events = [_event(kept.data) for _, kept in rows[:limit]]
        wanted = [event for event in events if names is None or event.name in names or not event.name.isascii()]
        return wanted, rows[limit - 1][0] if len(rows) >= limit else None

    @_atomic
    def recent_history(self, key: str, limit: int) -> list[Event]:
        rows = sorted(self._history.get(key, {}).items(), reverse=True)
        return [_event(kept.data) for _, kept in rows[:limit]]

    # -- wake-ups --
    @_atomic
    def due(self, now: int, limit: int = 1000) -> list[tuple[int, str]]:
        return self._wakeups[: min(limit, bisect_right(self._wakeups, now, key=lambda row: row[0]))]

    @_atomic
    def next_due(self) -> int | None:
        return self._wakeups[0][0] if self._wakeups else None

    # -- messages --
    @_atomic
    def message(self, message_id: str) -> MessageRow | None:
        data = self._messages.get(message_id)
        return None if data is None else _message(data)

    @_atomic
    def messages(
        self,
        *,
        key: str | None = None,
        status: str | None = None,
        broadcast: str | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> tuple[list[MessageRow], str | None]:
        journey = None if broadcast is None else journey_of(broadcast)
        rows = sorted(map(_message, self._messages.values()), key=_newest_message)
        if cursor is not None:
            after = _newest(cursor)
            rows = [row for row in rows if _newest_message(row) > after]
        rows = [row for row in rows if key in (None, row.key) and journey in (None, row.journey)]
        chosen = (row for row in rows if status in (None, row.status))
        return _page(chosen, limit, lambda row: (row.created_at, row.message_id))

    @_atomic
    def unfinished_messages(self) -> Iterator[MessageRow]:
        return iter([row for row in map(_message, self._messages.values()) if row.status in UNFINISHED])

    @_atomic
    def queued_messages(self, after: tuple[int, str], limit: int) -> list[MessageRow]:
        at, id = after
        rows = [row for row in map(_message, self._messages.values()) if row.status == "queued"]
        behind = [row for row in rows if row.created_at > at or (row.created_at == at and row.message_id < id)]
        behind.sort(key=lambda row: row.message_id, reverse=True)
        return sorted(behind, key=lambda row: row.created_at)[:limit]

    # -- requests --
    @_atomic
    def request(self, request_id: str) -> RequestRow | None:
        return self._requests.get(request_id)

    @_atomic
    def requests(self, after: str = "") -> Iterator[RequestRow]:
        return iter([row for id, row in sorted(self._requests.items()) if id > after])

    # -- broadcasts --
    @_atomic
    def broadcast(self, broadcast_id: str) -> BroadcastRow | None:
        data = self._broadcasts.get(broadcast_id)
        return None if data is None else _broadcast(data)

    @_atomic
    def broadcasts(self, limit: int = 100, cursor: str | None = None) -> tuple[list[BroadcastRow], str | None]:
        rows = sorted(map(_broadcast, self._broadcasts.values()), key=_newest_broadcast)
        if cursor is not None:
            after = _newest(cursor)
            rows = [row for row in rows if _newest_broadcast(row) > after]
        return _page(rows, limit, lambda row: (row.created_at, row.broadcast_id))

    # -- consent and suppression --
    @_atomic
    def ledger(self, address: str) -> list[LedgerRow]:
        return [row for (owner, _), row in sorted(self._ledger.items(), key=_place) if owner == address]

    @_atomic
    def suppressions(
        self, limit: int = 100, cursor: str | None = None, *, prefix: str = ""
    ) -> tuple[list[LedgerRow], str | None]:
        after = ("", "") if cursor is None else decode_cursor(cursor, (str, str))
        rows = sorted(self._ledger.items(), key=_place)
        rows = [(place, row) for place, row in rows if place[0].startswith(prefix) and place > after]
        stopped = [row for place, row in rows if place[1].startswith("!") and not row.given]
        return _page(stopped, limit, lambda row: (row.address, row.topic))

    # -- look-ups --
    @_atomic
    def words(self, after: tuple[str, str] | None = None, limit: int = 1000) -> list[LedgerRow]:
        places = sorted(self._ledger)
        start = 0 if after is None else bisect_right(places, after)
        return [self._ledger[place] for place in places[start : start + limit]]

    @_atomic
    def metas(self, prefix: str = "") -> list[str]:
        return sorted(name for name in self._meta if name.startswith(prefix))

    @_atomic
    def keys_of_email(self, address: str) -> list[str]:
        return sorted(self._emails.get(address, ()))

    @_atomic
    def emails(self, prefix: str = "", limit: int = 1000) -> list[str]:
        return sorted(one for one, keys in self._emails.items() if keys and one.startswith(prefix))[:limit]

    @_atomic
    def members(
        self, name: str, limit: int = 100, cursor: str | None = None, *, after: str | None = None
    ) -> tuple[list[tuple[str, int]], str | None]:
        rows = sorted(self._members.get(name, {}).items(), key=lambda row: _storage_order(row[0]))
        if cursor is not None:
            after = str(decode_cursor(cursor, (str,))[0])
        if after is not None:
            rows = [row for row in rows if _storage_order(row[0]) > _storage_order(after)]
        return _page(rows, limit, lambda row: (row[0],))

    @_atomic
    def member_count(self, name: str) -> int:
        return len(self._members.get(name, ()))

    @_atomic
    def journal(self, key: str, limit: int = 200, before: int | None = None) -> list[JournalRow]:
        rows = [_journal_row(data) for data in reversed(self._journal.get(key, ()))]
        chosen = [row for row in rows if before is None or row.at < before]
        return sorted(chosen, key=lambda row: -row.at)[:limit]  # stable: the last appended stays first

    @_atomic
    def dead_letters(self, limit: int = 100, cursor: str | None = None) -> tuple[list[DeadLetter], str | None]:
        rows = sorted(map(_dead_letter, self._dead_letters.values()), key=_newest_letter)
        if cursor is not None:
            after = _newest(cursor)
            rows = [row for row in rows if _newest_letter(row) > after]
        return _page(rows, limit, lambda row: (row.at, row.id))

    @_atomic
    def dead_letter(self, id: str) -> DeadLetter | None:
        data = self._dead_letters.get(id)
        return None if data is None else _dead_letter(data)

    # -- plans and small things --
    @_atomic
    def plan(self, version: int | None = None) -> PlanRow | None:
        row = self._plans.get(max(self._plans, default=0) if version is None else version)
        return None if row is None else msgspec.structs.replace(row)

    @_atomic
    def plans(self) -> list[tuple[int, int]]:
        return [(version, row.published_at) for version, row in sorted(self._plans.items())]

    @_atomic
    def meta(self, name: str) -> bytes | None:
        return self._meta.get(name)

    @_atomic
    def expire(self, *, log_before: int, history_before: int, dead_letters_before: int) -> int:
        """Everything in one call: memory is never so large that bounded steps would pay."""
        return (
            self._expire_log(log_before)
            + sum(self._expire_history(key, history_before) for key in list(self._history))
            + sum(self._expire_journal(key, history_before) for key in list(self._journal))
            + _drop(self._messages, lambda data: _is_over(_message(data), history_before))
            + _drop(self._dead_letters, lambda data: _dead_letter(data).at < dead_letters_before)
        )

    def _expire_log(self, before: int) -> int:
        young = (index for index, row in enumerate(self._log) if row[1] >= before)
        size = min(next(young, len(self._log)), max(len(self._log) - 1, 0))
        del self._log[:size]
        return size

    def _expire_history(self, key: str, before: int) -> int:
        first = self._log[0][0] if self._log else 0
        rows = self._history[key]
        old = [p for p, kept in rows.items() if p[0] < before and kept.received_at < before and kept.position < first]
        for place in old:
            del rows[place]
        return len(old)

    def _expire_journal(self, key: str, before: int) -> int:
        rows = self._journal[key]
        self._journal[key] = [data for data in rows if _journal_row(data).at >= before]
        return len(rows) - len(self._journal[key])

    @_atomic
    def counts(self) -> dict[str, int]:
        return {
            "profiles": len(self._states),
            "log": len(self._log),
            "messages": len(self._messages),
            "wakeups": len(self._wakeups),
            "bytes": 0,
        }

    def close(self) -> None:
        """Nothing to let go of; a closed twin can be read on, which tests of a restart make use of."""


def _newest(cursor: str) -> tuple[int, str]:
    at, id = decode_cursor(cursor, (int, str))
    return -int(at), str(id)


def _newest_message(row: MessageRow) -> tuple[int, str]:
    return -row.created_at, row.message_id


def _newest_broadcast(row: BroadcastRow) -> tuple[int, str]:
    return -row.created_at, row.broadcast_id


def _newest_letter(row: DeadLetter) -> tuple[int, str]:
    return -row.at, row.id


def _place(item: tuple[tuple[str, str], LedgerRow]) -> tuple[str, str]:
    return item[0]


def _is_over(row: MessageRow, before: int) -> bool:
    return row.created_at < before and row.status not in UNFINISHED


def _drop(rows: dict[str, Any], gone: Callable[[Any], bool]) -> int:
    ids = [id for id, row in rows.items() if gone(row)]
    for id in ids:
        del rows[id]
    return len(ids)
