"""What a collector keeps on its own disk while the shared log is away."""

from collections.abc import Awaitable, Sequence
from typing import Protocol

from heliograph.ports.stream import Post


class SpoolFull(Exception):
    """Its bound is reached or the disk refuses; nothing of the call was kept.  Slow down: answer 503."""


class Spool(Protocol):
    """First in, first out, on this machine's disk.  What was awaited survives the end of the process and of the power,
    not the loss of the disk.  At a start it may begin some entries before the last one dropped: whoever reads them must
    not mind a repetition."""

    @property
    def waiting(self) -> int:
        """Entries in it, whether synced yet or not."""
        ...

    @property
    def size(self) -> int:
        """Their bytes."""
        ...

    def append(self, posts: Sequence[Post]) -> Awaitable[None]:
        """Behind all others, in this order; awaited: synced.  :class:`SpoolFull`, also when awaited."""
        ...

    def peek(self, limit: int) -> list[Post]:
        """The first ones that are synced, at most ``limit``."""
        ...

    async def settled(self) -> None:
        """All that is in it now is synced, or was refused."""
        ...

    def drop(self, count: int) -> None:
        """The first ``count`` are no longer needed."""
        ...

    def close(self) -> None: ...
