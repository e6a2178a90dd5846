"""A mailer process: ``python -m heliograph.runtime.mailer --socket PATH``.

It connects to the engine's socket, renders and signs what it is offered, sends it, and reports
(:mod:`heliograph.runtime.mailwire` has the words).  It never opens the store.

Everything happens in one event loop.  Rendering is CPU work of some hundred microseconds, so it is done in small
slices between the work of the sockets.  Jobs wait in *lanes*, one for each (route, receiver): a lane is rendered only
while the transport has room for it, because what is rendered later shows fresher data, and lanes take turns, so one
whose receiver is slow or away holds up no other.  Commit points are asked for by the transport, in batches of what is
waiting; outcomes of one turn of the loop travel in one report.

The process ends when the socket closes, on ``Drain`` and on SIGTERM: it renders nothing more, finishes what is past its
commit point within :attr:`MailerSettings.drain_s`, reports if anybody still listens, and exits.
"""

import argparse
import asyncio
import gc
import os
import pkgutil
import signal
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import msgspec
import structlog
import uvloop
from msgspec.structs import replace

from heliograph.deliver.mx import domain_of
from heliograph.deliver.replies import condemns_address, parse
from heliograph.deliver.routes import DIRECT, Routes
from heliograph.ports import Courier, Leave, Parcel, Transport, Verdict, steady_ms
from heliograph.render import Skip
from heliograph.runtime import mailwire
from heliograph.runtime.logs import configure_logs
from heliograph.runtime.mailer_press import Press
from heliograph.runtime.mailwire import (
    AskCommit,
    Done,
    Drain,
    FromMailer,
    Hello,
    Job,
    Offer,
    Reaches,
    Report,
    Setup,
    Templates,
    Unframer,
    Verdicts,
)

CREDIT: Final = 128
"""Jobs held at once, beside those on connections beyond the first :data:`FEW`.  At 10 ms from report to next offer
that carries 12,800 messages/s; more would only wait here while their data grows old."""
FEW: Final = 32
"""Connections that :data:`CREDIT` keeps busy."""
SLICE: Final = 8
"""Messages rendered before the sockets have their turn: about a millisecond of 10 KB each, unsigned; four with RSA."""
CONNECT_S: Final = 10.0

TRANSPORT: Final = "heliograph.adapters.smtp:transport"
DNS: Final = "heliograph.adapters.dns:Resolver"
"""Named, not imported: the layers below know no adapter."""

OpenTransport = Callable[[Routes, Courier], Transport]
Lane = tuple[str, str]
"""Route and receiver."""

log = structlog.get_logger("heliograph.mailer")


def credit(routes: Routes) -> int:
    """How many jobs a mailer with these ways out should hold: two for each connection, one in flight and one behind
    it, and some that are being rendered or reported."""
    return CREDIT + 2 * max(0, routes.connections - FEW)


def over_smtp(routes: Routes, courier: Courier) -> Transport:
    """The transport of every mailer, with DNS for the routes that need it."""
    open_dns = pkgutil.resolve_name(DNS) if routes.direct else None
    opened: Transport = pkgutil.resolve_name(TRANSPORT)(routes, courier, open_dns)
    return opened


def _condemns(verdict: Verdict) -> bool:
    return condemns_address(verdict.stage, verdict.code, verdict.enhanced, parse(verdict.reply).text)


def wall_ms() -> int:
    return time.time_ns() // 1_000_000


