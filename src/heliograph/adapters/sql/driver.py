"""Connections to PostgreSQL, driven by one event loop in a thread of its own, so that any thread may call.

A connection that was lost, or did not answer in time, is never used again.  What only reads is asked once more on a new
one; a commit is not (:meth:`Driver.landing` finds out what became of it).  When the server itself is away, every call
raises :class:`~heliograph.ports.StoreAway` at once, without waiting, and one task knocks until it answers again.
"""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import CancelledError
from typing import Any, Final, TypeVar

import asyncpg
import structlog
import uvloop

from heliograph.adapters.sql.schema import shown
from heliograph.ports import Fenced, StoreAway, StoreFailed, StoreFull, StoreStale

KNOCK_S: Final = 0.2
"""Between looks for a server that is away."""
STATEMENTS: Final = 256
"""Prepared on each connection: one for every read, one for every combination of parts that a commit had."""

T = TypeVar("T")
Row = Any
log = structlog.get_logger("heliograph.postgres")

SETTINGS: Final = {
    "application_name": "heliograph",
    "client_connection_check_interval": "1000",
    "default_transaction_isolation": "read committed",
    # Every statement here walks an index; other plans come from tables that nobody has counted yet.
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "enable_seqscan": "off",
    "jit": "off",
    "plan_cache_mode": "force_generic_plan",
}

RETRY: Final = frozenset({"40001", "40P01"})
"""Serialization failure, deadlock: nothing of it is there, and at once it may go."""
_STALE, _FENCED = "HG001", "HG002"
_FULL: Final = frozenset({"53100"})
_MISSING: Final = frozenset({"42P01", "42883", "42703"})
_AWAY: Final = ("08", "57P", "53", "25006", "57014", "55P03", "28", "3D")
"""Beginnings of SQLSTATEs with which the server says: not now."""
_LOST: Final = ("08", "57P")


def is_lost(error: BaseException) -> bool:
    """The connection is of no use any more, and perhaps a commit was under way on it."""
    if isinstance(error, asyncpg.PostgresError):
        return str(error.sqlstate).startswith(_LOST)
    return isinstance(error, OSError | TimeoutError | asyncpg.InterfaceError | asyncpg.InternalClientError)


def translated(error: Exception) -> Exception:
    """What the port calls it."""
    if not isinstance(error, asyncpg.PostgresError):
        return StoreAway(f"PostgreSQL does not answer: {error or 'in time'}") if is_lost(error) else error
    state = str(error.sqlstate)
    if state == _STALE or state in RETRY:
        return StoreStale(str(error))
    if state == _FENCED:
        return Fenced(str(error))
    if state in _FULL:
        return StoreFull(f"PostgreSQL has no room on its disk: {error}")
    if state in _MISSING:
        return StoreFailed(f"The tables are not those of this version ({error}); run: heliograph db upgrade")
    if state.startswith(_AWAY):
        return StoreAway(f"PostgreSQL refuses for now: {error}")
    return StoreFailed(f"PostgreSQL refused: {error} ({state})")


