"""A recorded afternoon, and loaders over it."""

import asyncio
import contextlib
from pathlib import Path
from typing import Any

from heliograph.adapters.clickhouse import ClickhouseSink, place_of
from heliograph.adapters.rocksdb import RocksView
from heliograph.runtime.clock import SystemClock
from heliograph.runtime.fact_sources import LogSource
from heliograph.runtime.loading import Loader, Progress, Source
from tests.backtest.kit import World
from tests.backtest.test_law import afternoon

VIEWS = ("facts", "events", "messages", "runs")
HUGE = 1_000_000


def recorded(folder: Path, seed: int, steps: int = 40) -> Path:
    """A data folder in which some people spent an afternoon."""
    world = World(folder, None, seed)
    afternoon(world, steps)
    world.close()
    return folder


def journal(folder: Path) -> list[tuple[int, str, int, str, Any]]:
    """Everything that was decided, in order: (position, key, at, kind, data)."""
    with contextlib.closing(RocksView(folder)) as view:
        keys = {record.key for _, record in view.log(0, HUGE)}
        rows = [
            (row.position, key, row.at, row.kind, row.data) for key in keys for row in view.journal(key, HUGE)[::-1]
        ]
        return sorted(rows, key=lambda row: row[0])


def source(folder: Path, name: str = "log") -> LogSource:
    return LogSource(lambda: RocksView(folder), name)


def load(sink: Any, source: Source, *, blocks: int = HUGE) -> int:
    """Until nothing is left, or so many blocks are loaded; how many were."""

    async def run() -> int:
        loaded = 0

        def heard(progress: Progress) -> None:
            nonlocal loaded
            loaded += bool(progress.records)
            if loaded >= blocks or (loaded and not progress.records and not progress.away):
                loader.stop()

        loader = Loader(sink, source, SystemClock(), heard, pause_ms=10)
        await asyncio.wait_for(loader.run(), 30)
        return loaded

    return asyncio.run(run())


def sink_in(folder: Path) -> ClickhouseSink:
    return ClickhouseSink(place_of(f"chdb://{folder}"))


def tables(sink: Any) -> dict[str, list[list[Any]]]:
    """What somebody reads who does not ask where a row came from."""
    columns = {name: "* EXCEPT (partition, position)" if name in ("facts", "events") else "*" for name in VIEWS}
    return {name: sink.query(f"SELECT {columns[name]} FROM {name} ORDER BY ALL", HUGE).rows for name in VIEWS}
