"""Work that can wait, on the loop that cannot: sweeps and previews breathe, and this drives them from breath to breath.

A slice is as long as the processor's own, so an event that comes meanwhile waits no longer than behind another event.
While somebody outside is heard, and for a second after that, what is driven here takes at most one millisecond in
three.
"""

import asyncio
import time
from collections.abc import Callable, Generator
from typing import Final, TypeVar

T = TypeVar("T")

SLICE_S: Final = 0.001
LIVE_S: Final = 1.0
"""Who called a moment ago may call again."""


class Pace:
    """``heard``: a number that grows with every call from outside."""

    def __init__(self, heard: Callable[[], int]) -> None:
        self._heard = heard
        self._last = heard()
        self._live_until = 0.0

    def live(self) -> bool:
        """Whether somebody called lately."""
        before, self._last = self._last, self._heard()
        if self._last != before:
            self._live_until = time.monotonic() + LIVE_S
        return time.monotonic() < self._live_until

    async def drive(self, steps: Generator[None, None, T]) -> T:
        """The result of ``steps``."""
        began = time.perf_counter()
        while True:
            try:
                next(steps)
            except StopIteration as done:
                result: T = done.value
                return result
            if time.perf_counter() - began > SLICE_S:
                await self.rest(time.perf_counter() - began)
                began = time.perf_counter()

    async def rest(self, spent_s: float) -> None:
        """Give way: to whoever is ready, and for twice as long as was worked while somebody is heard."""
        await asyncio.sleep(2 * spent_s if self.live() else 0)


def finish(steps: Generator[None, None, T]) -> T:
    """The result of ``steps`` at once, where nobody waits."""
    while True:
        try:
            next(steps)
        except StopIteration as done:
            result: T = done.value
            return result
