"""Who may open how many connections: all direct mail together, one receiver, one site of it.

::

    Capacity   [direct] connections                    all receivers of a mailer
      Quota    [receiver.NAME] connection_limit, rate  all sites of a receiver
        Seat                                           one site, a Share of its Pool

Whoever needs a connection and may not have one *wants* it.  Then an idle connection elsewhere is closed, now or when
there is one; a busy pool with more than its part gives one up behind its next message; and a part of the capacity is
only for receivers that have none (of a quota, for sites that have none), so one that stalls, with all its connections
waiting for replies, cannot keep the others from theirs.
"""

import asyncio
from typing import Final

from heliograph.adapters.smtp.pool import Pool
from heliograph.deliver.routes import Reach

RESERVED: Final = 4
"""One connection in so many is for receivers that have none."""
UNLIMITED: Final = 32
"""Connections to a receiver that has no limit of its own (KumoMTA's default ``connection_limit``)."""
BURST_S: Final = 1.0
"""New connections may come as fast as they like, if on average over so long they keep to their rate."""
CLOCK_GRAIN_S: Final = 0.005
"""Timers of the event loop may fire this much before the clock says so."""


def limit_of(reach: Reach) -> int:
    return max(reach.connection_limit or UNLIMITED, 0)


class Capacity:
    """``total``: connections at once."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.held = 0
        self.seats: dict[Seat, None] = {}
        self.wanting: dict[Seat, None] = {}

    @property
    def scarce(self) -> bool:
        """Only receivers without a connection may open one."""
        return self.held >= self.total - self.total // RESERVED

    def full_for(self, quota: "Quota") -> bool:
        return self.held >= self.total if not quota.held else self.scarce

    def changed(self) -> None:
        """A connection is over: whoever wants one looks again, those with the fewest first."""
        wanting = sorted(self.wanting, key=lambda seat: (seat.quota.held, seat.held))
        self.wanting.clear()
        for seat in wanting:
            seat.stir()

    def make_room(self, seat: "Seat") -> None:
        """Close an idle connection that stands in this seat's way."""
        crowd = seat.quota.seats if seat.quota.full_for(seat) else self.seats
        for other in list(crowd):
            if other is not seat and other.shed():
                return


class Quota:
    """What may be open towards one receiver."""

    def __init__(self, capacity: Capacity, reach: Reach) -> None:
        self.capacity = capacity
        self.held = 0
        self.seats: dict[Seat, None] = {}
        self._next = 0.0
        self._set(reach)
        self._loop = asyncio.get_running_loop()

    def _set(self, reach: Reach) -> None:
        self.limit = limit_of(reach)
        self.deliveries = reach.deliveries_per_connection
        self._gap_s = 1 / reach.connections_per_s if reach.connections_per_s else 0.0

    def bound(self, reach: Reach) -> None:
        """Other limits are ours: every pool looks again; idle connections beyond them are closed now, busy ones behind
        their message."""
        self._set(reach)
        for seat in list(self.seats):
            seat.stir()

    @property
    def over(self) -> bool:
        """More is open than may be."""
        return self.held > self.limit

    def full_for(self, seat: "Seat") -> bool:
        """As in the capacity, a part is for sites that have none, if there are several."""
        reserved = self.limit // RESERVED if seat.held and len(self.seats) > 1 else 0
        return self.held >= self.limit - reserved

    @property
    def wait_s(self) -> float:
        """Until the rate of new connections allows one more."""
        if not self._gap_s:
            return 0.0
        return max(0.0, self._next - max(BURST_S - self._gap_s, 0.0) - self._loop.time())

    def take(self) -> None:
        self.held += 1
        self.capacity.held += 1
        self._next = max(self._next, self._loop.time()) + self._gap_s

    def give_back(self) -> None:
        self.held -= 1
        self.capacity.held -= 1


class Seat:
    """The :class:`heliograph.adapters.smtp.pool.Share` of one pool, which is told once it is there."""

    def __init__(self, quota: Quota) -> None:
        self.quota = quota
        self.held = 0
        self._pool: Pool | None = None
        self._timer: asyncio.TimerHandle | None = None

    def sit(self, pool: Pool) -> None:
        self._pool = pool
        self.quota.seats[self] = None
        self.quota.capacity.seats[self] = None

    def leave(self) -> None:
        self._pool = None
        for seats in (self.quota.seats, self.quota.capacity.seats, self.quota.capacity.wanting):
            seats.pop(self, None)
        self._cancel()

    def _cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    @property
    def full(self) -> bool:
        quota = self.quota
        return quota.full_for(self) or quota.capacity.full_for(quota) or quota.wait_s > 0

    @property
    def wanted(self) -> bool:
        wanting = self.quota.capacity.wanting
        return self.quota.over or (bool(wanting) and any(map(self._in_the_way, wanting)))

    @property
    def crowded(self) -> bool:
        wanting = self.quota.capacity.wanting
        return self.quota.over or (
            bool(wanting) and any(self._in_the_way(other) and self._has_more(other) for other in wanting)
        )

    def _in_the_way(self, other: "Seat") -> bool:
        """Could the other open a connection if we closed one?"""
        if other is self:
            return False
        if other.quota.full_for(other):
            return other.quota is self.quota
        return self.quota.capacity.full_for(other.quota)

    def _has_more(self, other: "Seat") -> bool:
        """Also after it got one of ours."""
        if other.quota is self.quota:
            return other.held < self.held - 1
        return other.quota.held < self.quota.held - 1

    def take(self) -> None:
        self.held += 1
        self.quota.take()

    def give_back(self) -> None:
        self.held -= 1
        self.quota.give_back()
        if self.quota.capacity.wanting:
            self.quota.capacity.changed()

    def want(self) -> None:
        capacity = self.quota.capacity
        if self in capacity.wanting:
            return
        capacity.wanting[self] = None
        if wait_s := self.quota.wait_s:
            self._cancel()
            self._timer = asyncio.get_running_loop().call_later(wait_s + CLOCK_GRAIN_S, self.stir)
        else:
            capacity.make_room(self)

    def stir(self) -> None:
        self.quota.capacity.wanting.pop(self, None)
        if self._pool is not None:
            self._pool.stir()

    def shed(self) -> bool:
        return self._pool is not None and self._pool.shed()
