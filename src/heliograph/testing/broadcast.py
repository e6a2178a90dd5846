"""A broadcast under test: how far it is, and its buttons."""

from collections.abc import Callable
from typing import Any

from heliograph.ports import BroadcastRow
from heliograph.runtime import counting
from heliograph.runtime.crank import Crank


class Broadcast:
    """``id`` names it: ``person.why(journey=f"broadcast:{news.id}")`` says what became of somebody."""

    def __init__(self, crank: Crank, broadcast_id: str, settle: Callable[[], None]) -> None:
        self.id = broadcast_id
        self._crank, self._settle = crank, settle

    def __repr__(self) -> str:
        return f"<broadcast {self.id}: {self.status}>"

    @property
    def _row(self) -> BroadcastRow:
        row = self._crank.store.broadcast(self.id)
        assert row is not None
        return row

    @property
    def status(self) -> str:
        """draft, scheduled, running, paused, finished or cancelled."""
        return self._row.status

    @property
    def progress(self) -> dict[str, Any]:
        """As the API says it: ``people``, ``messages`` by status, ``skipped`` by reason."""
        return counting.progress(self._row)

    def pause(self, reason: str = "") -> None:
        self._move("pause", reason)

    def resume(self) -> None:
        self._move("resume", "")

    def cancel(self, reason: str = "") -> None:
        self._move("cancel", reason)

    def _move(self, verb: str, reason: str) -> None:
        self._crank.move_broadcast(self.id, verb, reason)
        self._settle()
