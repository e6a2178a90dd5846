"""The runtime turned by hand: the engine's desk, chunks, work, dispatcher and plans without tasks, threads or sockets.

Nothing happens between two calls, so whoever turns decides what happens when: ``heliograph.testing`` and the simulator
do.  Everything that decides is the production code; only the waiting is left out, because time stands where the clock
was put.  Each piece of work is a commit of its own.
"""

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from heliograph import decide
from heliograph.decide.broadcasts import journey_of
from heliograph.deliver.routes import Routes
from heliograph.events.event import Event
from heliograph.events.record import Answer, Enter, LedgerRow, ListChange, Outcome
from heliograph.ports import (
    Arrival,
    BroadcastRefused,
    BroadcastRow,
    Clock,
    Entered,
    Hold,
    MessageRow,
    PublishReport,
    RequestRow,
    Result,
    Settled,
    Store,
)
from heliograph.runtime import broadcasts, mailwire
from heliograph.runtime.broadcaster import PORTION as OFFERED
from heliograph.runtime.broadcaster import Broadcaster
from heliograph.runtime.chunk import Chunk, UndecidedError
from heliograph.runtime.desk import CompileSchema, Desk
from heliograph.runtime.dispatcher import Dispatcher
from heliograph.runtime.entering import Enters
from heliograph.runtime.holding import HoldMail, LiftMail
from heliograph.runtime.mailer_link import Mailer
from heliograph.runtime.meter import Meter
from heliograph.runtime.pace import finish
from heliograph.runtime.past import survivor
from heliograph.runtime.publishing import LoadTemplate, prepare
from heliograph.runtime.settling import SettleUnknown
from heliograph.runtime.sweeper import PORTION, Sweeper, fold_keys, read_progress, swept_for, switch_plan
from heliograph.runtime.webhooks import Answered
from heliograph.runtime.work import Call, ChangeLists, ChangeWords, Collect, Feedback, SwitchPlan, Wakes, Work

T = TypeVar("T")


class HandMailer(Mailer):
    """A mailer in this very process: what the engine says to it lies in ``heard`` until somebody acts on it."""

    def __init__(self, epoch: int, credit: int) -> None:
        self.epoch = epoch
        self.credit = credit
        self.held: dict[str, MessageRow] = {}
        self.heard: list[mailwire.FromEngine] = []

    def send(self, message: mailwire.FromEngine) -> None:
        self.heard.append(message)

    def close(self) -> None:
        self.heard.clear()


