"""The dispatcher: offers queued messages to mailer processes over a local socket and carries their answers.

The socket is the lease.  A mailer holds what it was offered until it reports or its socket closes; claims live here, in
memory.  Only ``sending`` and outcomes are written, by work that goes through the processor's one queue.  What may go,
in which order and which way, is for the outbox's lanes and :mod:`heliograph.runtime.traffic` to say.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import structlog
from msgspec.structs import replace

from heliograph.decide.broadcasts import broadcast_of
from heliograph.deliver.limits import Shaping
from heliograph.deliver.routes import Reach
from heliograph.ports import Clock, MessageRow, MxLookup, Store, StoreAway, steady_ms
from heliograph.runtime import mailwire, traffic_view
from heliograph.runtime.claims import Bury, End, PassCommitPoint, TakeReports
from heliograph.runtime.judging import NOT_OFFERED, SLICE, Fate, Judging, RenderContext
from heliograph.runtime.lanes import BROADCAST, NOTICE, TRANSACTIONAL, TRIGGERED
from heliograph.runtime.mailer_link import Mailer
from heliograph.runtime.meter import Meter
from heliograph.runtime.outbox import Entry, Outbox
from heliograph.runtime.rollup import Rollup
from heliograph.runtime.sharing import Sharing
from heliograph.runtime.traffic import Traffic
from heliograph.runtime.traffic_kept import CLAIMS, kept_in, load_claims
from heliograph.runtime.work import Stopped, Work

DEFAULT_SENDER = "default"
LOST = mailwire.Done("", "unknown", "", 0)
LONGEST_SLEEP_S = 1.0

log = structlog.get_logger("heliograph.dispatcher")


def rank_of(row: MessageRow) -> int:
    """Whom a message overtakes.  A broadcast that is transactional is a service notice."""
    if broadcast_of(row.journey):
        return NOTICE if row.transactional else BROADCAST
    return TRANSACTIONAL if row.transactional else TRIGGERED


class Dispatcher:
    """``settings``: what mailers need to know; ``templates``: name -> compiled template, of the plan in force;
    ``current``: a message's row as it is now; ``held``: whether the mail of this journey is held; ``rank``: whom a
    message overtakes; ``shaping``: limits of receivers, senders and relays; ``mx``: who looks up where domains have
    their mail, if they are to be told apart by that.  Where people are ours for a time only: ``mine``: whether this
    message is, ``until``: until when (:func:`heliograph.ports.steady_ms`).
    ``sharing``: what other machines send counts, too."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        meter: Meter,
        *,
        put: Callable[[Work], None],
        current: Callable[[str], MessageRow | None],
        render_context: RenderContext,
        templates: Callable[[], Mapping[str, Any]],
        settings: mailwire.MailerSettings,
        held: Callable[[str], bool] = lambda _journey: False,
        rank: Callable[[MessageRow], int] = rank_of,
        shaping: Shaping | None = None,
        mx: MxLookup | None = None,
        mine: Callable[[MessageRow], bool] = lambda _row: True,
        until: Callable[[], int] | None = None,
        sharing: Sharing | None = None,
    ) -> None:
        self._mine, self._until = mine, until
        self._clock, self._meter, self._put, self._current = clock, meter, put, current
        self._templates, self.settings = templates, settings
        self._store = store
        kept = kept_in(store, shared=sharing is not None)
        self.traffic = Traffic(shaping, rank=rank, sender=self._sender_of, kept=kept, sharing=sharing)
        self.outbox = Outbox(store, self.traffic, held=held)
        self.judging = Judging(
            self.outbox, self.traffic, current=current, mine=mine, render_context=render_context, templates=templates
        )
        self._rollup = None if mx is None else Rollup(mx, self.traffic, clock)
        self.mailers: dict[int, Mailer] = {}
        self._credits: dict[int, int] = {}
        """What each mailer takes at once."""
        self._told: Mapping[str, Any] | None = None
        """The templates that mailers know."""
        self._epochs = 0
        self._stirred = asyncio.Event()
        self._opened = asyncio.Event()
        self._draining = False
        self._server: asyncio.Server | None = None
        self._sharing = sharing
        if sharing is not None:
            sharing.granted, sharing.resized = self._granted, self.divide
            sharing.recall = lambda day: load_claims(store.metas(CLAIMS), store.meta, day)
        self._handlers: set[asyncio.Task[None]] = set()

    # -- from the engine --

    def recover(self) -> None:
        """After a start: what was past its commit point is unknown; the rest is fetched when mailers are there."""
        lost, cursor = list[str](), None
        while True:
            rows, cursor = self._store.messages(status="sending", limit=1000, cursor=cursor)
            lost += [row.message_id for row in rows]
            if cursor is None:
                break
        if lost:
            log.warning("messages without an outcome", count=len(lost))
            self._put(Bury(lost, self.offer, "the server stopped before the receiver's reply"))

    def offer(self, rows: Sequence[MessageRow]) -> None:
        """Rows just committed as queued.  One that a mailer still holds (it missed its time and was decided again)
        comes back with that mailer's report."""
        add, claims = self.outbox.add, self.outbox.claims
        for row in rows:
            if row.message_id not in claims and self._mine(row):
                add(row)
        if self._opened.is_set() and not self._draining:
            self.offer_slice()  # at once: our task may have to wait for its turn
        self._stirred.set()

    def resync(self) -> None:
        """A commit was undone: what was dropped from memory on its account is still in the store."""
        self.traffic.undone()
        self.outbox.resync()
        self._stirred.set()

    def lifted(self, _journey: str) -> None:
        """Its mail may go: what was dropped from memory meanwhile is still in the store."""
        self.resync()

    def plan_changed(self) -> None:
        """Mailers hear of other templates; also before each offer, because a plan is in force, and messages of it may
        be here, before whoever published it hears so."""
        templates = self._templates()
        if templates is self._told:
            return
        self.traffic.plan_changed()
        self._told = templates
        told = mailwire.Templates(list(templates.values()))
        for mailer in self.mailers.values():
            mailer.send(told)

    async def listen(self, path: Path) -> None:
        """Let mailers connect; they are welcomed once :meth:`run` has begun."""
        self._server = await asyncio.start_unix_server(self._serve, str(path))

    async def run(self) -> None:
        """Offer, until cancelled."""
        self._opened.set()
        async with asyncio.TaskGroup() as group:
            if self._rollup is not None:
                group.create_task(self._rollup.run())
            if self._sharing is not None:
                group.create_task(self._sharing.run())
            while True:
                self._stirred.clear()
                self.divide()  # turns end by the clock, however long the store takes to say anything
                if not self._draining and self.offer_slice():
                    await asyncio.sleep(0)
                else:
                    await self._sleep()

    def _granted(self, names: Iterable[str]) -> None:
        """What other machines leave may go now."""
        self.traffic.granted(names, self._clock.now())
        self._stirred.set()

    def divide(self) -> None:
        """There are more machines or fewer, or it is another's turn: what receivers allow is divided anew."""
        if self.traffic.divide(self._clock.now()):
            told = mailwire.Reaches(self._reaches())
            for mailer in self.mailers.values():
                mailer.send(told)
            self._stirred.set()

    def _reaches(self) -> dict[str, Reach]:
        part = self.traffic.division
        return {name: part.reach(reach) for name, reach in self.settings.routes.receivers.items()}

    async def drain(self, patience_s: float) -> None:
        """Offer no more; let mailers finish what they hold, then close."""
        self._draining = True
        for mailer in self.mailers.values():
            mailer.send(mailwire.Drain())
        if self._handlers:
            await asyncio.wait(self._handlers, timeout=patience_s)
        for mailer in list(self.mailers.values()):
            mailer.close()
        if self._server is not None:
            self._server.close()
        if self._handlers:
            await asyncio.wait(self._handlers, timeout=1)

    # -- offering --

    def offer_slice(self) -> bool:
        """Offer up to a slice, to the mailers with most credit; False when nothing more can go now."""
        try:
            return self._offer_slice()
        except StoreAway:
            self.outbox.resync()  # what was dropped from memory on the way is still in the store
            return False

    def _offer_slice(self) -> bool:
        if self._until is not None and self._until() <= steady_ms():
            return False
        now = self._clock.now()
        mailer = max(self.mailers.values(), key=lambda one: one.credit, default=None)
        jobs: list[mailwire.Job] = []
        fates = self.judging.overdue(now)
        if mailer is not None and mailer.credit > 0:
            self.plan_changed()
            if self.outbox.behind(now):
                self.outbox.fetch(now)
            jobs = self.judging.jobs(mailer, min(mailer.credit, SLICE), fates, now)
            if jobs:
                mailer.credit -= len(jobs)
                mailer.send(mailwire.Offer(jobs))
        if fates:
            self._end(fates)
        more = mailer is not None and mailer.credit > 0 and self.outbox.behind(now)
        return bool(jobs or fates or more)

    def _end(self, fates: Sequence[Fate]) -> None:
        """They wait no more.  Until that is on disk the store has them as queued."""

        def ended(waiting: Sequence[MessageRow]) -> None:
            self.judging.ending.difference_update(fate[0] for fate in fates)
            self.offer(waiting)

        self._put(End(fates, ended))

    def _sender_of(self, row: MessageRow) -> str:
        """The name of the sender that its template names."""
        template = self._templates().get(row.template)
        return template.get("sender") or DEFAULT_SENDER if template is not None else DEFAULT_SENDER

    async def _sleep(self) -> None:
        seconds, first = LONGEST_SLEEP_S, self.outbox.next_at()
        if first is not None and first > (now := self._clock.now()):
            seconds = min((first - now) / 1000, LONGEST_SLEEP_S)
        try:
            async with asyncio.timeout(seconds):
                await self._stirred.wait()
        except TimeoutError:
            pass

    # -- the socket --

    def next_epoch(self) -> int:
        """The number of a new connection."""
        self._epochs += 1
        return self._epochs

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._handlers.add(task)
        mailer = Mailer(self.next_epoch(), writer)
        try:
            await self._opened.wait()
            await self._listen_to(mailer, reader)
        except (asyncio.IncompleteReadError, ConnectionError, Stopped):
            pass
        except msgspec.MsgspecError as error:
            log.error("a mailer speaks nonsense", error=str(error))
        finally:
            self._handlers.discard(task)
            self.lost(mailer)
            mailer.close()

    async def _listen_to(self, mailer: Mailer, reader: asyncio.StreamReader) -> None:
        while True:
            size = int.from_bytes(await reader.readexactly(4), "big")
            if size > mailwire.MAX_FRAME:
                return
            self.hear(mailer, mailwire.from_mailer.decode(await reader.readexactly(size)))

    def hear(self, mailer: Mailer, message: mailwire.FromMailer) -> None:
        """What a mailer says; what it says under an older epoch is nobody's."""
        match message:
            case mailwire.Hello(pid, credit):
                self.welcome(mailer, credit)
                log.info("mailer connected", pid=pid, credit=credit, epoch=mailer.epoch)
            case mailwire.AskCommit(epoch, ids) if epoch == mailer.epoch:
                valid_ms = 0 if self._until is None else max(self._until() - steady_ms(), 0)
                answer = lambda go, stop: self._verdicts(mailer, go, stop, valid_ms)  # noqa: E731
                self._put(PassCommitPoint(ids, mailer.held, answer, self._meta))
            case mailwire.Report(epoch, done) if epoch == mailer.epoch:
                mine = [one for one in done if one.message_id in mailer.held]
                elsewhere = self._heard(mine)
                self._put(TakeReports(mine, lambda fates: self._reported(mailer, fates), elsewhere, self._meta))

    def _meta(self) -> dict[str, bytes]:
        return self.traffic.meta(self._clock.now())

    def _heard(self, done: Sequence[mailwire.Done]) -> frozenset[str]:
        """What replies say of receivers and relays, before anything else goes there; the ids of those that another
        relay may take at once."""
        now, elsewhere = self._clock.now(), set()
        for one in done:
            claim = self.outbox.claims.get(one.message_id) if one.kind != "sent" else None
            if claim is not None and self.traffic.heard(claim.lane, claim.route, one, now):
                elsewhere.add(one.message_id)
        return frozenset(elsewhere)

    def welcome(self, mailer: Mailer, credit: int) -> None:
        """From now on it is offered jobs, at most ``credit`` at once."""
        mailer.credit = credit
        self.mailers[mailer.epoch] = mailer
        self._count_credit(mailer, credit)
        templates, leased = list(self._templates().values()), self._until is not None
        settings = replace(self.settings, routes=replace(self.settings.routes, receivers=self._reaches()))
        mailer.send(mailwire.Setup(mailer.epoch, settings, templates, leased))
        self._stirred.set()

    def _count_credit(self, mailer: Mailer, credit: int) -> None:
        self._credits[mailer.epoch] = credit
        self.traffic.slow.credit = sum(self._credits.values())

    def _verdicts(self, mailer: Mailer, go: list[str], stop: list[tuple[str, str]], valid_ms: int) -> None:
        """``valid_ms``: as long as the lease under which it was asked for; one that was renewed since may be without
        the partition of these people."""
        now, claims = self._clock.now(), self.outbox.claims
        for message_id in go:
            if (claim := claims.get(message_id)) is not None:
                claim.asked_at = now
        mailer.send(mailwire.Verdicts(go, stop, valid_ms))

    def _reported(self, mailer: Mailer, fates: list[tuple[mailwire.Done, MessageRow | None]]) -> None:
        now, ended, claims = self._clock.now(), self.traffic.ended, self.outbox.claims
        for done, again in fates:
            if (claim := claims.pop(done.message_id, None)) is not None:
                ended(claim.lane, claim.route, claim.days, done, claim.asked_at, now)
            row = mailer.held.pop(done.message_id, None)
            if done.kind == "stopped" and (present := self._known(done.message_id)) is not None:
                again = present if present.status == "queued" else None
            if again is not None:
                self.outbox.add(again)
            if row is None:
                continue
            mailer.credit += 1
            if done.kind == "sent" and row.cause_received_at:
                self._meter.observe("message_seconds", max(done.at - row.cause_received_at, 0) / 1000)
        self._stirred.set()

    def _known(self, message_id: str) -> MessageRow | None:
        try:
            return self._current(message_id)
        except StoreAway:
            self.outbox.resync()
            return None

    def lost(self, mailer: Mailer) -> None:
        """The socket closed: the lease is over."""
        self.mailers.pop(mailer.epoch, None)
        self._credits.pop(mailer.epoch, None)
        self.traffic.slow.credit = sum(self._credits.values())
        claims = [self.outbox.claims[message_id] for message_id in mailer.held]
        mailer.held.clear()
        if claims:
            log.warning("mailer gone", epoch=mailer.epoch, held=len(claims))
            ids = [claim.row.message_id for claim in claims]
            ended = lambda waiting: self._buried(claims, waiting)  # noqa: E731
            self._put(Bury(ids, ended, "the mailer stopped before the receiver's reply"))

    def _buried(self, claims: Sequence[Entry], waiting: Sequence[MessageRow]) -> None:
        """What it had reported before may be with another by now."""
        again, now = {row.message_id for row in waiting}, self._clock.now()
        for claim in claims:
            message_id = claim.row.message_id
            if self.outbox.claims.get(message_id) is claim:
                self.outbox.done(message_id)
                self.judging.back(claim, NOT_OFFERED if message_id in again else LOST, now)
        self.offer(waiting)

    # -- to be looked at --

    def waiting_for(self, message_id: str) -> str:
        """What keeps a queued message from going, beside its own time and its turn."""
        return self.outbox.waiting_for(message_id)

    def view(self) -> dict[str, Any]:
        """Receivers, senders and relays: limits, pace, suspensions, queues."""
        return traffic_view.view(self.traffic, self._clock.now())

    def watch_gauges(self) -> None:
        traffic_view.watch(self._meter, self.traffic, self._clock.now)

    def feedback(self, row: MessageRow, kind: str) -> None:
        """A bounce or a complaint that came after the mail, for the warm-up of its sender."""
        self.traffic.feedback(self._sender_of(row), kind, self._clock.now())