class Driver:
    """``timeout_s`` bounds every call; ``pool``: connections at most."""

    def __init__(self, url: str, *, pool: int, timeout_s: float) -> None:
        self._url, self.timeout_s = url, timeout_s
        self._idle: list[asyncpg.Connection] = []
        self._busy: set[asyncpg.Connection] = set()
        self._away = ""
        self._closed = False
        self._knocking: asyncio.Task[None] | None = None
        self._loop = uvloop.new_event_loop()
        self._slots = asyncio.Semaphore(pool)
        self._thread = threading.Thread(target=self._loop.run_forever, name="heliograph-postgres", daemon=True)
        self._thread.start()

    # -- from any thread --

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Wait for this coroutine, which runs on the driver's loop."""
        if self._closed:
            work.close()
            raise StoreAway("this store was closed")
        try:
            return asyncio.run_coroutine_threadsafe(work, self._loop).result()
        except CancelledError as error:
            raise StoreAway("this store was closed") from error

    def rows(self, sql: str, *values: object, patience: float = 1) -> list[Row]:
        """The rows of one statement that may be asked twice.  ``patience``: times the usual timeout."""

        async def patient(connection: asyncpg.Connection) -> list[Row]:
            async with connection.transaction(readonly=True):
                await connection.execute(f"SET LOCAL statement_timeout = {int(self.timeout_s * patience * 1000)}")
                return list(await connection.fetch(sql, *values))

        if patience > 1:
            return self.run(self.ask(patient, patience=patience))
        return self.run(self.ask(lambda connection: connection.fetch(sql, *values)))

    def row(self, sql: str, *values: object) -> Row | None:
        found = self.rows(sql, *values)
        return found[0] if found else None

    def close(self) -> None:
        """Let go of all connections and end the thread; what still waits hears :class:`StoreAway`."""
        if self._closed:
            return
        self._closed = True
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    # -- on the loop --

    async def ask(
        self, work: Callable[[asyncpg.Connection], Awaitable[T]], *, again: bool = True, patience: float = 1
    ) -> T:
        """Do this on a connection; ``again``: once more on a new one when the first was lost.  Raises the errors of the
        port, and with ``again`` off what was raised."""
        if self._away:
            raise StoreAway(self._away)
        try:
            async with asyncio.timeout(self.timeout_s * patience), self._slots:
                return await self._ask(work, again)
        except Exception as error:
            if is_lost(error):
                self._lost(error)
            if not again:
                raise
            raise translated(error) from error

    async def _ask(self, work: Callable[[asyncpg.Connection], Awaitable[T]], again: bool) -> T:
        connection, used = await self._take()
        try:
            return await self._on(connection, work)
        except Exception as error:
            if not (again and used and is_lost(error)):
                raise
        self._drop_idle()
        return await self._on(await self._connect(), work)

    async def _on(self, connection: asyncpg.Connection, work: Callable[[asyncpg.Connection], Awaitable[T]]) -> T:
        self._busy.add(connection)
        try:
            found = await work(connection)
        except BaseException as error:
            if not isinstance(error, asyncpg.PostgresError) or is_lost(error):
                connection.terminate()
            raise
        finally:
            self._busy.discard(connection)
            if not connection.is_closed():
                self._idle.append(connection)
        return found

    async def _take(self) -> tuple[asyncpg.Connection, bool]:
        while self._idle:
            if not (connection := self._idle.pop()).is_closed():
                return connection, True
        return await self._connect(), False

    async def _connect(self) -> asyncpg.Connection:
        late = str(int(self.timeout_s * 1000))
        return await asyncpg.connect(
            self._url,
            timeout=self.timeout_s,
            statement_cache_size=STATEMENTS,
            max_cached_statement_lifetime=0,
            max_cacheable_statement_size=0,
            server_settings=SETTINGS | {"statement_timeout": late, "idle_in_transaction_session_timeout": late},
        )

    def _drop_idle(self) -> None:
        for connection in self._idle:
            connection.terminate()
        self._idle.clear()

    def _lost(self, error: Exception) -> None:
        """Was it this connection alone?  A server that is away is not tried by every call from now on."""
        self._drop_idle()
        if isinstance(error, TimeoutError):
            self._away = self._why(error)
        if self._knocking is None or self._knocking.done():
            self._knocking = asyncio.create_task(self._knock(), name="knock")

    def _why(self, error: Exception) -> str:
        return f"PostgreSQL at {shown(self._url)} does not answer: {error or 'not in time'}"

    async def _knock(self) -> None:
        told = False
        while (connection := await self._answer()) is None:
            if not told:
                log.error("postgres away", error=self._away)
            told = True
            await asyncio.sleep(KNOCK_S)
        if told:
            log.info("postgres answers again")
        self._away = ""
        self._idle.append(connection)

    async def _answer(self) -> asyncpg.Connection | None:
        try:
            async with asyncio.timeout(self.timeout_s):
                connection = await self._connect()
                await connection.fetchval("SELECT 1")
                return connection
        except Exception as error:
            self._away = self._why(error)
            return None

    async def back(self) -> None:
        """After a connection was lost: wait, at most for the timeout, until the server answers again."""
        if self._knocking is not None:
            await asyncio.wait({self._knocking}, timeout=self.timeout_s)

    async def _end(self) -> None:
        self._away = self._away or "this store was closed"
        for connection in [*self._idle, *self._busy]:
            connection.terminate()
        self._idle.clear()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
