"""Carrying out: what each effect of a decision does to rows, ledger, indexes and counts, and who else hears of it.

Nothing here decides about a person.  What somebody has to hear goes through :meth:`Applying.hop`: a chunk that has the
brain at hand decides it in the same commit (:mod:`heliograph.runtime.chunk`), one whose brain is far leaves it for the
log (:mod:`heliograph.runtime.far_chunk`).
"""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from msgspec.structs import replace

from heliograph.decide import effects as fx
from heliograph.decide.broadcasts import broadcast_of
from heliograph.decide.journeys.outcomes import STALE
from heliograph.deliver.commit import Stop
from heliograph.deliver.commit import decide as commit_point
from heliograph.deliver.lifecycle import CANCELLABLE, MISSED, UNFINISHED
from heliograph.events.identity import profile_id
from heliograph.events.record import HISTORICAL, Body, LedgerChange, LedgerRow, Outcome, Record
from heliograph.ports import BroadcastRow, Clock, Commit, DeadLetter, JournalRow, MessageRow, RequestRow
from heliograph.runtime import counting
from heliograph.runtime.breaker import Sample
from heliograph.runtime.desk import Desk
from heliograph.runtime.past import survivor

RENDERED = frozenset({"sent", "unknown", "bounced"})
"""Ends of a message that was written, and went to its receiver."""
MAX_OUTCOMES = 50
"""Kept with one message; a link clicked a thousand times needs no thousand rows."""


