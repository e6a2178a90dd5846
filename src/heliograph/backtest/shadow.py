"""A draft beside the live version, on what happens now: both decide every record of the log, one of them in silence.

Two views of the folder.  One stays where it was at the beginning: from it comes each person's state when they are first
heard of.  The other follows the log.  The *live* side is fed the log as it stands, so it makes the very decisions that
the server made; the *draft* side is a world of its own (:class:`~heliograph.backtest.lane.World`): it hears what came
from outside, has its own wake-ups and hops, and a mail of its that the server did not send counts as sent a second
later.  Nothing is written and nothing leaves this process but counts and differences.
"""

from collections.abc import Callable, Iterator
from typing import Final

import msgspec
from msgspec.structs import replace

from heliograph import decide
from heliograph.adapters.rocksdb import RocksView
from heliograph.backtest.differ import Differences, note, steps_of
from heliograph.backtest.lane import MADE_AGAIN, Decided, World
from heliograph.backtest.past import Past, from_outside
from heliograph.decide import effects as fx
from heliograph.events.identity import profile_id
from heliograph.events.ids import make_id
from heliograph.events.record import Offer, Outcome, Record, Touch, Wake
from heliograph.runtime.pace import finish
from heliograph.runtime.past import Past as StoredPast

MAX_PEOPLE: Final = 50_000
"""Keys whose states are held, on each side: some hundred megabytes.  Whoever is heard of later is left out and
counted."""
MAX_DECIDED: Final = 500_000
"""Decisions about the journey that are held, of both sides together: some hundred megabytes."""
SETTLE_MS: Final = 2_000
"""A wake-up of the draft's own waits so long for records that were appended before its instant."""
TELL_MS: Final = 1_000
"""Between two words about what was found."""
PORTION: Final = 2_000
"""Records between two looks at the clock."""


class Shadowed(msgspec.Struct):
    """``records``: of the log so far, up to ``position``.  ``people``: keys looked at, ``left_out``: beyond the bound.
    ``ended``: why, "" while it goes on."""

    journey: str
    plan: int
    began_at: int
    ends_at: int
    seen_until: int
    position: int = 0
    records: int = 0
    people: int = 0
    left_out: int = 0
    live_entrants: int = 0
    draft_entrants: int = 0
    live_mails: int = 0
    draft_mails: int = 0
    differences: Differences = msgspec.field(default_factory=Differences)
    ended: str = ""


class _Draft(World):
    """A world whose people come from the frozen view, and whose mail is answered for as it happens."""

    def __init__(
        self, plan: decide.Plan, load: Callable[[str], decide.State | None], view: RocksView, journey: str
    ) -> None:
        super().__init__(plan, Past(()), 0, journey)
        self._load, self._past_of = load, StoredPast(view, plan)
        self._real: dict[str, int] = {}

    def knows(self, key: str) -> bool:
        return key in self.states

    def meet(self, key: str, at: int) -> None:
        """Begin with this person as they were, under the new plan, with the past of what it asks for the first time."""
        state = self._load(key)
        self.states[key] = decide.new_state(key) if state is None else state
        if state is not None:
            if state.next_due:
                self._plan_for(state.next_due, key, None)
            folds = {} if state.forward else finish(self._past_of.fold(state))
            touch = Touch(self.plan.version, folds)
            self._decide(Record(key, make_id("shadow", key), max(at, state.last_t), self.plan.version, touch))

    def _decide(self, record: Record) -> None:
        if record.key not in self.states:
            self.meet(record.key, record.received_at)
        super()._decide(record)

    def note_real(self, message_id: str, at: int) -> None:
        """The server queued this message."""
        self._real[message_id] = at

    def _send(self, record: Record, effect: fx.DecideMessage, at: int) -> None:
        if self._real.get(effect.message_id) != at:
            super()._send(record, effect, at)

    def hear(self, record: Record, outcome: Outcome) -> None:
        """What became of a real message, if it is one of the draft's as well, or older than the shadow."""
        self.run_until(record.received_at)
        if outcome.message_id not in self._real:
            self.append(record)
        elif outcome.message_id in self._status and outcome.kind not in MADE_AGAIN:
            self._deliver(record)