class Mailer(asyncio.Protocol):
    """The engine's socket on one side, a transport on the other.  ``ended`` is set when the engine is done with us."""

    def __init__(self, open_transport: OpenTransport, now: Callable[[], int] = wall_ms, credit: int = CREDIT) -> None:
        self._open_transport = open_transport
        self._credit = credit
        self._now = now
        self._loop = asyncio.get_running_loop()
        self._unframer = Unframer()
        self._socket: asyncio.Transport | None = None
        self._frames: list[bytes] = []
        self._settings: mailwire.MailerSettings | None = None
        self._press: Press | None = None
        self._mail: Transport | None = None
        self._epoch = 0
        self._leased = False
        self._leaves: dict[str, Leave] = {}
        """Where the engine is leased: of what is posted and not decided."""
        self._lanes: dict[Lane, deque[Job]] = {}
        self._done: list[Done] = []
        self._reporting = False
        self._rendering = False
        self._complaints: dict[str, str] = {}
        self.ended = asyncio.Event()
        self.failure = ""

    # -- the engine's socket --

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._socket = transport  # type: ignore[assignment]  # uvloop's transports are not registered
        self._say(Hello(os.getpid(), self._credit))

    def data_received(self, data: bytes) -> None:
        try:
            for body in self._unframer.feed(data):
                self._hear(mailwire.from_engine.decode(body))
        except (mailwire.BrokenPeer, msgspec.MsgspecError) as error:
            self._fail(f"the engine speaks nonsense: {error}")

    def connection_lost(self, exc: Exception | None) -> None:
        self._socket = None
        if self._mail is not None:
            self._mail.decided((), ())  # nobody will answer any more
        self.ended.set()

    def _hear(self, message: mailwire.FromEngine) -> None:
        match message:
            case Offer(jobs):
                for job in jobs:
                    self._queue(job)
                self._render_soon()
            case Verdicts(go, stop, valid_ms):
                self._decided(go, stop, valid_ms)
            case Templates(templates) if self._press is not None:
                self._press.learn(templates)
            case Reaches(receivers) if self._mail is not None:
                self._mail.reach(receivers)
                self._render_soon()
            case Setup():
                self._set_up(message)
            case Drain():
                self.ended.set()

    def _set_up(self, setup: Setup) -> None:
        settings = self._settings = setup.settings
        self._epoch, self._leased = setup.epoch, setup.leased
        try:
            self._press = Press(settings, setup.templates)
            self._mail = self._open_transport(settings.routes, self)
        except ValueError as error:
            self._fail(f"cannot mail with these settings: {error}")
        gc.freeze()  # templates and settings stay: no collection need look at them again

    def _say(self, message: FromMailer) -> None:
        """What is said in one turn of the loop leaves in one write: outcomes and the ask that follows from them."""
        if not self._frames:
            self._loop.call_soon(self._flush)
        self._frames.append(mailwire.frame(message))

    def _flush(self) -> None:
        frames, self._frames = self._frames, []
        if frames and self._socket is not None:
            self._socket.write(b"".join(frames))

    def _fail(self, why: str) -> None:
        self.failure = self.failure or why
        self.ended.set()

    # -- rendering --

    def _queue(self, job: Job) -> None:
        receiver = job.receiver
        if not receiver and job.route == DIRECT:
            receiver = domain_of(job.address)  # nobody told receivers apart: domains do
        lane = self._lanes.get((job.route, receiver))
        if lane is None:
            lane = self._lanes[job.route, receiver] = deque()
        lane.append(job)

    def _render_soon(self) -> None:
        if not self._rendering and self._lanes:
            self._rendering = True
            self._loop.call_soon(self._render)

    def _render(self) -> None:
        """A slice; the next one comes after the sockets had their turn, and begins with the next lane."""
        self._rendering = False
        mail, left = self._mail, SLICE
        if mail is None or self.ended.is_set():
            return
        for name in list(self._lanes):
            wanted = min(mail.room(*name), left)
            if wanted > 0:
                left -= self._render_some(name, wanted, mail)
            if not left:
                self._render_soon()
                return

    def _render_some(self, name: Lane, wanted: int, mail: Transport) -> int:
        """Up to ``wanted`` of this lane, which goes to the end of the round; how many it were."""
        lane = self._lanes.pop(name)
        count = min(wanted, len(lane))
        for _ in range(count):
            self._render_one(lane.popleft(), mail)
        if lane:
            self._lanes[name] = lane
        return count

    def _render_one(self, job: Job, mail: Transport) -> None:
        assert self._press is not None, "jobs come after the set-up"
        now = self._now()
        if job.not_after and now >= job.not_after:
            self._finish(Done(job.message_id, "missed", "", now))
            return
        try:
            parcel = self._press.print(job, now)
            mail.post(self._with_leave(parcel) if self._leased else parcel)
        except Skip as skip:
            self._finish(Done(job.message_id, "skipped", skip.reason, now))
        except Exception as error:  # one message must not stop all the others
            log.exception("a message could not be rendered", message_id=job.message_id, template=job.template)
            self._finish(Done(job.message_id, "skipped", f"render_failed: {error!r}"[:500], now))

    def _with_leave(self, parcel: Parcel) -> Parcel:
        leave = self._leaves[parcel.message_id] = Leave()
        return replace(parcel, leave=leave)

    # -- the courier of the transport --

    def ask(self, message_ids: Sequence[str]) -> None:
        if self._leased:
            now = steady_ms()
            for message_id in message_ids:
                self._leaves[message_id].asked_at = now
        self._say(AskCommit(self._epoch, list(message_ids)))
        self._render_soon()

    def delivered(self, parcel: Parcel, verdict: Verdict) -> None:
        self._leaves.pop(parcel.message_id, None)
        suppress = verdict.kind == "bounced" and _condemns(verdict)
        size = len(parcel.data)
        code, stage = verdict.code, verdict.stage
        self._finish(Done(parcel.message_id, verdict.kind, verdict.reply, self._now(), size, suppress, code, stage))
        self._notice(parcel.route, verdict)
        self._render_soon()

    def _decided(self, go: list[str], stop: list[tuple[str, str]], valid_ms: int) -> None:
        now = self._now()
        if self._leased:
            self._give_leave(go, stop, valid_ms)
        for message_id, reason in stop:
            self._finish(Done(message_id, "stopped", reason, now))
        if self._mail is not None:
            self._mail.decided(go, [message_id for message_id, _ in stop])

    def _give_leave(self, go: list[str], stop: list[tuple[str, str]], valid_ms: int) -> None:
        for message_id, _ in stop:
            self._leaves.pop(message_id, None)
        for message_id in go:
            if (leave := self._leaves.pop(message_id, None)) is not None:
                leave.until = leave.asked_at + valid_ms

    def _notice(self, route: str, verdict: Verdict) -> None:
        """Trouble with a relay is logged once when it begins and once when it ends; receivers are too many."""
        complaint = verdict.reply if verdict.stage == "connect" else ""
        if not complaint and not self._complaints:
            return
        before = self._complaints.pop(route, "")
        if complaint and route != DIRECT:
            self._complaints[route] = complaint
            if complaint != before:
                log.warning("the relay takes no mail", relay=route, reason=complaint)
        elif before:
            log.info("the relay takes mail again", relay=route)

    # -- reports --

    def _finish(self, done: Done) -> None:
        self._done.append(done)
        if not self._reporting:
            self._reporting = True
            self._loop.call_soon(self._report)

    def _report(self) -> None:
        self._reporting = False
        if self._done:
            done, self._done = self._done, []
            self._say(Report(self._epoch, done))

    async def close(self) -> None:
        """Finish what is past its commit point, report, hang up."""
        self.ended.set()
        self._lanes.clear()
        if self._mail is not None and self._settings is not None:
            await self._mail.close(self._settings.drain_s)
        self._report()
        self._flush()
        if self._socket is not None:
            self._socket.close()


