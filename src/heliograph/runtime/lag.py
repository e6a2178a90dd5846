"""How far deciding is behind collecting, as a collector can see it: when is what it took last applied?

An event may never be: it was damaged, or nobody could carry it out, and it is a dead letter.  So when it is late, those
that were taken after it into the same partition are looked at, too: that they are applied says that it was passed over.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Final

import structlog

from heliograph.events.ids import bucket
from heliograph.events.partitions import partition_of
from heliograph.ports import SharedStore, StoreAway, Trouble
from heliograph.runtime.places import Place

LOOK_S: Final = 1.0
LATE_S: Final = 10.0
"""A brain that takes a checkpoint, or a worker whose partitions change hands, is behind for seconds."""
LATER: Final = 3
"""So many later ones have to be there: a client may have sent one of them before."""

log = structlog.get_logger("heliograph.collector")


class Lag:
    """``latest``: the event that was taken last; ``partitions``: of the topics.  One look a second, whatever the
    load."""

    def __init__(self, store: SharedStore, latest: Callable[[], Place | None], partitions: int) -> None:
        self._store, self._latest, self._partitions = store, latest, partitions
        self._watched: Place | None = None
        self._later: set[Place] = set()
        """Applied, and taken after the one that is watched."""
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
            if self._watched is not None and await self._is_over(self._watched, latest):
                seen, self._watched = self._watched, None
                self._later.clear()

    async def _is_over(self, watched: Place, latest: Place | None) -> bool:
        if await asyncio.to_thread(self._is_applied, watched):
            return True
        if latest is None or self.seconds < LATE_S or latest == watched or self._part(latest) != self._part(watched):
            return False
        if await asyncio.to_thread(self._is_applied, latest):
            self._later.add(latest)
        if len(self._later) < LATER:
            return False
        log.error("an event was passed over: look for it among the dead letters", key=watched[0], event_id=watched[1])
        return True

    def _part(self, place: Place) -> int:
        return partition_of(bucket(place[0]), self._partitions)

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