class Applying:
    """Beside the commit it collects what to do once that is on disk: ``offers`` (messages to mail), ``calls`` (webhooks
    to make), ``called`` (ids of those that are over), ``earliest`` (the earliest deadline set), ``samples`` (what
    became of mails, for the circuit breaker) and ``news`` (for the live feed, when ``watched``).
    """

    far: ClassVar[bool] = False
    """What somebody hears is decided elsewhere, later."""

    def __init__(self, desk: Desk, clock: Clock) -> None:
        self.desk = desk
        self.commit = Commit(log=[], states={}, wakeups={}, messages={}, ledger={}, members={}, journal=[], emails={},
                             dead_letters={}, meta={}, requests={}, broadcasts={})  # fmt: skip
        self.offers: list[MessageRow] = []
        self.calls: dict[str, RequestRow] = {}
        self.called: list[str] = []
        self.samples: list[Sample] = []
        self.news: list[dict[str, Any]] = []
        self.duplicate = False
        self.watched = False
        self.untold = False
        """Nobody is told what follows: deciding that raised."""
        self._clock = clock

    def now(self) -> int:
        """The instant of the next record: never before the one before it, also across restarts."""
        desk = self.desk
        now = self._clock.now()
        if now > desk.last_at:
            desk.last_at = now
        return desk.last_at

    # -- who else hears of it --

    def hop(self, key: str, body: Body, flags: int, *cause: str | int) -> None:
        """A record for ``key``, behind the one that is carried out; under ``flags`` of that: what follows from an
        import triggers nothing either.  ``cause``, with the body, names it."""
        raise NotImplementedError

    def under(self, key: str) -> None:
        """What is done holds only while this person is ours, where that may end."""

    def drain(self) -> None:
        """Decide what is pending when no record is being appended."""
        raise NotImplementedError

    def carry_out(self, record: Record, effects: Sequence[fx.Effect]) -> None:
        for effect in effects:
            APPLY[type(effect)](self, record, effect)

    # -- effects --

    def _message(self, record: Record, effect: fx.DecideMessage) -> None:
        old = self._standing(record, effect)
        if old is not None and self._is_anothers(record, old):
            self._same_address(record, effect)
            return
        if old is not None and old.status != "deferred":
            self._told_already(record, effect, old)
            return  # the same decision never mails twice
        row = self._new_message(record, effect) if old is None else old
        template = self.desk.plan.templates.get(effect.template) or {}
        row = replace(
            row,
            template=effect.template,
            template_version=template.get("version", ""),
            topic=effect.topic,
            transactional=effect.transactional,
            address=effect.address,
            status=effect.status,
            reason=effect.reason,
            not_before=effect.not_before,
            not_after=effect.not_after,
            cause_received_at=record.received_at,
        )
        self.write_message(row, first=old is None)
        if row.status == "queued":
            self.offers.append(row)

    def _standing(self, _record: Record, effect: fx.DecideMessage) -> MessageRow | None:
        """The row that this message has already."""
        return self.desk.message(effect.message_id)

    def _is_anothers(self, record: Record, row: MessageRow) -> bool:
        """A broadcast to this address was decided for somebody else."""
        if row.key == record.key or not broadcast_of(row.journey):
            return False
        holder = survivor(row.key, self.desk.state)
        return holder is None or holder.key != record.key

    def _same_address(self, record: Record, effect: fx.DecideMessage) -> None:
        """Whose address it is first, gets it; this person hears so."""
        if effect.status in UNFINISHED:
            skipped = Outcome(effect.message_id, "skipped", self.desk.last_at, counting.SAME_ADDRESS)
            self.hop(record.key, skipped, record.flags, record.id)
            if (row := self.counting(broadcast_of(effect.journey), record.key)) is not None:
                counting.note_same_address(row)

    def _told_already(self, record: Record, effect: fx.DecideMessage, row: MessageRow) -> None:
        """An event that everybody forgot came again and started the same run: it waits for an outcome that was long
        ago, under the instant that conditions may know."""
        if effect.status in UNFINISHED and row.status not in UNFINISHED:
            kind = "sent" if row.status == "delivered" else row.status
            told = Outcome(row.message_id, kind, row.sent_at or row.created_at, row.reason)
            self.hop(record.key, told, 0, record.id)

    @staticmethod
    def _new_message(record: Record, effect: fx.DecideMessage) -> MessageRow:
        """What never changes of it."""
        return MessageRow(
            message_id=effect.message_id,
            key=record.key,
            journey=effect.journey,
            journey_version=effect.journey_version,
            run_id=effect.run_id,
            step_id=effect.step_id,
            created_at=effect.created_at,
            template="",
            template_version="",
            topic=None,
            transactional=False,
            address="",
            status="",
            reason="",
        )

    def _cancel(self, record: Record, effect: fx.CancelMessage) -> None:
        row = self.desk.message(effect.message_id)
        if row is None:
            return
        if row.status in CANCELLABLE:
            self.end_message(row, "cancelled", effect.reason, effect.at, flags=record.flags)
        elif row.status == "sending":
            self.write_message(replace(row, unwanted=effect.reason))
            self._fact(record, fx.Fact("cancel_too_late", effect.at, {"message_id": row.message_id}))

    def _member(self, record: Record, effect: fx.SetMembership) -> None:
        self.commit.members[effect.segment, record.key] = effect.at if effect.on else None
        if self.watched:
            self._tell(effect.at, "segment", record.key, segment=effect.segment, on=effect.on)

    def _consent(self, record: Record, effect: fx.ChangeLedger) -> None:
        for row in effect.rows:
            self.say(row, flags=record.flags, asker=record.key, cause=record.id)

    def _email(self, record: Record, effect: fx.IndexEmail) -> None:
        self.desk.write_holder(effect.address, record.key, effect.on)
        self.commit.emails[effect.address, record.key] = effect.on

    def _fact(self, record: Record, effect: fx.Fact) -> None:
        self.commit.journal.append((record.key, JournalRow(effect.at, effect.kind, effect.data, self.desk.position)))
        self._count(record, effect)

    def _count(self, record: Record, fact: fx.Fact) -> None:
        """A broadcast counts in its own row."""
        broadcast_id = broadcast_of(fact.data.get("journey", ""))
        if not broadcast_id:
            self.desk.tally.note(fact.kind, fact.data)
        elif fact.kind in counting.COUNTED and (row := self.counting(broadcast_id, record.key)) is not None:
            counting.note_fact(row, fact.kind, fact.data)

    def counting(self, broadcast_id: str, _key: str) -> BroadcastRow | None:
        """Where what this person does in a broadcast is counted."""
        return self.desk.counting(broadcast_id)

    def _duplicate(self, _record: Record, _effect: fx.Duplicate) -> None:
        self.duplicate = True

    # -- requests --

    def _request(self, record: Record, effect: fx.CallWebhook) -> None:
        if self.desk.request(effect.request_id) is not None:
            return  # the same decision asks once
        row = RequestRow(
            request_id=effect.request_id,
            key=record.key,
            run_id=effect.run_id,
            journey=effect.journey,
            step_id=effect.step_id,
            url=effect.url,
            method=effect.method,
            body=effect.body,
            timeout_ms=effect.timeout_ms,
            give_up_at=effect.give_up_at,
            created_at=self.desk.last_at,
        )
        self.desk.write_request(row.request_id, row)
        self.commit.requests[row.request_id] = self.calls[row.request_id] = row

    def _drop_request(self, _record: Record, effect: fx.DropWebhook) -> None:
        self._end_request(effect.request_id)

    def _end_request(self, request_id: str) -> None:
        """Nobody waits for it any more."""
        if self.desk.request(request_id) is None:
            return
        self.desk.write_request(request_id, None)
        self.commit.requests[request_id] = None
        self.calls.pop(request_id, None)
        self.called.append(request_id)

    # -- ledger --

    def say(self, row: LedgerRow, *, flags: int = 0, asker: str | None = None, cause: str = "") -> None:
        """Write one word of consent or suppression, unless a later one stands, and tell it to every key that holds the
        address.  ``asker``: the key whose record said it, under these ``flags``; it has taken its own word and hears
        only a refusal; ``cause``: the id of that record."""
        old = self.desk.words(row.address).get(row.topic)
        if old == row:
            return
        if old is not None and not overrides(row, old, imported=bool(flags & HISTORICAL)):
            if asker is not None:
                self.hop(asker, LedgerChange([old]), flags, cause)
            return
        self.desk.write_word(row)
        self.commit.ledger[row.address, row.topic] = row
        for key in sorted(self.desk.holders(row.address) - {asker}):
            self.hop(key, LedgerChange([row]), flags)

    def drop_stopped(self, row: LedgerRow) -> None:
        """Cancel at once what is queued to an address that has just been stopped (the commit point would, too)."""
        for message in self.desk.messages_of(sorted(self.desk.holders(row.address))):
            if message.address != row.address or message.status not in CANCELLABLE:
                continue
            if (stop := self.stopped(message)) is not None and stop.status == "cancelled":
                self.end_message(message, stop.status, stop.reason, self.now())
        self.drain()

    def stopped(self, row: MessageRow) -> Stop | None:
        """The decision at the commit point, on the ledger as it is now; None is go."""
        broadcast = self.desk.plain_broadcast(broadcast_of(row.journey)) if broadcast_of(row.journey) else None
        if broadcast is not None and broadcast.status == "cancelled" and row.status in CANCELLABLE:
            return Stop("cancelled", broadcast.reason or counting.CANCELLED)
        words = self.desk.words(row.address).values() if row.address else ()
        held = self.desk.held(row.journey)
        return commit_point(row, words, self.desk.plan.topics, self.now(), held=held)

    # -- messages --

    def write_message(self, row: MessageRow, *, first: bool = False) -> None:
        """The row as it is from now on.  ``first``: there was none."""
        if broadcast_id := broadcast_of(row.journey):
            self._count_message(broadcast_id, row, None if first else self.desk.message(row.message_id))
        self.desk.messages.write(row.message_id, row)
        self.commit.messages[row.message_id] = row
        if self.watched:
            self._tell(self.desk.last_at, "message", row.key, message_id=row.message_id, status=row.status,
                       journey=row.journey, template=row.template, address=row.address, reason=row.reason)  # fmt: skip

    def _count_message(self, broadcast_id: str, row: MessageRow, old: MessageRow | None) -> None:
        if old is not None and (old.status, old.reason) == (row.status, row.reason):
            return
        if (counted := self.counting(broadcast_id, row.key)) is not None:
            counting.note_message(counted, old, row)

    def end_message(self, row: MessageRow, status: str, reason: str, at: int, *, flags: int = 0) -> None:
        """The message came to this end; its person hears of it.  ``flags``: of the record that ended it."""
        sent_at = at if status == "sent" else row.sent_at
        outcomes = [*row.outcomes, (status, at, False)][-MAX_OUTCOMES:]
        self.write_message(replace(row, status=status, reason=reason, sent_at=sent_at, outcomes=outcomes))
        stale = self.desk.stale(row.message_id) if status in RENDERED else {}
        properties: dict[str, Any] = {STALE: stale} if stale else {}
        self.hop(row.key, Outcome(row.message_id, status, at, reason, properties=properties), flags, row.rev)

    def miss_message(self, row: MessageRow, at: int, reason: str) -> MessageRow | None:
        """It cannot be sent in time: its person decides again, now.  ``at``: the instant from which it may go.  The row
        when it is queued again."""
        outcomes = [*row.outcomes, (MISSED, at, False)][-MAX_OUTCOMES:]
        self.write_message(replace(row, status="deferred", reason=reason or MISSED, sending_at=0, outcomes=outcomes))
        self.hop(row.key, Outcome(row.message_id, MISSED, at, reason), 0, row.rev)
        self.drain()
        again = self.desk.message(row.message_id)
        return again if again is not None and again.status == "queued" else None

    # -- the end --

    @property
    def records(self) -> int:
        return len(self.commit.log)

    def dead_letter(self, letter: DeadLetter) -> None:
        self.commit.dead_letters[letter.id] = letter

    def kinds(self) -> dict[str, int]:
        """How many records of each kind."""
        bodies = Counter(type(record.body) for _, record in self.commit.log)
        return {body.__name__: count for body, count in bodies.items()}

    def facts(self) -> dict[str, int]:
        """How many facts of each kind."""
        return Counter(row.kind for _, row in self.commit.journal)

    def statuses(self) -> dict[str, int]:
        """How many messages came to each status."""
        return Counter(row.status for row in self.commit.messages.values())

    @property
    def earliest(self) -> int | None:
        """The earliest deadline that this chunk set, None when it set none."""
        return min((new for _, new in self.commit.wakeups.values() if new is not None), default=None)

    def _tell(self, at: int, kind: str, key: str, **more: object) -> None:
        self.news.append({"at": at, "kind": kind, "profile_id": profile_id(key), **more})


def overrides(new: LedgerRow, old: LedgerRow, *, imported: bool = False) -> bool:
    """Whether ``new`` takes the place of ``old``: the later word by its own time, a withdrawal wins ties, and an
    imported grant never lifts a withdrawal."""
    if imported and new.given and not old.given:
        return False
    return new.at > old.at or (new.at == old.at and old.given and not new.given)


APPLY: dict[type, Callable[[Any, Record, Any], None]] = {
    fx.DecideMessage: Applying._message,
    fx.CancelMessage: Applying._cancel,
    fx.CallWebhook: Applying._request,
    fx.DropWebhook: Applying._drop_request,
    fx.SetMembership: Applying._member,
    fx.ChangeLedger: Applying._consent,
    fx.IndexEmail: Applying._email,
    fx.Fact: Applying._fact,
    fx.Duplicate: Applying._duplicate,
}
"""What each effect does to the commit."""
