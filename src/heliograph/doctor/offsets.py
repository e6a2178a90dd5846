"""How far workers and the brain are in what Kafka keeps: while it can be mended, and when it cannot any more."""

import asyncio
import importlib
from typing import Any, Final

from heliograph.doctor.finding import Finding, fail, ok, skipped, warn
from heliograph.doctor.patient import Patient, seconds
from heliograph.ports import StreamAway, StreamRefused
from heliograph.ports.stream import EFFECTS
from heliograph.runtime.gaps import META, kept

NAME: Final = "kafka.offsets"
CLAIMED: Final = """
    SELECT c.partition, coalesce(o.next, 0) AS next FROM claims c
    LEFT JOIN offsets o ON o.workspace = 0 AND o.topic = $1 AND o.partition = c.partition WHERE c.workspace = 0
"""
GAPS: Final = "SELECT value FROM meta WHERE workspace = 0 AND name = $1"


async def offsets(patient: Patient) -> list[Finding]:
    """What workers have noted in PostgreSQL and the brain in Kafka, against the oldest entry there is."""
    settings = patient.settings
    if settings is None or not (settings.kafka.brokers and settings.postgres.url):
        return [skipped(NAME, "no kafka.brokers and postgres.url: nobody reads a shared log")]
    try:
        kafka, asyncpg = importlib.import_module("heliograph.adapters.kafka"), importlib.import_module("asyncpg")
    except ImportError as error:
        return [skipped(NAME, f"cannot be known: {error}", "the checks kafka and postgres say why")]
    try:
        workers, value = await _noted(asyncpg, settings.postgres.url, seconds(settings.postgres.timeout))
        faults = await asyncio.to_thread(kafka.check_offsets, settings.kafka, workers, int(patient.now() * 1000))
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, StreamAway, StreamRefused) as error:
        return [skipped(NAME, f"cannot be known: {error or 'no answer in time'}", "kafka and postgres say why")]
    found = [(fail if one.grave else warn)(f"{NAME}.{one.topic}", one.what, one.mend) for one in faults]
    return found or [ok(NAME, "workers and the brain are within what is kept" + _given_up(value))]


async def _noted(asyncpg: Any, url: str, timeout_s: float) -> tuple[dict[int, int], bytes | None]:
    """Partition -> the next offset of workers; what was noted of gaps."""
    connection = await asyncpg.connect(url, timeout=timeout_s)
    try:
        rows = await connection.fetch(CLAIMED, EFFECTS.encode())
        return {row["partition"]: row["next"] for row in rows}, await connection.fetchval(GAPS, META.encode())
    finally:
        await connection.close()


def _given_up(value: bytes | None) -> str:
    gaps = kept(value)
    lost = sum(gap.lost for gap in gaps)
    return f"; {len(gaps)} gaps were dealt with, {lost:,} decisions given up at most (heliograph gap)" if gaps else ""
