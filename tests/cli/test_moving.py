"""`heliograph export`: from a folder whose server is stopped, into a file for its owner alone."""

import stat
from pathlib import Path

from heliograph.adapters.rocksdb import RocksStore
from heliograph.events.record import LedgerRow
from heliograph.ports import Commit, PlanRow
from heliograph.runtime import archive
from tests.cli.conftest import SHOP, Run


def deployment(data: Path) -> RocksStore:
    store = RocksStore(data)
    word = LedgerRow("ann@shop.example", "offers", True, 5, "page")
    store.commit(Commit(plan=PlanRow(1, b"{}", 5), meta={"secret": b"key"}, ledger={(word.address, word.topic): word}))
    return store


def test_a_stopped_deployment_becomes_one_file(run: Run, tmp_path: Path) -> None:
    deployment(tmp_path / "data").close()
    file = tmp_path / "shop.heliograph"
    said = run("export", file, "--data", tmp_path / "data")
    assert (said.code, said.out) == (0, f"{file}: 1 plan, 1 ledger row\n")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert archive.verify(file)["LedgerRow"] == 1


def test_a_running_one_is_left_alone(run: Run, tmp_path: Path) -> None:
    store = deployment(tmp_path / "data")
    said = run("export", tmp_path / "file", "--data", tmp_path / "data")
    store.close()
    assert said.code == 1 and "stop it first" in said.err and not (tmp_path / "file").exists()


def test_an_empty_folder_is_no_deployment(run: Run, tmp_path: Path) -> None:
    said = run("export", tmp_path / "file", "--data", tmp_path / "data")
    assert said.code == 1 and f"there is no deployment in {tmp_path / 'data'}" in said.err
    assert not (tmp_path / "data").exists()


def test_a_place_that_cannot_be_written_is_named(run: Run, tmp_path: Path) -> None:
    deployment(tmp_path / "data").close()
    said = run("export", tmp_path / "nowhere" / "file", "--data", tmp_path / "data")
    assert said.code == 1 and "cannot be written" in said.err


def test_one_machine_is_no_place_to_move_into(run: Run, tmp_path: Path) -> None:
    said = run("import", tmp_path / "file", "--kind", "deployment", "--project", SHOP)
    assert said.code == 1 and "kafka.brokers names none" in said.err
