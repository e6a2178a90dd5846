"""A store as one worker among many sees what is to be mailed: only that of its own people."""

from collections.abc import Callable
from typing import Any, cast

from heliograph.ports import MessageRow, Store


class _Owned:
    def __init__(self, store: Store, mine: Callable[[MessageRow], bool]) -> None:
        self._store, self._mine = store, mine

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def queued_messages(self, after: tuple[int, str], limit: int) -> list[MessageRow]:
        """Those of others are read and passed over."""
        found: list[MessageRow] = []
        while True:
            rows = self._store.queued_messages(after, limit)
            found += [row for row in rows if self._mine(row)]
            if len(rows) < limit or len(found) >= limit:
                return found[:limit]
            after = (rows[-1].created_at, rows[-1].message_id)


def owned(store: Store, mine: Callable[[MessageRow], bool]) -> Store:
    """``mine``: whether this message is ours now (:meth:`heliograph.runtime.far_desk.FarDesk.offers`)."""
    return cast(Store, _Owned(store, mine))
