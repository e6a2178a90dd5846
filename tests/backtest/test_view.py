"""A view beside the owner of a folder."""

from pathlib import Path

import pytest

from heliograph.adapters.rocksdb import RocksView, view
from tests.backtest.kit import PLAIN, World
from tests.runtime.harness import call, identify


def test_a_process_that_is_killed_leaves_no_folder_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    memory = tmp_path / "memory"
    memory.mkdir()
    monkeypatch.setattr(view, "MEMORY", memory)
    world = World(tmp_path / "data", PLAIN)
    world.send(identify("ann", email="ann@x.test"))
    beside = RocksView(tmp_path / "data")
    assert not list(memory.iterdir())
    before = beside.last_position()
    for n in range(50):
        world.send(call("Product Viewed", "ann", product_id=f"p{n}"))
    beside.catch_up()
    assert beside.last_position() >= before + 50
    beside.close()
    world.close()
