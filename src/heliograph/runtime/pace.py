"""Work that can wait, on the loop that cannot: sweeps and previews breathe, and this drives them from breath to breath.

A slice is as long as the processor's own, so an event that comes meanwhile waits no longer than behind another event.
While somebody outside is heard, what is driven here takes at most every other millisecond.
"""

import asyncio
import time
from collections.abc import Callable, Generator
from typing import Final, TypeVar

T = TypeVar("T")

SLICE_S: Final = 0.001


class Pace:
    """``heard``: a number that grows with every call from outside."""

    def __init__(self, heard: Callable[[], int]) -> None:
        self._heard = heard
        self._last = heard()

    def live(self) -> bool:
        """Whether somebody called since this was last asked."""
        before, self._last = self._last, self._heard()
        return self._last != before

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
        """Give way: to whoever is ready, and for as long as was worked while somebody is heard."""
        await asyncio.sleep(spent_s if self.live() else 0)


def finish(steps: Generator[None, None, T]) -> T:
    """The result of ``steps`` at once, where nobody waits."""
    while True:
        try:
            next(steps)
        except StopIteration as done:
            result: T = done.value
            return result
