"""Which stores a deployment moves out of and into."""

import asyncio
from collections.abc import Callable
from pathlib import Path

from heliograph.adapters.rocksdb import RocksStore
from heliograph.bootstrap.world import world_of
from heliograph.config import Settings
from heliograph.runtime import archive, moving
from heliograph.runtime.clock import SystemClock
from heliograph.runtime.meter import Meter
from heliograph.runtime.relay import Relay


class NothingThere(Exception):
    """There is no deployment in this folder."""


def move_out(data: Path, file: Path) -> dict[str, int]:
    """Everything of a stopped embedded deployment into one file; how many rows of each kind.  Raises
    :class:`NothingThere`, and :class:`~heliograph.ports.StoreLocked` while a server runs on that folder."""
    if not data.is_dir() or not any(data.iterdir()):
        raise NothingThere(f"there is no deployment in {data}; name its data folder with --data")
    store = RocksStore(data)
    try:
        return archive.write(file, moving.pack(store))
    finally:
        store.close()


async def move_in(settings: Settings, file: Path, told: Callable[[int], None]) -> dict[str, int] | None:
    """Everything of a file into the several machines that ``settings`` names; how many rows of each kind, None when all
    of it is there already.  Raises :class:`~heliograph.runtime.archive.ArchiveError`,
    :class:`~heliograph.runtime.moving.Occupied`, :class:`~heliograph.bootstrap.world.CannotServe`, and
    :class:`~heliograph.ports.StoreAway` or :class:`~heliograph.ports.StreamAway`: call it again then."""
    rows = await asyncio.to_thread(archive.verify, file)
    world = world_of(settings)
    store = await asyncio.to_thread(world.store)
    try:
        fresh = await asyncio.to_thread(moving.move_in, store, file, SystemClock().now(), told)
        stream = world.stream()
        relay = Relay(store, stream.appender(), Meter())
        while await relay.portion():
            pass
        await stream.close()
    finally:
        await asyncio.to_thread(store.close)
    return rows if fresh else None
