"""The twin of a store that many processes share: one memory, several handles on it.

Each handle is a process (:meth:`SharedMemoryStore.beside` gives another one); they differ in nothing but whose entries
for the log are whose, and in their positions.  As in :class:`MemoryStore`, one lock makes every call atomic, so a check
and the commit behind it are one instant by construction.
"""

import copy
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import count

from msgspec.structs import replace

from heliograph.adapters.memory.store import MemoryStore, _atomic
from heliograph.events.event import Event
from heliograph.events.ids import bucket
from heliograph.events.record import MergeInto, Record, encode_record
from heliograph.ports import UNFINISHED, Claim, Commit, Fenced, MessageRow, Relayed, StoreAway, StoreStale
from heliograph.ports.stream import EFFECTS

RELAY_MS = 5_000
POSITIONS = 1 << 32

_NOWHERE = -1
"""The position of an event whose record is in no log here: retention may take it at any time."""


def _wall_ms() -> int:
    return time.time_ns() // 1_000_000


class SharedMemoryStore(MemoryStore):
    """``now``: the clock that judges leases (ms).  ``away = True`` makes every commit raise :class:`StoreAway`, as a
    server does that does not answer."""

    def __init__(self, now: Callable[[], int] = _wall_ms) -> None:
        super().__init__()
        self.away = False
        self._now = now
        self._processes = count(1)
        self._numbers = count(1)
        self._last_at: dict[int, int] = {}
        self._publishing: dict[int, int] = {}
        self._relay: dict[int, tuple[int, Relayed]] = {}
        self._offsets: dict[tuple[str, int], int] = {}
        self._claims: dict[int, Claim] = {}
        self._leads: dict[str, tuple[str, int]] = {}
        self._merged: dict[str, set[str]] = {}
        self._enter()

    def _enter(self) -> None:
        self._process = next(self._processes)
        self._position = self._process * POSITIONS

    def beside(self) -> "SharedMemoryStore":
        """Another process on the same memory."""
        other = copy.copy(self)
        other._enter()
        return other

    # -- writing --

    @_atomic
    def commit(self, commit: Commit, *, sync: bool = True) -> None:
        if self.away:
            raise StoreAway("the store was told that it is away")
        if commit.empty:
            return
        for id, base in commit.bases.items():
            if id in commit.messages and commit.messages[id].rev <= base:
                raise ValueError(f"message {id} was changed under a base and its rev did not grow")
        self._check(commit)
        super().commit(commit, sync=sync)
        for one in commit.relay:
            self._relay[next(self._numbers)] = (self._process, one)
        self._offsets.update(commit.offsets)
        for position, record in commit.log:
            self._position = max(self._position, position)
            self._last_at[self._process] = max(self._last_at.get(self._process, 0), record.received_at)
            if isinstance(record.body, MergeInto):
                self._merged.setdefault(record.key, set()).add(record.body.source)

    def _check(self, commit: Commit) -> None:
        fence = commit.fence
        if fence is not None and not self._holds(fence.owner, fence.epochs):
            raise Fenced("a partition is claimed by somebody else")
        for id, base in commit.bases.items():
            row = self.message(id)
            if (-1 if row is None else row.rev) != base:
                raise StoreStale(f"message {id} was changed by somebody else")
        there = None if commit.plan is None else self.plan(commit.plan.version)
        if there is not None and commit.plan is not None and there.document != commit.plan.document:
            raise StoreStale(f"plan {there.version} was published by somebody else")
        for address, rows in commit.guards.items():
            if {row.topic: row for row in self.ledger(address)} != rows:
                raise StoreStale(f"the words of {address} were changed by somebody else")

    def _holds(self, owner: str, epochs: dict[int, int]) -> bool:
        held = (self._claims.get(partition) for partition in epochs)
        return all(
            claim is not None and (claim.owner, claim.epoch) == (owner, epochs[claim.partition]) for claim in held
        )

    def _checked_log(self, commit: Commit) -> list[tuple[int, Record, bytes]]:
        return [(position, record, encode_record(record)) for position, record in commit.log]

    def _append(self, position: int, record: Record, data: bytes) -> None:
        """The log is elsewhere."""

    def _remember(self, position: int, record: Record, event: Event) -> None:
        super()._remember(_NOWHERE, record, event)

    # -- reading --

    def last_position(self) -> int:
        return self._position

    @_atomic
    def last_received_at(self) -> int:
        return max(self._last_at.values(), default=0)

    @_atomic
    def has_event(self, key: str, event_id: str) -> bool:
        known, todo = set[str](), [key]
        while todo:
            one = todo.pop()
            if one not in known:
                known.add(one)
                todo += self._merged.get(one, ())
        return any(id == event_id for one in known for _, id in self._history.get(one, ()))

    def unfinished_in(self, buckets: Sequence[int]) -> Iterator[MessageRow]:
        wanted = set(buckets)
        return (row for row in self.unfinished_messages() if bucket(row.key) in wanted and row.status in UNFINISHED)

    # -- the outbox towards the log --

    @_atomic
    def relayed(self, limit: int) -> list[tuple[int, Relayed]]:
        now = self._now()
        self._publishing[self._process] = now + RELAY_MS
        for number, (holder, one) in self._relay.items():
            if self._publishing.get(holder, 0) < now:
                self._relay[number] = (self._process, one)
        mine = ((number, one) for number, (holder, one) in self._relay.items() if holder == self._process)
        return sorted(mine, key=lambda row: row[0])[:limit]

    @_atomic
    def forget_relayed(self, numbers: Sequence[int]) -> None:
        for number in numbers:
            self._relay.pop(number, None)

    def close(self) -> None:
        """Its entries may be taken over at once."""
        self._publishing.pop(self._process, None)

    # -- claims --

    @_atomic
    def claim(self, owner: str, partitions: Sequence[int], lease_ms: int) -> list[Claim]:
        former: dict[int, int] = {}
        for partition in sorted(set(partitions)):
            old, now = self._claims.get(partition, Claim(partition, "", 0, 0)), self._now()
            self._claims[partition] = Claim(partition, owner, old.epoch + 1, now + lease_ms)
            former[partition] = max(old.lease_until - now, 0)
        return [replace(one, former_ms=former[one.partition]) for one in self.claims() if one.partition in former]

    @_atomic
    def renew(self, owner: str, epochs: dict[int, int], lease_ms: int) -> bool:
        held = self._holds(owner, epochs)
        if held:
            for partition, epoch in epochs.items():
                self._claims[partition] = Claim(partition, owner, epoch, self._now() + lease_ms)
        return held

    @_atomic
    def release(self, owner: str, epochs: dict[int, int]) -> None:
        for partition, epoch in epochs.items():
            if self._holds(owner, {partition: epoch}):
                self._claims[partition] = Claim(partition, "", epoch, 0)

    @_atomic
    def claims(self) -> list[Claim]:
        return [
            Claim(at, one.owner, one.epoch, one.lease_until, self._offsets.get((EFFECTS, at), -1))
            for at, one in sorted(self._claims.items())
        ]

    @_atomic
    def lead(self, owner: str, job: str, lease_ms: int) -> bool:
        leader, until = self._leads.get(job, (owner, 0))
        if leader != owner and until > self._now():
            return False
        self._leads[job] = (owner, self._now() + lease_ms)
        return True
