"""After an outage: first learn all that happened meanwhile, then mail.

A brain or a worker that comes back has a backlog.  Behind the decision to mail, a little further in the log, may stand
what takes its reason away: the order behind the cart, the unsubscribe, the exit.  So while what is carried out of a
partition is older than :data:`BEHIND_MS`, the mail of its people waits in the store; what is cancelled meanwhile never
leaves, what has become stale is dropped by its ``freshness`` when its turn comes.  Other partitions go on.

Waiting has an end in any case: a brain that is always a little too slow must not keep mail for ever.
"""

from typing import Final

import structlog

from heliograph.ports import Trouble

BEHIND_MS: Final = 60_000
"""Decisions are carried out within a second of their records.  A checkpoint, a rebalance or the take-over of a worker
that died are behind for seconds, and clocks of collectors are less than this apart (the doctor looks)."""
QUIET_MS: Final = 5_000
"""Nothing old came for so long: that was all of it.  A brain that catches up says something all the time."""
MOST_MS: Final = 15 * 60_000
"""Mail waits at most so long for the rest, and then no more until the partition was up to date once."""

log = structlog.get_logger("heliograph.delivery")


class CatchingUp:
    """Which partitions of ``effects`` are behind.  Times in ms, by the clock of whoever tells."""

    def __init__(self) -> None:
        self._since: dict[int, int] = {}
        self._last: dict[int, int] = {}
        """When something old was carried out last."""
        self._age: dict[int, int] = {}
        self._spent: set[int] = set()
        """Behind for longer than mail may wait."""

    def carried(self, partition: int, received_at: int, now: int) -> None:
        """A decision of a record of that age was carried out."""
        if now - received_at < BEHIND_MS:
            if partition in self._since or partition in self._spent:
                self._spent.discard(partition)
                self._last[partition] = 0  # the next look lets its mail go
            return
        self._last[partition], self._age[partition] = now, now - received_at
        if partition not in self._since and partition not in self._spent:
            log.warning("catching up: mail waits", partition=partition, behind_s=(now - received_at) // 1000)
            self._since[partition] = now

    def waits(self, partition: int) -> bool:
        """Mail of its people waits."""
        return partition in self._since

    def look(self, now: int) -> bool:
        """Let go what has waited long enough; whether there was anything."""
        done = [one for one in self._since if now - self._last[one] >= QUIET_MS]
        late = [one for one, since in self._since.items() if now - since >= MOST_MS and one not in done]
        self._spent.update(late)
        for partition in [*done, *late]:
            log.warning("mail goes again", partition=partition, caught_up=partition in done)
            del self._since[partition]
        return bool(done or late)

    def forget(self, partition: int) -> None:
        """It is somebody else's, or was and is ours now."""
        self._spent.discard(partition)
        self._since.pop(partition, None)

    def __len__(self) -> int:
        return len(self._since)

    def troubles(self) -> list[Trouble]:
        if not self._since:
            return []
        age = max(self._age[one] for one in list(self._since)) // 1000
        why = f"{len(self._since)} partitions are behind: what is carried out now was taken {age} s ago"
        means = "their mail waits until all that happened meanwhile is known; stale mail is dropped (freshness)"
        return [Trouble("catching up", why, means)]
