"""The live feed: what happens, as it happens, for whoever looks.  A slow reader loses the oldest, nobody waits."""

import asyncio
from typing import Any

BOUND = 256
"""Happenings kept for one reader: at 10,000 a second a page cannot show more anyway."""


class Feed:
    """One reader's end (:class:`heliograph.ports.LiveFeed`)."""

    def __init__(self, hub: "LiveHub") -> None:
        self._hub = hub
        self.queue: asyncio.Queue[dict[str, Any]] = asyncio.Queue(BOUND)

    async def get(self) -> dict[str, Any]:
        return await self.queue.get()

    def close(self) -> None:
        self._hub.readers.discard(self)


class LiveHub:
    """All readers."""

    def __init__(self) -> None:
        self.readers: set[Feed] = set()

    def subscribe(self) -> Feed:
        feed = Feed(self)
        self.readers.add(feed)
        return feed

    @property
    def watched(self) -> bool:
        return bool(self.readers)

    def publish(self, happenings: list[dict[str, Any]]) -> None:
        for feed in self.readers:
            for happening in happenings[-BOUND:]:
                if feed.queue.full():
                    feed.queue.get_nowait()
                feed.queue.put_nowait(happening)
