"""The way of a database from one schema to another, with Alembic (:mod:`.migrations`)."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

import asyncpg
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from heliograph.adapters.sql.schema import HEAD, REVISIONS, newer, shown
from heliograph.ports import StoreAway, StoreFailed, StoreTooNew

CONNECT_S: Final = 10.0

T = TypeVar("T")


def current(url: str) -> str:
    """The revision of this database, "" when nobody ever filled it.  :class:`StoreAway` when it does not answer."""
    return _with(url, lambda connection: MigrationContext.configure(connection).get_current_revision() or "")


def upgrade(url: str, to: str = HEAD) -> None:
    """Bring it there; every step is one transaction.  :class:`StoreTooNew` when it is beyond what we know."""
    _step(url, command.upgrade, to)


def downgrade(url: str, to: str) -> None:
    """Back to this revision, "base" for an empty database.  :class:`StoreFailed` when something would be lost."""
    _step(url, command.downgrade, to)


def _step(url: str, way: Callable[[Config, str], None], to: str) -> None:
    if (found := current(url)) and found not in REVISIONS:
        raise StoreTooNew(newer(found))
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))

    def walk(connection: Connection) -> None:
        config.attributes["connection"] = connection
        way(config, to)
        connection.commit()

    _with(url, walk)


def _with(url: str, work: Callable[[Connection], T]) -> T:
    try:
        return asyncio.run(_on_connection(url, work))
    except DBAPIError as error:
        raise StoreFailed(f"PostgreSQL refused: {getattr(error.orig, 'args', [error])[0]}") from error
    except (OSError, TimeoutError, asyncpg.PostgresError) as error:
        raise StoreAway(f"PostgreSQL at {shown(url)} cannot be used: {error or 'no answer'}") from error


async def _on_connection(url: str, work: Callable[[Connection], T]) -> T:
    async def connect(*_: Any) -> Any:
        return await asyncpg.connect(url, timeout=CONNECT_S)

    engine = create_async_engine("postgresql+asyncpg://", async_creator=connect, poolclass=NullPool)
    async with engine.connect() as connection:
        return await connection.run_sync(work)
