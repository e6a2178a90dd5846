"""Pending webhook requests in memory: which wait, for when, and which are being made.

The store has every request; this keeps the next ones at hand, at most :data:`BOUND`, and of one host at most
:data:`BOUND_A_HOST`, so that a host that is down fills its own share and nobody else's.  What does not fit stays in the
store and is read again when there is room.
"""

import heapq
from collections import deque
from collections.abc import Iterator
from itertools import count
from urllib.parse import urlsplit

from heliograph.ports import RequestRow

BOUND = 10_000
"""Rows of 1 to 32 KB, nearly always of the first kind: some 20 MB."""
BOUND_A_HOST = 1_000
AT_ONCE = 200
"""Requests under way: 200 file descriptors, and at 100 ms each 2,000 a second."""
AT_ONCE_A_HOST = 20
"""What a small server takes without harm; peers allow their customers' hosts between 10 and 50."""

SLACK = 1_000
"""Places of requests that are over, kept in the heaps until it is worth while to clear them out."""


class Host:
    """``held``: its requests in memory; ``blocked``: those that are due and wait for one of its slots."""

    __slots__ = ("blocked", "held", "under_way")

    def __init__(self) -> None:
        self.held = self.under_way = 0
        self.blocked: deque[Call] = deque()


class Call:
    """One pending request.  ``busy``: it is being made, or its answer is on the way to the disk.  ``gone``: it is
    over."""

    __slots__ = ("busy", "due", "gone", "host", "reason", "row", "tries")

    def __init__(self, row: RequestRow, host: Host) -> None:
        self.row, self.host = row, host
        self.due, self.tries, self.reason = row.created_at, 0, ""
        self.busy = self.gone = False


class Calls:
    """Requests by when they are due; a host without a free slot holds up nobody else."""

    def __init__(
        self,
        bound: int = BOUND,
        bound_a_host: int = BOUND_A_HOST,
        at_once: int = AT_ONCE,
        at_once_a_host: int = AT_ONCE_A_HOST,
    ) -> None:
        self._bound, self._bound_a_host = bound, bound_a_host
        self._at_once, self._at_once_a_host = at_once, at_once_a_host
        self._calls: dict[str, Call] = {}
        self._hosts: dict[str, Host] = {}
        self._due: list[tuple[int, int, Call]] = []
        self._ends: list[tuple[int, int, Call]] = []
        self._numbers = count()
        self.under_way = 0
        self.refused: set[str] = set()
        """Hosts of which rows may have been left in the store."""
        self._refused_now: set[str] = set()
        """Those of the present round through it."""

    def __len__(self) -> int:
        return len(self._calls)

    def get(self, request_id: str) -> Call | None:
        return self._calls.get(request_id)

    @property
    def hungry(self) -> bool:
        """There is room again for what was left in the store."""
        if len(self._calls) > self._bound // 2:
            return False
        return any(name not in self._hosts or self._has_room(self._hosts[name], 2) for name in self.refused)

    def _has_room(self, host: Host, share: int = 1) -> bool:
        return host.held < max(self._bound_a_host // share, 1)

    def add(self, row: RequestRow) -> bool:
        """False when there is no room for it; one that is here already stays as it is."""
        if row.request_id in self._calls:
            return True
        if not self.fits(row):
            return False
        host = self._hosts.setdefault(host_of(row.url), Host())
        call = self._calls[row.request_id] = Call(row, host)
        host.held += 1
        self._push(self._due, call.due, call)
        self._push(self._ends, row.give_up_at, call)
        return True

    def _push(self, heap: list[tuple[int, int, Call]], at: int, call: Call) -> None:
        heapq.heappush(heap, (at, next(self._numbers), call))

    def fits(self, row: RequestRow) -> bool:
        """There is room for it; if not, its host is remembered."""
        name = host_of(row.url)
        host = self._hosts.get(name)
        if len(self._calls) < self._bound and (host is None or self._has_room(host)):
            return True
        self.refused.add(name)
        self._refused_now.add(name)
        return False

    def end_round(self) -> None:
        """All of the store was read: only who was refused meanwhile has rows there."""
        self.refused, self._refused_now = self._refused_now, set()

    def take(self, now: int) -> Call | None:
        """The next that may be made now; it holds a slot until :meth:`release`."""
        while self.under_way < self._at_once and self._due and self._due[0][0] <= now:
            call = heapq.heappop(self._due)[2]
            if call.gone or call.busy:
                continue
            if call.host.under_way >= self._at_once_a_host:
                call.host.blocked.append(call)
                continue
            call.busy = True
            call.host.under_way += 1
            self.under_way += 1
            return call
        return None

    def release(self, call: Call) -> None:
        """The try has ended."""
        call.host.under_way -= 1
        self.under_way -= 1
        self._unblock(call.host)
        self._leave(call)

    def _unblock(self, host: Host) -> None:
        """Whoever was before it wants no slot any more: the next may ask for one."""
        while host.blocked:
            following = host.blocked.popleft()
            if not following.gone and not following.busy:
                self._push(self._due, following.due, following)
                return

    def again(self, call: Call, at: int) -> None:
        """It waits for another try at this instant."""
        call.busy, call.due = False, at
        self._push(self._due, at, call)

    def overdue(self, now: int) -> Iterator[Call]:
        """Those that nobody need try any more; they are busy from now on."""
        while self._ends and self._ends[0][0] <= now:
            call = heapq.heappop(self._ends)[2]
            if not call.gone and not call.busy:
                call.busy = True
                self._unblock(call.host)
                yield call

    def forget(self, request_id: str) -> None:
        """It was answered or dropped."""
        call = self._calls.pop(request_id, None)
        if call is None:
            return
        call.gone = True
        call.host.held -= 1
        self._unblock(call.host)
        self._leave(call)
        if len(self._due) + len(self._ends) > 3 * len(self._calls) + SLACK:
            self._due, self._ends = _alive(self._due), _alive(self._ends)

    def _leave(self, call: Call) -> None:
        if not call.host.held and not call.host.under_way:
            self._hosts.pop(host_of(call.row.url), None)

    def next_at(self) -> int | None:
        """When something is to be done next."""
        due = self._due[0][0] if self._due and self.under_way < self._at_once else None
        ends = self._ends[0][0] if self._ends else None
        return min((at for at in (due, ends) if at is not None), default=None)


def _alive(heap: list[tuple[int, int, Call]]) -> list[tuple[int, int, Call]]:
    rest = [place for place in heap if not place[2].gone]
    heapq.heapify(rest)
    return rest


def host_of(url: str) -> str:
    """Who is to be spared: name and port."""
    try:
        return urlsplit(url).netloc.rpartition("@")[2].lower()
    except ValueError:
        return ""
