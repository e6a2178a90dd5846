"""A virtual runtime for one person: the same ``step``, a clock that is only the records', and a mailer that is made up.

What a runtime does beside deciding, in small: wake-ups at their deadlines, hops right behind the record that they
follow from, cancels, the ledger.  What would have left the house is answered for: a message that was decided in
reality at the very same instant gets its real outcomes; any other is ``sent`` a second later, and what its person
really did with the mail of that id after that (opened, clicked, ...) counts as it was.  Nothing else is made up.
"""

import heapq
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, Final, NamedTuple

from msgspec.structs import replace

from heliograph import decide
from heliograph.backtest.past import Past
from heliograph.backtest.plans import Lane
from heliograph.decide import effects as fx
from heliograph.decide.journeys.outcomes import FIRST_OUTCOMES
from heliograph.events.identity import email_of
from heliograph.events.ids import make_id
from heliograph.events.record import Answer, Body, EventBody, LedgerChange, LedgerRow, Outcome, Record, Touch, Wake
from heliograph.runtime.applying import overrides
from heliograph.runtime.chunk import MAX_CASCADE

TRANSIT_MS: Final = 1_000
"""From the decision of a made-up delivery, or a made-up webhook's request, to its outcome."""
FEEDBACK: Final = frozenset({"delivered", "opened", "clicked", "complained", "unsubscribed"})
_OPEN: Final = frozenset({"queued", "deferred"})
MADE_AGAIN: Final = frozenset({"cancelled", "missed"})
"""Outcomes that follow from decisions, not from the world."""


class Decided(NamedTuple):
    """A fact, at the key where it was decided."""

    key: str
    at: int
    kind: str
    data: dict[str, Any]


class Story:
    """What one lane decided about one person within the window: ``decided`` in order, and the ``states`` at its end."""

    __slots__ = ("decided", "plan", "states")

    def __init__(self, plan: decide.Plan, states: dict[str, decide.State], decided: list[Decided]) -> None:
        self.plan, self.states, self.decided = plan, states, decided

    def survivor(self, key: str) -> str:
        """The key under which somebody is known at the end."""
        for _ in range(len(self.states)):
            state = self.states.get(key)
            if state is None or not state.forward:
                break
            key = state.forward
        return key

    def state(self, key: str) -> decide.State | None:
        return self.states.get(self.survivor(key))


def tell(past: Past, lane: Lane, since: int, until: int, log_from: int) -> Story:
    """Decide one person's past: what came before ``since`` under the warm plan, the window under the other."""
    world = World(lane.warm, past, log_from)
    records = iter(past.records)
    waiting = world.feed(records, since)
    world.run_until(since)
    decided = world.decided = []
    world.plan = lane.plan
    for key in [key for key, state in world.states.items() if not state.forward]:
        world.append(
            Record(key, make_id("backtest", "publish", key), since, lane.plan.version, Touch(lane.plan.version))
        )
    if waiting is not None:
        world.take(waiting)
        world.feed(records, until)
    world.run_until(until)
    return Story(lane.plan, world.states, decided)


