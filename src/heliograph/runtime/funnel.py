"""The way from a collector to the shared log, with the disk as its side way.

::

    direct    call --> appender --> acknowledged --> 200 (log)
                                \\-- away, or slower than SLOW_S: everything under way goes to the spool, in its order
    spooling  call --> spool --> synced --> 200 (spool)          meanwhile: spool --> appender, from its front
                                \\-- when only what is being synced is left, that is appended, and what comes from then
                                    on goes direct, behind it; who waits for that sync waits for the log instead

Order: one appender keeps its order per partition, and nothing passes by a spool that is not empty: whoever was answered
before a call began is in front of it.  What was under way when the log went away may be there twice; it has its ids.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Sequence
from typing import Final

import structlog

from heliograph.ports.engine import Busy
from heliograph.ports.spool import Spool, SpoolFull
from heliograph.ports.stream import Appender, Post, StreamAway, StreamRefused
from heliograph.runtime.meter import Meter

LOG: Final = "log"
"""Durable: all in-sync replicas have it."""
SPOOL: Final = "spool"
"""Durable: it is on this machine's disk."""
SLOW_S: Final = 1.0
"""An answer that takes longer is no answer: clients give up after some seconds, and try again."""
LOOK_S: Final = 0.25
MAX_UNDER_WAY: Final = 8_192
"""Entries that were not acknowledged yet; as many as may wait for the processor of one machine."""
DRAIN: Final = 1_000
"""Entries that go from the spool to the log at a time."""
PAUSE_S: Final = 0.5
"""Between tries while the log is away."""
FULL_S: Final = 5
"""Retry-After when nothing more can be kept."""

log = structlog.get_logger("heliograph.collector")


class _Call:
    """What one caller waits for.  ``durable`` becomes :data:`LOG` or :data:`SPOOL`.  ``refused``: why the spool did not
    keep it, None as long as it may; ``held``: not to be answered by the spool alone."""

    __slots__ = ("durable", "held", "posts", "refused", "since")

    def __init__(self, posts: Sequence[Post], since: float, durable: "asyncio.Future[str]") -> None:
        self.posts, self.since, self.durable = posts, since, durable
        self.refused: Busy | None = None
        self.held = False

    def end(self, durable: str) -> None:
        if not self.durable.done():
            self.durable.set_result(durable)

    def fail(self, error: Exception) -> None:
        if not self.durable.done():
            self.durable.set_exception(error)


