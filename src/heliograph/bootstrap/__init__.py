"""Where everything is wired: the only place that picks adapters.

``serve`` is the command; ``running`` is the same server inside somebody else's event loop (demo, tests, bench)::

    async with running(settings, data=folder, document=document) as server:
        server.url, server.engine
"""

import asyncio
import contextlib
import gc
import os
import secrets
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, cast

import msgspec
import structlog
import uvloop

from heliograph import console, render
from heliograph.adapters.dns import Resolver
from heliograph.adapters.http import Door, HttpServer, parse_rate
from heliograph.adapters.http.reply import App
from heliograph.adapters.memory import MemoryStore
from heliograph.adapters.rocksdb import RocksStore
from heliograph.adapters.schema import JsonSchema
from heliograph.adapters.webhook import AiohttpCaller
from heliograph.backtest.service import TrialService
from heliograph.bootstrap.breaker import breaker_rules
from heliograph.bootstrap.mail import mail_settings, trial
from heliograph.bootstrap.traffic import shaping
from heliograph.config import Settings
from heliograph.console.mail import SendTest
from heliograph.deliver.webhooks import read_secret
from heliograph.ports import Clock, Commit, Store
from heliograph.project import ProjectError, plan_document
from heliograph.render.links import LinkKeys
from heliograph.runtime.engine import EmbeddedEngine
from heliograph.runtime.logs import configure_logs as configure_logs  # also for the demo
from heliograph.runtime.mailer import credit
from heliograph.runtime.mailer_press import Press
from heliograph.runtime.mailwire import Job
from heliograph.runtime.supervisor import Supervisor

NOBODY: dict[str, Any] = {"profile": {}, "event": None, "trigger": None, "run": {}, "last": {}, "webhook": {}}
"""What Liquid sees in a trial without a profile."""
LINK_KEYS = "link_keys"
"""Meta value: {key id: secret} for the links in mails; keys are added, never taken away."""
SWITCH_INTERVAL_S = 0.0005
"""How long the thread that syncs may have to wait for the interpreter when it is done (Python's default: 5 ms)."""
GC_THRESHOLDS = (5_000, 500, 1_000)
"""Young objects are looked at every 5,000 allocations: 1 ms, 5 ms at most (at 50,000 it was 18 and 55 ms, while nothing
else can go on); it is 2 % of the CPU time instead of 1 %.  Everything is looked at practically never."""
DRAIN_S = 10.0
HTTP_DRAIN_S = 2.0
"""For answers under way; a page that watches the live feed would hold on for ever."""

log = structlog.get_logger("heliograph")


class Server:
    """A running server.  ``failed`` of its engine resolves when only a new process helps."""

    def __init__(self, engine: EmbeddedEngine, http: HttpServer, supervisor: Supervisor, base_url: str) -> None:
        self.engine = engine
        self.supervisor = supervisor
        self.base_url = base_url
        self._http = http

    @property
    def port(self) -> int:
        return self._http.port

    @property
    def url(self) -> str:
        return f"http://{self._http.host}:{self._http.port}"


def serve(settings: Settings, project: Path, data: Path) -> None:
    """Run a server until SIGTERM or SIGINT.  The project folder is read only when the store has no plan yet."""
    configure_logs()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(settings, project, data))


async def _first(*happenings: Awaitable[Any]) -> None:
    """Wait for one of them; the others are given up."""
    tasks = [asyncio.ensure_future(happening) for happening in happenings]
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)


async def _serve(settings: Settings, project: Path, data: Path) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    document = lambda: document_of(project)  # noqa: E731
    async with running(settings, data=data, document=document) as server:
        log.info("serving", url=server.url, plan=server.engine.plan.version, pid=os.getpid())
        await _first(stop.wait(), server.engine.failed)
        log.info("stopping")
        failure = server.engine.failed.result() if server.engine.failed.done() else None
    if failure is not None:
        raise failure


def document_of(project: Path) -> dict[str, Any]:
    """The plan document of a project folder; :class:`ProjectError` when it has mistakes."""
    document, findings = plan_document(project)
    if errors := [finding for finding in findings if not finding.warning]:
        raise ProjectError(errors)
    return document


