"""Every law of the store holds for every adapter: the fixture ``opened`` runs each test once per adapter.

``kept`` runs those about the log on the stores that keep it, ``shared`` those about many writers on the stores that
many processes share (the twin's handles are its processes)."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from heliograph.adapters.memory import MemoryStore
from heliograph.adapters.memory.shared import SharedMemoryStore
from heliograph.adapters.rocksdb import RocksStore
from heliograph.adapters.sql import PostgresStore
from heliograph.ports import SharedStore, Store
from tests import postgres


class Opened:
    """A store, and the way to close and open it again.  The twin in memory keeps what it has."""

    def __init__(self, make: Callable[[], Store]) -> None:
        self._make = make
        self.store = make()

    def again(self) -> Store:
        if not isinstance(self.store, MemoryStore):
            self.store.close()
            self.store = self._make()
        return self.store


def make(name: str, folder: Path) -> Callable[[], Store]:
    """How a store of this kind, empty, is opened."""
    if name == "postgres":
        if why := postgres.why_not():
            pytest.skip(why)
        url = postgres.emptied()
        return lambda: PostgresStore(url)
    return {"memory": MemoryStore, "shared memory": SharedMemoryStore, "rocksdb": lambda: RocksStore(folder / "data")}[
        name
    ]


@pytest.fixture(params=["memory", "rocksdb", "shared memory", "postgres"])
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Opened]:
    opened = Opened(make(request.param, tmp_path))
    yield opened
    opened.store.close()


@pytest.fixture
def store(opened: Opened) -> Store:
    return opened.store


@pytest.fixture(params=["memory", "rocksdb"])
def kept(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Opened]:
    kept = Opened(make(request.param, tmp_path))
    yield kept
    kept.store.close()


class Shared:
    """A store, and a way to open it in another process."""

    def __init__(self, name: str, folder: Path) -> None:
        self._open = make(name, folder)
        self._others: list[Store] = []
        self.store: SharedStore = self._opened()

    def _opened(self) -> SharedStore:
        found = self._open()
        assert isinstance(found, SharedMemoryStore | PostgresStore)
        self._others.append(found)
        return found

    def beside(self) -> SharedStore:
        if not isinstance(self.store, SharedMemoryStore):
            return self._opened()
        self._others.append(other := self.store.beside())
        return other

    def close(self) -> None:
        for one in self._others:
            one.close()


@pytest.fixture(params=["memory", "postgres"])
def shared(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Shared]:
    shared = Shared({"memory": "shared memory"}.get(request.param, request.param), tmp_path)
    yield shared
    shared.close()
