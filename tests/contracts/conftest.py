"""Every law of the store holds for every adapter: the fixture ``opened`` runs each test once per adapter."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from heliograph.adapters.memory import MemoryStore
from heliograph.adapters.rocksdb import RocksStore
from heliograph.ports import Store


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


@pytest.fixture(params=["memory", "rocksdb"])
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Opened]:
    opened = Opened(MemoryStore if request.param == "memory" else lambda: RocksStore(tmp_path / "data"))
    yield opened
    opened.store.close()


@pytest.fixture
def store(opened: Opened) -> Store:
    return opened.store
