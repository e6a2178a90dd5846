"""What waits in the queue in front of the processor.  Everything that changes anything is one of these, in one order:
so a cancel, an unsubscribe and a commit point never race.

A piece of work is decided in an open chunk (:meth:`Work.decide`, which may happen again after a failed commit and
then begins afresh), and ends by :meth:`Work.settled` once that chunk is on disk, or by :meth:`Work.failed`.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

import msgspec
from msgspec.structs import replace

from heliograph import decide
from heliograph.events.event import Event
from heliograph.events.identity import key_of
from heliograph.events.ids import make_id
from heliograph.events.record import Expire, LedgerRow, ListChange, Outcome, Touch, Wake
from heliograph.ports import Arrival, Busy, DeadLetter, PlanRow, Result
from heliograph.runtime.chunk import Chunk
from heliograph.runtime.desk import Desk, Published
from heliograph.runtime.feedback import take_feedback
from heliograph.runtime.meter import Meter
from heliograph.runtime.plan_watch import relayed_plan

T = TypeVar("T")

ROW_BYTES = 200
"""What a small record weighs in the queue's sum of bytes."""


class Work:
    """``records`` and ``size`` (bytes) count against the bounds of the queue and of a chunk.  ``internal`` work is
    taken whatever the queue holds, and tried again when the disk refused.  ``urgent`` work goes before ``patient``
    work (:mod:`heliograph.runtime.waiting`)."""

    records = 1
    size = ROW_BYTES
    internal = False
    urgent = False
    patient = False

    def prepare(self, desk: Desk) -> None:
        """Read what many records will need in one go."""

    def decide(self, chunk: Chunk) -> None:
        raise NotImplementedError

    def settled(self) -> None:
        """It is on disk."""

    def failed(self, error: Exception) -> None:
        """It was not done and will not be tried again."""

    def isolate(self) -> bool:
        """Deciding it raised: leave out the part that did it, and say whether the rest is worth trying."""
        return False


class Call(Work, Generic[T]):
    """Work that somebody awaits."""

    def __init__(self) -> None:
        self.result: T
        self._future: asyncio.Future[T] | None = None
        self._tell: Callable[[asyncio.Future[T]], None] | None = None

    @property
    def done(self) -> "asyncio.Future[T]":
        """What to await; made when somebody first asks, because work turned by hand needs no loop."""
        if self._future is None:
            self._future = asyncio.get_running_loop().create_future()
            self._inform()
        return self._future

    def settled(self) -> None:
        self._tell = lambda future: future.set_result(self.result)
        self._inform()

    def failed(self, error: Exception) -> None:
        self._tell = lambda future: future.set_exception(error)
        self._inform()

    def _inform(self) -> None:
        if self._future is not None and self._tell is not None and not self._future.done():
            self._tell(self._future)


class Collect(Call[list[Result]]):
    """Arrivals at the door, of one call: all of them in one commit, or none."""

    patient = True

    def __init__(self, arrivals: Sequence[Arrival], meter: Meter) -> None:
        super().__init__()
        self.arrivals = arrivals
        self.records = len(arrivals)
        self.size = sum(len(arrival.raw) for arrival in arrivals)
        self._meter = meter
        self._undecidable: set[int] = set()

    def prepare(self, desk: Desk) -> None:
        if self.records > 1:
            keys = [key_of(a.event) for a in self.arrivals if a.event is not None]
            desk.fetch(key for key in keys if key)

    def decide(self, chunk: Chunk) -> None:
        self.result = []
        for index, arrival in enumerate(self.arrivals):
            result = undecided(arrival) if index in self._undecidable else admit(chunk, arrival)
            if result.status == "dead_letter":
                self._reject(chunk, index, result.reason)
            self.result.append(result)

    def _reject(self, chunk: Chunk, index: int, reason: str) -> None:
        """Keep the arrival as a dead letter: one for each message and reason, however often its sender tries again."""
        arrival, at = self.arrivals[index], chunk.now()
        event = arrival.event
        chunk.dead_letter(
            DeadLetter(
                id=make_id("dead", arrival.message_id, reason),
                at=at,
                reason=reason,
                event_name=event.name or event.type if event else "",
                payload=arrival.raw,
            )
        )

    def isolate(self) -> bool:
        self._undecidable.add(len(self.result))
        return True

    def settled(self) -> None:
        for status, count in Counter(result.status for result in self.result).items():
            self._meter.count("events_total", status, count)
        super().settled()


