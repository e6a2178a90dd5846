"""What happened to one person, as the records that a virtual log would hold.

Two sources (docs/explanation/what-a-backtest-knows.md).  Where the *log* reaches, everything that came from outside is
taken from it, at its instant; what followed from it is left out and decided again.  Before that there is *history*: one
row for each event, with the instant at which it was first received.  Imported events happened when they say, whenever
they were imported: a backtest takes them as if they had come in live.  Lists and words of the ledger whose record is
gone are taken from what stands today, at the time that it carries.
"""

from collections.abc import Iterator
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from heliograph import decide
from heliograph.adapters.rocksdb import Kept, Logged, RocksView
from heliograph.events.event import Event
from heliograph.events.identity import key_of
from heliograph.events.ids import make_id
from heliograph.events.record import (
    HISTORICAL,
    Answer,
    Body,
    Enter,
    EventBody,
    Expire,
    LedgerChange,
    ListChange,
    Outcome,
    Record,
)
from heliograph.ports import MessageRow

_OUTSIDE: Final = (EventBody, Outcome, Answer, Enter, LedgerChange, ListChange, Expire)
"""Bodies that come from outside, as long as no key has forwarded them and no step has made them."""


BY_A_STEP: Final = frozenset({"journey", "run_id", "step_id"})
"""The whole context of an event that an ``update`` or ``emit`` step made (:mod:`heliograph.decide.journeys.hops`): the
history does not say otherwise where an event came from."""


def from_outside(record: Record) -> bool:
    """Whether nothing that was decided led to this record."""
    body = record.body
    return isinstance(body, _OUTSIDE) and not getattr(body, "hops", 0) and not getattr(body, "depth", 0)


class Past(msgspec.Struct):
    """One person.  ``records``: what came from outside, in order of time.  ``outcomes``: message id -> what became of
    it.  ``answers``: request id -> what the webhook answered.  ``messages``: what was really decided for them, and
    ``queued``: when, for those that were put off at first (read only where a policy does that)."""

    keys: tuple[str, ...]
    records: list[Record] = []
    outcomes: dict[str, list[Record]] = {}
    answers: dict[str, Record] = {}
    messages: dict[str, MessageRow] = {}
    queued: dict[str, int] = {}


class Reach(msgspec.Struct, frozen=True):
    """The window [since, until), and where the log begins (``log_from`` ms)."""

    since: int
    until: int
    log_from: int


class PastReader:
    """``puts_off``: the plan has policies that may put a mail off."""

    def __init__(self, view: RocksView, reach: Reach, *, puts_off: bool) -> None:
        self._view, self._reach, self._puts_off = view, reach, puts_off

    def read(self, keys: tuple[str, ...], history: list[Kept], log: list[Logged]) -> Past:
        """``history``: the rows of all these keys there; ``log``: theirs in the log, in order."""
        past = Past(keys)
        placed: list[tuple[int, int, Record]] = []
        events: dict[tuple[str, int, str], Event] = {}
        self._log(past, placed, log, history, events)
        placed += self._history(history, events)
        placed += self._standing(keys)
        placed.sort(key=lambda one: one[:2])
        past.records = [record for _, _, record in placed]
        past.messages = {row.message_id: row for key in keys for row in self._messages(key)}
        self._old_outcomes(past)
        if self._puts_off and past.messages:
            facts = (row for key in keys for row in self._view.facts(key))
            past.queued = {row.data["message_id"]: row.at for row in facts if row.kind == "message_decided"}
        return past

    # -- the log --

    def _log(
        self,
        past: Past,
        placed: list[tuple[int, int, Record]],
        log: list[Logged],
        history: list[Kept],
        events: dict[tuple[str, int, str], Event],
    ) -> None:
        known = {row[:3]: row for row in history}
        for row in log:
            if row.head.received_at >= self._reach.until:
                continue
            record, place = row.record()
            if place is not None:
                where = (record.key, place.occurred_at, place.event_id)
                if (found := known.get(where)) is None:
                    continue  # gone with age meanwhile
                event = events[where] = found.event()
                record = replace(record, body=replace(record.body, event=event))
            self._take(past, placed, row.position, record)

    def _take(self, past: Past, placed: list[tuple[int, int, Record]], position: int, record: Record) -> None:
        """Keep what came from outside."""
        body = record.body
        if not from_outside(record):
            return
        match body:
            case EventBody():
                if not body.event.historical:
                    placed.append((record.received_at, position, record))
            case Outcome():
                past.outcomes.setdefault(body.message_id, []).append(record)
            case Answer():
                past.answers[body.request_id] = record
            case _:
                placed.append((record.received_at, position, replace(record, flags=record.flags & ~HISTORICAL)))

    # -- history --

    def _history(
        self, history: list[Kept], events: dict[tuple[str, int, str], Event]
    ) -> Iterator[tuple[int, int, Record]]:
        """Events from before the log, and imported ones, each at the key where it arrived: what a key forwarded is
        forwarded again."""
        log_from, until = self._reach.log_from, self._reach.until
        for row in history:
            event = events.get(row[:3])
            if event is not None and row.received_at >= log_from and not event.historical:
                continue
            event = event or row.event()
            imported = event.historical
            if not imported and row.received_at >= log_from:
                continue
            at = event.occurred_at if imported else row.received_at
            if at < until and key_of(event) == row.key and event.context.keys() != BY_A_STEP:
                body = EventBody(_as_live(event) if imported else event)
                yield at, row.position, Record(row.key, event.event_id, at, 0, body)

    # -- what stands today --

    def _standing(self, keys: tuple[str, ...]) -> Iterator[tuple[int, int, Record]]:
        """Lists, and words on the address, from before the log."""
        before = min(self._reach.log_from, self._reach.until)
        for key, blob in zip(keys, self._view.states(keys), strict=True):
            if blob is None:
                continue
            state = decide.decode_state(blob)
            for name, (at, on) in state.lists.items():
                if at < before:
                    yield at, 0, _standing(key, ListChange(name, on, at), at, name)
            for row in self._view.ledger(state.address) if state.address else ():
                if row.at < before:
                    yield row.at, 0, _standing(key, LedgerChange([row]), row.at, row.topic)

    def _messages(self, key: str) -> list[MessageRow]:
        rows, cursor = self._view.messages(key=key, limit=1000)
        while cursor:
            more, cursor = self._view.messages(key=key, limit=1000, cursor=cursor)
            rows += more
        return rows

    def _old_outcomes(self, past: Past) -> None:
        """Outcomes whose record is gone, from the rows of the messages."""
        for row in past.messages.values():
            for number, (kind, at, machine) in enumerate(row.outcomes):
                if at < self._reach.log_from:
                    body = Outcome(row.message_id, kind, at, row.reason if kind == row.status else "", machine)
                    record = Record(row.key, make_id("backtest", row.message_id, number), at, 0, body)
                    past.outcomes.setdefault(row.message_id, []).append(record)


def _standing(key: str, body: Body, at: int, *cause: str) -> Record:
    return Record(key, make_id("backtest", key, *cause), at, 0, body)


def _as_live(event: Event) -> Event:
    context: dict[str, Any] = {name: value for name, value in event.context.items() if name != "historical"}
    return replace(event, context=context)
