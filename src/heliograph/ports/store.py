"""What one machine remembers: rows, the one commit of a chunk, and the store that applies it."""

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import msgspec

from heliograph.events.event import Event
from heliograph.events.record import LedgerRow, Record


class StoreFull(Exception):
    """The disk refused the write; nothing of the commit is there.  Slow down: answer 503 and try again."""


class StoreLocked(Exception):
    """Another process holds this data folder.  Stop, and say which folder and what to do."""


class StoreAway(Exception):
    """A store on another machine does not answer.  Slow down: nothing of the commit is there, unless the word of its
    end was lost and nobody could tell in time; then all of it may be, and if it is, the next commit of this process
    raises :class:`StoreStale` whatever it says.  So read again before you commit again."""


class StoreStale(Exception):
    """Somebody else changed a row that this commit was decided on; nothing of it is there.  Read again, decide
    again."""


class Fenced(Exception):
    """The partitions of this commit are somebody else's by now; nothing of it is there.  Stop working on them."""


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
    rev: int = 0
    """How often it was written; a store that is shared compares it (:attr:`Commit.bases`).  Whoever writes it on a base
    writes ``base + 1``; a shared store refuses one that did not grow (ValueError): nobody could tell them apart."""


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


class BroadcastRow(msgspec.Struct, array_like=True, kw_only=True):
    """A broadcast and how far it is.  Fields are only ever appended.

    ``document``: as its author wrote it.  ``status``: draft, scheduled, running, paused, finished or cancelled;
    ``reason``: why it is paused or cancelled.  ``starts_at``: when its first person is offered it.  ``after``: the
    place in its audience that it has reached, None at the beginning; ``offered``: people so far, of about ``total``.
    Times are ms, 0 when not yet.

    Written in the commits of what it counts, so every number is exact at any instant.  ``through``: its whole audience
    was offered it.  ``again``: keys before ``after`` that have to be looked at once more (at most 1,000).  ``people``:
    entered, held_out, active (runs under way).  ``refused``: people who did not enter, by reason.  ``messages``: its
    rows by status.  ``skipped``: people who entered and get no mail, by reason.
    """

    broadcast_id: str
    name: str
    document: dict[str, Any]
    status: str
    created_at: int
    reason: str = ""
    changed_at: int = 0
    starts_at: int = 0
    started_at: int = 0
    ended_at: int = 0
    after: str | None = None
    offered: int = 0
    total: int = 0
    through: bool = False
    again: list[str] = []
    people: dict[str, int] = {}
    refused: dict[str, int] = {}
    messages: dict[str, int] = {}
    skipped: dict[str, int] = {}


class PlanRow(msgspec.Struct, array_like=True):
    """A published plan: canonical JSON (``heliograph.decide.plan``)."""

    version: int
    document: bytes
    published_at: int


class Relayed(msgspec.Struct, frozen=True, gc=False):
    """An entry for the shared log that leaves behind the commit that it stands in.  ``id`` names it for ever (that of a
    record); ``topic``, ``key`` and ``value`` as in :class:`heliograph.ports.stream.Post`."""

    id: str
    topic: str
    key: bytes
    value: bytes


class Fence(msgspec.Struct, frozen=True):
    """Who commits: ``epochs``: partition of ``effects`` -> the epoch under which ``owner`` claimed it."""

    owner: str
    epochs: dict[int, int]