class Crank:
    """One store.  A restart is a new crank over the same store; :meth:`recover` is what a start does."""

    def __init__(
        self, store: Store, clock: Clock, *, compile_schema: CompileSchema, load_template: LoadTemplate
    ) -> None:
        self.store, self.clock = store, clock
        self.meter = Meter()
        self._compile_schema, self._load_template = compile_schema, load_template
        self._desk = Desk(store, compile_schema)
        self.dispatcher = Dispatcher(
            store,
            clock,
            self.meter,
            put=self.do,
            current=self._desk.message,
            render_context=self.render_context,
            templates=self._templates,
            settings=mailwire.MailerSettings(routes=Routes(), senders={}, base_url="", link_keys={}),
            held=self._desk.held,
        )

        self._sweeper = Sweeper(self._desk, self.meter, self.do, heard=lambda: 0, now=self.clock.now)
        self._broadcaster = Broadcaster(
            self._desk, self.meter, self.do, self.dispatcher, heard=lambda: 0, now=self.clock.now
        )

    # -- turning --

    def do(self, work: Work) -> None:
        """Decide a piece of work and commit it.  When that raises, nothing of it has happened."""
        chunk = Chunk(self._desk, self.clock)
        try:
            work.prepare(self._desk)
            work.decide(chunk)
            commit = chunk.finish()
            self._desk.seal()
            self.store.commit(commit)
        except BaseException:
            self._desk.reload()
            self.dispatcher.resync()
            raise
        self._desk.settle()
        self.dispatcher.offer(chunk.offers)
        work.settled()

    def call(self, work: Call[T]) -> T:
        self.do(work)
        return work.result

    def recover(self) -> None:
        """What was past its commit point when the last one ended is unknown."""
        self.dispatcher.recover()

    # -- what may happen --

    def collect(self, arrivals: Sequence[Arrival]) -> list[Result]:
        return self.call(Collect(arrivals, self.meter))

    def change_ledger(self, rows: Sequence[LedgerRow]) -> None:
        self.do(ChangeWords(rows))

    def feedback(self, outcomes: Sequence[Outcome]) -> None:
        self.do(Feedback(outcomes))

    def hold(self, journey: str, reason: str = "") -> Hold:
        """Hold this journey's mail."""
        return self.call(HoldMail(journey, reason, "crank"))

    def lift(self, journey: str) -> None:
        """Let it go again."""
        self.do(LiftMail(journey, self.dispatcher.lifted))

    def settle_unknown(self, message_ids: Sequence[str], action: str, reason: str) -> list[Settled]:
        return self.call(SettleUnknown(message_ids, action, reason, "crank"))

    def change_lists(self, changes: Sequence[tuple[str, ListChange]]) -> None:
        self.do(ChangeLists(changes))

    def enter(self, key: str, journey: str, event: Event) -> Entered:
        return self.call(Enters(key, Enter(journey, event)))

    def requests(self) -> list[RequestRow]:
        """What runs wait for, by id; nobody makes these requests but who turns the crank."""
        return list(self.store.requests())

    def answer(self, row: RequestRow, answer: Answer) -> None:
        self.do(Answered(row, answer, 0))

    def publish(self, document: dict[str, Any]) -> PublishReport:
        """Switch to this plan; whoever is heard from is reconciled with it, everybody else by :meth:`sweep`."""
        old = self._desk.plan if self._desk.planned else None
        active, swept = self._desk.tally.active(), swept_for(self.store)
        live = broadcasts.live(self._desk) if old is not None else ()
        prepared = prepare(document, old, active, swept, self._compile_schema, self._load_template, live)
        self.do(switch_plan(prepared, old, self.store))
        self.dispatcher.plan_changed()
        return prepared.report

    def sweep(self, portion: int = PORTION) -> bool:
        """A portion of the sweep after a publish; False when none is under way."""
        progress = read_progress(self.store)
        if progress is None or progress.ended_at:
            return False
        keys = self.store.keys(progress.after, portion)
        items = finish(fold_keys(self._desk, self.plan, progress.plan, [*progress.again, *keys]))
        for piece in self._sweeper.pieces(items, progress, keys, self.plan.version):
            self.do(piece)
        return True

    def create_broadcast(self, document: dict[str, Any], *, draft: bool = False) -> BroadcastRow:
        now, known = self.clock.now(), broadcasts.known(document, self.store)
        if known is not None:
            return known
        row = broadcasts.new_row(document, broadcasts.accepted(document, self._desk, now), self.store, now, draft=draft)
        return self._add_broadcast(row)

    def _add_broadcast(self, row: BroadcastRow) -> BroadcastRow:
        documents = None if row.status == "draft" else broadcasts.with_one(row, self._desk)
        return self._switch(broadcasts.adding(row, self._with_broadcasts(documents)))

    def move_broadcast(self, broadcast_id: str, verb: str, reason: str = "") -> BroadcastRow:
        known = self._desk.broadcast(broadcast_id)
        if verb == "start" and known is not None and known.status == "draft":
            now = self.clock.now()
            found = broadcasts.accepted(known.document, self._desk, now)
            return self._add_broadcast(broadcasts.started(known, found, self.store, now))
        switch = self._with_broadcasts(broadcasts.without(broadcast_id, verb, self._desk))
        moved = self._switch(broadcasts.moving(broadcast_id, verb, reason, switch))
        self.dispatcher.lifted(journey_of(broadcast_id))
        return moved

    def _with_broadcasts(self, documents: dict[str, Any] | None) -> SwitchPlan | None:
        if documents is None:
            return None
        prepared = broadcasts.prepared(documents, self._desk.published, swept_for(self.store))
        return switch_plan(prepared, self.plan, self.store)

    def _switch(self, work: broadcasts.Changing) -> BroadcastRow:
        self.do(work)
        if work.refusal:
            raise BroadcastRefused([("", work.refusal)])
        return work.result

    def broadcast(self, portion: int = OFFERED) -> bool:
        """A portion of whatever broadcasts have to do; False when they all wait for something."""
        turned = False
        for broadcast_id in self._broadcaster.order():
            works = finish(self._broadcaster.works(broadcast_id, portion))
            for work in works:
                self.do(work)
            self._broadcaster.spent(broadcast_id, works)
            turned = turned or bool(works)
        return turned

    def wake(self) -> bool:
        """Fire what is due by now; False when nothing was."""
        due = self.store.due(self.clock.now())
        if not due:
            return False
        self.do(Wakes(due, lambda _: None, self.meter))
        if self.store.due(self.clock.now())[: len(due)] == due:
            raise UndecidedError(f"a wake-up was served and is still due: {due[0]}")
        return True

    def next_at(self) -> int | None:
        """The next instant at which time alone makes something happen: a deadline, or a message that may go."""
        now = self.clock.now()
        outbox = self.dispatcher.outbox.next_at()
        found = self.store.next_due(), outbox, self._broadcaster.next_at()
        return min((at for at in found if at is not None and at > now), default=None)

    # -- mail --

    def mailer(self, credit: int = 64) -> HandMailer:
        """Connect one; :meth:`offer` gives it jobs, and it answers through ``dispatcher.hear``."""
        mailer = HandMailer(self.dispatcher.next_epoch(), credit)
        self.dispatcher.welcome(mailer, credit)
        return mailer

    def offer(self) -> bool:
        """Hand queued messages to a connected mailer; False when none can go now."""
        return self.dispatcher.offer_slice()

    def _templates(self) -> Mapping[str, Any]:
        templates: Mapping[str, Any] = self.plan.document.get("templates", {})
        return templates

    # -- reads --

    @property
    def plan(self) -> decide.Plan:
        return self._desk.plan

    def state(self, key: str) -> decide.State | None:
        """Of the survivor, when this key was merged."""
        return survivor(key, self._desk.state)

    def render_context(self, message: MessageRow) -> dict[str, Any] | None:
        state = self.state(message.key)
        return None if state is None else decide.render_context(state, self.plan, message.run_id, self.clock.now())
