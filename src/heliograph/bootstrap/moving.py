"""Which stores a deployment moves out of and into."""

from collections.abc import Callable
from pathlib import Path

from heliograph.adapters.rocksdb import RocksStore
from heliograph.runtime import archive, moving


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


Progress = Callable[[int, int], None]
"""Rows so far, of all."""