class Funnel:
    """``spool`` None: while the log is away, callers hear :class:`Busy`."""

    def __init__(
        self, appender: Appender, spool: Spool | None, meter: Meter, *, slow_s: float = SLOW_S, pause_s: float = PAUSE_S
    ) -> None:
        self.away = ""
        """Why the log does not take anything, "" when it does."""
        self.spool = spool
        self._appender, self._meter = appender, meter
        self._slow_s, self._pause_s = slow_s, pause_s
        self._under_way: dict[_Call, None] = {}
        self._keeping: dict[_Call, None] = {}
        """Calls that the spool is syncing, in its order."""
        self._entries = 0
        self._spooling = False
        self._draining: asyncio.Task[None] | None = None
        self._looking = self._closed = False
        meter.watch("spool_bytes", lambda: 0 if spool is None else spool.size)

    def start(self) -> None:
        """What an earlier process left in the spool goes first."""
        if self.spool is not None and self.spool.waiting:
            log.info("the spool of an earlier process is being emptied", entries=self.spool.waiting)
            self._divert()

    @property
    def spooling(self) -> bool:
        return self._spooling

    def put(self, posts: Sequence[Post]) -> "asyncio.Future[str]":
        """Queue at once, in order; awaited: durable, and where.  :class:`Busy` when neither takes it."""
        if self._closed:
            raise Busy("stopping", 2)
        if self._entries >= MAX_UNDER_WAY:
            self._meter.count("busy_total", "queue full")
            raise Busy("the queue is full")
        loop = asyncio.get_running_loop()
        call = _Call(posts, loop.time(), loop.create_future())
        if self._spooling:
            self._keep(call)
        else:
            self._append(call)
        return call.durable

    async def close(self, patience_s: float) -> None:
        """Take no more, and wait for what is under way, at most so long; what is in the spool stays there."""
        self._closed = True
        waits = [call.durable for call in self._under_way]
        if waits:
            await asyncio.wait(waits, timeout=patience_s)
        self._turn("stopping")
        if self.spool is not None:
            await self.spool.settled()
        if self._draining is not None:
            self._draining.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._draining

    # -- direct --

    def _append(self, call: _Call) -> None:
        self._under_way[call] = None
        self._entries += len(call.posts)
        appended: asyncio.Future[list[tuple[int, int]]] = asyncio.ensure_future(self._appender.append(call.posts))
        appended.add_done_callback(lambda done: self._appended(call, done))
        if not self._looking:
            self._looking = True
            asyncio.get_running_loop().call_later(LOOK_S, self._look)

    def _appended(self, call: _Call, done: "asyncio.Future[list[tuple[int, int]]]") -> None:
        error = StreamAway("stopped") if done.cancelled() else done.exception()
        if call not in self._under_way:
            return  # it is in the spool meanwhile
        if error is None:
            self._ended(call)
            self.away = self.away if self._spooling else ""
            call.end(LOG)
        elif isinstance(error, StreamAway | StreamRefused):
            self._turn(str(error))
        else:
            self._ended(call)
            call.fail(RuntimeError(f"appending to the log failed: {error}"))

    def _ended(self, call: _Call) -> None:
        del self._under_way[call]
        self._entries -= len(call.posts)

    def _look(self) -> None:
        """Is the oldest one under way too old?"""
        loop = asyncio.get_running_loop()
        oldest = next(iter(self._under_way), None)
        if oldest is not None and self.spool is not None and loop.time() - oldest.since > self._slow_s:
            self._turn(f"no acknowledgement within {self._slow_s:g} s")
        self._looking = bool(self._under_way)
        if self._looking:
            loop.call_later(LOOK_S, self._look)

    # -- the side way --

    def _turn(self, why: str) -> None:
        """The log is away: keep everything that is under way, in its order, and whatever comes behind it."""
        calls = list(self._under_way)
        if not calls and self._closed:
            return
        self.away = why
        if self.spool is not None and not self._spooling:
            log.warning("the log is away: events go to the spool", reason=why)
            self._divert()
        for call in calls:
            self._ended(call)
            self._keep(call)

    def _divert(self) -> None:
        self._spooling = True
        if self._draining is None or self._draining.done():
            self._draining = asyncio.create_task(self._drain(), name="spool")

    def _keep(self, call: _Call) -> None:
        if self.spool is None:
            self._meter.count("busy_total", "log away")
            call.fail(Busy(f"the log is away: {self.away}", FULL_S))
            return
        try:
            kept = asyncio.ensure_future(self.spool.append(call.posts))
        except SpoolFull as full:
            call.fail(self._full(full))
            return
        self._keeping[call] = None
        self._entries += len(call.posts)
        kept.add_done_callback(lambda done: self._kept(call, done))

    def _kept(self, call: _Call, done: "asyncio.Future[None]") -> None:
        del self._keeping[call]
        self._entries -= len(call.posts)
        error = SpoolFull("stopped") if done.cancelled() else done.exception()
        if error is None:
            self._meter.count("spooled_total", by=len(call.posts))
        else:
            call.refused = self._full(error)
        if not call.held:
            self._answer(call)

    @staticmethod
    def _answer(call: _Call) -> None:
        """As the spool has it."""
        if call.refused is None:
            call.end(SPOOL)
        else:
            call.fail(call.refused)

    def _full(self, error: BaseException) -> Busy:
        self._meter.count("busy_total", "spool full")
        return Busy(f"the log is away ({self.away}) and {error}", FULL_S)

    # -- and back --

    async def _drain(self) -> None:
        """From the spool to the log, until it is empty."""
        spool = self.spool
        assert spool is not None
        proven = False
        while self._spooling or spool.waiting:
            try:
                if posts := spool.peek(DRAIN):
                    if proven := await self._taken(self._appender.append(posts)):
                        spool.drop(len(posts))
                elif proven or not spool.waiting:
                    proven = await self._rejoin(spool)
                else:
                    await spool.settled()
                    if spool.peek(1):
                        continue
            except Exception as error:  # the disk, or a bug: what is in the spool stays there, and is tried again
                proven = False
                self._stuck(f"the spool cannot be emptied: {error or type(error).__name__}")
            if not proven:
                await asyncio.sleep(self._pause_s)
        self.away = ""
        log.info("the log is back: the spool is empty")

    def _stuck(self, why: str) -> None:
        if self.away != why:
            log.exception(why)
        self.away, self._spooling = why, True

    async def _rejoin(self, spool: Spool) -> bool:
        """Only what is being synced is left: that goes to the log beside it, and what comes from now on direct."""
        last = list(self._keeping)
        for call in last:
            call.held = True
        self._spooling = False
        taken = not last or await self._taken(self._in_time([post for call in last for post in call.posts]))
        await spool.settled()
        try:
            if taken:
                spool.drop(sum(len(call.posts) for call in last if call.refused is None))
        finally:  # whatever the disk says: they wait
            for call in last:
                if taken:
                    call.end(LOG)
                else:
                    self._answer(call)
        return taken

    async def _in_time(self, posts: Sequence[Post]) -> None:
        """Append, and wait no longer than a caller may: :class:`TimeoutError`, and they may be there later."""
        appended = asyncio.ensure_future(self._appender.append(posts))
        appended.add_done_callback(lambda done: done.cancelled() or done.exception())
        async with asyncio.timeout(self._slow_s):
            await asyncio.shield(appended)

    async def _taken(self, appending: Awaitable[object]) -> bool:
        try:
            await appending
        except (StreamAway, StreamRefused, TimeoutError) as error:
            self._turn(str(error) or f"no acknowledgement within {self._slow_s:g} s")
            self._spooling = True
            return False
        return True
