"""A store as one worker among many sees what is to be done: only that of its own people."""

from collections.abc import Callable, Iterator
from typing import Any, cast

from heliograph.ports import MessageRow, RequestRow, Store


class _Owned:
    def __init__(self, store: Store, mine: Callable[[str], bool]) -> None:
        self._store, self._mine = store, mine

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def queued_messages(self, after: tuple[int, str], limit: int) -> list[MessageRow]:
        """Those of others are read and passed over."""
        found: list[MessageRow] = []
        while True:
            rows = self._store.queued_messages(after, limit)
            found += [row for row in rows if self._mine(row.key)]
            if len(rows) < limit or len(found) >= limit:
                return found[:limit]
            after = (rows[-1].created_at, rows[-1].message_id)

    def requests(self, after: str = "") -> Iterator[RequestRow]:
        return (row for row in self._store.requests(after) if self._mine(row.key))


def owned(store: Store, mine: Callable[[str], bool]) -> Store:
    """``mine``: whether this person (key) is ours now (:meth:`heliograph.runtime.far_desk.FarDesk.is_mine`)."""
    return cast(Store, _Owned(store, mine))
