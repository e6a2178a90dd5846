"""One chunk: records appended and decided in log order, and the one commit that they become.

A record's hops are decided right behind it, first in first out, before the next record from outside: so what is decided
does not depend on where one chunk ends and the next begins, and a log replayed record by record gives the same.
Everything here is plain computation over the :class:`~heliograph.runtime.desk.Desk`; the processor owns the waiting.
What is done with a decision stands in :mod:`heliograph.runtime.applying`.
"""

from collections import deque
from collections.abc import Callable
from typing import Any

from msgspec.structs import replace

from heliograph import decide
from heliograph.decide import effects as fx
from heliograph.events.event import Event
from heliograph.events.identity import email_of
from heliograph.events.ids import make_id
from heliograph.events.record import (
    HISTORICAL,
    Answer,
    Body,
    EventBody,
    LedgerChange,
    LedgerRow,
    MergeInto,
    Record,
)
from heliograph.ports import Clock, Commit
from heliograph.runtime import counting
from heliograph.runtime.applying import APPLY, Applying, overrides
from heliograph.runtime.desk import Desk

MAX_CASCADE = 10_000
"""Records that may follow from one: more is a loop that :data:`~heliograph.events.record.MAX_HOPS` failed to cut."""


class UndecidedError(Exception):
    """``step`` raised or ran away: a bug.  Nothing of the chunk may be kept."""


class Chunk(Applying):
    """Build it by :meth:`append` and the other verbs, then :meth:`finish`."""

    def __init__(self, desk: Desk, clock: Clock) -> None:
        super().__init__(desk, clock)
        self._deadlines: dict[str, int | None] = {}
        self._hops: deque[Record] = deque()
        self._derived = 0

    # -- records --

    def append_event(self, event: Event, key: str) -> bool:
        """Append a call from outside; True when it was seen before."""
        at = self.now()
        if event.occurred_at > at:
            event = replace(event, occurred_at=at)
        address = email_of(event)
        rows = list(self.desk.words(address).values()) if address else []
        flags = HISTORICAL if event.historical else 0
        self.duplicate = False
        self._append(Record(key, event.event_id, at, self.desk.plan.version, EventBody(event, rows), flags))
        if self.watched:
            self._tell(at, "event", key, name=event.name or event.type, event_id=event.event_id)
        return self.duplicate

    def append(self, key: str, body: Body, *cause: str | int) -> None:
        """Append a record of the runtime's own; ``cause`` names it (its id is derived)."""
        at = self.now()
        name = make_id("record", type(body).__name__, key, self.desk.position + 1, *cause)
        self._append(Record(key, name, at, self.desk.plan.version, body))

    def _append(self, record: Record) -> None:
        """Decide a record and everything that follows from it."""
        self._decide(record)
        left = MAX_CASCADE
        while self._hops:
            left -= 1
            if not left:
                raise UndecidedError(f"record {record.id} led to more than {MAX_CASCADE} others")
            self._decide(self._hops.popleft())

    def _decide(self, record: Record) -> None:
        desk = self.desk
        key = record.key
        desk.position += 1
        self.commit.log.append((desk.position, record))
        state = desk.state(key) or decide.new_state(key)
        if key not in self._deadlines:
            self._deadlines[key] = decide.deadline(state)
        state, effects = decide.step(state, record, desk.plan)
        desk.states.open[key] = state
        if type(record.body) is Answer:
            self._end_request(record.body.request_id)
        elif type(record.body) is MergeInto and desk.plan.broadcasts:
            counting.follow_merge(desk, record.body.source, key)
        for effect in effects:
            _APPLY[type(effect)](self, record, effect)

    def replay(self, record: Record) -> None:
        """Decide a logged record alone: what follows from it is in the log, too.  The words of the ledger that it
        carries go into this ledger, which has no other way to hear them (decision 0024)."""
        if isinstance(record.body, EventBody | LedgerChange):
            for row in record.body.rows:
                self._copy_word(row)
        self._decide(record)
        self._hops.clear()

    def _copy_word(self, row: LedgerRow) -> None:
        old = self.desk.words(row.address).get(row.topic)
        if old is None or overrides(row, old):
            self.desk.write_word(row)
            self.commit.ledger[row.address, row.topic] = row

    def deadline_of(self, key: str) -> int | None:
        """The earliest timer of a key as it is now."""
        state = self.desk.state(key)
        return None if state is None else decide.deadline(state)

    # -- what follows --

    def hop(self, key: str, body: Body, flags: int, *cause: str | int) -> None:
        if self.untold:
            return
        self._derived += 1
        name = make_id("record", type(body).__name__, key, self.desk.position, self._derived)
        self._hops.append(Record(key, name, self.now(), self.desk.plan.version, body, flags))

    def drain(self) -> None:
        """Decide what is pending when no record is being appended."""
        if self._hops:
            self._append(self._hops.popleft())

    def _hop(self, _record: Record, effect: fx.Hop) -> None:
        self._hops.append(effect.record)

    # -- the end --

    def finish(self) -> Commit:
        """Encode what changed; call it once, right before the desk is sealed."""
        commit = self.commit
        deadline, encode, blank = decide.deadline, decide.encode_state, decide.is_blank
        for key, state in self.desk.states.open.items():
            commit.states[key] = None if blank(state) else encode(state)
            new, old = deadline(state), self._deadlines[key]
            if new != old:
                commit.wakeups[key] = (old, new)
        commit.meta.update(self.desk.tally.changes())
        commit.broadcasts.update(self.desk.changed_broadcasts)
        return commit


_APPLY: dict[type, Callable[[Chunk, Record, Any], None]] = {**APPLY, fx.Hop: Chunk._hop}
"""What each effect does to the commit: a hop is decided in it."""
