"""THE BORDER: what the runtime needs from the world, in small protocols with written semantics.

Every adapter passes the one suite in ``tests/contracts``; ``adapters/memory`` is the twin that ships as product.
Words: *commit* = one atomic, durable change of everything one chunk decided; *position* = the number of a record in
the log, increasing by one, never reused; *key* = a person's key (``u:``, ``a:``, ``e:``).
"""

from collections.abc import Awaitable, Iterator, Sequence
from typing import Any, Literal, Protocol

import msgspec

from heliograph.events.decode import Arrival
from heliograph.events.event import Event
from heliograph.events.record import LedgerRow, ListChange, Outcome, Record


class StoreFull(Exception):
    """The disk refused the write; nothing of the commit is there.  Slow down: answer 503 and try again."""


class StoreLocked(Exception):
    """Another process holds this data folder.  Stop, and say which folder and what to do."""


class StoreTooNew(Exception):
    """Written by a newer version of Heliograph.  Stop the process."""


class StoreFailed(Exception):
    """The disk failed in a way that trying again does not mend.  Stop the process: what was acknowledged is there at
    the next start, what this commit was going to change may or may not be."""


UNFINISHED = frozenset({"queued", "deferred", "sending"})
"""Statuses of a message that somebody still has to act on: a restart picks them up, retention leaves them."""


class MessageRow(msgspec.Struct, array_like=True, kw_only=True):
    """One email to one person in the ledger of messages.  Fields are only ever appended.

    ``status``: queued, deferred, sending, sent, delivered, bounced, unknown, cancelled, expired, skipped (contract,
    section 7).  ``outcomes``: ``(kind, at, machine)``.  ``attempt`` counts tries at delivery; ``next_at`` is when the
    next one may begin.  Times are ms, 0 when not yet.
    """

    message_id: str
    key: str
    journey: str
    journey_version: str
    run_id: str
    step_id: str
    template: str
    template_version: str
    topic: str | None
    transactional: bool
    address: str
    status: str
    reason: str
    created_at: int
    not_before: int = 0
    not_after: int = 0
    next_at: int = 0
    attempt: int = 0
    sending_at: int = 0
    sent_at: int = 0
    outcomes: list[tuple[str, int, bool]] = []
    cause_received_at: int = 0
    """When the record that decided this message was received (time to send is counted from here)."""
    unwanted: str = ""
    """Why a cancel came while it was past its commit point: when the receiver puts us off it is not tried again."""


class JournalRow(msgspec.Struct, array_like=True):
    """A fact in a person's journal."""

    at: int
    kind: str
    data: dict[str, Any]
    position: int = 0


class DeadLetter(msgspec.Struct, array_like=True, kw_only=True):
    """An input refused after its 200, kept for repair and replay (P30D).  ``payload``: the JSON as received."""

    id: str
    at: int
    reason: str
    event_name: str
    payload: bytes
    replayed_at: int = 0


class RequestRow(msgspec.Struct, array_like=True, kw_only=True, frozen=True):
    """An HTTP request that a run waits for, until it is answered or dropped.  Fields are only ever appended.

    ``request_id`` is the ``webhook-id`` of every try, ``key`` the person whose run it is.  ``timeout_ms`` is that of
    one try; no try begins at or after ``give_up_at`` (ms).
    """

    request_id: str
    key: str
    run_id: str
    journey: str
    step_id: str
    url: str
    method: str
    body: bytes
    timeout_ms: int
    give_up_at: int
    created_at: int


class PlanRow(msgspec.Struct, array_like=True):
    """A published plan: canonical JSON (``heliograph.decide.plan``)."""

    version: int
    document: bytes
    published_at: int