@contextlib.asynccontextmanager
async def running(
    settings: Settings,
    *,
    data: Path | None,
    document: dict[str, Any] | Callable[[], dict[str, Any]],
    extra: Callable[[EmbeddedEngine], Sequence[Any]] = lambda _: (),
    open_pages: bool = False,
    follow_port: bool = False,
    clock: Clock | None = None,
) -> AsyncIterator[Server]:
    """A whole server.  ``data`` None keeps everything in memory.  ``document``: published when there is no plan yet.
    ``extra``: Litestar handlers of a demo, made for this engine.  ``follow_port``: links in mails lead to the port that
    was really taken."""
    async with contextlib.AsyncExitStack() as stack:
        store: Store = MemoryStore() if data is None else RocksStore(data)
        stack.callback(store.close)
        keys = link_keys(store)
        traffic = shaping(settings)
        mx = Resolver(settings.direct.nameservers) if traffic.rollup else None
        if mx is not None:
            stack.push_async_callback(mx.close)
        engine = EmbeddedEngine(
            store, compile_schema=JsonSchema, load_template=render.load, clock=clock, caller=AiohttpCaller(),
            breaker=breaker_rules(settings.breaker),
            mail_settings=mail_settings(settings, keys, data),
            webhook_keys=list(map(read_secret, settings.webhooks.secrets)), shaping=traffic, mx=mx,
        )  # fmt: skip
        socket = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="heliograph-"))) / "mail.sock"
        supervisor = Supervisor(socket, settings.smtp.mailers, credit(engine.dispatcher.settings.routes))
        stack.push_async_callback(supervisor.stop)
        stack.push_async_callback(engine.stop, DRAIN_S)
        await engine.dispatcher.listen(socket)
        supervisor.start()  # they load while we recover
        trying = TrialService(data, engine.clock)
        stack.push_async_callback(trying.stop)
        front = door(settings, engine, LinkKeys(keys), fallback(settings, engine, trying, extra(engine), open_pages))
        engine.meter.watch_tally("door_total", lambda: front.collect.counts)
        http = HttpServer(front, settings.server.host, settings.server.port)
        await http.start()
        stack.push_async_callback(http.stop, HTTP_DRAIN_S)
        stack.push_async_callback(engine.stop, DRAIN_S)  # before the door closes: who still calls hears 503
        stack.callback(supervisor.expect_end)
        base_url = f"http://{http.host}:{http.port}" if follow_port else settings.project.base_url
        engine.dispatcher.settings = msgspec.structs.replace(engine.dispatcher.settings, base_url=base_url)
        first = None if store.plan() is not None else document() if callable(document) else document
        await engine.start(first)
        if data is not None and settings.clickhouse.url and not settings.kafka.brokers:
            from heliograph.bootstrap.facts import FactsKeeper, job_of  # which is run as a program, too

            keeper = FactsKeeper(job_of(settings, data))
            engine.meter.watch("facts_lag_seconds", keeper.lag_s)
            stack.push_async_callback(asyncio.to_thread, keeper.stop)
            keeper.start()
        tune_interpreter()
        yield Server(engine, http, supervisor, base_url)


def door(settings: Settings, engine: EmbeddedEngine, keys: LinkKeys, pages: App) -> Door:
    """The one ASGI application."""
    return Door(
        engine,
        write_keys=(settings.collect.write_key,),
        events_per_second=parse_rate(settings.collect.rate_limit),
        link_keys=keys,
        brand=settings.project.name,
        fallback=pages,
        proxies=settings.server.trusted_proxies,
    )


def fallback(
    settings: Settings, engine: EmbeddedEngine, trying: TrialService, extra: Sequence[Any], open_pages: bool
) -> App:
    """The API and the pages: everything that is neither collected nor linked from a mail."""
    secure = settings.project.base_url.startswith("https:")
    access = console.Access(settings.api.token, open_pages=open_pages, secure=secure)
    pages: Any = console.build(
        engine,
        access,
        registry=engine.meter.registry,
        send_test=send_test(settings, engine),
        trying=trying,
        extra=extra,
    )
    return cast(App, pages)


def send_test(settings: Settings, engine: EmbeddedEngine) -> SendTest:
    """A trial: rendered with the plan in force and sent at once, beside the ledger."""

    async def send(name: str, address: str, context: dict[str, Any] | None) -> tuple[bool, str]:
        now, template = engine.clock.now(), engine.plan.templates[name]
        job = Job(
            message_id=secrets.token_hex(13), template=name, template_version=template["version"], address=address,
            context=context or NOBODY | {"now": now}, created_at=now, not_after=0,
        )  # fmt: skip
        try:
            parcel = Press(engine.dispatcher.settings, [template]).print(job, now)
        except render.Skip as skip:
            return False, f"this profile would be skipped: {skip.reason}"
        sender = settings.sender[template["sender"]]
        return await trial(engine.dispatcher.settings.routes, sender.relays, parcel)

    return send


def link_keys(store: Store) -> dict[int, bytes]:
    """The secrets behind the links in mails, made when the store is new."""
    if stored := store.meta(LINK_KEYS):
        return msgspec.msgpack.decode(stored, type=dict[int, bytes])
    keys = {1: secrets.token_bytes(32)}
    store.commit(Commit(meta={LINK_KEYS: msgspec.msgpack.encode(keys)}))
    return keys


def tune_interpreter() -> None:
    """For a process that holds many long-lived objects: states in memory are no garbage, and walking through all of
    them would hold everybody up for tenths of a second."""
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