class World:
    """``decided`` collects, of this ``journey`` alone if one is named; exchange it to begin a new page."""

    def __init__(self, plan: decide.Plan, past: Past, log_from: int, journey: str | None = None) -> None:
        self.plan = plan
        self.states: dict[str, decide.State] = {}
        self.decided: list[Decided] = []
        self._past, self._log_from, self._journey = past, log_from, journey
        self._hops: deque[Record] = deque()
        self._agenda: list[tuple[int, int, str, Record | None]] = []
        self._number = 0
        self._status: dict[str, str] = {}
        self._queued: dict[str, fx.DecideMessage] = {}
        """Of this step: the fact behind each says when."""
        self._words: dict[str, dict[str, LedgerRow]] = {}
        self._holders: dict[str, set[str]] = {}
        self._asked: set[str] = set()

    # -- time --

    def feed(self, records: Iterable[Record], until: int) -> Record | None:
        """Take records that come before ``until``; the first that does not."""
        for record in records:
            if record.received_at >= until:
                return record
            self.take(record)
        return None

    def take(self, record: Record) -> None:
        """A record from outside, behind everything that is due before it."""
        agenda = self._agenda
        if agenda and agenda[0][0] < record.received_at:
            self.run_until(record.received_at)
        body = record.body
        if record.received_at < self._log_from:
            if isinstance(body, EventBody):
                record = self._with_words(record, body)
            elif isinstance(body, LedgerChange):
                for row in body.rows:
                    self._hear(row)
        self.append(record)

    def run_until(self, until: int) -> None:
        """Everything that is due before ``until``."""
        agenda = self._agenda
        while agenda and agenda[0][0] < until:
            due, _, key, record = heapq.heappop(agenda)
            if record is not None:
                self._deliver(record)
            elif self._deadline(key) == due:
                self.append(Record(key, make_id("backtest", "wake", key, due), due, self.plan.version, Wake()))

    def _deadline(self, key: str) -> int | None:
        state = self.states.get(key)
        return None if state is None else decide.deadline(state)

    def _plan_for(self, at: int, key: str, record: Record | None) -> None:
        self._number += 1
        heapq.heappush(self._agenda, (at, self._number, key, record))

    # -- deciding --

    def append(self, record: Record) -> None:
        """Decide a record and everything that follows from it."""
        self._decide(record)
        hops, left = self._hops, MAX_CASCADE
        while hops:
            left -= 1
            if not left:
                raise RuntimeError(f"record {record.id} led to more than {MAX_CASCADE} others")
            self._decide(hops.popleft())

    def _decide(self, record: Record) -> None:
        key = record.key
        state = self.states.get(key)
        if state is None:
            state = decide.new_state(key)
        before = state.next_due
        state, effects = decide.step(state, record, self.plan)
        self.states[key] = state
        for effect in effects:
            if (apply := _APPLY.get(type(effect))) is not None:
                apply(self, record, effect)
        if state.next_due and (state.next_due != before or type(record.body) is Wake):
            self._plan_for(state.next_due, key, None)

    def _hop_to(self, key: str, body: Body, at: int, *cause: str | int) -> None:
        self._hops.append(Record(key, make_id("backtest", *cause), at, self.plan.version, body))

    # -- what a decision asks for --

    def _fact(self, record: Record, effect: fx.Fact) -> None:
        if self._journey is None or effect.data.get("journey") == self._journey:
            self.decided.append(Decided(record.key, effect.at, effect.kind, effect.data))
        if effect.kind == "message_decided" and (mail := self._queued.pop(effect.data["message_id"], None)) is not None:
            self._send(record, mail, effect.at)

    def _hop(self, _record: Record, effect: fx.Hop) -> None:
        self._hops.append(effect.record)

    def _message(self, _record: Record, effect: fx.DecideMessage) -> None:
        if self._status.get(effect.message_id, "deferred") != "deferred":
            return  # the same decision never mails twice
        self._status[effect.message_id] = effect.status
        if effect.status == "queued":
            self._queued[effect.message_id] = effect

    def _send(self, record: Record, effect: fx.DecideMessage, at: int) -> None:
        """What becomes of what was queued ``at`` this instant: as it really was, or a made-up delivery."""
        decided_at = max(at, record.received_at)
        real = self._past.outcomes.get(effect.message_id, ())
        first = [one for one in real if _kind(one) in FIRST_OUTCOMES - MADE_AGAIN and one.received_at >= decided_at]
        begins = 0
        if not (first and self._really(effect, at)):
            begins = max(decided_at + TRANSIT_MS, effect.not_before)
            name = make_id("backtest", "sent", effect.message_id)
            sent = Outcome(effect.message_id, "sent", begins)
            self._plan_for(begins, "", Record(record.key, name, begins, self.plan.version, sent))
        for one in real:
            if (one in first and not begins) or (_kind(one) in FEEDBACK and one.received_at > max(decided_at, begins)):
                self._plan_for(one.received_at, "", one)

    def _really(self, effect: fx.DecideMessage, at: int) -> bool:
        """Whether the server queued this message at that very instant, too."""
        row = self._past.messages.get(effect.message_id)
        if row is None or row.template != effect.template:
            return False
        return self._past.queued.get(effect.message_id, row.created_at) == at

    def _deliver(self, record: Record) -> None:
        """An outcome or an answer comes in, unless it was called off meanwhile."""
        body = record.body
        if isinstance(body, Answer):
            if body.request_id in self._asked:
                self._asked.remove(body.request_id)
                self.append(record)
            return
        assert isinstance(body, Outcome)
        if self._status.get(body.message_id) == "cancelled":
            return
        if body.kind in FIRST_OUTCOMES:
            self._status[body.message_id] = body.kind
        self.append(record)

    def _cancel(self, record: Record, effect: fx.CancelMessage) -> None:
        if self._status.get(effect.message_id) in _OPEN:
            self._status[effect.message_id] = "cancelled"
            outcome = Outcome(effect.message_id, "cancelled", effect.at, effect.reason)
            self._hop_to(record.key, outcome, record.received_at, "cancelled", effect.message_id)

    def _call(self, record: Record, effect: fx.CallWebhook) -> None:
        """As it was answered, when it was really asked; else with success and nothing in it."""
        real = self._past.answers.get(effect.request_id)
        if real is None or real.received_at < record.received_at:
            at = record.received_at + TRANSIT_MS
            body = Answer(effect.request_id, True, 200)
            real = Record(record.key, make_id("backtest", "answer", effect.request_id), at, self.plan.version, body)
        self._asked.add(effect.request_id)
        self._plan_for(real.received_at, "", real)

    def _drop(self, _record: Record, effect: fx.DropWebhook) -> None:
        self._asked.discard(effect.request_id)

    # -- consent --

    def _with_words(self, record: Record, body: EventBody) -> Record:
        """Attach what the ledger says about the address that an event brings; the log's records have it."""
        address = email_of(body.event)
        words = self._words.get(address) if address else None
        if not words:
            return record
        return replace(record, body=EventBody(body.event, [*words.values()]))

    def _hear(self, row: LedgerRow) -> bool:
        """Write a word unless a later one stands."""
        words = self._words.setdefault(row.address, {})
        old = words.get(row.topic)
        if old is not None and not overrides(row, old):
            return False
        words[row.topic] = row
        return True

    def _consent(self, record: Record, effect: fx.ChangeLedger) -> None:
        """Where the log reaches, it has what followed."""
        if record.received_at >= self._log_from:
            return
        for row in effect.rows:
            if self._hear(row):
                for key in sorted(self._holders.get(row.address, set()) - {record.key}):
                    self._hop_to(key, LedgerChange([row]), record.received_at, "word", record.id, key, row.topic)

    def _email(self, record: Record, effect: fx.IndexEmail) -> None:
        holders = self._holders.setdefault(effect.address, set())
        (holders.add if effect.on else holders.discard)(record.key)


def _kind(record: Record) -> str:
    return record.body.kind if isinstance(record.body, Outcome) else ""


_APPLY: Final[dict[type, Callable[[World, Record, Any], None]]] = {
    fx.Fact: World._fact,
    fx.DecideMessage: World._message,
    fx.CancelMessage: World._cancel,
    fx.CallWebhook: World._call,
    fx.DropWebhook: World._drop,
    fx.Hop: World._hop,
    fx.ChangeLedger: World._consent,
    fx.IndexEmail: World._email,
}
"""What each effect does here; the others (memberships, duplicates) leave nothing behind."""
