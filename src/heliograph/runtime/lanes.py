"""Lanes: where queued messages wait for their turn, and what each lane waits for.

A *lane* holds the messages of one rank (service notice, transactional, triggered, broadcast) from one sender to one
receiver, in the order in which they may go.  A lane is

- *idle*: nothing in it;
- *ready*: in the round of its rank.  The first lane of the best rank gives one message and goes to the end of its
  round, so ranks overtake each other and receivers take turns;
- *parked* at the first *gate* that does not let it through: its receiver, its sender, its relays, or the gate that all
  slow receivers share.

A gate opens by time (it knows when) or because a message under way came back.  Then it lets one parked lane go into the
round, that of the best rank, longest parked first; when that lane had its turn, the next.  So each message costs a few
looks at the lanes before it and never a look at all lanes, however many are parked.  A lane that was let go and finds
another gate closed keeps its place: it is parked in front there.
"""

import heapq
from collections import deque
from collections.abc import Callable
from itertools import count

from heliograph.deliver.rates import NEVER
from heliograph.deliver.relays import Ways
from heliograph.deliver.shaping import Towards

NOTICE, TRANSACTIONAL, TRIGGERED, BROADCAST = RANKS = range(4)
"""Who goes before whom."""

IDLE, READY, PARKED = range(3)


class Gate:
    """``opens(rank, now)``: the instant from which a message of this rank may pass; NEVER when only a message that
    comes back can open it.  ``why``: what to tell who asks what a message waits for."""

    __slots__ = ("alarm", "opens", "parked", "waiting", "why")

    def __init__(self, opens: Callable[[int, int], int], why: Callable[[], str]) -> None:
        self.opens, self.why = opens, why
        self.parked: tuple[deque[Lane], ...] = tuple(deque() for _ in RANKS)
        self.waiting = 0
        """Lanes parked here."""
        self.alarm = NEVER
        """When it is looked at again."""


class Sender:
    """Who mail is from, as far as lanes care.  ``gate`` None: no limits."""

    __slots__ = ("gate", "name", "ways", "ways_gate")

    def __init__(self, name: str, ways: Ways, ways_gate: Gate, gate: Gate | None = None) -> None:
        self.name, self.gate, self.ways, self.ways_gate = name, gate, ways, ways_gate


class Lane:
    """``rows``: a heap of (due, created_at, message id), in which may also be what has left since; ``count``: messages
    that are due and really wait; ``held``: those that are not due yet, too.  ``mark``: when ``held`` has shrunk to
    this, the store may have more for it."""

    __slots__ = (
        "at", "count", "held", "let_go", "mark", "rank", "receiver", "receiver_gate", "rows", "sender", "state",
    )  # fmt: skip

    def __init__(self, rank: int, receiver: Towards, receiver_gate: Gate, sender: Sender) -> None:
        self.rank, self.receiver, self.receiver_gate, self.sender = rank, receiver, receiver_gate, sender
        self.rows: list[tuple[int, int, str]] = []
        self.count = self.held = 0
        self.mark = -1
        self.state = IDLE
        self.at: Gate | None = None
        """Where it is parked."""
        self.let_go: Gate | None = None
        """The gate that let it into the round and waits for it to have its turn."""


class Lanes:
    """``closed(lane, now)``: the first gate that does not let a message of this lane through, None when all do."""

    def __init__(self, closed: Callable[[Lane, int], Gate | None]) -> None:
        self._closed = closed
        self._rounds: tuple[deque[Lane], ...] = tuple(deque() for _ in RANKS)
        self._alarms: list[tuple[int, int, Gate]] = []
        self._numbers = count()

    def wake(self, lane: Lane) -> None:
        """There is something in it."""
        if lane.state == IDLE:
            lane.state = READY
            self._rounds[lane.rank].append(lane)

    def next(self, now: int) -> Lane | None:
        """The lane whose turn it is and that may give a message now; :meth:`served` follows."""
        if self._alarms and self._alarms[0][0] <= now:
            self._ring(now)
        closed = self._closed
        for turns in self._rounds:
            while turns:
                lane = turns[0]
                if not lane.count:
                    turns.popleft()
                    lane.state = IDLE
                    lane.rows.clear()
                elif (gate := closed(lane, now)) is None:
                    return lane
                else:
                    turns.popleft()
                    self._park(lane, gate, now)
                if lane.let_go is not None:
                    self._follow(lane, now)
        return None

    def served(self, lane: Lane, now: int) -> None:
        """It gave a message, or what it held is gone."""
        turns = self._rounds[lane.rank]
        if lane.count:
            turns.rotate(-1)
        else:
            turns.popleft()
            lane.state = IDLE
            lane.rows.clear()
        if lane.let_go is not None:
            self._follow(lane, now)

    def stir(self, gate: Gate, now: int) -> None:
        """It may be open: something came back, or somebody opened it."""
        if not gate.waiting:
            return
        for rank, parked in enumerate(gate.parked):
            if parked and gate.opens(rank, now) <= now:
                lane = parked.popleft()
                gate.waiting -= 1
                lane.state, lane.at, lane.let_go = READY, None, gate
                self._rounds[rank].append(lane)
                return
        self._set_alarm(gate, now)

    def next_at(self) -> int | None:
        """When a gate is to be looked at."""
        return self._alarms[0][0] if self._alarms else None

    @property
    def ready(self) -> bool:
        return any(self._rounds)

    def _follow(self, lane: Lane, now: int) -> None:
        """It had its turn: the gate that had let it go may let go the next."""
        gate, lane.let_go = lane.let_go, None
        assert gate is not None
        self.stir(gate, now)

    def _park(self, lane: Lane, gate: Gate, now: int) -> None:
        parked = gate.parked[lane.rank]
        if lane.let_go is None:
            parked.append(lane)
        else:
            parked.appendleft(lane)
        gate.waiting += 1
        lane.state, lane.at = PARKED, gate
        self._set_alarm(gate, now)

    def _set_alarm(self, gate: Gate, now: int) -> None:
        """At the first instant that any of the parked ranks may pass; one that is set for earlier finds out itself."""
        at = min((gate.opens(rank, now) for rank, parked in enumerate(gate.parked) if parked), default=NEVER)
        if at < gate.alarm:
            gate.alarm = at
            heapq.heappush(self._alarms, (at, next(self._numbers), gate))

    def _ring(self, now: int) -> None:
        while self._alarms and self._alarms[0][0] <= now:
            at, _, gate = heapq.heappop(self._alarms)
            if at == gate.alarm:
                gate.alarm = NEVER
                self.stir(gate, now)