async def run(socket: Path, open_transport: OpenTransport, credit: int = CREDIT) -> str:
    """Mail until the engine ends it; the reason when that was a failure, else an empty text."""
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(CONNECT_S):
        _, mailer = await loop.create_unix_connection(lambda: Mailer(open_transport, credit=credit), str(socket))
    loop.add_signal_handler(signal.SIGTERM, mailer.ended.set)
    await mailer.ended.wait()
    await mailer.close()
    return mailer.failure


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="heliograph-mailer", description="Renders and sends mail for an engine.")
    parser.add_argument("--socket", type=Path, required=True, help="the engine's local socket")
    parser.add_argument("--transport", help="MODULE:FUNCTION that opens another transport, from (routes, courier)")
    parser.add_argument("--credit", type=int, default=CREDIT, help="jobs held at once")
    options = parser.parse_args(arguments)
    configure_logs()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the whole group: the engine decides when we end
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            open_transport = pkgutil.resolve_name(options.transport) if options.transport else over_smtp
            failure = runner.run(run(options.socket, open_transport, options.credit))
    except (OSError, TimeoutError) as error:
        failure = f"no engine at {options.socket}: {error}"
    if failure:
        log.error("mailer ends", reason=failure)
    return 1 if failure else 0


if __name__ == "__main__":
    raise SystemExit(main())
