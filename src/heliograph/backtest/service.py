"""A server's side of trials: child processes at low priority, one backtest and one shadow at a time.

The children read the data folder beside this process (:class:`~heliograph.adapters.rocksdb.RocksView`), so nothing here
costs live traffic more than the lines that it passes on.  A child ends when its stdin closes: with its caller, or with
this process.
"""

import asyncio
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import msgspec
import structlog

from heliograph.backtest.__main__ import command, step_back
from heliograph.backtest.job import Failed, Job, ShadowJob, Word
from heliograph.backtest.window import duration_ms, window
from heliograph.console.trials import BacktestRequest, ShadowRequest, TrialBusy, TrialRefused
from heliograph.ports import Clock

HEARTBEAT_S: Final = 10.0
"""A listener hears at least this often that the backtest is alive: an empty line."""
UNHEARD_S: Final = 30.0
"""A backtest whose report nobody begins to read is ended."""
LAST_WORD: Final = b'{"say":"report"'
MAX_SHADOW_MS: Final = 86_400_000
"""A shadow keeps files alive that the server has compacted away."""
STATE_FOLDER: Final = "keeps everything in memory; start it with --data to try journeys on what it records"

log = structlog.get_logger("heliograph.trials")


class Child:
    """One process, and its words."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    @classmethod
    async def start(cls, job: msgspec.Struct) -> "Child":
        """In a thread: the loop's own way to start a process stops everybody for 36 ms, this one for 3."""
        return await asyncio.to_thread(cls._start, msgspec.json.encode(job) + b"\n")

    @classmethod
    def _start(cls, job: bytes) -> "Child":
        process = subprocess.Popen(command(), stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        step_back(process.pid)  # also while it loads
        assert process.stdin is not None
        process.stdin.write(job)
        process.stdin.flush()
        return cls(process)

    async def line(self) -> bytes:
        """The next word, b"" at the end."""
        return await asyncio.to_thread(self._line)

    def _line(self) -> bytes:
        assert self._process.stdout is not None
        try:
            return self._process.stdout.readline()
        except ValueError:  # closed: it was ended meanwhile
            return b""

    async def lines(self) -> AsyncIterator[bytes]:
        """Its words, and an empty one whenever it has been silent for long."""
        reading = asyncio.ensure_future(self.line())
        try:
            while True:
                done, _ = await asyncio.wait((reading,), timeout=HEARTBEAT_S)
                if not done:
                    yield b"\n"
                elif line := reading.result():
                    yield line
                    reading = asyncio.ensure_future(self.line())
                else:
                    return
        finally:
            reading.cancel()

    async def first(self) -> bytes:
        """The first word; :class:`TrialRefused` when it says that the job cannot be done.  Without one it has ended."""
        try:
            line = await self.line()
        except BaseException:  # nobody asks any more: the server stops
            self.kill()
            raise
        word = msgspec.json.decode(line, type=Word) if line else Failed("the trial's process died; the log says why")
        if isinstance(word, Failed):
            await self.end()
            raise TrialRefused(word.message, word.problems)
        return line

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def kill(self) -> None:
        self._process.kill()

    async def end(self) -> None:
        self.kill()
        await asyncio.to_thread(self._process.__exit__, None, None, None)  # waits, and closes the pipes


class TrialService:
    """``data``: the server's folder, None when it keeps everything in memory."""

    def __init__(self, data: Path | None, clock: Clock, processes: int = 1) -> None:
        self._data, self._clock, self._processes = data, clock, processes
        self._backtest: Child | None = None
        self._starting = False
        self._shadow: Child | None = None
        self._shadow_found: dict[str, Any] | None = None
        self._watching: asyncio.Task[None] | None = None

    def _folder(self) -> str:
        if self._data is None:
            raise TrialRefused(f"this server {STATE_FOLDER}")
        return str(self._data)

    # -- backtests --

    async def backtest(self, asked: BacktestRequest) -> AsyncIterator[bytes]:
        folder = self._folder()
        try:
            since, until = window(asked.since, asked.until, self._clock.now())
        except ValueError as error:
            raise TrialRefused(str(error)) from None
        if self._starting or (self._backtest is not None and self._backtest.alive):
            raise TrialBusy("a backtest is running on this server; one at a time, try again when it is done")
        self._starting = True
        try:
            child = await Child.start(Job(folder, asked.name, asked.journey, since, until, self._processes))
            first = await child.first()
        finally:
            self._starting = False
        self._backtest = child
        unheard = asyncio.get_running_loop().call_later(UNHEARD_S, child.kill)
        return self._lines(child, first, unheard)

    async def _lines(self, child: Child, first: bytes, unheard: asyncio.TimerHandle) -> AsyncIterator[bytes]:
        """Ends the child, also when nobody listens any more."""
        try:
            unheard.cancel()
            yield first
            async for line in child.lines():
                if line.startswith(LAST_WORD):
                    await child.end()  # whoever has the report may ask for the next one
                yield line
        finally:
            await child.end()

    # -- shadows --

    async def shadow(self, asked: ShadowRequest) -> dict[str, Any]:
        folder = self._folder()
        try:
            lasts = duration_ms(asked.lasts, "lasts")
        except ValueError as error:
            raise TrialRefused(str(error)) from None
        if lasts > MAX_SHADOW_MS:
            raise TrialRefused("a shadow lasts at most P1D")
        if self._watching is not None and self._shadow_found is not None and self._shadow_found["ended"]:
            await asyncio.gather(self._watching, return_exceptions=True)  # its process is going
        if self._shadow is not None:
            raise TrialBusy("a shadow is under way on this server; end it first")
        self._shadow = child = await Child.start(
            ShadowJob(folder, asked.name, asked.journey, self._clock.now() + lasts)
        )
        try:
            self._note(await child.first())
        except BaseException:
            self._shadow = None
            raise
        self._watching = asyncio.create_task(self._watch(child), name="shadow")
        return self._shadow_found or {}

    def _note(self, line: bytes) -> None:
        self._shadow_found = msgspec.json.decode(line)["shadow"]

    async def _watch(self, child: Child) -> None:
        try:
            while line := await child.line():
                self._note(line)
        finally:
            self._shadow = None
            await child.end()
            found = self._shadow_found
            if found is not None and not found["ended"]:
                found["ended"] = "it was ended"

    def shadowing(self) -> dict[str, Any] | None:
        return self._shadow_found

    async def end_shadow(self) -> dict[str, Any] | None:
        if self._shadow is not None and self._watching is not None:
            await self._shadow.end()
            await asyncio.gather(self._watching, return_exceptions=True)
        return self._shadow_found

    async def stop(self) -> None:
        """With the server."""
        for child in (self._backtest, self._shadow):
            if child is not None:
                await child.end()
        if self._watching is not None:
            await asyncio.gather(self._watching, return_exceptions=True)
