"""The bounded queue in front of the processor: one order for everything, back-pressure for what comes from outside."""

from collections import deque
from collections.abc import Iterable

from heliograph.ports import Busy
from heliograph.runtime.work import Work

MAX_RECORDS = 8_192
"""Four full chunks: some 0.2 s of work at 40,000 records a second; who waits longer is better told to come back."""
MAX_BYTES = 32 * 1024 * 1024


class Waiting:
    """First in, first out.  Bounded by records and bytes; a single piece of work may be as large as it is allowed to
    arrive, so the queue may overshoot by one."""

    def __init__(self, max_records: int = MAX_RECORDS, max_bytes: int = MAX_BYTES) -> None:
        self._max_records, self._max_bytes = max_records, max_bytes
        self._works: deque[Work] = deque()
        self.records = 0
        self.size = 0

    def __len__(self) -> int:
        return len(self._works)

    def put(self, work: Work) -> None:
        """:class:`Busy` when full, unless the work is internal (which is bounded where it comes from)."""
        if not work.internal and (self.records >= self._max_records or self.size >= self._max_bytes):
            raise Busy("the queue is full")
        self._works.append(work)
        self.records += work.records
        self.size += work.size

    def put_back(self, works: Iterable[Work]) -> None:
        """In front of everything, in this order."""
        works = list(works)
        self._works.extendleft(reversed(works))
        self.records += sum(work.records for work in works)
        self.size += sum(work.size for work in works)

    def take(self, records: int, size: int) -> list[Work]:
        """What waits, up to these sums; the first piece always, if there is room at all."""
        taken: list[Work] = []
        while self._works and records > 0 and size > 0:
            work = self._works[0]
            if taken and (work.records > records or work.size > size):
                break
            taken.append(self._works.popleft())
            records -= work.records
            size -= work.size
        self.records -= sum(work.records for work in taken)
        self.size -= sum(work.size for work in taken)
        return taken

    def take_all(self) -> list[Work]:
        works = list(self._works)
        self._works.clear()
        self.records = self.size = 0
        return works
