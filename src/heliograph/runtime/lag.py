"""How far deciding is behind collecting, as a collector can see it: when is what it took last applied?"""

import asyncio
import time
from collections.abc import Callable
from typing import Final

from heliograph.ports import SharedStore, StoreAway, Trouble
from heliograph.runtime.places import Place

LOOK_S: Final = 1.0
LATE_S: Final = 10.0
"""A brain that takes a checkpoint, or a worker whose partitions change hands, is behind for seconds."""


class Lag:
    """``latest``: the event that was taken last.  One look a second, whatever the load."""

    def __init__(self, store: SharedStore, latest: Callable[[], Place | None]) -> None:
        self._store, self._latest = store, latest
        self._watched: Place | None = None
        self._since = 0.0

    @property
    def seconds(self) -> float:
        """0 when nothing is behind."""
        return 0.0 if self._watched is None else time.monotonic() - self._since

    async def run(self) -> None:
        """Until cancelled."""
        seen: Place | None = None
        while True:
            latest = self._latest()
            if self._watched is None and latest is not None and latest != seen:
                self._watched, self._since = latest, time.monotonic()
            await asyncio.sleep(LOOK_S)
            if self._watched is not None and await asyncio.to_thread(self._is_applied, self._watched):
                seen, self._watched = self._watched, None

    def _is_applied(self, place: Place) -> bool:
        try:
            return self._store.has_event(*place)
        except StoreAway:
            return False

    def troubles(self) -> list[Trouble]:
        if self.seconds < LATE_S:
            return []
        why = f"what was taken {self.seconds:.0f} s ago is not decided yet"
        return [
            Trouble("decisions", why, "events are kept and decided later, mail waits: look at Flink and the workers")
        ]
