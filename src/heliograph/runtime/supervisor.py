"""The supervisor of mailer processes: starts them, starts them again, ends them.

A mailer lives as long as its socket: when this process dies, by whatever signal, the socket closes and the mailer ends.
"""

import asyncio
import contextlib
import signal
import sys
from pathlib import Path

import structlog

FIRST_PAUSE_S = 0.2
LONGEST_PAUSE_S = 10.0
STEADY_S = 10.0
"""A process that lived this long starts the pauses anew."""

log = structlog.get_logger("heliograph.supervisor")


class Supervisor:
    """``count`` processes, each running ``python -m heliograph.runtime.mailer --socket PATH --credit N``."""

    def __init__(self, socket: Path, count: int, credit: int) -> None:
        self._command = (
            sys.executable, "-m", "heliograph.runtime.mailer", "--socket", str(socket), "--credit", str(credit),
        )  # fmt: skip
        self._count = count
        self._tasks: list[asyncio.Task[None]] = []
        self._processes: set[asyncio.subprocess.Process] = set()
        self._ending = False

    @property
    def pids(self) -> list[int]:
        return [process.pid for process in self._processes]

    def start(self) -> None:
        self._tasks = [asyncio.create_task(self._keep(), name=f"mailer-{n}") for n in range(self._count)]

    def expect_end(self) -> None:
        """Mailers are about to be drained: one that ends now stays ended."""
        self._ending = True

    async def stop(self, patience_s: float = 5.0) -> None:
        """End them: they finish what is past its commit point, for at most ``patience_s``."""
        self.expect_end()
        for process in self._processes:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
        waiting = [asyncio.ensure_future(process.wait()) for process in self._processes]
        if waiting:
            await asyncio.wait(waiting, timeout=patience_s)
        for process in list(self._processes):
            with contextlib.suppress(ProcessLookupError):
                process.kill()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _keep(self) -> None:
        pause = FIRST_PAUSE_S
        loop = asyncio.get_running_loop()
        while not self._ending:
            started = loop.time()
            code = await self._run()
            if self._ending:
                return
            pause = FIRST_PAUSE_S if loop.time() - started > STEADY_S else min(pause * 2, LONGEST_PAUSE_S)
            log.error("mailer ended", code=code, signal=_signal_name(code), again_in_s=pause)
            await asyncio.sleep(pause)

    async def _run(self) -> int:
        process = await asyncio.create_subprocess_exec(*self._command, stdin=asyncio.subprocess.DEVNULL)
        self._processes.add(process)
        try:
            return await process.wait()
        finally:
            self._processes.discard(process)


def _signal_name(code: int) -> str:
    return signal.Signals(-code).name if code < 0 else ""
