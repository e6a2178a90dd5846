"""The engine as its doors see it, and what it answers."""

from collections.abc import Awaitable, Sequence
from typing import Any, Literal, Protocol

import msgspec

from heliograph.events.decode import Arrival
from heliograph.events.event import Event
from heliograph.events.record import LedgerRow, ListChange, Outcome
from heliograph.ports.store import BroadcastRow, MessageRow, RequestRow, Store


class Result(msgspec.Struct, frozen=True):
    """What became of an :class:`Arrival`.  ``status``: accepted, duplicate, dead_letter or refused."""

    message_id: str
    status: str
    reason: str = ""


class Taken(list[Result]):
    """The results of one call, in order.  ``position``: for :meth:`Engine.reach`, None when the call is of too many
    people; ``durable``: what has it: ``log`` (all in-sync replicas of the shared log) or ``spool`` (a collector's own
    disk), "" on one machine."""

    position: str | None = "0"
    durable: str = ""


class Behind(Exception):
    """What was asked for is not applied yet, and it took too long to wait: 504.  Ask again."""


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


class BroadcastRefused(Exception):
    """A broadcast that cannot be made or moved; nothing has changed.  ``problems``: (JSON path, sentence)."""

    def __init__(self, problems: Sequence[tuple[str, str]]) -> None:
        super().__init__("; ".join(f"{path}: {text}" if path else text for path, text in problems))
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


class Hold(msgspec.Struct, frozen=True, array_like=True):
    """The mail of this journey is held since ``at`` (ms); a broadcast is named ``broadcast:ID``.  ``by``: who did it
    (``breaker``, or as the caller named itself), ``reason``: in their words.  Fields are only ever appended."""

    journey: str
    reason: str
    by: str
    at: int


class Heard(msgspec.Struct, frozen=True):
    """What a mail to a bounce address was taken for.  ``kind``: bounced, delayed, delivered, relayed, complained,
    not_spam or unknown.  ``message_id``: the message of ours that it is about, "" for none.  ``proven``: our signature
    names that message; without it nobody is suppressed.  ``suppressed``: its address is from now on."""

    kind: str
    message_id: str = ""
    proven: bool = False
    suppressed: bool = False
    reason: str = ""


class Settled(msgspec.Struct, frozen=True):
    """What became of an unknown message that somebody settles.  ``result``: released, resent or dropped; already (the
    same was done before), not_unknown, not_found, or refused (it must not be sent again).  ``reason``: in words."""

    message_id: str
    result: str
    reason: str = ""


class Trouble(msgspec.Struct, frozen=True):
    """Something that this process rests on is away or slow.  ``what``: kafka, postgres, redis, flink, ...; ``why``: in
    its words; ``means``: what works all the same and what does not, for people."""

    what: str
    why: str
    means: str


class Gate(Protocol):
    """The way in for events."""

    clock: "Clock"

    @property
    def ready(self) -> bool:
        """Accepting work: started, disk writable, not draining."""
        ...

    def collect(self, arrivals: Sequence[Arrival]) -> Awaitable[list[Result]]:
        """Append and decide; one result per arrival, in order.  Raises :class:`Busy`, also when awaited (the disk
        refused), having taken none of them.

        On several machines: append, and decide later; the list is :class:`Taken`.  A duplicate is found later, too:
        here it is ``accepted``.  After :class:`Busy` some may be there all the same; their ids make trying again
        harmless."""
        ...


