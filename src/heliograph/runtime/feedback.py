"""What mailers and receivers say about messages, turned into rows, ledger words and outcomes of the people."""

from typing import Final

from msgspec.structs import replace

from heliograph.deliver.breaker import Kind, kind_of_report
from heliograph.deliver.lifecycle import ARRIVED, FEEDBACK, RESENT, SENT, SIGNALS, UNFINISHED, advance, proven
from heliograph.deliver.retry import next_attempt, spent
from heliograph.events.record import LedgerRow, Outcome
from heliograph.ports import MessageRow
from heliograph.runtime.applying import MAX_OUTCOMES
from heliograph.runtime.breaker import Sample
from heliograph.runtime.chunk import Chunk
from heliograph.runtime.mailwire import Done

STOPPING: Final = {"complained": "!complaint", "bounced": "!bounce"}
"""Kinds of feedback that write a suppression."""
FED_BACK: Final = frozenset(FEEDBACK) - {"sent"}
"""Kinds that come back about a message; every other outcome is the engine's own word."""
REPEATABLE: Final = frozenset({"opened", "clicked"})
"""Each of these is an event of its own; any other kind a second time changes nothing."""


def take_feedback(chunk: Chunk, outcome: Outcome, *, suppresses: bool = True, trusted: bool = True) -> None:
    """Record what came back about a message after it was sent, and tell its person.

    It may be the first that is heard of a message that is ``unknown``, or that waits to be tried again: what arrived is
    ``sent``, and its person hears that first.  What a bounce says takes the place of the 250.  ``suppresses``: whether
    a bounce or complaint stops the address; ``trusted``: whether it counts for the circuit breaker.
    """
    if chunk.far and outcome.kind in REPEATABLE:  # noted when the brain has heard it, as those that links bring
        row = chunk.desk.present(outcome.message_id)
    else:
        row = note_feedback(chunk, outcome, suppresses=suppresses, trusted=trusted)
    if row is not None:
        chunk.append(row.key, outcome)


def note_feedback(
    chunk: Chunk, outcome: Outcome, *, suppresses: bool = True, trusted: bool = True
) -> MessageRow | None:
    """The part of it that concerns the row; None when it is nothing new."""
    row = chunk.desk.message(outcome.message_id) if outcome.kind in FED_BACK else None
    if row is None or (outcome.kind not in REPEATABLE and any(kind == outcome.kind for kind, _, _ in row.outcomes)):
        return None
    signal = "" if outcome.machine else FEEDBACK.get(outcome.kind, "")
    if (status := _following(row, signal)) is not None and signal in ARRIVED and row.status not in SENT:
        row = _arrived(chunk, row, outcome)
    outcomes = [*row.outcomes, (outcome.kind, outcome.at, outcome.machine)][-MAX_OUTCOMES:]
    reason = outcome.reason if status == "bounced" and outcome.reason else row.reason
    chunk.write_message(replace(row, status=status or row.status, reason=reason, outcomes=outcomes))
    if trusted and outcome.kind in STOPPING:
        chunk.samples.append(Sample(row, _trouble(outcome, suppresses), late=True))
    if suppresses and (topic := STOPPING.get(outcome.kind)):
        suppress(chunk, row, topic, outcome.at, outcome.reason)
    return row


def _trouble(outcome: Outcome, condemned: bool) -> Kind:
    if outcome.kind == "complained":
        return "complained"
    return kind_of_report("bounced", outcome.reason, 0, condemned=condemned) or "bounced"


def _following(row: MessageRow, signal: str) -> str | None:
    """The status that this feedback leads to, None when it leads nowhere.  Nothing comes back about what never left."""
    waits = row.status in UNFINISHED and row.status != "sending"
    return None if waits and not row.attempt else advance(row.status, signal)


def _arrived(chunk: Chunk, row: MessageRow, outcome: Outcome) -> MessageRow:
    """It was sent after all: told as if its receiver had said so."""
    at = min(row.sending_at or outcome.at, outcome.at)
    chunk.end_message(row, "sent", f"shown by what came back: {outcome.kind}", at)
    chunk.drain()
    return chunk.desk.message(row.message_id) or row


