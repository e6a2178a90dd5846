"""The processor: one task that decides everything, one thread that writes it.

::

    Waiting --take--> open chunk --seal--> writing (synced) --> settled: callers hear, mail is offered
                          ^                    |
                          +---- decides on while that one syncs

A chunk takes what is waiting and never waits for more; while the chunk before it is still being written it stays open
and takes what comes in.  When the disk refuses (:class:`~heliograph.ports.StoreFull`) nothing of either chunk has
happened: callers are told to come back, the runtime's own work goes back to the front of the queue, the desk is read
again from the store, and small probes find out when the disk has room.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import structlog

from heliograph.ports import Busy, Clock, Commit, Store, StoreFull
from heliograph.runtime.chunk import Chunk
from heliograph.runtime.desk import Desk
from heliograph.runtime.meter import Meter
from heliograph.runtime.waiting import Waiting
from heliograph.runtime.work import Probe, Stopped, Work

MAX_RECORDS = 2_048
MAX_BYTES = 8 * 1024 * 1024
"""Of one chunk (design, section 1)."""
SLICE_S = 0.004
"""Deciding gives way to sockets and timers this often."""
FULL_PAUSE_S = 0.5
"""Between probes of a full disk."""

T = TypeVar("T")
log = structlog.get_logger("heliograph.processor")


class Processor:
    """Callbacks: ``settled`` with every chunk on disk; ``undone`` when one was given up; ``fatal`` with an error
    that no retry heals: the process must end, because what it remembers and what the disk holds may differ."""

    def __init__(
        self,
        store: Store,
        desk: Desk,
        clock: Clock,
        meter: Meter,
        *,
        settled: Callable[[Chunk], None],
        fatal: Callable[[Exception], None],
        undone: Callable[[], None] = lambda: None,
        watched: Callable[[], bool] = lambda: False,
        waiting: Waiting | None = None,
        full_pause_s: float = FULL_PAUSE_S,
    ) -> None:
        self.desk = desk
        self.waiting = Waiting() if waiting is None else waiting
        self.full = False
        """The disk refuses writes."""
        self._store, self._clock, self._meter = store, clock, meter
        self._settled, self._fatal, self._watched = settled, fatal, watched
        self._undone = undone
        self._full_pause_s = full_pause_s
        self._stirred = asyncio.Event()
        self._writing: asyncio.Task[None] | None = None
        self._failure: Exception | None = None
        self._written: list[Work] = []
        self._task: asyncio.Task[None] | None = None
        self._ending = False
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="heliograph-writer")
        self._begin()

    # -- the doors --

    def put(self, work: Work) -> None:
        """Queue it.  :class:`Busy` when the queue is full, the disk refuses or the engine has ended."""
        if self._ending:
            raise Stopped
        if self.full and not work.internal:
            self._meter.count("busy_total", "disk full")
            raise Busy("the disk is full", 5)
        try:
            self.waiting.put(work)
        except Busy:
            self._meter.count("busy_total", "queue full")
            raise
        self._stirred.set()

    async def apart(self, task: Callable[[], T]) -> T:
        """Run this on the writer's thread, between two commits."""
        return await asyncio.get_running_loop().run_in_executor(self._writer, task)

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="processor")

    async def stop(self) -> None:
        """Decide and write what is queued, then end."""
        self._ending = True
        self._stirred.set()
        if self._task is not None:
            await self._task
        for work in self.waiting.take_all():
            work.failed(Stopped())
        self._writer.shutdown()

    # -- the loop --

    async def _run(self) -> None:
        try:
            await self._loop()
        except Exception as error:
            self._ending = True
            for work in [*self._written, *self._open, *self.waiting.take_all()]:
                work.failed(Stopped())
            self._fatal(error)

    async def _loop(self) -> None:
        while not self._finished():
            await self._stirred.wait()
            self._stirred.clear()
            if self._failure is None:
                await self._fill()
            if self._failure is not None:
                await self._undo()
            elif self._open and self._writing is None:
                self._hand_over()

    def _finished(self) -> bool:
        idle = not self._open and not self.waiting and self._writing is None and self._failure is None
        return self._ending and (idle or self.full)

    def _begin(self) -> None:
        self._chunk = Chunk(self.desk, self._clock)
        self._open: list[Work] = []

    async def _fill(self) -> None:
        """Decide what is waiting into the open chunk, as far as there is room."""
        records = MAX_RECORDS - sum(work.records for work in self._open)
        size = MAX_BYTES - sum(work.size for work in self._open)
        taken = self.waiting.take(records, size)
        self._chunk.watched = self._watched()
        started = slice_from = time.perf_counter()
        for index, work in enumerate(taken):
            try:
                work.prepare(self.desk)
                work.decide(self._chunk)
            except Exception as error:
                await self._spoilt(taken[index:], error)
                return
            self._open.append(work)
            if time.perf_counter() - slice_from > SLICE_S:
                await asyncio.sleep(0)
                slice_from = time.perf_counter()
        if taken:
            self._meter.observe("decide_seconds", time.perf_counter() - started)

    def _hand_over(self) -> None:
        """Give the open chunk to the writer and open the next."""
        chunk, works = self._chunk, self._open
        commit = chunk.finish()
        self.desk.seal()
        self._written = works
        self._writing = asyncio.create_task(self._write(chunk, commit, works), name="write")
        self._begin()
        if self.waiting:
            self._stirred.set()

    async def _write(self, chunk: Chunk, commit: Commit, works: list[Work]) -> None:
        started = time.perf_counter()
        try:
            if not commit.empty:
                await asyncio.get_running_loop().run_in_executor(self._writer, self._store.commit, commit)
            self.desk.settle()
            self.full = self.full and commit.empty
            self._measure(chunk, time.perf_counter() - started)
            self._settle(chunk, works)
            self._written = []
        except Exception as error:
            self._failure = error
        self._writing = None
        self._stirred.set()

    def _settle(self, chunk: Chunk, works: Sequence[Work]) -> None:
        self._settled(chunk)
        for work in works:
            work.settled()

    def _measure(self, chunk: Chunk, seconds: float) -> None:
        self._meter.observe("commit_seconds", seconds)
        self._meter.observe("chunk_records", chunk.records)
        for kind, count in chunk.kinds().items():
            self._meter.count("records_total", kind, count)
        for kind, count in chunk.facts().items():
            self._meter.count("facts_total", kind, count)
        for status, count in chunk.statuses().items():
            self._meter.count("messages_total", status, count)

    # -- when something went wrong --

    async def _undo(self) -> None:
        """The last commit did not happen, so neither does what was decided on top of it."""
        failure, self._failure = self._failure, None
        assert failure is not None
        if not isinstance(failure, StoreFull):
            raise failure
        undone = [*self._written, *self._open, *self.waiting.take_all()]
        self._written = []
        self.desk.reload()
        self._begin()
        self._undone()
        if not self.full:
            log.error("disk full", error=str(failure))
        self.full = True
        for work in undone:
            if not work.internal:
                work.failed(Busy("the disk is full", 5))
        if not self._ending:
            await asyncio.sleep(self._full_pause_s)
        own = [work for work in undone if work.internal and not isinstance(work, Probe)]
        self.waiting.put_back([Probe(), *own])
        self._stirred.set()

    async def _spoilt(self, rest: list[Work], error: Exception) -> None:
        """Deciding ``rest[0]`` raised.  Begin again from the disk without the part that did it."""
        log.exception("undecidable", error=str(error))
        self._meter.count("step_errors_total")
        if self._writing is not None:
            await self._writing
        again = rest[0].isolate()
        if not again:
            rest[0].failed(error)
        self.waiting.put_back([*self._open, *(rest if again else rest[1:])])
        if self._failure is None:
            self.desk.reload()
            self._begin()
        else:
            self._open = []
        self._stirred.set()
