"""The outbox in memory: queued messages in their lanes, and which of them mailers hold.

The store has every queued message; this keeps the next ones at hand, so many of each rank (:func:`shares`): none ever
takes the place of another.  Within a rank a lane may hold twice as many messages as there are places free (dynamic
thresholds, Choudhury and Hahne 1998), so a receiver that is suspended cannot fill memory with its own, and one that is
alone may use two thirds of it; and all lanes of one sender together eight times as many, so that a sender whose day is
used up, with mail for thousands of receivers, leaves a place to every other.  What does not fit stays in the store, and
is read again from the earliest place at which something was left, the oldest first.

Messages whose time has not come take at most a quarter of the places, so that others are looked for beside them; those
of held journeys take none.
"""

import heapq
from collections.abc import Callable
from heapq import heappop, heappush
from typing import Final

from heliograph.deliver.rates import NEVER
from heliograph.ports import MessageRow, Store
from heliograph.runtime.lanes import Lane, Lanes
from heliograph.runtime.traffic import NO_DAYS, Traffic

BOUND: Final = 20_000
"""Rows of about 1 KB: 20 MB, and some seconds of work for a fast relay."""
BROADCAST_BOUND: Final = 10_000
OF_LANE: Final = 2
OF_SENDER: Final = 8
"""Times the free places: what it may hold."""
PORTION: Final = 500
"""Rows read from the store in one go: some 4 ms."""
REST_MS: Final = 10_000
"""What is put off and has no place here may be late by so much: each look for it reads what is queued."""
SLACK: Final = 1_000
"""Ends of freshness of messages that have left, kept until it is worth while to clear them out."""
START: Final = (-(1 << 62), "")
"""Before the oldest message."""

Place = tuple[int, str]


class Entry:
    """A message at hand.  While it waits: ``due``, when it may go, and ``later``, that this has not come yet.  While a
    mailer holds it: the ``route`` chosen, ``asked_at``, when it passed its commit point (0 before), and ``days``, for
    which its sender's and its relay's quota counted it."""

    __slots__ = ("asked_at", "days", "due", "lane", "later", "route", "row")

    def __init__(self, row: MessageRow, lane: Lane, due: int, later: bool) -> None:
        self.row, self.lane, self.due, self.later = row, lane, due, later
        self.route, self.days, self.asked_at = "", NO_DAYS, 0


class Part:
    """What one sender holds of a share: as of :class:`Lane`."""

    __slots__ = ("held", "mark")

    def __init__(self) -> None:
        self.held, self.mark = 0, -1


