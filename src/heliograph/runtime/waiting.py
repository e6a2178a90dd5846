"""The bounded queue in front of the processor: one order for everything, back-pressure for what comes from outside.

The order is that in which pieces are taken, and that is the order in which they came, with two exceptions.  *Urgent*
work (mailers at their commit points, what became of their mails) does not stand behind *patient* work (events that
nobody has been answered yet, timers), and patient work of several pieces takes turns with other work, so that an event
waits for a piece of a sweep's portion and not for all of it.  Nothing else is ever overtaken, so what somebody was
told has happened - a word of consent, feedback, a plan - is known at every commit point that was asked for later.
"""

from collections import deque
from collections.abc import Iterable, Sequence
from itertools import chain

from heliograph.ports import Busy
from heliograph.runtime.work import Work

MAX_RECORDS = 8_192
"""Four full chunks: some 0.2 s of work at 40,000 records a second; who waits longer is better told to come back."""
MAX_BYTES = 32 * 1024 * 1024


class Waiting:
    """First in, first out, but for what is said above.  Bounded by records and bytes; what arrives together may be as
    large as it is allowed to arrive, so the queue may overshoot by that."""

    def __init__(self, max_records: int = MAX_RECORDS, max_bytes: int = MAX_BYTES) -> None:
        self._max_records, self._max_bytes = max_records, max_bytes
        self._works: deque[Work] = deque()
        self._patient: deque[deque[Work]] = deque()
        """Calls and their pieces, behind all of ``_works``."""
        self._pieces = 0
        self.records = 0
        self.size = 0

    def __len__(self) -> int:
        return self._pieces

    def put(self, *works: Work) -> None:
        """Put the pieces of one call.  :class:`Busy` when full, and nothing was put; internal work (which is bounded
        where it comes from) always goes in."""
        first = works[0]
        if (self.records >= self._max_records or self.size >= self._max_bytes) and not first.internal:
            raise Busy("the queue is full")
        if first.patient:
            self._patient.append(deque(works))
        else:
            if not first.urgent and self._patient:
                self._works.extend(chain.from_iterable(self._patient))
                self._patient.clear()
            self._works.extend(works)
        self._count(works, 1)

    def put_back(self, works: Iterable[Work]) -> None:
        """In front of everything, in this order."""
        works = list(works)
        self._works.extendleft(reversed(works))
        self._count(works, 1)

    def take(self, records: int, size: int, *, always: bool) -> Work | None:
        """The next piece, if it needs no more room than this; ``always``: also when it is larger."""
        if not self._pieces:
            return None
        queue = self._works or self._patient[0]
        if not always and (queue[0].records > records or queue[0].size > size):
            return None
        work = queue.popleft()
        if queue is not self._works:
            self._patient.rotate(-1)  # the next call's turn
            if not queue:
                self._patient.pop()
        self._count((work,), -1)
        return work

    def take_all(self) -> list[Work]:
        works = [*self._works, *chain.from_iterable(self._patient)]
        self._works.clear()
        self._patient.clear()
        self._pieces = self.records = self.size = 0
        return works

    def _count(self, works: Sequence[Work], sign: int) -> None:
        self._pieces += sign * len(works)
        for work in works:
            self.records += sign * work.records
            self.size += sign * work.size
