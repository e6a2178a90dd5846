"""A thread with an event loop of its own: for what waits for other machines, beside the one that collects."""

import asyncio
import threading
from collections.abc import Coroutine
from typing import Any, Protocol, Self, TypeVar

import uvloop

from heliograph.adapters.http import over

T = TypeVar("T")


class Stage(Protocol):
    """Where an engine lives."""

    loop: asyncio.AbstractEventLoop

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...

    async def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run this there and wait for it here."""
        ...


class Backstage:
    """A thread of its own.  Runs from entering to leaving; whoever leaves has ended everything that ran on it."""

    def __init__(self) -> None:
        self.loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="heliograph-backstage", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()

    async def run(self, work: Coroutine[Any, Any, T]) -> T:
        return await over(self.loop, work)

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.run_forever()


class SameStage:
    """The loop of whoever asks: for tests whose twins in memory live on one loop."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    async def run(self, work: Coroutine[Any, Any, T]) -> T:
        return await work