class Share:
    """The places of one rank.  ``place``: before the first row that was left in the store, None when none was.
    ``short``: some was left for want of room; ``again``: when the time of one comes that was left because it had not
    come."""

    __slots__ = ("again", "bound", "count", "later", "parts", "place", "room", "short")

    def __init__(self, bound: int) -> None:
        self.bound = bound
        self.count = self.later = 0
        self.parts: dict[str, Part] = {}
        """By sender: those of the settings, or of templates."""
        self.place: Place | None = START
        self.again = 0
        self.short = self.room = False
        """A lane or sender that had been full has room again."""

    def part(self, lane: Lane) -> Part:
        return self.parts.get(lane.sender.name) or self.parts.setdefault(lane.sender.name, Part())

    def full(self, lane: Lane, part: Part) -> bool:
        """Whether one of them holds as much as it may; then there is room when it has half of that."""
        free = self.bound - self.count
        for one, times in ((lane, OF_LANE), (part, OF_SENDER)):
            if one.held >= times * free:
                one.mark = one.held // 2
                return True
        return False

    def leave(self, before: Place, again: int = NEVER) -> None:
        """What is behind this place stays in the store, for want of room or until ``again``."""
        self.place = before if self.place is None else min(self.place, before)
        self.again = min(self.again, again)
        self.short = self.short or again == NEVER

    def behind(self, now: int) -> bool:
        return self.again <= now or (self.short and (self.room or self.count < self.bound // 2))

    def read(self) -> None:
        """All of the store, from :attr:`place` on, is going to be read for it."""
        self.place, self.again, self.short, self.room = None, NEVER, False, False


def shares(bound: int, broadcast_bound: int) -> tuple[Share, ...]:
    """One for each rank: what somebody waits for is seldom much."""
    return tuple(map(Share, (max(bound // 4, 2), max(bound // 2, 2), bound, broadcast_bound)))


class Outbox:
    """``held``: whether the mail of this journey is held."""

    def __init__(
        self,
        store: Store,
        traffic: Traffic,
        *,
        held: Callable[[str], bool] = lambda _journey: False,
        bound: int = BOUND,
        broadcast_bound: int = BROADCAST_BOUND,
    ) -> None:
        self._store, self._traffic, self._is_held = store, traffic, held
        self._lanes: Lanes = traffic.lanes
        self._waiting: dict[str, Entry] = {}
        self._later: list[tuple[int, int, str]] = []
        self._ends: list[tuple[int, str]] = []
        self.claims: dict[str, Entry] = {}
        """By id: the messages that mailers hold."""
        self._shares = shares(bound, broadcast_bound)
        self._pass: tuple[Share, Place] | None = None
        """The share that is being read for, and the place reached."""
        self._now = 0
        traffic.moved = self._move

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def claimed(self) -> int:
        return len(self.claims)

    # -- in --

    def add(self, row: MessageRow) -> None:
        """A queued row: newly decided, given back, or to be tried again."""
        if row.message_id not in self._waiting and not self._is_held(row.journey):
            self._admit(row, self._traffic.lane(row))

    def _admit(self, row: MessageRow, lane: Lane) -> bool:
        message_id, due = row.message_id, row.next_at
        if row.not_before > due:
            due = row.not_before
        share = self._shares[lane.rank]
        part, later = share.part(lane), due > self._now
        if later and share.later >= share.bound // 4:
            share.leave((row.created_at - 1, ""), due + REST_MS)
            return False
        if share.full(lane, part):
            share.leave((row.created_at - 1, ""))
            return False
        self._waiting[message_id] = Entry(row, lane, due, later)
        share.count += 1
        part.held += 1
        lane.held += 1
        if row.not_after:
            heappush(self._ends, (row.not_after, message_id))
        if later:
            share.later += 1
            heappush(self._later, (due, row.created_at, message_id))
            return True
        heappush(lane.rows, (due, row.created_at, message_id))
        lane.count += 1
        if not lane.state:
            self._lanes.wake(lane)
        return True

    def _ripen(self, now: int) -> None:
        """What was put off until now goes into its lane."""
        while self._later and self._later[0][0] <= now:
            place = heappop(self._later)
            one = self._waiting.get(place[2])
            if one is not None and one.later and one.due == place[0]:
                one.later = False
                self._shares[one.lane.rank].later -= 1
                heappush(one.lane.rows, place)
                one.lane.count += 1
                if not one.lane.state:
                    self._lanes.wake(one.lane)

    # -- out --

    def claim(self, now: int) -> Entry | None:
        """The next message that may go now; it is the caller's until :meth:`done` or :meth:`add`."""
        self._now = now
        if self._later and self._later[0][0] <= now:
            self._ripen(now)
        lanes, waiting = self._lanes, self._waiting
        while (lane := lanes.next(now)) is not None:
            due, _, message_id = heappop(lane.rows)
            one = waiting.get(message_id)
            if one is None or one.later or one.due != due or one.lane is not lane:
                continue  # it left, and perhaps came back
            self._drop(message_id, one)
            if self._is_held(one.row.journey):
                lanes.served(lane, now)
                continue
            self.claims[message_id] = one
            one.route, one.days = self._traffic.take(lane, now)
            lanes.served(lane, now)
            return one
        return None

    def _drop(self, message_id: str, one: Entry) -> None:
        """It waits here no more."""
        del self._waiting[message_id]
        lane, share = one.lane, self._shares[one.lane.rank]
        part = share.part(lane)
        share.count -= 1
        part.held -= 1
        lane.held -= 1
        if one.later:
            share.later -= 1
        else:
            lane.count -= 1
        if lane.held <= lane.mark:
            lane.mark, share.room = -1, True
        if part.held <= part.mark:
            part.mark, share.room = -1, True

    def overdue(self, now: int) -> MessageRow | None:
        """A waiting message whose ``not_after`` has come; it waits no more."""
        while self._ends and self._ends[0][0] <= now:
            end, message_id = heappop(self._ends)
            one = self._waiting.get(message_id)
            if one is not None and one.row.not_after == end:
                self._leave(message_id, one)
                return one.row
        if len(self._ends) > 2 * len(self._waiting) + SLACK:
            self._ends = [place for place in self._ends if place[1] in self._waiting]
            heapq.heapify(self._ends)
        return None

    def _leave(self, message_id: str, one: Entry) -> None:
        """Out of its turn.  Its place in a heap is passed over when it comes; a heap that is mostly such places is
        cleared."""
        self._drop(message_id, one)
        lane = one.lane
        if one.later and len(self._later) > 2 * sum(share.later for share in self._shares) + SLACK:
            self._later = [place for place in self._later if self._stands(place)]
            heapq.heapify(self._later)
        elif len(lane.rows) > 2 * lane.count + SLACK:
            lane.rows = [place for place in lane.rows if self._stands(place)]
            heapq.heapify(lane.rows)

    def _stands(self, place: tuple[int, int, str]) -> bool:
        one = self._waiting.get(place[2])
        return one is not None and one.due == place[0]

    def done(self, message_id: str) -> Entry | None:
        """The claimed row has come to its end; what was known of it."""
        return self.claims.pop(message_id, None)

    def next_at(self) -> int | None:
        """The instant from which something may go, or has become too late."""
        heads = (
            self._later[0][0] if self._later else None,
            self._lanes.next_at(),
            self._ends[0][0] if self._ends else None,
        )
        at = min((head for head in heads if head is not None), default=None)
        return self._now if self._lanes.ready else at

    def waiting_for(self, message_id: str) -> str:
        """Why a message that waits does not go; "" when nothing but its turn, or when it is not here."""
        one = self._waiting.get(message_id)
        if one is None or one.later or one.lane.at is None:
            return ""
        return one.lane.at.why()

    # -- the store --

    def behind(self, now: int) -> bool:
        """There is room for more of what the store has: :meth:`fetch` reads a portion, in which there may be nothing to
        send, because it is here already or there is no place for it."""
        return self._pass is not None or any(share.behind(now) for share in self._shares)

    def stuck(self, now: int) -> bool:
        """Nothing that waits may go now: it was put off, or its receivers, senders or relays take no more."""
        return not self._lanes.ready and not self.behind(now)

    def resync(self) -> None:
        """Anything may be in the store that is not here."""
        self._pass = None
        for share in self._shares:
            share.place, share.again = START, 0

    def fetch(self, now: int) -> None:
        """Read a portion of what the store has queued, for the best rank that is behind."""
        self._now = now
        if self._pass is None:
            self._begin()
        if self._pass is None:
            return
        share, place = self._pass
        rows = self._store.queued_messages(place, PORTION)
        for row in rows:
            if self._wanted(row) and not self._take_up(row, share):
                self._end()
                return
        self._pass = (share, (rows[-1].created_at, rows[-1].message_id)) if len(rows) == PORTION else None

    def _begin(self) -> None:
        """A pass for the first share that is behind; on the way it serves the others as well."""
        share = next((one for one in self._shares if one.behind(self._now)), None)
        if share is None or share.place is None:
            return
        start = share.place
        self._pass = (share, start)
        for one in self._shares:
            if one is share or (one.place is not None and one.place >= start):
                one.read()

    def _wanted(self, row: MessageRow) -> bool:
        known = row.message_id in self._waiting or row.message_id in self.claims
        return row.status == "queued" and not known and not self._is_held(row.journey)

    def _take_up(self, row: MessageRow, share: Share) -> bool:
        """False when the pass is over, because there is no room left in the share that it is for."""
        lane = self._traffic.lane(row)
        if self._admit(row, lane):
            return True
        return self._shares[lane.rank] is not share or share.count < share.bound * 8 // 10

    def _end(self) -> None:
        """What lies behind the place that was reached is left for another pass."""
        if self._pass is not None:
            before = (self._pass[1][0] - 1, "")  # all of that instant: within one, ids go backwards
            for share in self._shares:
                share.leave(before)
        self._pass = None

    def _move(self, lane: Lane) -> None:
        """Its messages belong into another lane from now on: more is known of their receiver."""
        places, lane.rows = lane.rows, []
        for place in places:
            one = self._waiting.get(place[2])
            if one is not None and one.lane is lane and not one.later:
                self._drop(place[2], one)
                self.add(one.row)
