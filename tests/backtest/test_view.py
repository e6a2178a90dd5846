"""A view beside the owner of a folder."""

import random
import subprocess
import sys
from pathlib import Path

import pytest

from heliograph.adapters.rocksdb import RocksStore, RocksView, options, view
from heliograph.ports import Commit
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


@pytest.mark.parametrize("seed", [4, 10, 12, 16, 17, 19])
def test_a_folder_whose_log_was_begun_anew_many_times_opens(
    seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A secondary reads for ever where RocksDB has written one file of its log over an older one."""
    monkeypatch.setattr(options, "WAL_TOTAL", options.MB)
    sizes, chance = random.Random(seed), random.Random(seed)
    store = RocksStore(tmp_path / "data")
    for number in range(sizes.randrange(200, 900)):
        blob = chance.randbytes(sizes.randrange(100, 50_000))
        store.commit(Commit(states={f"u:{number}": blob}, meta={"m": b"x" * 100}), sync=False)
    store.close()
    opening = "import sys, pathlib, heliograph.adapters.rocksdb as r; r.RocksView(pathlib.Path(sys.argv[1])).close()"
    subprocess.run([sys.executable, "-c", opening, str(tmp_path / "data")], check=True, timeout=60)
