"""The embedded engine: everything of the runtime, wired, behind :class:`heliograph.ports.Engine`."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import structlog

from heliograph import decide
from heliograph.decide.broadcasts import broadcast_of
from heliograph.deliver.breaker import Rules
from heliograph.deliver.limits import Shaping
from heliograph.deliver.routes import Routes
from heliograph.events.event import Event
from heliograph.events.identity import email_key, key_from_profile_id, normalise_address
from heliograph.events.record import Enter, LedgerRow, ListChange, Outcome
from heliograph.ports import (
    Arrival,
    BroadcastRow,
    Busy,
    Clock,
    Entered,
    Heard,
    Hold,
    HttpCaller,
    MessageRow,
    MxLookup,
    Outstanding,
    PlanRefused,
    PublishReport,
    Result,
    Settled,
    Store,
    StoreFull,
)
from heliograph.render import LinkKeys
from heliograph.runtime import broadcasts, counting, mailwire
from heliograph.runtime.breaker import MailBreaker, Sample, Seen
from heliograph.runtime.broadcaster import Broadcaster
from heliograph.runtime.chunk import Chunk
from heliograph.runtime.clock import SystemClock
from heliograph.runtime.desk import CompileSchema, Desk
from heliograph.runtime.dispatcher import Dispatcher
from heliograph.runtime.entering import Enters
from heliograph.runtime.holding import HoldMail, LiftMail
from heliograph.runtime.holds import BREAKER
from heliograph.runtime.live import Feed, LiveHub
from heliograph.runtime.meter import Meter
from heliograph.runtime.offering import open_messages
from heliograph.runtime.past import survivor
from heliograph.runtime.places import places_in
from heliograph.runtime.processor import Processor
from heliograph.runtime.publisher import Publisher
from heliograph.runtime.publishing import (
    LoadTemplate,
    complete_since,
    read_since,
)
from heliograph.runtime.reporting import TakeMail
from heliograph.runtime.rereading import reread
from heliograph.runtime.retention import Forgetter, keep_expiring
from heliograph.runtime.settling import SettleUnknown
from heliograph.runtime.sharing import Sharing
from heliograph.runtime.sweeper import Sweeper
from heliograph.runtime.waiting import Waiting
from heliograph.runtime.wakeups import Wakeups
from heliograph.runtime.webhooks import Nobody, Webhooks
from heliograph.runtime.work import Call, ChangeLists, ChangeWords, Collect, Feedback, Replay, Stopped

NO_MAIL = mailwire.MailerSettings(routes=Routes(), senders={}, base_url="", link_keys={})
NEVER = Rules(enabled=False)
"""No circuit breaker, where nobody asked for one."""
T = TypeVar("T")

log = structlog.get_logger("heliograph.engine")


class EmbeddedEngine:
    """One process, one store.  ``mail_settings``: what mailer processes get in ``Setup``; ``caller``: who makes the
    requests of webhooks (without one they fail), ``webhook_keys``: what signs them; ``shaping``: limits of receivers,
    senders and relays; ``mx``: who looks up where domains have their mail; ``breaker``: when mail is held; ``sharing``:
    what other machines send counts, too.

    Life: :meth:`start` (with the document to publish when the store has no plan) .. :meth:`stop`.  ``failed`` resolves
    with the error when something happened that only a new process can mend.
    """

    def __init__(
        self,
        store: Store,
        *,
        compile_schema: CompileSchema,
        load_template: LoadTemplate,
        mail_settings: mailwire.MailerSettings | None = None,
        clock: Clock | None = None,
        meter: Meter | None = None,
        waiting: Waiting | None = None,
        full_pause_s: float = 0.5,
        caller: HttpCaller | None = None,
        webhook_keys: Sequence[bytes] = (),
        shaping: Shaping | None = None,
        mx: MxLookup | None = None,
        breaker: Rules = NEVER,
        sharing: Sharing | None = None,
    ) -> None:
        self.store = store
        self.clock: Clock = clock or SystemClock()
        self.meter = meter or Meter()
        self.failed: asyncio.Future[Exception] = asyncio.get_running_loop().create_future()
        self._live = LiveHub()
        self._heard = 0
        """Calls from outside: what a sweep gives way to."""
        self._desk = self._new_desk(store, compile_schema)
        self._processor = self._new_processor(
            store,
            self._desk,
            self.clock,
            self.meter,
            settled=self._settled,
            undone=self._undone,
            fatal=self._fatal,
            watched=lambda: self._live.watched,
            waiting=waiting,
            full_pause_s=full_pause_s,
        )
        put = self._processor.put
        self.wakeups = Wakeups(store, self.clock, self.meter, put)
        self.dispatcher = self._new_dispatcher(
            put=put,
            render_context=self.render_context,
            templates=self._templates,
            settings=mail_settings or NO_MAIL,
            held=self._desk.held,
            shaping=shaping,
            mx=mx,
            sharing=sharing,
        )
        self.webhooks = Webhooks(
            store,
            self.clock,
            self.meter,
            put=put,
            waits=self._desk.awaits,
            caller=caller or Nobody(),
            keys=webhook_keys,
        )
        self._breaker = MailBreaker(
            breaker,
            self.clock,
            self.meter,
            held=self._desk.held,
            hold=self._trip,
            receiver=self.dispatcher.traffic.receivers.of,
        )
        self._sweeper = Sweeper(self._desk, self.meter, put, heard=lambda: self._heard, now=self.clock.now)
        self._broadcaster = Broadcaster(
            self._desk, self.meter, put, self.dispatcher, heard=lambda: self._heard, now=self.clock.now
        )
        self.forgetter = Forgetter(store, self.clock, put)
        self._publisher = Publisher(
            self._desk, store, put, now=self.clock.now, heard=lambda: self._heard, sweeper=self._sweeper,
            broadcaster=self._broadcaster, dispatcher=self.dispatcher, compile_schema=compile_schema,
            load_template=load_template,
        )  # fmt: skip
        self._tasks: list[asyncio.Task[None]] = []
        self._accepting = self._stopped = False
        self._watch_gauges()

    def _new_desk(self, store: Store, compile_schema: CompileSchema) -> Desk:
        return Desk(store, compile_schema)

    def _new_processor(self, *parts: Any, **options: Any) -> Processor:
        return Processor(*parts, **options)

    def _new_dispatcher(self, **options: Any) -> Dispatcher:
        return Dispatcher(self.store, self.clock, self.meter, current=self._desk.message, **options)

    # -- life --

    async def start(self, document: dict[str, Any] | None = None, *, socket: Path | None = None) -> None:
        """Recover, publish ``document`` if there is no plan yet, begin to accept.  ``socket``: where mailers call."""
        self._processor.start()
        if not self._desk.planned:
            if document is None:
                raise PlanRefused([("", "this store has no plan yet, and none was given")])
            await self._publish_first(document)
        if socket is not None:
            await self.dispatcher.listen(socket)
        self.dispatcher.recover()
        loops = {
            "wakeups": self.wakeups.run(),
            "dispatcher": self.dispatcher.run(),
            "webhooks": self.webhooks.run(),
            "sweeper": self._sweeper.run(),
            "broadcaster": self._broadcaster.run(),
            "retention": keep_expiring(self.store, self.clock, self._processor),
            "forgetter": self.forgetter.run(),
        }
        self._run(loops)
        self._accepting = True

    def _run(self, loops: Mapping[str, Coroutine[Any, Any, None]]) -> None:
        """Until :meth:`stop`; the end of one of them is the end of all."""
        self._tasks = [asyncio.create_task(loop, name=name) for name, loop in loops.items()]
        for task in self._tasks:
            task.add_done_callback(self._loop_ended)

    async def _publish_first(self, document: dict[str, Any]) -> None:
        """Nobody is there yet who could come back later, so a full disk is an error."""
        try:
            await self.publish(document)
        except Busy as busy:
            raise StoreFull(f"The first plan cannot be written: {busy.reason}. Make room and start again.") from busy

    async def stop(self, patience_s: float = 10.0) -> None:
        """Take no more, let mailers finish, decide and write what is queued.  The store stays open: its owner's."""
        if self._stopped:
            return
        self._accepting, self._stopped = False, True
        await asyncio.gather(self.dispatcher.drain(patience_s), self.webhooks.drain(patience_s))
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._processor.stop()

    def _loop_ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self._fatal(error if isinstance(error, Exception) else RuntimeError(str(error)))

    def _fatal(self, error: Exception) -> None:
        log.error("the engine cannot go on", error=str(error), exc_info=error)
        self._accepting = False
        if not self.failed.done():
            self.failed.set_result(error)

    def _settled(self, chunk: Chunk) -> None:
        if chunk.offers:
            self.dispatcher.offer(chunk.offers)
        if chunk.calls or chunk.called:
            self.webhooks.settled(chunk.calls.values(), chunk.called)
        if chunk.commit.broadcasts:
            self._broadcaster.stir()
        if chunk.samples:
            self._sampled(chunk.samples)
        self.wakeups.notice(chunk.earliest)
        if chunk.news:
            self._live.publish(chunk.news)

    def _sampled(self, samples: Sequence[Sample]) -> Seen:
        """What became of mails: for the circuit breaker and, what came later, for the warm-up of their senders."""
        for row, kind, late in samples:
            if late:
                self.dispatcher.feedback(row, "complained" if kind == "complained" else "bounced")
        return self._breaker.heard(samples)

    def _undone(self) -> None:
        self.dispatcher.resync()

    @property
    def plan(self) -> decide.Plan:
        return self._desk.plan

    @property
    def ready(self) -> bool:
        return self._accepting and not self._processor.full

    def _accept(self) -> None:
        if not self._accepting:
            raise Busy("starting or stopping", 2)

    async def _do(self, work: Call[T]) -> T:
        """Queue it, and its result once that is on disk."""
        self._accept()
        self._processor.put(work)
        return await work.done

    # -- changes --

    def collect(self, arrivals: Sequence[Arrival]) -> Awaitable[list[Result]]:
        self._accept()
        work = Collect(arrivals, self.meter)
        self._processor.put(work)
        self._heard += 1
        return work.done

    async def reach(self, position: str) -> None:
        places_in(position)  # what was answered is decided

    async def change_ledger(self, rows: Sequence[LedgerRow]) -> None:
        await self._do(ChangeWords(rows))

    async def feedback(self, outcomes: Sequence[Outcome]) -> None:
        await self._do(Feedback(outcomes))

    async def feedback_mail(self, raw: bytes, recipient: str = "") -> Heard:
        secrets = {int(number): secret for number, secret in self.dispatcher.settings.link_keys.items()}
        heard = await self._do(TakeMail(raw, recipient, LinkKeys(secrets) if secrets else None))
        self.meter.count("reports_total", heard.kind)
        return heard

    async def settle_unknown(self, message_ids: Sequence[str], action: str, reason: str, by: str) -> list[Settled]:
        return await self._do(SettleUnknown(message_ids, action, reason, by))

    async def change_lists(self, changes: Sequence[tuple[str, ListChange]]) -> None:
        await self._do(ChangeLists(changes))

    async def enter(self, key: str, journey: str, event: Event) -> Entered:
        return await self._do(Enters(key, Enter(journey, event)))

    async def replay_dead_letters(self, ids: Sequence[str], repaired: dict[str, bytes]) -> list[Result]:
        letters = [letter for name in ids if (letter := self.store.dead_letter(name)) is not None]
        arrivals = [reread(letter, repaired.get(letter.id, letter.payload)) for letter in letters]
        return await self._do(Replay(letters, arrivals, self.meter))

    # -- mail that is held --

    async def hold(self, journey: str, reason: str, by: str = "api") -> Hold:
        known = self.broadcast(broadcast_of(journey)) if broadcast_of(journey) else None
        if known is None and all(name != journey for name, _ in self.plan.all_journeys):
            raise LookupError(f"no journey is called {journey!r}")
        hold = await self._do(HoldMail(journey, reason, by))
        log.warning("mail held", journey=journey, by=hold.by, reason=hold.reason)
        return hold

    async def lift(self, journey: str) -> Hold | None:
        hold = await self._do(LiftMail(journey, self.dispatcher.lifted))
        if hold is not None:
            log.info("mail let go again", journey=journey, held_at=hold.at)
        return hold

    def holds(self) -> dict[str, Hold]:
        return self._desk.holds.all()

    def _trip(self, journey: str, reason: str, held: Callable[[str], None]) -> None:
        """The circuit breaker opens; of a broadcast that is over there is nothing left to hold, and nobody would ever
        lift that."""
        row = self._desk.broadcast(broadcast_of(journey)) if broadcast_of(journey) else None
        if row is not None and row.status == "finished" and not open_messages(row):
            return
        with contextlib.suppress(Stopped):
            self._processor.put(HoldMail(journey, reason, BREAKER, internal=True, held=held))

    # -- plans and broadcasts --

    async def publish(self, document: dict[str, Any], *, dry_run: bool = False) -> PublishReport:
        return await self._publisher.publish(document, dry_run=dry_run)

    async def create_broadcast(self, document: dict[str, Any], *, draft: bool = False) -> BroadcastRow:
        self._accept()
        return await self._publisher.create_broadcast(document, draft=draft)

    async def move_broadcast(self, broadcast_id: str, verb: str, reason: str = "") -> BroadcastRow:
        self._accept()
        return await self._publisher.move_broadcast(broadcast_id, verb, reason)

    def broadcast(self, broadcast_id: str) -> BroadcastRow | None:
        return self.store.broadcast(broadcast_id)

    def broadcasts(self) -> list[BroadcastRow]:
        return broadcasts.newest(self.store)

    def broadcast_progress(self, broadcast_id: str) -> dict[str, Any]:
        row = self.broadcast(broadcast_id)
        if row is None:
            raise LookupError(f"no broadcast has the id {broadcast_id!r}")
        return counting.progress(row)

    def _templates(self) -> Mapping[str, Any]:
        templates: Mapping[str, Any] = self.plan.document.get("templates", {})
        return templates

    def building(self) -> dict[str, Any] | None:
        return self._sweeper.building()

    def complete_since(self) -> dict[str, int]:
        """Segment -> since when everything that it counts is known (ms); 0 for always."""
        return complete_since(self.plan, read_since(self.store))

    def journey_counts(self) -> dict[str, dict[str, int]]:
        return self._desk.tally.counts()

    # -- reads --

    def traffic(self) -> dict[str, Any]:
        return self.dispatcher.view()

    def waiting_for(self, message_id: str) -> str:
        return self.dispatcher.waiting_for(message_id)

    def outstanding(self, limit: int) -> list[Outstanding]:
        return self.webhooks.pending(limit)

    def state(self, key: str) -> decide.State | None:
        return survivor(key, self._stored_state)

    def _stored_state(self, key: str) -> decide.State | None:
        (blob,) = self.store.states((key,))
        return None if blob is None else decide.decode_state(blob)

    def find(self, person: str) -> list[str]:
        """Survivors, in the order: user id (or the public id), anonymous id, holders of the address."""
        candidates = [key_from_profile_id(person), "u:" + person, "a:" + person]
        if address := normalise_address(person):
            candidates += [*self.store.keys_of_email(address), email_key(address)]
        found = [state.key for key in candidates if (state := self.state(key)) is not None]
        return list(dict.fromkeys(found))

    def render_context(self, message: MessageRow) -> dict[str, Any] | None:
        state = survivor(message.key, self._desk.state)
        if state is None:
            return None
        return decide.render_context(state, self.plan, message.run_id, self.clock.now())

    def subscribe(self) -> Feed:
        return self._live.subscribe()

    def _watch_gauges(self) -> None:
        waiting, outbox = self._processor.waiting, self.dispatcher.outbox
        self.meter.watch("queue_records", lambda: waiting.records)
        self.meter.watch("queue_bytes", lambda: waiting.size)
        self.meter.watch("messages_waiting", lambda: len(outbox))
        self.meter.watch("messages_claimed", lambda: outbox.claimed)
        self.meter.watch("webhooks_waiting", lambda: len(self.webhooks.calls))
        self.meter.watch("webhooks_under_way", lambda: self.webhooks.calls.under_way)
        self.dispatcher.watch_gauges()
        self.meter.watch("mailers", lambda: len(self.dispatcher.mailers))
        self.meter.watch("mail_held", lambda: len(self._desk.holds.all()))
        self.meter.watch("disk_full", lambda: int(self._processor.full))
        self.meter.watch("plan_version", lambda: self._desk.plan.version if self._desk.planned else 0)
        self.meter.watch("sweep_keys_left", self._sweeper.left)
        self.meter.watch_many("store", self._counts)

    def _counts(self) -> dict[str, int]:
        return self.store.counts()