def undecided(arrival: Arrival) -> Result:
    return Result(arrival.message_id, "dead_letter", "internal: it could not be decided; the server's log says why")


def admit(chunk: Chunk, arrival: Arrival) -> Result:
    """Judge one arrival, and append it if it passes."""
    event = arrival.event
    if event is None:
        return Result(arrival.message_id, "refused", arrival.refused)
    key = key_of(event)
    if key is None:
        return Result(arrival.message_id, "refused", "no userId, anonymousId or traits.email")
    if complaint := schema_complaint(chunk.desk.published, event):
        return Result(arrival.message_id, "dead_letter", complaint)
    duplicate = chunk.append_event(event, key)
    return Result(arrival.message_id, "duplicate" if duplicate else "accepted")


def schema_complaint(published: Published, event: Event) -> str | None:
    """Why the schema of this event's name rejects it, None when it does not."""
    if not published.checks:
        return None
    by_traits = event.type == "identify"
    check = published.checks.get("identify" if by_traits else event.name)
    return check(event.traits if by_traits else event.properties) if check else None


class Replay(Collect):
    """Dead letters tried again: those that pass are marked, the others keep their new reason."""

    def __init__(self, letters: Sequence[DeadLetter], arrivals: Sequence[Arrival], meter: Meter) -> None:
        super().__init__(arrivals, meter)
        self._letters = letters

    def decide(self, chunk: Chunk) -> None:
        super().decide(chunk)
        for letter, arrival, result in zip(self._letters, self.arrivals, self.result, strict=True):
            if result.status in ("accepted", "duplicate"):
                chunk.dead_letter(replace(letter, payload=arrival.raw, replayed_at=chunk.now()))

    def _reject(self, chunk: Chunk, index: int, reason: str) -> None:
        chunk.dead_letter(replace(self._letters[index], payload=self.arrivals[index].raw, reason=reason))


class ChangeWords(Call[None]):
    """Consent and suppression from links, pages, bounces and the API."""

    def __init__(self, rows: Sequence[LedgerRow]) -> None:
        super().__init__()
        self.records = len(rows)
        self.size = ROW_BYTES * len(rows)
        self._rows = rows

    def decide(self, chunk: Chunk) -> None:
        self.result = None
        for row in self._rows:
            chunk.say(row)
            chunk.drain()
            if not row.given:
                chunk.drop_stopped(row)


class Feedback(Call[None]):
    """Delivered, opened, clicked, complained, unsubscribed."""

    def __init__(self, outcomes: Sequence[Outcome]) -> None:
        super().__init__()
        self.records = len(outcomes)
        self._outcomes = outcomes

    def decide(self, chunk: Chunk) -> None:
        self.result = None
        for outcome in self._outcomes:
            take_feedback(chunk, outcome)


class ChangeLists(Call[None]):
    """People put on static lists, or taken off."""

    def __init__(self, changes: Sequence[tuple[str, ListChange]]) -> None:
        super().__init__()
        self.records = len(changes)
        self.size = ROW_BYTES * len(changes)
        self._changes = changes

    def prepare(self, desk: Desk) -> None:
        desk.fetch(key for key, _ in self._changes)

    def decide(self, chunk: Chunk) -> None:
        self.result = None
        for key, change in self._changes:
            chunk.append(key, change)


class SwitchPlan(Call[None]):
    """A plan comes into force between two records."""

    def __init__(self, published: Published, document: bytes, meta: Callable[[int], dict[str, bytes]]) -> None:
        super().__init__()
        self.size = 0
        self._published = published
        self._document = document
        self._meta = meta

    def decide(self, chunk: Chunk) -> None:
        self.result = None
        if chunk.far and self._overtaken(chunk.desk):
            raise Busy("another process has published meanwhile", 1)
        at = chunk.now()
        chunk.commit.plan = row = PlanRow(self._published.plan.version, self._document, at)
        if chunk.far:  # the one before once more, in front: another process may not have told the log yet
            before = chunk.desk.store.plan()
            chunk.commit.relay += [relayed_plan(one) for one in (before, row) if one is not None]
        chunk.commit.meta.update(self._meta(at))
        chunk.desk.use(self._published)

    def _overtaken(self, desk: Desk) -> bool:
        version = self._published.plan.version
        return desk.planned and desk.plan.version >= version and not desk.is_in_force(version, self._document)


