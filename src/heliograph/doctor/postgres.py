"""PostgreSQL: reachable, new enough, its schema ours, and room for the connections that we take."""

import asyncio
import importlib
from typing import Any, Final

from heliograph.doctor.finding import Finding, fail, ok, skipped, warn
from heliograph.doctor.patient import Patient, seconds, where

OLDEST: Final = 140_000
"""``server_version_num`` of PostgreSQL 14."""
EXTRA: Final = "pip install 'heliograph[scale]'"
QUERY: Final = """
    select extract(epoch from clock_timestamp())::float8 as now, current_setting('server_version_num')::int as number,
           current_setting('server_version') as version, current_setting('max_connections')::int as most,
           current_setting('superuser_reserved_connections')::int as reserved,
           (select count(*) from pg_stat_activity where backend_type = 'client backend')::int as open,
           current_setting('synchronous_commit') as sync, current_setting('fsync') as fsync
"""


async def postgres(patient: Patient) -> list[Finding]:
    """Everything that one connection can tell."""
    settings = patient.settings
    if settings is None or not settings.postgres.url:
        return [skipped("postgres", "no postgres.url: this machine keeps everything by itself")]
    try:
        asyncpg = importlib.import_module("asyncpg")
    except ImportError:
        return [fail("postgres", "asyncpg is not installed", EXTRA)]
    url, before = settings.postgres.url, patient.now()
    try:
        connection = await asyncpg.connect(url, timeout=seconds(settings.postgres.timeout))
    except (OSError, TimeoutError, ValueError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        return [
            fail(
                "postgres",
                f"{where(url)}: {error or 'no answer in time'}",
                "is it running, and are name, password, database and pg_hba.conf right?",
            )
        ]
    try:
        before = patient.now()
        row = await connection.fetchrow(QUERY)
        patient.hear_clock("postgres", row["now"], before)
        schema = await _schema(patient, url)
    finally:
        await connection.close()
    return [_version(row, where(url)), _room(row, settings.postgres.pool), _durable(row), schema]


def _version(row: Any, shown: str) -> Finding:
    seen = f"PostgreSQL {row['version']} at {shown}"
    return ok("postgres", seen) if row["number"] >= OLDEST else fail("postgres", seen, "14 or newer is needed")


def _room(row: Any, pool: int) -> Finding:
    """Other processes have pools of the same size: how many more fit is what is said."""
    free = row["most"] - row["reserved"] - row["open"]
    seen = f"{row['open']} of {row['most']} connections are open, pools of {pool}: {max(0, free) // pool} more fit"
    if free < pool:
        return fail(
            "postgres.connections", seen, "raise max_connections, lower postgres.pool, or put a pooler in front"
        )
    if free < 2 * pool:
        return warn("postgres.connections", seen, "a rolling restart needs two at once: raise max_connections")
    return ok("postgres.connections", seen)


def _durable(row: Any) -> Finding:
    seen = f"fsync {row['fsync']}, synchronous_commit {row['sync']}"
    if row["fsync"] != "on" or row["sync"] == "off":
        return fail("postgres.durable", seen, "turn both on: a commit point that a crash undoes sends a mail twice")
    return ok("postgres.durable", seen)


async def _schema(patient: Patient, url: str) -> Finding:
    """The migrations that ran against those that the code has."""
    migrating = importlib.import_module("heliograph.adapters.sql.migrating")
    ran, newest = await asyncio.to_thread(migrating.current, url), migrating.HEAD
    if ran == newest:
        return ok("postgres.schema", f"migration {newest}")
    if ran and ran not in migrating.REVISIONS:
        return fail("postgres.schema", f"migration {ran} is of a newer version", "upgrade this machine, too")
    if patient.mend:
        await asyncio.to_thread(migrating.upgrade, url)
        return ok("postgres.schema", f"migration {newest}, mended from {ran or 'nothing'}")
    return fail("postgres.schema", f"migration {ran or 'none'}, the code wants {newest}", "heliograph db upgrade")
