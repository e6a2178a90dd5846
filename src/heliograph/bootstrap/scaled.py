"""A process of several machines: what it does follows from its role.

::

    front loop       HTTP; events -> edge -> log or spool; the plan as the topic tells it
    backstage        everything that may wait for the store: API, links, decisions carried out, mail

``collect``: takes events, serves the API and links.  ``deliver``: carries out decisions and mails; serves the API, too.
``all``: both.  A process starts whatever is away, and does what it can meanwhile; ``/readyz`` says what that is.
"""

import asyncio
import contextlib
import os
import signal
import tempfile
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any, Final

import structlog
import uvloop

from heliograph.adapters.http import Aside, Front, HttpServer, parse_rate
from heliograph.adapters.schema import JsonSchema
from heliograph.adapters.spool import FileSpool
from heliograph.bootstrap import document_of, tune_interpreter
from heliograph.bootstrap.backs import DRAIN_S, Backs, Document
from heliograph.bootstrap.backstage import Stage
from heliograph.bootstrap.mail import routes
from heliograph.bootstrap.world import World, require_topics, world_of
from heliograph.config import Settings
from heliograph.ports import Arrival, Busy, Clock, Gate, Result, StoreAway, StoreTooNew, Stream, StreamAway, Trouble
from heliograph.runtime.clock import SystemClock
from heliograph.runtime.desk import Published
from heliograph.runtime.edge import Edge, Words
from heliograph.runtime.funnel import Funnel
from heliograph.runtime.lag import Lag
from heliograph.runtime.logs import configure_logs
from heliograph.runtime.mailer import credit
from heliograph.runtime.meter import Meter
from heliograph.runtime.plan_watch import PlanWatch
from heliograph.runtime.scaled import ScaledEngine
from heliograph.runtime.supervisor import Supervisor

ALL: Final = "all"
COLLECT: Final = "collect"
DELIVER: Final = "deliver"
ROLES: Final = (ALL, COLLECT, DELIVER)
HTTP_DRAIN_S: Final = 2.0
RETRY_S: Final = 1.0
ANNOUNCED_S: Final = 10.0
"""A plan that the topic does not tell within this is told again."""
MB: Final = 1024 * 1024

log = structlog.get_logger("heliograph")


class ClosedGate:
    """Of a process that only delivers."""

    def __init__(self, clock: Clock, ready: Callable[[], bool]) -> None:
        self.clock = clock
        self._ready = ready

    @property
    def ready(self) -> bool:
        return self._ready()

    async def collect(self, arrivals: Sequence[Arrival]) -> list[Result]:
        raise Busy("this process only delivers; send events to one that collects (--role collect)", 60)