class Swept(msgspec.Struct, frozen=True):
    """A key to touch.  ``folds``: what was folded from everything stored under ``keys``; no keys: nothing had to be."""

    key: str
    folds: dict[str, Any] = {}
    keys: frozenset[str] = frozenset()


class Touches(Call[list[str]]):
    """A piece of a sweep for ``plan``, folded ``under`` that one or a later one.  Its result: the keys that became
    somebody else's, or whose person took in another key, after their history was read: they have to be folded again."""

    patient = True

    def __init__(
        self, items: Sequence[Swept], plan: int, under: int, meta: Callable[[], dict[str, bytes]] = lambda: {}
    ) -> None:
        super().__init__()
        self.records = len(items)
        folds = [item.folds for item in items if item.folds]
        self.size = ROW_BYTES * len(items) + (len(msgspec.msgpack.encode(folds)) if folds else 0)
        self._items, self._plan, self._under, self._meta = items, plan, under, meta
        self._broken: set[str] = set()
        self._at = ""

    def prepare(self, desk: Desk) -> None:
        desk.fetch(item.key for item in self._items)

    def decide(self, chunk: Chunk) -> None:
        self.result = []
        if chunk.desk.plan.version != self._under:
            return  # another plan has come between: the portion is read again
        self.result = [item.key for item in self._items if not self._touch(chunk, item)]
        chunk.commit.meta.update(self._meta())

    def _touch(self, chunk: Chunk, item: Swept) -> bool:
        self._at = item.key
        state = chunk.desk.state(item.key)
        if state is None or item.key in self._broken:
            return True
        if item.keys and (state.forward or state.pending or not item.keys.issuperset(state.links)):
            return False
        if not state.forward and min(state.plan_version, state.swept) < self._plan:
            chunk.append(item.key, Touch(self._plan, item.folds))
        return True

    def isolate(self) -> bool:
        self._broken.add(self._at)
        return True


class Expiries(Call[None]):
    """Keys that seem to be idle; one that was heard from since is passed over."""

    def __init__(self, keys: Sequence[str]) -> None:
        super().__init__()
        self.records = len(keys)
        self._keys = keys

    def prepare(self, desk: Desk) -> None:
        desk.fetch(self._keys)

    def decide(self, chunk: Chunk) -> None:
        self.result = None
        for key in self._keys:
            state = chunk.desk.state(key)
            if state is not None and decide.is_idle(state, chunk.now()):
                chunk.append(key, Expire(decide.IDLE_MS), state.heard_at)


class Wakes(Work):
    """Deadlines that have come; one that an earlier record has already served is passed over."""

    internal = patient = True

    def __init__(self, due: Sequence[tuple[int, str]], ended: Callable[["Wakes"], None], meter: Meter) -> None:
        self.due = due
        self.records = len(due)
        self.size = 0
        self.broken: set[str] = set()
        self._ended = ended
        self._meter = meter
        self._at = ""

    def prepare(self, desk: Desk) -> None:
        desk.fetch(key for _, key in self.due)

    def decide(self, chunk: Chunk) -> None:
        for _, key in self.due:
            self._at = key
            deadline, now = chunk.deadline_of(key), chunk.now()
            if deadline is None or deadline > now or key in self.broken:
                continue
            chunk.append(key, Wake())
            self._meter.observe("timer_lateness_seconds", (now - deadline) / 1000)

    def isolate(self) -> bool:
        self.broken.add(self._at)
        return True

    def settled(self) -> None:
        self._ended(self)

    def failed(self, error: Exception) -> None:
        self._ended(self)


class Probe(Work):
    """A small synced write that shows whether the disk takes writes again."""

    internal = True
    records = 0
    size = 0

    def decide(self, chunk: Chunk) -> None:
        chunk.commit.meta["probe"] = chunk.now().to_bytes(8, "big")


class Stopped(Busy):
    """The engine has ended; whoever waits shall try elsewhere."""

    def __init__(self) -> None:
        super().__init__("stopping", 2)