class Commit(msgspec.Struct):
    """Everything that one chunk changes.  The store applies all of it or nothing, durably.

    ``log``: ``(position, record)``, positions ascending and above the last one (else ValueError: two writers); a
    record whose body is an event also goes into ``history`` under (key, occurred_at, event_id), and the log row
    points there instead of holding the event twice.  Of two events under one such triple the first stays in history,
    while the log still reads back each record as it was appended.
    ``states``: key -> blob, or None to forget the key.
    ``wakeups``: key -> (old deadline or None, new deadline or None); the old one is removed, the new one set.
    ``members``: (name, key) -> since, or None for leaving.  ``messages``: the row as it is now; ``created_at`` and
    ``key`` of a message never change.  ``requests``: the row, or None when it is over.  ``journal``: (key, row),
    appended.  ``emails``: (address, key) -> held or not.
    """

    log: list[tuple[int, Record]] = []
    states: dict[str, bytes | None] = {}
    wakeups: dict[str, tuple[int | None, int | None]] = {}
    messages: dict[str, MessageRow] = {}
    ledger: dict[tuple[str, str], LedgerRow] = {}
    members: dict[tuple[str, str], int | None] = {}
    journal: list[tuple[str, JournalRow]] = []
    emails: dict[tuple[str, str], bool] = {}
    dead_letters: dict[str, DeadLetter] = {}
    plan: PlanRow | None = None
    meta: dict[str, bytes] = {}
    requests: dict[str, RequestRow | None] = {}

    @property
    def empty(self) -> bool:
        return not any(getattr(self, name) for name in self.__struct_fields__)