def take_report(chunk: Chunk, done: Done, elsewhere: bool = False) -> MessageRow | None:
    """Apply what a mailer says; the row when it waits for another attempt.  ``elsewhere``: another relay takes it, at
    once, and this was no attempt."""
    row = chunk.desk.message(done.message_id)
    signal = SIGNALS.get(done.kind)
    if row is None or signal is None:
        return None
    status = advance("claimed" if row.status == "queued" else row.status, signal)
    if status is None:
        return None
    at = min(max(done.at, row.sending_at, row.created_at), chunk.now())  # its clock may have been set, either way
    done = replace(done, at=at)
    _count(chunk, row, done)
    if status in _UNSURE and row.status == "sending" and proven(row.outcomes):
        status = "sent"
    if status == "queued":
        return _again(chunk, row, done, elsewhere)
    if status == "deferred":
        return chunk.miss_message(row, done.at, done.reason)
    if status == "unknown" and (wait := _resend(chunk, row, done.at, done.reason)) is not None:
        return wait
    if status == "bounced" and done.suppress:
        suppress(chunk, row, "!bounce", done.at, done.reason)
    chunk.end_message(row, status, done.reason, done.at)
    chunk.drain()
    return None


def _count(chunk: Chunk, row: MessageRow, done: Done) -> None:
    """For the circuit breaker, as far as this report counts."""
    last = done.kind == "retry" and next_attempt(row.message_id, row.attempt + 1, done.at) is None
    kind = kind_of_report(done.kind, done.reason, row.attempt, last=last, condemned=done.suppress)
    if kind is not None:
        chunk.samples.append(Sample(row, kind))


_UNSURE: Final = frozenset({"queued", "deferred", "unknown"})
"""What a report would make of a message, unless something came back meanwhile that shows it arrived."""


def suppress(chunk: Chunk, row: MessageRow, topic: str, at: int, proof: str) -> None:
    if not row.address:
        return
    word = LedgerRow(row.address, topic, False, at, "feedback", proof=proof[:500])
    chunk.say(word)
    chunk.drain()


def _again(chunk: Chunk, row: MessageRow, done: Done, elsewhere: bool) -> MessageRow | None:
    """A later attempt, another decision when it would come too late, or the end of them."""
    if row.unwanted:
        chunk.end_message(row, "cancelled", row.unwanted, done.at)
        chunk.drain()
        return None
    attempt = row.attempt if elsewhere else row.attempt + 1
    next_at = done.at if elsewhere else next_attempt(row.message_id, attempt, done.at)
    if next_at is None:
        chunk.end_message(row, "expired", spent(done.reason), done.at)
        chunk.drain()
        return None
    waiting = replace(row, status="queued", reason=done.reason, attempt=attempt, next_at=next_at, sending_at=0)
    if row.not_after and next_at >= row.not_after:
        return chunk.miss_message(waiting, next_at, done.reason)
    chunk.write_message(waiting)
    return waiting


MAX_RESENDS = 3
"""Of a message whose template says ``on_unknown: resend``: at most so many copies too many.  A receiver that takes mail
and never says so would otherwise be sent the same message for ever."""


def lose(chunk: Chunk, message_id: str, reason: str) -> MessageRow | None:
    """A message past its commit point whose mailer is gone: ``unknown``, never silently sent again; the row when its
    template chose otherwise and it waits for another attempt."""
    row = chunk.desk.message(message_id)
    if row is None or row.status != "sending":
        return None
    at = chunk.now()
    if proven(row.outcomes):
        chunk.end_message(row, "sent", "shown by what came back", row.sending_at)
        chunk.drain()
        return None
    if (again := _resend(chunk, row, at, reason, at_once=True)) is not None:
        return again
    chunk.end_message(row, "unknown", reason, at)
    chunk.drain()
    return None


def _resend(chunk: Chunk, row: MessageRow, at: int, reason: str, *, at_once: bool = False) -> MessageRow | None:
    """The row waits again, under the same Message-ID, when its template would rather mail twice than never; each
    ``unknown`` stays listed.  A receiver that dropped the connection (not ``at_once``) is left alone for a while."""
    template = chunk.desk.plan.templates.get(row.template) or {}
    resends = 1 + sum(kind == "unknown" for kind, _, _ in row.outcomes)
    next_at = at if at_once else next_attempt(row.message_id, row.attempt + 1, at)
    if row.unwanted or template.get("on_unknown") != "resend" or resends > MAX_RESENDS or next_at is None:
        return None
    waiting = replace(
        row,
        status="queued",
        reason=f"resend {resends} of {MAX_RESENDS}: {reason}",
        attempt=row.attempt + 1,
        next_at=next_at,
        sending_at=0,
        outcomes=[*row.outcomes, ("unknown", at, False), (RESENT, at, False)][-MAX_OUTCOMES:],
    )
    chunk.write_message(waiting)
    return waiting