class ScaledServer:
    """One process.  ``failed`` resolves when only a new one helps.  Life: :meth:`start` .. :meth:`stop`."""

    def __init__(
        self, settings: Settings, world: World, stage: Stage, stream: Stream, *, role: str,
        data: Path, document: Document, folder: Path, clock: Clock | None,
    ) -> None:  # fmt: skip
        self.failed: asyncio.Future[Exception] = asyncio.get_running_loop().create_future()
        self.meter, self._settings, self._stage, self._role = Meter(), settings, stage, role
        self.watch = PlanWatch(stream, JsonSchema, self._plan_changed)
        self.backs = Backs(
            settings, world, self.meter, delivers=role != COLLECT, collects=role != DELIVER, data=data,
            document=document, socket=folder / "mail.sock", clock=clock, failed=self._fail,
        )  # fmt: skip
        self.spool = FileSpool(data / "spool", settings.kafka.spool_mb * MB) if self._spools else None
        self.funnel = Funnel(stream.appender(), self.spool, self.meter)
        self.edge = Edge(self.funnel, clock or SystemClock(), self.meter, lambda: self.watch.published)
        self._supervisor = Supervisor(folder / "mail.sock", settings.smtp.mailers, credit(routes(settings, data)))
        self._http = HttpServer(self._front(), settings.server.host, settings.server.port)
        self._tasks: list[asyncio.Task[None]] = []
        self._lag: Lag | None = None
        self.meter.watch("decided_lag_seconds", lambda: 0.0 if self._lag is None else self._lag.seconds)
        self.meter.watch("plan_refused", lambda: self.watch.refused)

    @property
    def _spools(self) -> bool:
        return self._role != DELIVER and self._settings.kafka.spool_mb > 0

    def _front(self) -> Front:
        settings = self._settings
        gate: Gate = ClosedGate(self.edge.clock, self._engine_ready) if self._role == DELIVER else self.edge
        front = Front(
            gate,
            write_keys=(settings.collect.write_key,),
            events_per_second=parse_rate(settings.collect.rate_limit),
            fallback=Aside(self.backs, self._stage.loop),
            proxies=settings.server.trusted_proxies,
            troubles=self.troubles,
        )
        self.meter.watch_tally("door_total", lambda: front.collect.counts)
        return front

    # -- what it is --

    @property
    def engine(self) -> ScaledEngine:
        assert self.backs.engine is not None
        return self.backs.engine

    @property
    def port(self) -> int:
        return self._http.port

    @property
    def url(self) -> str:
        return f"http://{self._http.host}:{self._http.port}"

    def _engine_ready(self) -> bool:
        return self.backs.engine is not None and self.backs.engine.ready

    def troubles(self) -> list[Trouble]:
        """What is away, for ``/readyz``."""
        behind = [] if self._lag is None else self._lag.troubles()
        return [*self._of_the_log(), *self.watch.troubles(), *self.backs.troubles(), *behind]

    def _of_the_log(self) -> list[Trouble]:
        why = self.funnel.away or self.watch.away
        if not why or self._role == DELIVER:
            return []
        if self.watch.published is None:
            return [Trouble("kafka", why, "no plan is known, so nothing can be taken: events are answered 503")]
        if self.spool is None:
            return [Trouble("kafka", why, "events are answered 503 (kafka.spool_mb is 0)")]
        room = f"{self.spool.size / MB:.1f} of {self._settings.kafka.spool_mb} MB"
        return [Trouble("kafka", why, f"events are kept on this machine's disk ({room}) and decided when it is back")]

    # -- life --

    async def start(self, *, follow_port: bool) -> None:
        """Listen, then open what lives backstage; without the store, again and again until it is there."""
        await self._http.start()
        if follow_port:
            self.backs.base_url = self.url
        if self._role != DELIVER:
            self.funnel.start()
        self._tasks.append(asyncio.create_task(self.watch.run(), name="plan"))
        self._tasks[-1].add_done_callback(self._ended)
        if not await self._open():
            self._tasks.append(asyncio.create_task(self._open_later(), name="store"))
            self._tasks[-1].add_done_callback(self._ended)

    async def _open(self) -> bool:
        try:
            await self._stage.run(self.backs.open())
        except (StoreAway, StreamAway, StoreTooNew) as error:
            if isinstance(error, StoreTooNew) and self._role == DELIVER:
                raise
            if self.backs.why != str(error):
                log.warning("not yet", reason=str(error))
            self.backs.why = str(error) or "no answer"
            return False
        assert self.backs.store is not None
        self.edge.words = Words(self.backs.store, self.meter)
        self._lag = Lag(self.backs.store, lambda: self.edge.latest, self._settings.kafka.partitions)
        self._tasks.append(asyncio.create_task(self._lag.run(), name="lag"))
        if self._role != COLLECT:
            self._supervisor.start()
        self._tasks.append(asyncio.create_task(self._announce(), name="announce"))
        self._tasks[-1].add_done_callback(self._ended)
        return True

    async def _open_later(self) -> None:
        opened = False
        while not opened:
            await asyncio.sleep(RETRY_S)
            opened = await self._open()

    async def _announce(self) -> None:
        """The log may be new, or have lost what it knew: then it is told the plan in force once more."""
        await asyncio.sleep(ANNOUNCED_S)
        while max(self.watch.version, self.watch.refused) < self.engine.plan.version:
            log.warning("the log does not know the plan in force: it is told again", version=self.engine.plan.version)
            try:
                await self._stage.run(self.engine.announce())
                return
            except (StoreAway, Busy) as error:
                log.warning("the plan cannot be told yet", reason=str(error))
            await asyncio.sleep(RETRY_S)

    async def stop(self) -> None:
        """Events hear 503, what was taken is brought to an end, then mail, then the pages."""
        self.edge.closing = True
        self._supervisor.expect_end()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.funnel.close(DRAIN_S)
        await self._stage.run(self.backs.close())
        await self._http.stop(HTTP_DRAIN_S)
        await self._supervisor.stop()
        if self.edge.words is not None:
            self.edge.words.close()
        if self.spool is not None:
            self.spool.close()

    def _ended(self, task: "asyncio.Task[None]") -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self._fail(error if isinstance(error, Exception) else RuntimeError(str(error)))

    def _fail(self, error: Exception) -> None:
        """From any thread."""
        self.failed.get_loop().call_soon_threadsafe(self._failed_with, error)

    def _failed_with(self, error: Exception) -> None:
        if not self.failed.done():
            self.failed.set_result(error)

    async def _plan_changed(self, published: Published) -> None:
        if self.backs.engine is not None:
            await self._stage.run(self.backs.engine.plan_changed(published))


@contextlib.asynccontextmanager
async def running(
    settings: Settings, *, data: Path, document: Document, role: str = ALL, world: World | None = None,
    clock: Clock | None = None, follow_port: bool = False,
) -> AsyncIterator[ScaledServer]:  # fmt: skip
    """A whole process.  ``document``: published when nobody has published anything.  ``data``: the spool, and what
    mailers keep; each process its own."""
    world = world or world_of(settings)
    async with contextlib.AsyncExitStack() as stack:
        stage: Stage = stack.enter_context(world.stage())
        stream = world.stream()
        stack.push_async_callback(stream.close)
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="heliograph-")))
        server = ScaledServer(
            settings, world, stage, stream, role=role, data=data, document=document, folder=folder, clock=clock
        )  # fmt: skip
        stack.push_async_callback(server.stop)
        await server.start(follow_port=follow_port)
        tune_interpreter()
        yield server


def serve(settings: Settings, project: Path, data: Path, role: str) -> None:
    """Run a process of this role until SIGTERM or SIGINT."""
    configure_logs()
    require_topics(settings)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(settings, project, data, role))


async def _serve(settings: Settings, project: Path, data: Path, role: str) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with running(settings, data=data, document=lambda: document_of(project), role=role) as server:
        log.info("serving", url=server.url, role=role, pid=os.getpid())
        ends: list[asyncio.Future[Any]] = [asyncio.ensure_future(stop.wait()), server.failed]
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        log.info("stopping")
        failure = server.failed.result() if server.failed.done() else None
    if failure is not None:
        raise failure