class Store(Protocol):
    """Everything one machine remembers.  One process owns it; reads see the last finished commit.

    Each read answers from one instant: never half of a commit; it may see a commit a moment before that is durable.
    Rows handed out are copies.  *Storage order* of keys is (bucket, key).  Cursors are opaque, URL-safe and name a
    place, not a page: rows that appear or vanish elsewhere neither repeat nor skip others.  A cursor that this store
    did not make raises ValueError.
    """

    def commit(self, commit: Commit, *, sync: bool = True) -> None:
        """Apply all of it, or raise (:class:`StoreFull`) having applied nothing.  With ``sync`` (the default) it
        survives power loss when this returns; without, only a crash of the process.  Called from one thread at a
        time, not always the same; reads may run beside it."""
        ...

    # -- states (StateStore) --
    def states(self, keys: Sequence[str]) -> list[bytes | None]:
        """The blobs of these keys, in order, ``None`` where there is none."""
        ...

    def keys(self, after: str | None = None, limit: int = 1000) -> list[str]:
        """Keys with a state, in storage order, beginning behind ``after`` (which need not exist any more)."""
        ...

    # -- log and history --
    def last_position(self) -> int:
        """The position of the last record in the log, 0 when it is empty."""
        ...

    def last_received_at(self) -> int:
        """``received_at`` of the last record in the log, 0 when empty: the log is the only clock."""
        ...

    def log(self, after: int = 0, limit: int = 1000) -> list[tuple[int, Record]]:
        """Records with a position greater than ``after``, in order."""
        ...

    def history(self, key: str, since: int = 0, until: int | None = None) -> Iterator[Event]:
        """Events stored under this key with ``since <= occurred_at < until``, by (occurred_at, event_id)."""
        ...

    def history_part(
        self, key: str, names: frozenset[str] | None, after: tuple[int, str] | None = None, limit: int = 500
    ) -> tuple[list[Event], tuple[int, str] | None]:
        """Look at the next ``limit`` events stored under this key, by (occurred_at, event_id) and behind ``after``:
        those of these ``names`` (None: all; a name that is not ASCII is always among them), and the place of the last
        one looked at, None when there are no more."""
        ...

    def recent_history(self, key: str, limit: int) -> list[Event]:
        """The latest events stored under this key, newest first."""
        ...

    # -- wake-ups --
    def due(self, now: int, limit: int = 1000) -> list[tuple[int, str]]:
        """(deadline, key) with deadline <= now, earliest first."""
        ...

    def next_due(self) -> int | None:
        """The earliest deadline."""
        ...

    # -- messages (Outbox and Ledger) --
    def message(self, message_id: str) -> MessageRow | None: ...

    def messages(
        self,
        *,
        key: str | None = None,
        status: str | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> tuple[list[MessageRow], str | None]:
        """Newest first (``created_at`` descending, then by id), and the cursor of the next page or None."""
        ...

    def unfinished_messages(self) -> Iterator[MessageRow]:
        """Rows whose status is queued, deferred or sending: what a restart has to pick up."""
        ...

    # -- requests --
    def request(self, request_id: str) -> RequestRow | None:
        """The row while it waits for its answer."""
        ...

    def requests(self, after: str = "") -> Iterator[RequestRow]:
        """All that wait for an answer, by id, beginning behind ``after``."""
        ...

    # -- consent and suppression --
    def ledger(self, address: str) -> list[LedgerRow]:
        """Every row of a normalised address, by topic."""
        ...

    def suppressions(self, limit: int = 100, cursor: str | None = None) -> tuple[list[LedgerRow], str | None]:
        """Addresses that are stopped (topic begins with ``!`` and ``given`` is False), by (address, topic)."""
        ...

    # -- look-ups --
    def keys_of_email(self, address: str) -> list[str]:
        """Keys that hold this normalised address, sorted."""
        ...

    def emails(self, prefix: str = "", limit: int = 1000) -> list[str]:
        """Normalised addresses that somebody holds and that begin with ``prefix``, sorted."""
        ...

    def members(
        self, name: str, limit: int = 100, cursor: str | None = None
    ) -> tuple[list[tuple[str, int]], str | None]:
        """(key, since) of a segment or list, in storage order."""
        ...

    def member_count(self, name: str) -> int:
        """Exact."""
        ...

    def journal(self, key: str, limit: int = 200, before: int | None = None) -> list[JournalRow]:
        """A person's facts with ``at < before``, newest first; of the same instant the last appended first."""
        ...

    def dead_letters(self, limit: int = 100, cursor: str | None = None) -> tuple[list[DeadLetter], str | None]:
        """Newest first (``at`` descending, then by id), and the cursor of the next page or None."""
        ...

    def dead_letter(self, id: str) -> DeadLetter | None: ...

    # -- plans and small things --
    def plan(self, version: int | None = None) -> PlanRow | None:
        """This version, or the current one: the highest."""
        ...

    def plans(self) -> list[tuple[int, int]]:
        """(version, published_at), oldest first."""
        ...

    def meta(self, name: str) -> bytes | None:
        """Small named values: signing keys, sweep progress."""
        ...

    def expire(self, *, log_before: int, history_before: int, dead_letters_before: int) -> int:
        """Retention: drop what was received before these instants (ms), journal and messages with history's;
        returns how many rows went.  Work per call is bounded, so call it regularly; the place it reached is kept.

        The log goes from its front, up to the first row that is young enough, and keeps its last row for ever:
        positions are never reused and the log stays the clock.  History that the log still points at and unfinished
        messages stay."""
        ...

    def counts(self) -> dict[str, int]:
        """Cheap estimates for metrics: profiles, log rows, messages, bytes on disk."""
        ...

    def close(self) -> None: ...


class Result(msgspec.Struct, frozen=True):
    """What became of an :class:`Arrival`.  ``status``: accepted, duplicate, dead_letter or refused."""

    message_id: str
    status: str
    reason: str = ""


class Busy(Exception):
    """The queue is full, the disk refuses or the engine drains.  Slow down: 503 with Retry-After."""

    def __init__(self, reason: str, retry_after_s: int = 1) -> None:
        super().__init__(reason)
        self.reason = reason
        self.retry_after_s = retry_after_s


class PlanRefused(Exception):
    """A document that cannot be published; the old plan stays.  ``problems``: (JSON path, sentence)."""

    def __init__(self, problems: Sequence[tuple[str, str]]) -> None:
        super().__init__("; ".join(f"{path}: {text}" for path, text in problems))
        self.problems = list(problems)


class SegmentTouched(msgspec.Struct):
    """``members_now`` and ``members_after``: of the people that were looked at."""

    name: str
    change: str
    members_now: int = 0
    members_after: int = 0


class StepChange(msgspec.Struct, frozen=True):
    """``change``: inserted, deleted, reordered or changed."""

    step_id: str
    change: str


class Unmapped(msgspec.Struct, frozen=True):
    """Runs that cannot follow to the new version and stay in theirs.  ``why``: ``not explicit`` (the step has no id of
    its own in the new version), ``gone``, or ``another verb``."""

    step_id: str
    why: str
    version: str
    count: int


class JourneyTouched(msgspec.Struct):
    """``parts``: what changed beside the steps.  ``active`` runs, ``by_step``, of the people that were looked at;
    ``moved`` of them follow, the others stay in their version."""

    name: str
    change: str
    on_edit: str
    parts: list[str] = []
    steps: list[StepChange] = []
    active: int = 0
    by_step: dict[str, int] = {}
    moved: int = 0
    unmapped: list[Unmapped] = []


class PlanTouches(msgspec.Struct):
    """What a publish would do to the ``people`` that were looked at, of ``total``; ``complete``: that was everybody.
    ``changed``: how many of them it does anything to."""

    people: int = 0
    total: int = 0
    complete: bool = False
    took_ms: int = 0
    changed: int = 0
    runs_moved: int = 0
    runs_ended: int = 0
    segments: list[SegmentTouched] = []
    journeys: list[JourneyTouched] = []


class PublishReport(msgspec.Struct, frozen=True):
    """``version`` is 0 for a dry run, which says what the plan ``touches``.  ``changes``: (kind, name, added, changed,
    removed, kept or same); a template is ``kept`` when only runs of older versions still send it."""

    version: int
    changes: list[tuple[str, str, str]]
    warnings: list[str] = []
    touches: PlanTouches | None = None


class Entered(msgspec.Struct, frozen=True):
    """What became of an entry by API.  ``status``: started, refused, duplicate (this event id was decided before) or
    waiting (two profiles are being joined; it is decided right behind that).  ``key``: of whom it was decided.
    ``data``: that of the fact ``run_started`` or ``run_refused``; of a duplicate ``run_id``, if it had started one."""

    status: Literal["started", "refused", "duplicate", "waiting"]
    key: str
    data: dict[str, Any] = {}


class Outstanding(msgspec.Struct, frozen=True):
    """A webhook without an answer.  ``tries`` since the start of the process; ``reason``: why the last did not do."""

    row: RequestRow
    tries: int
    reason: str


class Engine(Protocol):
    """The engine as its doors (HTTP, links, console) see it.  All awaits end when the change is on disk and decided."""

    store: Store
    clock: "Clock"

    @property
    def plan(self) -> Any:
        """The published :class:`heliograph.decide.Plan`."""
        ...

    @property
    def ready(self) -> bool:
        """Accepting work: started, disk writable, not draining."""
        ...

    def collect(self, arrivals: Sequence[Arrival]) -> Awaitable[list[Result]]:
        """Append and decide; one result per arrival, in order.  Raises :class:`Busy`, also when awaited (the disk
        refused), having taken none of them."""
        ...

    async def change_ledger(self, rows: Sequence[LedgerRow]) -> None:
        """Commit consent or suppression rows (later word wins), tell every key that holds the address, and cancel
        what is queued to it."""
        ...

    async def feedback(self, outcomes: Sequence[Outcome]) -> None:
        """Delivered, opened, clicked, complained, unsubscribed: from links, bounces or hooks."""
        ...

    async def change_lists(self, changes: Sequence[tuple[str, ListChange]]) -> None:
        """(key, change) for static lists."""
        ...

    async def enter(self, key: str, journey: str, event: Event) -> Entered:
        """Ask this key into a journey; ``event`` is what it enters with, its id makes a repeated call harmless."""
        ...

    def outstanding(self, limit: int) -> list[Outstanding]:
        """Webhooks that wait for an answer, by id."""
        ...

    async def publish(self, document: dict[str, Any], *, dry_run: bool = False) -> PublishReport:
        """Validate and switch to this plan document in one commit, then sweep; :class:`PlanRefused` leaves the old."""
        ...

    async def replay_dead_letters(self, ids: Sequence[str], repaired: dict[str, bytes]) -> list[Result]:
        """Try them again, with their payload replaced where ``repaired`` has one."""
        ...

    def state(self, key: str) -> Any:
        """The :class:`heliograph.decide.State` of a key, following merges to the survivor, or None."""
        ...

    def find(self, person: str) -> list[str]:
        """Keys for a user id, ``anon:``/``email:`` id, bare anonymous id or email address; survivors only."""
        ...

    def render_context(self, message: MessageRow) -> dict[str, Any] | None:
        """What Liquid sees for this message, from the person's present state; None when the run is gone."""
        ...

    def journey_counts(self) -> dict[str, dict[str, int]]:
        """For each journey by name, kept across restarts: ``active``, ``started``, ``held_out``, ``finished``,
        ``exited``, ``sent``, ``skipped``, ``goals``."""
        ...

    def complete_since(self) -> dict[str, int]:
        """Segment -> the instant since which its history is whole (ms): a segment published later has seen nothing of
        what came before."""
        ...

    def building(self) -> dict[str, Any] | None:
        """The sweep after a publish: {"plan", "done", "total"}, or None when none is running."""
        ...

    def subscribe(self) -> "LiveFeed":
        """A bounded feed of what happens, for the live page; close it when done."""
        ...


class LiveFeed(Protocol):
    async def get(self) -> dict[str, Any]:
        """The next thing that happened: {"at", "kind": "event" | "message" | "segment", ...}."""
        ...

    def close(self) -> None: ...


class Clock(Protocol):
    """The only source of the present, in ms UTC; never goes backwards within a process."""

    def now(self) -> int: ...


class SchemaCheck(Protocol):
    """A compiled JSON Schema, passed into the pure packages."""

    def __call__(self, value: Any) -> str | None:
        """``None`` when the value is valid, else one sentence: where and what."""
        ...


class Verdict(msgspec.Struct, frozen=True, array_like=True):
    """What a receiver said about one message.

    ``kind``: sent (2yz after the dot), retry (4yz, or nothing was accepted and the connection broke before the dot),
    bounced (5yz), unknown (the dot was written, its reply never read).  ``reply``: its last reply in one line.
    ``stage``: what it answered: connect, mail, rcpt, data or dot.
    """

    kind: str
    code: int
    enhanced: str
    reply: str
    stage: str = ""


class Parcel(msgspec.Struct, frozen=True, gc=False):
    """A message ready to travel: envelope addresses, and CRLF bytes that are not yet dot-stuffed."""

    message_id: str
    sender: str
    recipient: str
    data: bytes


class Courier(Protocol):
    """Who gives parcels to a :class:`Transport` and answers for them.  Both calls come from the event loop, return at
    once, and may call back into the transport."""

    def ask(self, message_ids: Sequence[str]) -> None:
        """Pass the commit point for these (at most 50), to be answered by :meth:`Transport.decided`.  The next ask
        comes only after that answer: what arrives meanwhile is asked together."""
        ...

    def delivered(self, parcel: Parcel, verdict: Verdict) -> None:
        """Exactly once for every parcel, except those stopped at their commit point or dropped by a close.  A
        ``retry`` with stage ``connect`` may come for a parcel that was never asked for."""
        ...


class Transport(Protocol):
    """Carries ready parcels to a receiver.  No byte of DATA is written for a parcel that is not decided to go, and per
    connection at most two are past their commit point: one in flight, one pipelined behind it."""

    @property
    def waiting(self) -> int:
        """Parcels posted and not yet asked for: when this is small, post more."""
        ...

    def post(self, parcel: Parcel) -> None:
        """Take it; never refuses."""
        ...

    def decided(self, go: Sequence[str], stop: Sequence[str]) -> None:
        """The answer to :meth:`Courier.ask`; ids that are in neither are forgotten."""
        ...

    async def close(self, grace_s: float) -> None:
        """Ask for nothing more, finish what is past its commit point or being asked, for at most ``grace_s``; then
        cut the rest off (each with its verdict) and drop what was never decided."""
        ...


class HttpRequest(msgspec.Struct, frozen=True):
    """One try.  ``body`` is sent as it is, byte by byte; ``timeout_s`` is for all of it, from the look-up of the name
    to the last byte of the answer."""

    method: str
    url: str
    headers: dict[str, str]
    body: bytes
    timeout_s: float


class HttpReply(msgspec.Struct, frozen=True):
    """What a server said.  ``headers``: names in lower case, the last of each; ``body`` as it came."""

    status: int
    headers: dict[str, str]
    body: bytes


class HttpFailed(Exception):
    """There is no reply, and why.  ``final``: trying the same again cannot help."""

    def __init__(self, reason: str, *, final: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.final = final


class HttpCaller(Protocol):
    """Makes HTTP requests to the world.  Redirects are handed back, not followed; certificates are verified; proxies
    and logins that the environment names are ignored; no cookies are kept."""

    async def call(self, request: HttpRequest, max_body: int) -> HttpReply:
        """One request; :class:`HttpFailed` without a reply in time, or with a body above ``max_body`` bytes."""
        ...

    async def close(self) -> None: ...


__all__ = [
    "UNFINISHED", "Arrival", "Busy", "Clock", "Commit", "Courier", "DeadLetter", "Engine", "Entered", "HttpCaller",
    "HttpFailed", "HttpReply", "HttpRequest", "JournalRow", "JourneyTouched", "LiveFeed", "MessageRow", "Outstanding",
    "Parcel", "PlanRefused", "PlanRow", "PlanTouches", "PublishReport", "RequestRow", "Result", "SchemaCheck",
    "SegmentTouched", "StepChange", "Store", "StoreFailed", "StoreFull", "StoreLocked", "StoreTooNew", "Transport",
    "Unmapped", "Verdict",
]  # fmt: skip
