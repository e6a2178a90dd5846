"""What ``step`` asks of the world: frozen imperatives, carried out by the runtime in the commit of the record.

``step`` never does any of this itself.  A runtime applies effects in order and adds nothing of its own.
"""

from typing import Any, TypeAlias

import msgspec

from heliograph.events.record import LedgerRow, Record


class DecideMessage(msgspec.Struct, frozen=True, array_like=True, tag="message"):
    """A message was decided: mail it (``status`` queued), or keep the reason why not (``skipped``, ``deferred``).

    ``message_id = H(run_id, step_id, visit)``, so the same decision never mails twice; only a message that is
    ``deferred`` may be decided again.  ``topic`` is ``None`` for transactional mail.  ``not_before`` and ``not_after``
    are ms, 0 for none; what a mailer cannot send in time comes back as the outcome ``missed``.
    """

    message_id: str
    run_id: str
    journey: str
    journey_version: str
    step_id: str
    template: str
    topic: str | None
    transactional: bool
    address: str
    created_at: int
    status: str = "queued"
    reason: str = ""
    not_before: int = 0
    not_after: int = 0


class CancelMessage(msgspec.Struct, frozen=True, array_like=True, tag="cancel"):
    """Stop this message unless it has passed its commit point (then ``cancel_too_late`` is recorded)."""

    message_id: str
    reason: str
    at: int


class CallWebhook(msgspec.Struct, frozen=True, array_like=True, tag="webhook"):
    """Make this HTTP request, signed, and come back with :class:`~heliograph.events.record.Answer`.

    ``request_id = H(run_id, step_id, visit)`` is the ``webhook-id`` of every try.  ``body`` is JSON, empty for none.
    ``timeout_ms`` is that of one try; no try begins at or after ``give_up_at`` (ms).
    """

    request_id: str
    run_id: str
    journey: str
    step_id: str
    url: str
    method: str
    body: bytes
    timeout_ms: int
    give_up_at: int


class DropWebhook(msgspec.Struct, frozen=True, array_like=True, tag="drop"):
    """Nobody waits for this request any more: try it no further."""

    request_id: str


class Hop(msgspec.Struct, frozen=True, array_like=False, tag="hop"):
    """A record for another key: appended to the log with this commit, decided after the records before it."""

    record: Record


class SetMembership(msgspec.Struct, frozen=True, array_like=True, tag="member"):
    """The person entered or left a segment or list at ``at`` (engine time)."""

    segment: str
    on: bool
    at: int


class ChangeLedger(msgspec.Struct, frozen=True, array_like=True, tag="ledger"):
    """Write these consent rows unless the ledger has a later word on them."""

    rows: list[LedgerRow]


class IndexEmail(msgspec.Struct, frozen=True, array_like=True, tag="email"):
    """This key now holds (or no longer holds) the normalised address."""

    address: str
    on: bool


class Fact(msgspec.Struct, frozen=True, array_like=True, tag="fact"):
    """Something worth remembering, for ``why``, timelines and measuring.  ``kind`` is one of
    :data:`heliograph.decide.effects.FACTS`; ``data`` is small and JSON-able."""

    kind: str
    at: int
    data: dict[str, Any] = {}


class Duplicate(msgspec.Struct, frozen=True, array_like=True, tag="duplicate"):
    """The event was seen before: nothing else happened."""

    event_id: str


Effect: TypeAlias = (
    DecideMessage
    | CancelMessage
    | CallWebhook
    | DropWebhook
    | Hop
    | SetMembership
    | ChangeLedger
    | IndexEmail
    | Fact
    | Duplicate
)

FACTS = {
    "segment_entered": "segment; at the very instant the condition turned true",
    "segment_left": "segment",
    "run_started": "journey, version, run_id, entry_key, cause, arm (holdout, global_holdout or treated)",
    "run_refused": "journey, entry_key, reason (no_key, reentry, already_active, if_false, too_late, state_full, ...); "
    "if_false again in the same leaf only when there is an entry key",
    "run_step": "journey, run_id, step_id, what (waiting, resumed, timed_out, missed, branched, split, updating, "
    "emitting, missing, calling, answered, failed, sent, ...), until, arm, reason, ...",
    "run_ended": "journey, version, run_id, entry_key, reason (finished, exited, restarted, merged, ...), step_id",
    "webhook_answered": "request_id, ok, status, reason; journey, run_id, step_id while the run waits for it",
    "run_moved": "journey, run_id, step_id, version (before), to (the version it follows)",
    "goal": "journey, run_id, value, held_out",
    "cancel_too_late": "message_id; said by the runtime",
    "message_decided": "message_id, journey, run_id, step_id, template",
    "message_deferred": "message_id, journey, run_id, step_id, template, until, reason (cap: N per D, quiet_hours, "
    "arbitrating, or what the mailer said); again for each new plan",
    "message_skipped": "journey, run_id, step_id, template, message_id, reason; for a cap: until (when it "
    "has a place), held_by (message ids)",
    "message_outcome": "message_id, kind, reason, journey, run_id, step_id, template; stale, when the mail was not "
    "rendered from the newest: what (profile), and how many seconds ago it was",
    "merged": "source key, moved (whether history came along)",
    "undecidable": "record, body, error: deciding it raised, a bug; nothing else happened",
    "adopted": "already, when somebody was here before and nothing was taken; moved in from another deployment",
    "forgotten": "idle_since; an anonymous key that nobody was heard from for P30D",
    "cut": "a bound was reached: what, limit; or (what: fold) a sweep brought what is no state of its condition",
    "late": "event_id, name, why (history_only, too_late)",
    "consent": "topic, given, source",
}
"""Every kind of fact, and what its data holds."""
