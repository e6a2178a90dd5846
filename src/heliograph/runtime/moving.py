"""Moving house: all that one deployment knows, carried into another.

Nobody may be at home while it is packed: the old deployment is stopped, the new one has not begun to collect.  What can
be told from a person's state (memberships, addresses, wake-ups) is not packed but made again from it.
"""

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, Final

import msgspec

from heliograph import decide
from heliograph.events.ids import bucket, make_id
from heliograph.events.partitions import partition_key
from heliograph.events.record import Adopt, EventBody, LedgerRow, Record, encode_record
from heliograph.ports import (
    BroadcastRow,
    Commit,
    DeadLetter,
    MessageRow,
    PlanRow,
    Relayed,
    RequestRow,
    SharedStore,
    Store,
)
from heliograph.ports.stream import RECORDS
from heliograph.runtime import archive, far_counts, tally
from heliograph.runtime.archive import Happened, Meta, Noted, Person, Row
from heliograph.runtime.plan_watch import relayed_plan

PORTION = 2_000
"""Rows of one commit."""
NOT_MOVED = frozenset({"probe"})
"""Small values that mean nothing elsewhere."""
MOVING: Final = "moving"
"""Meta value of a deployment that was moved into: what is moving in (:class:`_Progress`)."""


class Occupied(Exception):
    """The deployment has a life of its own, or somebody else moved in."""


class _Progress(msgspec.Struct, array_like=True):
    """``commits``: so many of the file's are there; -1 for all."""

    digest: str
    commits: int


def pack(store: Store) -> Iterator[Row]:
    """Everything but the log: what is in it has been decided."""
    yield from (row for version, _ in store.plans() if (row := store.plan(version)) is not None)
    for name in store.metas():
        if name not in NOT_MOVED and (value := store.meta(name)) is not None:
            yield Meta(name, value)
    yield from _words(store)
    yield from _pages(store.broadcasts)
    yield from store.requests()
    yield from _pages(store.dead_letters)
    yield from _pages(store.messages)
    for key in _keys(store):
        yield from (Happened(key, event) for event in store.history(key))
    for key in _keys(store):
        yield from (Noted(key, row) for row in reversed(store.journal(key, limit=1_000_000)))
    for key in _keys(store):
        (blob,) = store.states((key,))
        if blob is not None:
            yield Person(key, blob)


def _words(store: Store) -> Iterator[LedgerRow]:
    after = None
    while part := store.words(after):
        yield from part
        after = part[-1].address, part[-1].topic


def _pages(read: Callable[..., tuple[list[Any], str | None]]) -> Iterator[Any]:
    cursor = None
    while True:
        rows, cursor = read(limit=1_000, cursor=cursor)
        yield from rows
        if cursor is None:
            return


def _keys(store: Store) -> Iterator[str]:
    after = None
    while part := store.keys(after):
        yield from part
        after = part[-1]


def move_in(store: SharedStore, file: Path, now: int, told: Callable[[int], None] = lambda _: None) -> bool:
    """Put everything of a file that was verified into the store; False when it is there already.  Called again after
    an interruption it goes on where it was.  ``told``: about how many rows so far.  What leaves for the log waits in
    the store's outbox then.  Raises :class:`Occupied`."""
    digest = archive.digest(file)
    done = _progress(store, digest)
    if done < 0:
        return False
    rows = 0
    for number, commit in islice(enumerate(unpack(archive.read(file), now), 1), done, None):
        commit.meta[MOVING] = _written(digest, number)
        store.commit(commit)
        told(rows := rows + PORTION)
    store.commit(Commit(meta={MOVING: _written(digest, -1)}))
    return True


def _progress(store: SharedStore, digest: str) -> int:
    """How many commits of this file are there."""
    known = store.meta(MOVING)
    if known is None:
        if store.plan() is not None:
            raise Occupied("this deployment has a life of its own; move into an empty database")
        return 0
    progress = msgspec.msgpack.decode(known, type=_Progress)
    if progress.digest != digest:
        raise Occupied("another file was moved in here; move into an empty database")
    return progress.commits


def _written(digest: str, commits: int) -> bytes:
    return msgspec.msgpack.encode(_Progress(digest, commits))


