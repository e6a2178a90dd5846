"""Values read or written lately: how a chunk sees what the chunk before it wrote, while that one is still syncing.

A written value passes three stages: *open* (the chunk being decided), *sealed* (the chunk being synced), *clean* (on
disk).  Only clean values may be forgotten, so a look-up here and then in the store always gives the latest word.
"""

from collections import OrderedDict
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class Recent(Generic[K, V]):
    """A map over a slower store, of at most ``bound`` clean values."""

    __slots__ = ("_bound", "_clean", "_sealed", "open")

    def __init__(self, bound: int) -> None:
        self._bound = bound
        self._clean: OrderedDict[K, V] = OrderedDict()
        self._sealed: dict[K, V] = {}
        self.open: dict[K, V] = {}

    def get(self, key: K) -> V | None:
        value = self.open.get(key)
        if value is None:
            value = self._sealed.get(key)
        if value is None:
            value = self._clean.get(key)
        return value

    def keep(self, key: K, value: V) -> V:
        """Remember what was read from the store."""
        self._clean[key] = value
        return value

    def write(self, key: K, value: V) -> None:
        self.open[key] = value

    def seal(self) -> None:
        """The open chunk goes to the disk; the one before it has settled."""
        assert not self._sealed, "one chunk syncs at a time"
        self._sealed, self.open = self.open, {}

    def settle(self) -> None:
        """The sealed chunk is on disk."""
        clean = self._clean
        for key, value in self._sealed.items():
            clean[key] = value
            clean.move_to_end(key)
        self._sealed = {}
        for _ in range(len(clean) - self._bound):
            clean.popitem(last=False)

    def forget(self) -> None:
        """Read again what is on disk: somebody else may have written it."""
        self._clean.clear()

    def clear(self) -> None:
        """Forget everything: what was written may never have happened."""
        self._clean.clear()
        self._sealed.clear()
        self.open = {}

    def settled(self, key: K) -> bool:
        """Nothing was written here that is not on disk."""
        return key not in self.open and key not in self._sealed

    def unsettled(self) -> list[V]:
        """Values that the store does not show yet, the latest word of each key."""
        return list({**self._sealed, **self.open}.values())
