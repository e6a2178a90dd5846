"""What a worker does for the cache of profiles: puts what it carried out, and begins anew what another one left."""

import asyncio
from collections.abc import Callable, Sequence

from heliograph.ports import ProfileCache
from heliograph.ports.cache import Cached
from heliograph.runtime.chunk import Chunk
from heliograph.runtime.delivery import Delivery
from heliograph.runtime.far_chunk import FarChunk


class CachedDelivery(Delivery):
    """What the former owner of a partition could not put into the cache, nobody knows: all of it begins anew; and what
    people there wait for is asked by us.  ``taken``: told of that."""

    cache: ProfileCache | None = None
    taken: Callable[[], None] = staticmethod(lambda: None)

    async def start(self, ended: Callable[[asyncio.Task[None]], None] = lambda _: None) -> None:
        self.leases.claimed = self._renew
        await super().start(ended)

    async def assigned(self, partitions: Sequence[tuple[str, int]]) -> dict[tuple[str, int], int]:
        found = await super().assigned(partitions)
        self.taken()
        return found

    async def _renew(self) -> None:
        """Before any of their mail is rendered."""
        if self.cache is not None:
            await asyncio.to_thread(self.cache.renew)


def keep_profiles(cache: ProfileCache, chunk: Chunk) -> None:
    """What this chunk carried out, under its own numbers: the desk may know later ones already, of the chunk that is
    decided while this one is written."""
    assert isinstance(chunk, FarChunk)
    numbers, states = chunk.numbers, chunk.commit.states
    cache.put({key: Cached(numbers[key], blob) for key, blob in (states or {}).items()})
