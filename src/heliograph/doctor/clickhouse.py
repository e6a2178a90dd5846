"""ClickHouse: the server, or chDB inside the process; and our tables in it."""

import asyncio
import contextlib
import importlib
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote, urlsplit

import aiohttp
import msgspec

from heliograph.doctor.finding import Finding, fail, ok, skipped, warn
from heliograph.doctor.patient import Patient
from heliograph.measure import schema
from heliograph.ports.facts import FactsAway, FactsRefused, FactsTooNew

PATIENCE: Final = aiohttp.ClientTimeout(total=10)
SERVER: Final = "SELECT version() AS version, toFloat64(now64(6)) AS now"
THERE: Final = (
    f"SELECT count() AS tables FROM system.tables WHERE database = {{name:String}} AND name = '{schema.VERSIONS}'"
)
OLDEST: Final = 24
"""The year of the release."""
EXTRA: Final = "pip install 'heliograph[facts]'"
MAKE: Final = "`heliograph facts load`, or a server with this setting, makes them; so does `heliograph doctor --mend`"


class Server:
    """ClickHouse over HTTP, asked as the loader asks it; nothing is made and nothing changed."""

    def __init__(self, session: aiohttp.ClientSession, place: Any) -> None:
        self._session, self._place = session, place
        self._url = f"http{'s' if place.secure else ''}://{place.host}:{place.port}/"
        self._headers = {"X-ClickHouse-User": place.user, "X-ClickHouse-Key": place.password}

    async def row(self, sql: str, **parameters: str) -> dict[str, Any]:
        """The one row of an answer; :class:`ValueError` is what the server said else."""
        options = {f"param_{name}": value for name, value in parameters.items()}
        query = f"{sql} FORMAT JSONEachRow"
        async with self._session.post(self._url, params=options, headers=self._headers, data=query) as answer:
            text = await answer.text()
            if answer.status != 200:
                raise ValueError(f"{answer.status} {text[:200]}")
            return msgspec.json.decode(text.splitlines()[0], type=dict[str, Any])


async def clickhouse(patient: Patient) -> list[Finding]:
    """Version, clock, tables; with ``mend`` the tables are made first."""
    url = "" if patient.settings is None else patient.settings.clickhouse.url
    if not url:
        return [skipped("clickhouse", "no clickhouse.url: facts are not loaded")]
    if url.startswith("chdb:"):
        return [_embedded(url)]
    adapter = importlib.import_module("heliograph.adapters.clickhouse")
    place = adapter.place_of(url)
    try:
        if patient.mend:
            await asyncio.to_thread(_prepare, adapter, place)
        async with aiohttp.ClientSession(timeout=PATIENCE) as session:
            return await _look(Server(session, place), place, patient)
    except (aiohttp.ClientError, OSError, TimeoutError, ValueError, FactsAway, FactsRefused) as error:
        said = str(error).partition("\n")[0] or "no answer in time"
        return [fail("clickhouse", f"{place}: {said}", "is it running, are user, password and database right?")]


def _prepare(adapter: Any, place: Any) -> None:
    sink = adapter.ClickhouseSink(place)
    try:
        with contextlib.suppress(FactsTooNew):  # that is found, and told, anyway
            sink.prepare()
    finally:
        sink.close()


async def _look(server: Server, place: Any, patient: Patient) -> list[Finding]:
    before = patient.now()
    row = await server.row(SERVER)
    patient.hear_clock("clickhouse", float(row["now"]), before)
    seen = f"ClickHouse {row['version']} at {place}"
    if int(row["version"].partition(".")[0]) < OLDEST:
        return [fail("clickhouse", seen, f"{OLDEST} or newer is needed")]
    return [ok("clickhouse", seen), await _tables(server, place.database)]


async def _tables(server: Server, database: str) -> Finding:
    """Those that the loader makes, against those that the code has."""
    name, newest = "clickhouse.tables", schema.STEPS[-1].version
    if not int((await server.row(THERE, name=database))["tables"]):
        return warn(name, f"none of ours in the database {database} yet", MAKE)
    sql = f"SELECT max(version) AS version FROM {{name:Identifier}}.{schema.VERSIONS}"
    found = int((await server.row(sql, name=database))["version"])
    if found > newest:
        return fail(name, f"version {found} was made by a newer Heliograph, this one knows {newest}", "upgrade it")
    if found < newest:
        return warn(name, f"version {found}, the code wants {newest}", MAKE)
    return ok(name, f"version {found} in {database}")


def _embedded(url: str) -> Finding:
    folder = Path(unquote(urlsplit(url).path))
    try:
        importlib.import_module("chdb")
    except ImportError:
        return fail("clickhouse", "chDB is not installed", EXTRA)
    if not folder.parent.is_dir():
        return fail("clickhouse", f"there is no {folder.parent}", "make the folder, or name another in clickhouse.url")
    return ok("clickhouse", f"chDB inside the process, at {folder}")
