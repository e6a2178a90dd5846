"""The processor: one task that decides everything, one thread that writes it.

::

    Waiting --take--> open chunk --seal--> writing (synced) --> settled: callers hear, mail is offered
                          ^                    |
                          +---- decides on while that one syncs

A chunk takes what is waiting and never waits for more, and only for some milliseconds, because whoever is in it waits
for its end; while the chunk before it is still being written it stays open and takes what comes in.  When the
disk refuses (:class:`~heliograph.ports.StoreFull`) nothing of either chunk has happened: callers are told to come back,
the runtime's own work goes back to the front of the queue, the desk is read again from the store, and small probes find
out when the disk has room.  It is the same when a store on another machine does not answer
(:class:`~heliograph.ports.StoreAway`), except that the last commit may have happened: work that is decided again sees
that in the rows that it left.

Where others write the store, too, a commit may have been decided on rows that were otherwise by then
(:class:`~heliograph.ports.StoreStale`), or on partitions that are somebody else's (:class:`~heliograph.ports.Fenced`):
the desk is read again and the same work decided again, nobody is told; piece by piece, when it happens repeatedly.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Final, TypeVar

import structlog

from heliograph.ports import Busy, Clock, Fenced, Store, StoreAway, StoreFull, StoreStale
from heliograph.runtime.chunk import Chunk
from heliograph.runtime.desk import Desk
from heliograph.runtime.meter import Meter
from heliograph.runtime.waiting import Waiting
from heliograph.runtime.work import Probe, Stopped, Work

MAX_RECORDS = 2_048
MAX_BYTES = 8 * 1024 * 1024
"""Of one chunk (design, section 1)."""
SHORTEST_S = 0.005
"""Deciding for this long fills a chunk when the writer is free and nothing more waits: whoever is in it waits for its
end."""
LONGER_S = 10e-6
"""And for this much longer for each record that waits, because every commit has its price."""
SLICE_S = 0.001
"""Deciding gives way to sockets and timers this often."""
FULL_PAUSE_S = 0.5
"""Between probes of a full disk."""
TOGETHER: Final = 3
"""How often works are decided again in one chunk; from then on each has its own."""
ALONE: Final = 20
"""How often one that is alone is decided again before its caller is told to come back, or the part of it that does it
is left out: others write its rows all the time."""
STALE_PAUSE_S: Final = 0.02

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
        chunk: Callable[[Desk, Clock], Chunk] = Chunk,
        full_pause_s: float = FULL_PAUSE_S,
    ) -> None:
        self.desk = desk
        self.waiting = Waiting() if waiting is None else waiting
        self.full = False
        """The disk refuses writes, or the store does not answer."""
        self.why = ""
        """In words."""
        self._store, self._clock, self._meter = store, clock, meter
        self._settled, self._fatal, self._watched = settled, fatal, watched
        self._undone = undone
        self._new_chunk = chunk
        self._stale = self._apart = 0
        """How often in a row a commit was refused because of others; works that are to be decided one by one."""
        self._full_pause_s = full_pause_s
        self._stirred = asyncio.Event()
        self._writing: asyncio.Future[None] | None = None
        """Done when the writer is."""
        self._failure: BaseException | None = None
        self._written: list[Work] = []
        self._task: asyncio.Task[None] | None = None
        self._ending = False
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="heliograph-writer")
        self._begin()

    # -- the doors --

    def put(self, *works: Work) -> None:
        """Queue all of it or nothing.  :class:`Busy` when the queue is full, the disk refuses or the engine ended."""
        if self._ending:
            raise Stopped
        if self.full and not works[0].internal:
            self._meter.count("busy_total", "disk full")
            raise Busy(self.why, 5)
        try:
            self.waiting.put(*works)
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
        self._chunk = self._new_chunk(self.desk, self._clock)
        self._open: list[Work] = []
        self._room = (MAX_RECORDS, MAX_BYTES)
        self._spent = 0.0

    async def _fill(self) -> None:
        """Decide what is waiting into the open chunk, as far as there is room and time."""
        self._chunk.watched = self._watched()
        slice_from = time.perf_counter()
        while not self._ripe() and (work := self._next()) is not None:
            started = time.perf_counter()
            try:
                work.prepare(self.desk)
                work.decide(self._chunk)
            except StoreAway as error:
                await self._unread(work, error)
                return
            except Exception as error:
                await self._spoilt(work, error)
                return
            self._open.append(work)
            now = time.perf_counter()
            self._spent += now - started
            if now - slice_from > SLICE_S:
                await asyncio.sleep(0)
                slice_from = time.perf_counter()

    def _ripe(self) -> bool:
        """The writer is free and the open chunk is worth its while."""
        if self._apart and self._open:
            return True
        return self._writing is None and self._spent > SHORTEST_S + LONGER_S * self.waiting.records

    def _next(self) -> Work | None:
        records, size = self._room
        work = self.waiting.take(records, size, always=not self._open)
        if work is not None:
            self._room = (records - work.records, size - work.size)
        return work

    def _hand_over(self) -> None:
        """Give the open chunk to the writer and open the next."""
        chunk, works = self._chunk, self._open
        commit = chunk.finish()
        self.desk.seal()
        self._meter.observe("decide_seconds", self._spent)
        self._written = works
        loop = asyncio.get_running_loop()
        self._writing = loop.create_future()
        written = partial(self._back, chunk, time.perf_counter())
        if commit.empty:
            loop.call_soon(written, None)
        else:
            # Straight back to the loop: a task around the executor's future would cost three more of its turns.
            self._writer.submit(self._store.commit, commit).add_done_callback(
                lambda done: loop.call_soon_threadsafe(written, done.exception())
            )
        self._begin()
        if self.waiting:
            self._stirred.set()

    def _back(self, chunk: Chunk, started: float, error: BaseException | None) -> None:
        """The writer is done with this chunk."""
        writing, self._writing = self._writing, None
        assert writing is not None
        self._failure = error
        if error is None:
            try:
                self.desk.settle()
                self.full = self.full and chunk.commit.empty
                self._stale = 0
                self._apart = max(self._apart - len(self._written), 0)
                self._settle(chunk, self._written)
                self._written = []
                self._measure(chunk, time.perf_counter() - started)
            except Exception as bug:
                self._failure = bug
        writing.set_result(None)
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
        if isinstance(failure, StoreStale | Fenced):
            await self._decide_again(failure)
        elif isinstance(failure, StoreFull | StoreAway):
            await self._slow_down(failure)
        else:
            raise failure
        self._stirred.set()

    async def _slow_down(self, failure: Exception) -> None:
        undone = [*self._written, *self._open, *self.waiting.take_all()]
        self._written, self._stale, self._apart = [], 0, 0
        if not self.full:
            log.error("the store takes nothing", error=str(failure))
        self.full = True
        self.why = "the disk is full" if isinstance(failure, StoreFull) else "the store does not answer"
        for work in undone:
            if not work.internal:
                work.failed(Busy(self.why, 5))
        await self._reload()
        self._undone()
        if not self._ending:
            await asyncio.sleep(self._full_pause_s)
        own = [work for work in undone if work.internal and not isinstance(work, Probe)]
        self.waiting.put_back([Probe(), *own])

    async def _reload(self) -> None:
        """Begin where the store is, once it answers."""
        while True:
            try:
                self.desk.reload()
                break
            except StoreAway:
                if self._ending:
                    break
                await asyncio.sleep(self._full_pause_s)
        self._begin()

    async def _decide_again(self, failure: Exception) -> None:
        """Nothing happened: somebody else was first."""
        written = self._written
        works, self._written = [*written, *self._open], []
        self._stale += 1
        self._meter.count("commits_again_total", type(failure).__name__)
        if self._stale > TOGETHER:
            self._apart = max(self._apart, len(works))
            await asyncio.sleep(STALE_PAUSE_S)
        if self._stale > ALONE and len(written) == 1:
            works = [*self._give_up(written[0], failure), *works[1:]]
        await self._reload()
        self._undone()
        self.waiting.put_back(works)

    def _give_up(self, work: Work, failure: Exception) -> list[Work]:
        """It was never the first."""
        log.error("decided again and again", work=type(work).__name__, error=str(failure))
        self._stale = TOGETHER
        if work.internal and work.isolate():
            return [work]
        work.failed(Busy("others change the same rows all the time", 1))
        return []

    async def _unread(self, work: Work, error: StoreAway) -> None:
        """What was needed to decide ``work`` could not be read."""
        if self._writing is not None:
            await self._writing
        self._open.append(work)
        self._failure = self._failure or error

    async def _spoilt(self, work: Work, error: Exception) -> None:
        """Deciding ``work`` raised.  Begin again from the disk without the part that did it."""
        log.exception("undecidable", error=str(error))
        self._meter.count("step_errors_total")
        if self._writing is not None:
            await self._writing
        again = work.isolate()
        if not again:
            work.failed(error)
        self.waiting.put_back([*self._open, *([work] if again else [])])
        if self._failure is None:
            await self._reload()
        else:
            self._open = []
        self._stirred.set()
