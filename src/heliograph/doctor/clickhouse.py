"""ClickHouse: the server, or chDB inside the process."""

import importlib
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote, urlsplit

import aiohttp

from heliograph.doctor.finding import Finding, fail, ok, skipped
from heliograph.doctor.patient import Patient, where

PATIENCE: Final = aiohttp.ClientTimeout(total=10)
QUERY: Final = "SELECT version() AS version, toFloat64(now64(6)) AS now FORMAT JSONEachRow"
OLDEST: Final = 24
"""The year of the release."""
EXTRA: Final = "pip install 'heliograph[facts]'"


async def clickhouse(patient: Patient) -> list[Finding]:
    """One SELECT."""
    url = "" if patient.settings is None else patient.settings.clickhouse.url
    if not url:
        return [skipped("clickhouse", "no clickhouse.url: facts are not loaded")]
    if url.startswith("chdb:"):
        return [_embedded(url)]
    before = patient.now()
    try:
        row = await _select(url)
    except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
        said = str(error).partition("\n")[0] or "no answer in time"
        return [fail("clickhouse", f"{where(url)}: {said}", "is it running, are user, password and database right?")]
    patient.hear_clock("clickhouse", float(row["now"]), before)
    seen = f"ClickHouse {row['version']} at {where(url)}"
    if int(row["version"].partition(".")[0]) < OLDEST:
        return [fail("clickhouse", seen, f"{OLDEST} or newer is needed")]
    return [ok("clickhouse", seen)]


async def _select(url: str) -> dict[str, Any]:
    parts = urlsplit(url)
    address = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}/"
    headers = {
        "X-ClickHouse-User": unquote(parts.username or "default"),
        "X-ClickHouse-Key": unquote(parts.password or ""),
    }
    database = {"database": parts.path.strip("/") or "default"}
    async with (
        aiohttp.ClientSession(timeout=PATIENCE) as session,
        session.post(address, params=database, headers=headers, data=QUERY) as answer,
    ):
        if answer.status != 200:
            raise ValueError(f"{answer.status} {(await answer.text())[:200]}")
        row: dict[str, Any] = await answer.json(content_type=None)
        return row


def _embedded(url: str) -> Finding:
    folder = Path(urlsplit(url).path)
    try:
        importlib.import_module("chdb")
    except ImportError:
        return fail("clickhouse", "chDB is not installed", EXTRA)
    if not folder.parent.is_dir():
        return fail("clickhouse", f"there is no {folder.parent}", "make the folder, or name another in clickhouse.url")
    return ok("clickhouse", f"chDB inside the process, at {folder}")
