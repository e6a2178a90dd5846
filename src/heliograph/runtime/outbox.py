"""The outbox in memory: which queued messages wait, for when, and which mailer holds which.

The store has every queued message; this keeps the next ones at hand, at most :data:`BOUND`.  What does not fit stays
in the store and is fetched when there is room again.
"""

import heapq
from collections.abc import Iterator

from heliograph.ports import MessageRow, Store

BOUND = 20_000
"""Rows of about 1 KB: 20 MB, and some seconds of work for a fast relay."""
PORTION = 1_000
"""Rows fetched in one go."""


class Outbox:
    """``ready`` in the order in which they may go (``not_before`` or the next attempt, then age)."""

    def __init__(self, store: Store, bound: int = BOUND) -> None:
        self._store = store
        self._bound = bound
        self._rows: dict[str, MessageRow] = {}
        self._order: list[tuple[int, int, str]] = []
        self._claimed: set[str] = set()
        self.overflowed = True
        """The store has queued rows that are neither here nor ahead of the present pass through it."""
        self._reading: Iterator[MessageRow] | None = None

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def claimed(self) -> int:
        return len(self._claimed)

    def add(self, row: MessageRow) -> None:
        """A queued row: newly decided, given back, or to be tried again."""
        self._claimed.discard(row.message_id)
        if len(self._rows) >= self._bound:
            self.overflowed = True
        elif row.message_id not in self._rows:
            self._rows[row.message_id] = row
            heapq.heappush(self._order, (max(row.not_before, row.next_at), row.created_at, row.message_id))

    @property
    def behind(self) -> bool:
        """There is room for more of what the store has: the next :meth:`claim` reads a portion, in which there may be
        nothing to send, because messages that are put off are among it."""
        return (self.overflowed or self._reading is not None) and len(self._rows) < self._bound // 2

    def claim(self, now: int) -> MessageRow | None:
        """The next row that may go now; it is the caller's until :meth:`done` or :meth:`add`."""
        if self.behind:
            self._fetch()
        if not self._order or self._order[0][0] > now:
            return None
        _, _, message_id = heapq.heappop(self._order)
        self._claimed.add(message_id)
        return self._rows.pop(message_id)

    def done(self, message_id: str) -> None:
        """The claimed row has come to its end."""
        self._claimed.discard(message_id)

    def next_at(self) -> int | None:
        """The instant from which the first row may go."""
        return self._order[0][0] if self._order else None

    def _fetch(self) -> None:
        """A portion of what the store has queued; rows that do not fit meanwhile ask for another pass."""
        if self._reading is None:
            self.overflowed = False
            self._reading = self._store.unfinished_messages()
        for _ in range(PORTION):
            row = next(self._reading, None)
            if row is None:
                self._reading = None
                return
            if row.status == "queued" and row.message_id not in self._claimed:
                self.add(row)