class Claim(msgspec.Struct, frozen=True):
    """A partition of ``effects`` and who works on it ("" when nobody does).  ``epoch`` grows with every claim.
    ``lease_until`` (ms, the store's clock): from then on others may claim it; until somebody does, it is still the
    owner's.  ``offset``: the next one to apply, -1 for the oldest there is.  ``former_ms``, of a claim that was just
    made: how long the lease that it ended would have run on."""

    partition: int
    owner: str
    epoch: int
    lease_until: int
    offset: int = -1
    former_ms: int = 0


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
    appended.  ``emails``: (address, key) -> held or not.  ``broadcasts``: the row as it is now, or None to forget it;
    ``created_at`` never changes.  ``meta``: the value, or None to forget it.

    Only for a :class:`SharedStore`; a store of one process ignores them.  ``relay``: leaves for the shared log behind
    this commit.  ``offsets``: (topic, partition) -> the next offset to apply.  ``bases``: message id -> ``rev`` of its
    row as it was read (-1: there was none); ``guards``: address -> its rows as they were read; when either is otherwise
    by now: :class:`StoreStale`.  ``fence``: :class:`Fenced` unless all of these claims still hold.
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
    meta: dict[str, bytes | None] = {}
    requests: dict[str, RequestRow | None] = {}
    broadcasts: dict[str, BroadcastRow | None] = {}
    relay: list[Relayed] = []
    offsets: dict[tuple[str, int], int] = {}
    bases: dict[str, int] = {}
    guards: dict[str, dict[str, LedgerRow]] = {}
    fence: Fence | None = None

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
        broadcast: str | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> tuple[list[MessageRow], str | None]:
        """Those of a person (``key``), with a status, of a broadcast (its id).  Newest first (``created_at``
        descending, then by id), and the cursor of the next page or None."""
        ...

    def unfinished_messages(self) -> Iterator[MessageRow]:
        """Rows whose status is queued, deferred or sending: what a restart has to pick up."""
        ...

    def queued_messages(self, after: tuple[int, str], limit: int) -> list[MessageRow]:
        """Queued ones, the oldest first (``created_at``, of one instant by id backwards), behind this place."""
        ...

    # -- requests --
    def request(self, request_id: str) -> RequestRow | None:
        """The row while it waits for its answer."""
        ...

    def requests(self, after: str = "") -> Iterator[RequestRow]:
        """All that wait for an answer, by id, beginning behind ``after``."""
        ...

    # -- broadcasts --
    def broadcast(self, broadcast_id: str) -> BroadcastRow | None: ...

    def broadcasts(self, limit: int = 100, cursor: str | None = None) -> tuple[list[BroadcastRow], str | None]:
        """Newest first (``created_at`` descending, then by id), and the cursor of the next page or None."""
        ...

    # -- consent and suppression --
    def ledger(self, address: str) -> list[LedgerRow]:
        """Every row of a normalised address, by topic."""
        ...

    def suppressions(
        self, limit: int = 100, cursor: str | None = None, *, prefix: str = ""
    ) -> tuple[list[LedgerRow], str | None]:
        """Addresses that are stopped (topic begins with ``!`` and ``given`` is False) and begin with ``prefix``, by
        (address, topic)."""
        ...

    def words(self, after: tuple[str, str] | None = None, limit: int = 1000) -> list[LedgerRow]:
        """Every row of the ledger by (address, topic), beginning behind ``after``."""
        ...

    # -- look-ups --
    def keys_of_email(self, address: str) -> list[str]:
        """Keys that hold this normalised address, sorted."""
        ...

    def emails(self, prefix: str = "", limit: int = 1000) -> list[str]:
        """Normalised addresses that somebody holds and that begin with ``prefix``, sorted."""
        ...

    def members(
        self, name: str, limit: int = 100, cursor: str | None = None, *, after: str | None = None
    ) -> tuple[list[tuple[str, int]], str | None]:
        """(key, since) of a segment or list, in storage order; ``after``: beginning behind this key, which need not be
        a member any more (a cursor goes before it)."""
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

    def metas(self, prefix: str = "") -> list[str]:
        """The names of those that begin so, sorted."""
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


class SharedStore(Store, Protocol):
    """A store that many processes on many machines write (PostgreSQL).  It keeps no log: that is the stream's;
    :meth:`log` is empty and ``Commit.log`` only brings history, at any positions.  :meth:`last_position` is this
    process's alone, above all that it or any other process ever had (ids of records are made from positions);
    :meth:`last_received_at` is the latest that anybody committed.  Its own clock judges leases.  All calls raise
    :class:`StoreAway` when it does not answer in time.

    A commit is one transaction.  Rows of different people never wait for each other; where two processes write the same
    row without :attr:`Commit.bases`, the later stays (``meta``, ``broadcasts``): let one lead, or be the only one who
    writes it.  A version of the plan is published once: another document under it is :class:`StoreStale`."""

    def has_event(self, key: str, event_id: str) -> bool:
        """Whether an event of this id was applied for this key, or for one that was merged into it (as
        ``Commit.log`` told)."""
        ...

    # -- the outbox towards the log --
    def relayed(self, limit: int) -> list[tuple[int, Relayed]]:
        """(number, entry) that wait to leave, oldest first; what another process is publishing right now is left out
        (it is given out again when that process dies)."""
        ...

    def forget_relayed(self, numbers: Sequence[int]) -> None:
        """They were acknowledged."""
        ...

    # -- claims --
    def claim(self, owner: str, partitions: Sequence[int], lease_ms: int) -> list[Claim]:
        """Take these over, whoever had them: a new epoch each, and from which offset to go on.  Waits for commits that
        are under way there: what is read behind it does not change any more by anybody else."""
        ...

    def renew(self, owner: str, epochs: dict[int, int], lease_ms: int) -> bool:
        """Whether all of them still are the owner's; they are his for ``lease_ms`` more then."""
        ...

    def release(self, owner: str, epochs: dict[int, int]) -> None: ...

    def claims(self) -> list[Claim]:
        """All, by partition."""
        ...

    def lead(self, owner: str, job: str, lease_ms: int) -> bool:
        """Whether ``owner`` is the one who does this job (sweeps, broadcasts, retention) for ``lease_ms`` from now."""
        ...

    def unfinished_in(self, buckets: Sequence[int]) -> Iterator[MessageRow]:
        """:meth:`unfinished_messages` of the people in these buckets."""
        ...