class Engine(Gate, Protocol):
    """The engine as its doors (HTTP, links, console) see it.  All awaits end when the change is on disk and decided;
    on several machines, when it is on disk in the store and will be decided."""

    @property
    def store(self) -> Store:
        """For reads."""
        ...

    @property
    def plan(self) -> Any:
        """The published :class:`heliograph.decide.Plan`."""
        ...

    async def reach(self, position: str) -> None:
        """Wait until the reads show everything before this position (:class:`Taken`); :class:`Behind` when that takes
        too long, ValueError for what is no position.  On one machine it is so before a call is answered."""
        ...

    async def change_ledger(self, rows: Sequence[LedgerRow]) -> None:
        """Commit consent or suppression rows (later word wins), tell every key that holds the address, and cancel
        what is queued to it."""
        ...

    async def feedback(self, outcomes: Sequence[Outcome]) -> None:
        """Delivered, opened, clicked, complained, unsubscribed: from links, bounces or hooks."""
        ...

    async def feedback_mail(self, raw: bytes, recipient: str = "") -> Heard:
        """A mail that came to a bounce address: a delivery status notification (RFC 3464) or a complaint (RFC 5965).
        ``recipient``: the address of its envelope, where it is known.  Whatever the bytes are, this answers."""
        ...

    async def settle_unknown(self, message_ids: Sequence[str], action: str, reason: str, by: str) -> list[Settled]:
        """Settle messages that are ``unknown``, at most 1,000, one result for each in order.  ``action``: ``sent`` (the
        relay's log says that it took them), ``resend`` (again, under the same Message-ID) or ``drop`` (give up: they
        stay ``unknown``, settled).  Raises ValueError for another action, too many, or without a reason."""
        ...

    async def change_lists(self, changes: Sequence[tuple[str, ListChange]]) -> None:
        """(key, change) for static lists."""
        ...

    async def enter(self, key: str, journey: str, event: Event) -> Entered:
        """Ask this key into a journey; ``event`` is what it enters with, its id makes a repeated call harmless."""
        ...

    async def hold(self, journey: str, reason: str, by: str = "api") -> Hold:
        """Hold this journey's mail: people enter and go on, what they are to be sent stays queued.  Raises LookupError
        when there is no such journey.  Held already: since then, with this reason."""
        ...

    async def lift(self, journey: str) -> Hold | None:
        """Let its mail go again; the hold that was, None when there was none."""
        ...

    def holds(self) -> dict[str, Hold]:
        """What is held, by journey."""
        ...

    def outstanding(self, limit: int) -> list[Outstanding]:
        """Webhooks that wait for an answer, by id."""
        ...

    async def publish(self, document: dict[str, Any], *, dry_run: bool = False) -> PublishReport:
        """Validate and switch to this plan document in one commit, then sweep; :class:`PlanRefused` leaves the old."""
        ...

    async def create_broadcast(self, document: dict[str, Any], *, draft: bool = False) -> BroadcastRow:
        """Start a broadcast, or schedule it for its ``at``, or only keep it (``draft``).  ``document``: as in
        ``docs/reference/broadcasts.md``; one with an ``id`` that is there already, word for word the same, is that one.
        Raises :class:`BroadcastRefused`."""
        ...

    async def move_broadcast(self, broadcast_id: str, verb: str, reason: str = "") -> BroadcastRow:
        """``verb``: start (a draft), pause, resume or cancel.  Raises LookupError when there is no such broadcast,
        :class:`BroadcastRefused` when the verb means nothing now."""
        ...

    def broadcast(self, broadcast_id: str) -> BroadcastRow | None:
        """As it is on disk."""
        ...

    def broadcasts(self) -> list[BroadcastRow]:
        """The newest 1,000, newest first; all of them: ``store.broadcasts``."""
        ...

    def broadcast_progress(self, broadcast_id: str) -> dict[str, Any]:
        """Exact counts: ``people`` (total, which is an estimate until the end; offered, entered, held_out, waiting
        for their own clock, refused by reason), ``messages`` by status, ``skipped`` by reason.  LookupError."""
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

    def traffic(self) -> dict[str, Any]:
        """Mail on its way out: ``receivers`` (with mail or news: queued, in flight, limits, suspension, why),
        ``senders`` with limits (today's count, warm-up), ``relays`` (working or not, limits, today's count)."""
        ...

    def waiting_for(self, message_id: str) -> str:
        """What keeps a queued message from going, in a few words; "" when it is only its own time or its turn."""
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