def unpack(rows: Iterable[Row], now: int) -> Iterator[Commit]:
    """The commits that make a shared store hold all of it, and the log adopt everybody.  ``now``: of the adoption."""
    moving = _Van(now)
    for row in rows:
        moving.take(row)
        if moving.rows >= PORTION:
            yield moving.unload()
    moving.close()
    yield moving.unload()


class _Van:
    """Fills one commit after another."""

    def __init__(self, now: int) -> None:
        self.rows = 0
        self._now = now
        self._position = 0
        self._plan: PlanRow | None = None
        self._announced = False
        self._counts: dict[str, tally.JourneyTally] = {}
        self._commit = _empty()

    def take(self, row: Row) -> None:
        self.rows += PORTION if isinstance(row, PlanRow) else 1  # a commit publishes one plan at most
        _TAKE[type(row)](self, row)

    def unload(self) -> Commit:
        commit, self._commit, self.rows = self._commit, _empty(), 0
        return commit

    def close(self) -> None:
        """Behind the last row."""
        self._announce()
        if self._counts:
            self._commit.meta[far_counts.META + "0"] = msgspec.msgpack.encode(self._counts)

    def _take_plan(self, row: PlanRow) -> None:
        self._commit.plan = self._plan = row

    def _announce(self) -> None:
        """Whoever decides has to know the plan in force before anybody moves in."""
        if self._plan is not None and not self._announced:
            self._announced = True
            self._commit.relay.append(relayed_plan(self._plan))

    @property
    def _version(self) -> int:
        return 0 if self._plan is None else self._plan.version

    def _take_meta(self, row: Meta) -> None:
        """Counts of journeys are those of a partition there: the first takes over the sums."""
        index, _, journey = row.name.partition(":")
        if index != tally.INDEX:
            self._commit.meta[row.name] = row.value
        elif journey:
            self._counts[journey] = msgspec.msgpack.decode(row.value, type=tally.JourneyTally)

    def _word(self, row: LedgerRow) -> None:
        self._commit.ledger[row.address, row.topic] = row

    def _broadcast(self, row: BroadcastRow) -> None:
        self._commit.broadcasts[row.broadcast_id] = row

    def _request(self, row: RequestRow) -> None:
        self._commit.requests[row.request_id] = row

    def _letter(self, row: DeadLetter) -> None:
        self._commit.dead_letters[row.id] = row

    def _message(self, row: MessageRow) -> None:
        self._commit.messages[row.message_id] = row

    def _event(self, row: Happened) -> None:
        self._position += 1
        body = EventBody(row.event, [])
        record = Record(row.key, row.event.event_id, row.event.occurred_at, self._version, body)
        self._commit.log.append((self._position, record))

    def _note(self, row: Noted) -> None:
        self._commit.journal.append((row.key, row.row))

    def _person(self, row: Person) -> None:
        self._announce()
        state, commit = decide.decode_state(row.state), self._commit
        commit.states[row.key] = row.state
        commit.wakeups[row.key] = (None, decide.deadline(state))
        commit.members.update({(name, row.key): since for name, since in state.members.items()})
        if state.address and not state.forward:
            commit.emails[state.address, row.key] = True
        name = make_id("record", "Adopt", row.key)
        record = Record(row.key, name, self._now, self._version, Adopt(row.state))
        commit.relay.append(Relayed(name, RECORDS, partition_key(bucket(row.key)), encode_record(record)))


def _empty() -> Commit:
    return Commit(log=[], states={}, wakeups={}, messages={}, ledger={}, members={}, journal=[], emails={},
                  dead_letters={}, meta={}, requests={}, broadcasts={}, relay=[])  # fmt: skip


_TAKE: dict[type, Callable[[_Van, Any], None]] = {
    PlanRow: _Van._take_plan,
    Meta: _Van._take_meta,
    LedgerRow: _Van._word,
    BroadcastRow: _Van._broadcast,
    RequestRow: _Van._request,
    DeadLetter: _Van._letter,
    MessageRow: _Van._message,
    Happened: _Van._event,
    Noted: _Van._note,
    Person: _Van._person,
}
