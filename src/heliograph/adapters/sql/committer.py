"""The one who writes: commits of this process, one at a time, each numbered, and what became of one whose end was lost.

The number of the last commit stands in this process's row of ``processes``, written in that very transaction.  When a
connection breaks before the answer came, the row is asked on a new one, with a lock: so the old transaction, if the
server still works on it, ends first, and the answer is yes or no, never maybe.  While the server is away nobody can
tell; then the doubt is settled before the next commit.
"""

import threading

from heliograph.adapters.sql.driver import RETRY, Driver, is_lost, translated
from heliograph.adapters.sql.writes import spelled
from heliograph.ports import Commit, StoreAway, StoreFailed, StoreStale

TRIES = 4
"""At a commit that meets a deadlock: whoever lost goes at once, and the other is through by then."""

_ENTER = (
    "INSERT INTO processes (workspace, name, committed, last_at, seen_at, publishing_until) "
    "VALUES (0, $1, 0, 0, now_ms(), 0) RETURNING process"
)
_LANDED = "SELECT committed FROM processes WHERE workspace = 0 AND process = $1 FOR UPDATE"
_UNDO = (
    "DELETE FROM processes WHERE workspace = 0 AND process = $1 AND committed = 0 "
    "AND NOT EXISTS (SELECT 1 FROM relay WHERE workspace = 0 AND holder = $1)"
)
_LEAVE = "UPDATE processes SET publishing_until = 0 WHERE workspace = 0 AND process = $1"


class Committer:
    def __init__(self, driver: Driver, name: str) -> None:
        self._driver = driver
        self._writing = threading.Lock()
        self._number = 0
        self._doubt = 0
        """The number of a commit that may or may not be there."""
        row = driver.row(_ENTER, name.encode())
        assert row is not None
        self.process: int = row[0]

    def commit(self, commit: Commit, synced: bool) -> None:
        """All of it or nothing; raises what the port says, at the latest after three times the usual timeout."""
        with self._writing:
            sql, values = spelled(commit, self.process, self._number + 1, synced)
            self._driver.run(self._commit(sql, values))

    async def _commit(self, sql: str, values: list[object]) -> None:
        if self._doubt and await self._landed():
            self._doubt = 0
            raise StoreStale("an earlier commit, whose end was not heard, is there: read again")
        self._doubt = 0
        self._number += 1
        for left in reversed(range(TRIES)):
            try:
                await self._driver.ask(lambda connection: connection.fetch(sql, *values), again=False)
                return
            except Exception as error:
                if not await self._may_try_again(error, left):
                    return

    async def _may_try_again(self, error: Exception, left: int) -> bool:
        """Whether to try once more; False when it landed all the same.  Raises what became of it otherwise."""
        if is_lost(error):
            self._doubt = self._number
            await self._driver.back()
            if await self._landed():
                self._doubt = 0
                return False
            self._doubt = 0
        if left and (is_lost(error) or getattr(error, "sqlstate", "") in RETRY):
            return True
        raise translated(error) from error

    async def _landed(self) -> bool:
        """Whether the commit in doubt is there.  :class:`StoreAway` while nobody can tell."""
        row = await self._driver.ask(lambda connection: connection.fetchrow(_LANDED, self.process))
        if row is None:
            raise StoreFailed("This process was away for so long that its commits were forgotten; start it again.")
        landed: bool = row[0] >= self._doubt
        return landed

    def leave(self) -> None:
        """What this process was publishing may be taken over at once; of one that did nothing, a failed start, say,
        nothing stays."""
        try:
            self._driver.rows(_UNDO, self.process)
            self._driver.rows(_LEAVE, self.process)
        except StoreAway:
            return


__all__ = ["Committer"]