class Shadow:
    """Feed it with :meth:`follow` until it says why it ended; :meth:`told` is what it has found."""

    def __init__(
        self, frozen: RocksView, following: RocksView, plans: tuple[decide.Plan, decide.Plan], journey: str, until: int
    ) -> None:
        self._frozen, self._following = frozen, following
        self._live_plan, plan = plans
        self._live: dict[str, decide.State] = {}
        self._live_decided: list[Decided] = []
        self._draft = _Draft(plan, self._load, frozen, journey)
        self._known, self._stirred_at, self._told_at = (0, 0), 0, 0
        began = frozen.last_received_at()
        self.found = Shadowed(journey, self._live_plan.version, began, until, began, frozen.last_position())

    def _load(self, key: str) -> decide.State | None:
        (blob,) = self._frozen.states((key,))
        return None if blob is None else decide.decode_state(blob)

    # -- following --

    def follow(self, now: int) -> bool:
        """Decide what was appended since the last time; whether there is something new to tell."""
        self._follow(now)
        decided = self._decided()
        if (self.found.records, decided) != self._known:
            self._known, self._stirred_at = (self.found.records, decided), now
        news = now <= self._stirred_at + 2 * SETTLE_MS and now >= self._told_at + TELL_MS
        if news:
            self._told_at = now
        return news or bool(self.found.ended)

    def _decided(self) -> int:
        return len(self._live_decided) + len(self._draft.decided)

    def _follow(self, now: int) -> None:
        found = self.found
        self._following.catch_up()
        while not found.ended and (rows := self._following.log(found.position, PORTION)):
            self._take(rows)
        if not found.ended:
            self._draft.run_until(now - SETTLE_MS)
            found.seen_until = max(found.seen_until, now - SETTLE_MS)
            if now >= found.ends_at:
                found.ended = "its time is over"

    def _take(self, rows: list[tuple[int, Record]]) -> None:
        found = self.found
        for position, record in rows:
            if position != found.position + 1:
                found.ended = "the log was cut before it was read"
                return
            if record.plan_version != self._live_plan.version and not self._meet(record.plan_version):
                found.ended = f"plan {record.plan_version} was published"
                return
            if self._decided() >= MAX_DECIDED:
                found.ended = f"it has seen {MAX_DECIDED:,} decisions, as many as it can hold"
                return
            found.position, found.records = position, found.records + 1
            self._record(record)

    def _meet(self, version: int) -> bool:
        """Another plan came into force; whether only its broadcasts are others, which are everybody's on both sides."""
        while self._live_plan.version < version:
            row = self._following.plan(self._live_plan.version + 1)
            document = {} if row is None else msgspec.json.decode(row.document)
            if document.get("fresh", {}).get("written") != self._live_plan.written:
                return False
            broadcasts = document.get("broadcasts", {})
            self._live_plan = self._live_plan.with_broadcasts(broadcasts, 0)
            self._draft.plan = self._draft.plan.with_broadcasts(broadcasts, 0)
        return True

    def _record(self, record: Record) -> None:
        key, found = record.key, self.found
        if key not in self._live:
            if len(self._live) >= MAX_PEOPLE and not getattr(record.body, "hops", 0):
                found.left_out += 1
                return
            self._live[key] = self._load(key) or decide.new_state(key)
            found.people += 1
        self._decide_live(record)
        self._decide_draft(record)

    def _decide_live(self, record: Record) -> None:
        state, effects = decide.step(self._live[record.key], record, self._live_plan)
        self._live[record.key] = state
        for effect in effects:
            if isinstance(effect, fx.Fact):
                if effect.data.get("journey") == self.found.journey:
                    self._live_decided.append(Decided(record.key, effect.at, effect.kind, effect.data))
                if effect.kind == "message_decided":
                    self._draft.note_real(effect.data["message_id"], effect.at)

    def _decide_draft(self, record: Record) -> None:
        draft, body = self._draft, record.body
        if isinstance(body, Outcome) and not body.hops:
            draft.hear(record, body)
        elif isinstance(body, Wake):
            if not draft.knows(record.key):
                draft.meet(record.key, record.received_at)
            draft.run_until(record.received_at + 1)
        elif from_outside(record) or isinstance(body, Offer):
            draft.take(record)

    # -- what there is to say --

    def told(self) -> Shadowed:
        """Compared anew, over everything that both sides have decided so far."""
        found, name = self.found, self.found.journey
        live, draft = self._by_person(self._live_decided), self._by_person(self._draft.decided)
        differences = Differences()
        for person in sorted(live.keys() | draft.keys()):
            ours, theirs = steps_of(draft.get(person, []), name), steps_of(live.get(person, []), name)
            if ours != theirs:
                note(differences, profile_id(person), theirs, ours)
        return replace(
            found,
            differences=differences,
            live_entrants=_entrants(live, name), draft_entrants=_entrants(draft, name),
            live_mails=_mails(live, name), draft_mails=_mails(draft, name),
        )  # fmt: skip

    def _by_person(self, decided: list[Decided]) -> dict[str, list[Decided]]:
        """Up to the instant that both have reached; under the key that the draft's side ends at."""
        found: dict[str, list[Decided]] = {}
        for one in decided:
            if one.at < self.found.seen_until:
                found.setdefault(self._survivor(one.key), []).append(one)
        return found

    def _survivor(self, key: str) -> str:
        for _ in range(8):
            state = self._draft.states.get(key)
            if state is None or not state.forward:
                break
            key = state.forward
        return key


def _entrants(people: dict[str, list[Decided]], journey: str) -> int:
    entered = (any(one.kind == "run_started" for one in _of(decided, journey)) for decided in people.values())
    return sum(entered)


def _of(decided: list[Decided], journey: str) -> Iterator[Decided]:
    return (one for one in decided if one.data.get("journey") == journey)


def _mails(people: dict[str, list[Decided]], journey: str) -> int:
    return sum(one.kind == "message_decided" for decided in people.values() for one in _of(decided, journey))
