"""After an outage: first learn all that happened meanwhile, then mail.

::

    up to date --older than BEHIND--> behind --nothing older than NEAR for QUIET (SILENT)--> up to date
                                        |                                                       ^
                                      MOST                                                      | the same
                                        +--------------> late: mail goes all the same ----------+

A brain or a worker that comes back has a backlog.  Behind the decision to mail, a little further in the log, may
stand what takes its reason away: the order behind the cart, the unsubscribe, the exit.  So while what is carried out of
a partition is old, the marketing mail of its people waits in the store; what is cancelled meanwhile never leaves, what
has become stale is dropped by its ``freshness`` when its turn comes.  Other partitions go on.

Transactional mail does not wait: whether it may be sent does not depend on consent, and it says what had happened when
it was decided.  Without the outage it would have left before all that stands behind it; late is bad enough.

One new decision among old ones says nothing: spools that are sent on, and a brain that decides about as fast as records
come, mix them.  Waiting has an end in any case: a brain that is always a little too slow must not keep mail for ever.
"""

from typing import Final

import msgspec
import structlog

from heliograph.ports import Trouble

BEHIND_MS: Final = 60_000
"""Decisions are carried out within a second of their records.  A checkpoint, a rebalance or the take-over of a worker
that died are behind for seconds, and clocks of collectors are less than this apart (the doctor looks)."""
NEAR_MS: Final = 30_000
"""Who was behind has caught up only when what comes is younger than this."""
QUIET_MS: Final = 5_000
"""For so long nothing old came, and something new did: that was all of it."""
SILENT_MS: Final = 30_000
"""For so long nothing came at all: that was all of it, and nobody has done anything since.  A checkpoint or a restart
of the brain is silent for less."""
MOST_MS: Final = 15 * 60_000
"""Mail waits at most so long for the rest, and then no more until the partition was up to date once."""

log = structlog.get_logger("heliograph.delivery")


class _Behind(msgspec.Struct):
    """A partition that is not up to date.  ``old``, ``new``: when such a decision was carried out last; ``age`` of that
    old one; ``late``: for longer than mail may wait."""

    since: int
    old: int
    age: int
    new: int = 0
    late: bool = False

    def is_over(self, now: int) -> bool:
        return now - self.old >= (QUIET_MS if self.new >= self.old else SILENT_MS)


class CatchingUp:
    """Which partitions of ``effects`` are behind.  Times in ms, by the clock of whoever tells."""

    def __init__(self) -> None:
        self._behind: dict[int, _Behind] = {}

    def carried(self, partition: int, received_at: int, now: int) -> None:
        """A decision of a record of that age was carried out."""
        age, known = now - received_at, self._behind.get(partition)
        if known is None:
            if age >= BEHIND_MS:
                log.warning("catching up: mail waits", partition=partition, behind_s=age // 1000)
                self._behind[partition] = _Behind(now, now, age)
        elif age >= NEAR_MS:
            known.old, known.age = now, age
        else:
            known.new = now

    def waits(self, partition: int) -> bool:
        """Marketing mail of its people waits."""
        known = self._behind.get(partition)
        return known is not None and not known.late

    def look(self, now: int) -> bool:
        """Let go what has waited long enough; whether there was anything."""
        waited = len(self)
        for partition, known in list(self._behind.items()):
            if known.is_over(now):
                del self._behind[partition]
                log.warning("caught up", partition=partition, after_s=(now - known.since) // 1000)
            elif now - known.since >= MOST_MS and not known.late:
                known.late = True
                log.warning("still behind: mail goes all the same", partition=partition, behind_s=known.age // 1000)
        return len(self) < waited

    def forget(self, partition: int) -> None:
        """It is somebody else's, or was and is ours now."""
        self._behind.pop(partition, None)

    def __len__(self) -> int:
        """How many partitions' mail waits."""
        return sum(not known.late for known in list(self._behind.values()))

    def troubles(self) -> list[Trouble]:
        behind = list(self._behind.values())
        if not behind:
            return []
        age = max(known.age for known in behind) // 1000
        why = f"{len(behind)} partitions are behind: what is carried out now was taken {age} s ago"
        means = (
            "their marketing mail waits until all that happened meanwhile is known; stale mail is dropped (freshness)"
            if any(not known.late for known in behind)
            else "mail goes all the same: it waited for 15 minutes, and the brain does not keep up"
        )
        return [Trouble("catching up", why, means)]
