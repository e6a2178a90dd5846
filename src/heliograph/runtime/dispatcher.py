"""The dispatcher: offers queued messages to mailer processes over a local socket and carries their answers.

The socket is the lease.  A mailer holds what it was offered until it reports or its socket closes; claims live here, in
memory.  Only ``sending`` and outcomes are written, by work that goes through the processor's one queue.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import structlog

from heliograph.deliver.lifecycle import MISSED
from heliograph.ports import Clock, MessageRow, Store
from heliograph.runtime import mailwire
from heliograph.runtime.claims import Bury, End, PassCommitPoint, TakeReports
from heliograph.runtime.meter import Meter
from heliograph.runtime.outbox import Outbox
from heliograph.runtime.work import Work

LONGEST_SLEEP_S = 1.0
SLICE = 64
"""Messages offered before other tasks have a turn: a render context costs some 50 us."""

log = structlog.get_logger("heliograph.dispatcher")

RenderContext = Callable[[MessageRow], dict[str, Any] | None]


class Mailer:
    """One connected mailer process.  ``held``: the messages that are its own until it reports them."""

    def __init__(self, epoch: int, writer: asyncio.StreamWriter) -> None:
        self.epoch = epoch
        self.credit = 0
        self.held: dict[str, MessageRow] = {}
        self._writer = writer

    def send(self, message: mailwire.FromEngine) -> None:
        if not self._writer.is_closing():
            self._writer.write(mailwire.frame(message))

    def close(self) -> None:
        self._writer.close()


class Dispatcher:
    """``settings``: what mailers need to know; ``templates``: name -> compiled template, of the plan in force;
    ``current``: a message's row as it is now; ``held``: whether the mail of this journey is held."""

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
    ) -> None:
        self._clock, self._meter, self._put, self._current = clock, meter, put, current
        self._render_context, self._templates, self.settings = render_context, templates, settings
        self._store, self._held = store, held
        self.outbox = Outbox(store)
        self.mailers: dict[int, Mailer] = {}
        self._epochs = 0
        self._stirred = asyncio.Event()
        self._opened = asyncio.Event()
        self._draining = False
        self._server: asyncio.Server | None = None
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
            self._put(Bury(lost, self._buried, "the server stopped before the receiver's reply"))

    def offer(self, rows: Sequence[MessageRow]) -> None:
        """Rows just committed as queued.  One that a mailer still holds (it missed its time and was decided again)
        comes back with that mailer's report."""
        for row in rows:
            if not any(row.message_id in mailer.held for mailer in self.mailers.values()):
                self.outbox.add(row)
        if self._opened.is_set() and not self._draining:
            self.offer_slice()  # at once: our task may have to wait for its turn
        self._stirred.set()

    def resync(self) -> None:
        """A commit was undone: what was dropped from memory on its account is still in the store."""
        self.outbox.overflowed = True
        self._stirred.set()

    def lifted(self, _journey: str) -> None:
        """Its mail may go: what was dropped from memory meanwhile is still in the store."""
        self.resync()

    def plan_changed(self) -> None:
        templates = list(self._templates().values())
        for mailer in self.mailers.values():
            mailer.send(mailwire.Templates(templates))

    async def listen(self, path: Path) -> None:
        """Let mailers connect; they are welcomed once :meth:`run` has begun."""
        self._server = await asyncio.start_unix_server(self._serve, str(path))

    async def run(self) -> None:
        """Offer, until cancelled."""
        self._opened.set()
        while True:
            self._stirred.clear()
            if not self._draining and self.offer_slice():
                await asyncio.sleep(0)
            else:
                await self._sleep()

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
        mailer = max(self.mailers.values(), key=lambda one: one.credit, default=None)
        if mailer is None or mailer.credit <= 0:
            return False
        jobs, fates = self._jobs(mailer, min(mailer.credit, SLICE))
        if jobs:
            mailer.credit -= len(jobs)
            mailer.send(mailwire.Offer(jobs))
        if fates:
            self._put(End(fates))
        return bool(jobs or fates or self.outbox.behind)

    def _jobs(self, mailer: Mailer, count: int) -> tuple[list[mailwire.Job], list[tuple[str, str, str]]]:
        now = self._clock.now()
        jobs: list[mailwire.Job] = []
        fates: list[tuple[str, str, str]] = []
        while len(jobs) < count and len(fates) < SLICE and (row := self.outbox.claim(now)) is not None:
            if (present := self._current(row.message_id)) is None or present.status != "queued":
                self.outbox.done(row.message_id)  # cancelled while it waited
            elif fate := self._fate(row, now):
                self.outbox.done(row.message_id)
                fates.append((row.message_id, *fate))
            elif self._held(row.journey):
                self.outbox.done(row.message_id)  # it stays in the store until its journey is lifted
            elif (context := self._render_context(row)) is None:
                self.outbox.done(row.message_id)
                fates.append((row.message_id, "cancelled", "run_gone"))
            else:
                mailer.held[row.message_id] = row
                jobs.append(self._job(row, context))
        return jobs, fates

    def _fate(self, row: MessageRow, now: int) -> tuple[str, str] | None:
        if row.not_after and now >= row.not_after:
            return "deferred", MISSED
        if row.template not in self._templates():
            return "skipped", f"no_template: {row.template}"
        return None

    def _job(self, row: MessageRow, context: dict[str, Any]) -> mailwire.Job:
        return mailwire.Job(
            message_id=row.message_id,
            template=row.template,
            template_version=self._templates()[row.template]["version"],
            address=row.address,
            context=context,
            created_at=row.created_at,
            not_after=row.not_after,
            attempt=row.attempt + 1,
            topic=row.topic,
            key=row.key,
        )

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
        except (asyncio.IncompleteReadError, ConnectionError):
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
                self._put(PassCommitPoint(ids, mailer.held, lambda go, stop: self._verdicts(mailer, go, stop)))
            case mailwire.Report(epoch, done) if epoch == mailer.epoch:
                mine = [one for one in done if one.message_id in mailer.held]
                self._put(TakeReports(mine, lambda fates: self._reported(mailer, fates)))

    def welcome(self, mailer: Mailer, credit: int) -> None:
        """From now on it is offered jobs, at most ``credit`` at once."""
        mailer.credit = credit
        self.mailers[mailer.epoch] = mailer
        mailer.send(mailwire.Setup(mailer.epoch, self.settings, list(self._templates().values())))
        self._stirred.set()

    def _verdicts(self, mailer: Mailer, go: list[str], stop: list[tuple[str, str]]) -> None:
        mailer.send(mailwire.Verdicts(go, stop))

    def _reported(self, mailer: Mailer, fates: list[tuple[mailwire.Done, MessageRow | None]]) -> None:
        for done, again in fates:
            self.outbox.done(done.message_id)
            row = mailer.held.pop(done.message_id, None)
            if done.kind == "stopped" and (present := self._current(done.message_id)) is not None:
                again = present if present.status == "queued" else None
            if again is not None:
                self.outbox.add(again)
            if row is None:
                continue
            mailer.credit += 1
            if done.kind == "sent" and row.cause_received_at:
                self._meter.observe("message_seconds", max(done.at - row.cause_received_at, 0) / 1000)
        self._stirred.set()

    def lost(self, mailer: Mailer) -> None:
        """The socket closed: the lease is over."""
        self.mailers.pop(mailer.epoch, None)
        held = list(mailer.held)
        mailer.held.clear()
        if held:
            log.warning("mailer gone", epoch=mailer.epoch, held=len(held))
            self._put(Bury(held, self._buried, "the mailer stopped before the receiver's reply"))

    def _buried(self, message_ids: Sequence[str], waiting: Sequence[MessageRow]) -> None:
        for message_id in message_ids:
            self.outbox.done(message_id)
        self.offer(waiting)
