"""Answers that are asked for once: kept while they hold, and shared while they are on their way."""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

Answer = TypeVar("Answer")


class Kept(Generic[Answer]):
    """``most``: answers kept; the one unused for longest goes first."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._kept: OrderedDict[str, tuple[float, Answer]] = OrderedDict()
        self._asked: dict[str, asyncio.Task[Answer]] = {}

    async def get(self, key: str, ask: Callable[[], Awaitable[tuple[Answer, float]]]) -> Answer:
        """The answer for this key.  ``ask`` gives it and the seconds for which it holds."""
        kept = self._kept.get(key)
        if kept is not None and asyncio.get_running_loop().time() < kept[0]:
            self._kept.move_to_end(key)
            return kept[1]
        task = self._asked.get(key)
        if task is None:
            task = self._asked[key] = asyncio.create_task(self._ask(key, ask))
            task.add_done_callback(lambda _: self._asked.pop(key, None))
        return await asyncio.shield(task)  # who stops waiting takes nothing away from the others

    async def _ask(self, key: str, ask: Callable[[], Awaitable[tuple[Answer, float]]]) -> Answer:
        answer, seconds = await ask()
        self._kept[key] = (asyncio.get_running_loop().time() + seconds, answer)
        self._kept.move_to_end(key)
        while len(self._kept) > self._most:
            self._kept.popitem(last=False)
        return answer

    async def close(self) -> None:
        """Give up what is on its way."""
        tasks = list(self._asked.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
