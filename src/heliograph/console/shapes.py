"""The JSON of the API, snake_case, and how a row of the store becomes it."""

from typing import Any, Literal

import msgspec

from heliograph.decide.broadcasts import broadcast_of
from heliograph.deliver.lifecycle import settled, unknown_since
from heliograph.events.event import Event
from heliograph.events.identity import profile_id
from heliograph.ports import DeadLetter, Hold, MessageRow, PlanTouches


class Outcome(msgspec.Struct, frozen=True):
    kind: str
    at: int
    machine: bool


class Message(msgspec.Struct, frozen=True):
    """One email to one person.  ``journey`` is null in a broadcast, ``broadcast_id`` in a journey.  ``until``: when a
    deferred one is decided again.  ``waits_for``: what keeps a queued one beside its turn.  ``attempt``: tries at
    delivery so far; ``next_at``: when the next one may begin.  ``unknown_at``: since when its fate is open;
    ``settled``: what somebody did about that (sent, resend or drop)."""

    message_id: str
    profile_id: str
    journey: str | None
    run_id: str
    step_id: str
    broadcast_id: str | None
    template: str
    template_version: str
    address: str
    status: str
    reason: str
    created_at: int
    sent_at: int | None
    until: int | None
    waits_for: str
    attempt: int
    next_at: int | None
    unknown_at: int | None
    settled: str
    outcomes: list[Outcome]


class SettleRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``ids``: at most 1,000 messages that are unknown.  ``action``: ``sent`` (the relay's log says that it took them),
    ``resend`` (again, at the risk of a second copy) or ``drop`` (given up: they stay unknown, settled).  ``reason`` is
    needed and kept, with ``by``."""

    ids: list[str]
    action: Literal["sent", "resend", "drop"]
    reason: str
    by: str = "api"


class SettleResult(msgspec.Struct, frozen=True):
    """``result``: released, resent, dropped, already, not_unknown, not_found or refused; ``reason`` says why."""

    message_id: str
    result: str
    reason: str


class SettleResults(msgspec.Struct, frozen=True):
    results: list[SettleResult]


class Messages(msgspec.Struct, frozen=True):
    messages: list[Message]
    next: str | None


class Member(msgspec.Struct, frozen=True):
    profile_id: str
    since: int


class Members(msgspec.Struct, frozen=True):
    """``count`` is exact; ``members`` is one page in storage order."""

    members: list[Member]
    count: int
    next: str | None


class SegmentOverview(msgspec.Struct, frozen=True):
    """``complete_since`` (ms): what happened before then is not counted, because the segment was published later and
    history does not reach back further; null when it counts from the beginning.  ``building``: the sweep that sets its
    members has not come by everybody."""

    name: str
    count: int
    complete_since: int | None
    building: bool


class Segments(msgspec.Struct, frozen=True):
    segments: list[SegmentOverview]


class Pause(msgspec.Struct, frozen=True):
    """``by``: ``breaker`` when the circuit breaker did it."""

    reason: str
    by: str
    at: int


class JourneyOverview(msgspec.Struct, frozen=True):
    """``paused``: its mail is held, since when, by whom and why."""

    name: str
    version: str
    active: int
    started: int
    held_out: int
    finished: int
    exited: int
    sent: int
    skipped: int
    goals: int
    removed: bool = False
    paused: Pause | None = None


class Journeys(msgspec.Struct, frozen=True):
    journeys: list[JourneyOverview]


class Profile(msgspec.Struct, frozen=True):
    """``ids``: other ids of this person.  ``also``: other profiles that hold the address that was asked for."""

    profile_id: str
    traits: dict[str, Any]
    segments: list[dict[str, Any]]
    runs: list[dict[str, Any]]
    consent: dict[str, Any]
    ids: list[str]
    first_seen_at: int
    last_seen_at: int
    also: list[str]


class TimelineItem(msgspec.Struct, frozen=True):
    """``kind``: event, message, or a kind of fact."""

    at: int
    kind: str
    data: dict[str, Any]


class Timeline(msgspec.Struct, frozen=True):
    timeline: list[TimelineItem]


class DeadLetterItem(msgspec.Struct, frozen=True):
    id: str
    at: int
    reason: str
    event_name: str
    payload: str
    replayed_at: int | None


class DeadLetters(msgspec.Struct, frozen=True):
    dead_letters: list[DeadLetterItem]
    next: str | None


class ReplayRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``ids``: at most 1,000.  ``repaired``: id -> the corrected call, as JSON, in place of the original."""

    ids: list[str]
    repaired: dict[str, dict[str, Any]] = {}


class ReplayResult(msgspec.Struct, frozen=True):
    message_id: str
    status: str
    reason: str


class Replayed(msgspec.Struct, frozen=True):
    results: list[ReplayResult]


class PlanView(msgspec.Struct, frozen=True):
    """``building``: the sweep after a publish, or null."""

    version: int
    published_at: int
    versions: list[dict[str, int]]
    building: dict[str, Any] | None
    document: dict[str, Any]


class PublishRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Either ``document`` (a plan document) or ``version`` (go back to a published one)."""

    document: dict[str, Any] | None = None
    version: int | None = None
    dry_run: bool = False


class Change(msgspec.Struct, frozen=True):
    kind: str
    name: str
    change: str


class Published(msgspec.Struct, frozen=True):
    """``version`` is 0 for a dry run, which says whom the plan would touch, and how (null otherwise)."""

    version: int
    changes: list[Change]
    warnings: list[str]
    touches: PlanTouches | None = None


class ListRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``people``: user ids, ``anon:`` ids or addresses.  ``remove``: take them off instead."""

    people: list[str]
    remove: bool = False


class ListResult(msgspec.Struct, frozen=True):
    name: str
    accepted: int
    unknown: list[str]


class SendTestRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    to: str
    profile: str | None = None


class SendTestResult(msgspec.Struct, frozen=True):
    """``verdict``: one plain line, as the relay said it."""

    ok: bool
    verdict: str


def pause_of(hold: Hold | None) -> Pause | None:
    return None if hold is None else Pause(hold.reason, hold.by, hold.at)


def message_of(row: MessageRow, waits_for: str = "") -> Message:
    return Message(
        message_id=row.message_id,
        profile_id=profile_id(row.key),
        journey=None if broadcast_of(row.journey) else row.journey,
        run_id=row.run_id,
        step_id=row.step_id,
        broadcast_id=broadcast_of(row.journey) or None,
        template=row.template,
        template_version=row.template_version,
        address=row.address,
        status=row.status,
        reason=row.reason,
        created_at=row.created_at,
        sent_at=row.sent_at or None,
        until=row.not_before if row.status == "deferred" and row.not_before else None,
        waits_for=waits_for,
        attempt=row.attempt,
        next_at=row.next_at if row.status == "queued" and row.next_at else None,
        unknown_at=unknown_since(row.outcomes) if row.status == "unknown" else None,
        settled=settled(row.outcomes),
        outcomes=[Outcome(kind, at, machine) for kind, at, machine in row.outcomes],
    )


def dead_letter_of(row: DeadLetter) -> DeadLetterItem:
    payload = row.payload.decode("utf-8", "replace")
    return DeadLetterItem(row.id, row.at, row.reason, row.event_name, payload, row.replayed_at or None)


def event_of(event: Event) -> dict[str, Any]:
    """An event for people's eyes: only what it carries."""
    fields = ("event_id", "type", "name", "user_id", "anonymous_id", "properties", "traits", "context")
    return {name: value for name in fields if (value := getattr(event, name))}
