"""Commands that need no server."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from heliograph import bootstrap
from heliograph.adapters.memory import MemoryStore
from heliograph.ports import Commit

from .conftest import SHOP, Run


def test_init_then_check_is_fine(run: Run, tmp_path: Path) -> None:
    assert run("init", tmp_path / "new").code == 0
    said = run("check", tmp_path / "new")
    assert (said.code, said.out) == (0, "1 journey, 1 segment, 2 templates: fine\n")


def test_init_refuses_a_folder_with_something_in_it(run: Run, tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("")
    said = run("init", tmp_path)
    assert (said.code, said.err) == (1, f"{tmp_path} is not an empty folder; choose another one\n")


def test_init_says_when_it_may_not_write(run: Run, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    said = run("init", tmp_path / "file" / "below")
    assert said.code == 1
    assert "cannot be written" in said.err


def test_check_exits_with_1_and_names_file_line_and_word(run: Run, tmp_path: Path) -> None:
    shutil.copytree(SHOP, tmp_path / "shop")
    journey = tmp_path / "shop" / "journeys" / "welcome.yaml"
    journey.write_text(journey.read_text().replace("send: welcome", "send: welcom"))
    said = run("check", tmp_path / "shop")
    assert said.code == 1
    assert "journeys/welcome.yaml:9: there is no template 'welcom' (did you mean welcome?)" in said.out
    assert said.err == "1 error, 0 warnings\n"


def test_check_without_a_project_says_so(run: Run, tmp_path: Path) -> None:
    assert "there is no heliograph.toml" in run("check", tmp_path).out
    assert run("check", tmp_path / "nowhere").err == f"there is no folder {tmp_path / 'nowhere'}\n"


@pytest.mark.parametrize("command", ["bench"])
def test_later_commands_are_refused_by_name(run: Run, command: str) -> None:
    said = run(command, "--some", "option", "word")
    assert said.code == 2
    assert f"`heliograph {command}` is not in this version" in said.err


@pytest.mark.parametrize("command", ["plan", "apply", "messages", "replay"])
def test_without_a_server_a_command_says_what_to_start(run: Run, command: str) -> None:
    said = run(command, "--project", SHOP, "--url", "http://127.0.0.1:9")
    assert said.code == 1
    assert "no server answers at http://127.0.0.1:9; start one with `heliograph serve`" in said.err


def test_serve_refuses_the_demo_key_on_a_public_address(run: Run, tmp_path: Path) -> None:
    said = run("serve", "--project", SHOP, "--data", tmp_path / "data", "--host", "0.0.0.0")
    assert said.code == 1
    assert "must then be a loopback address, not 0.0.0.0" in said.err
    assert not (tmp_path / "data").exists()


def test_serve_of_a_broken_project_lists_its_errors(tmp_path: Path) -> None:
    shutil.copytree(SHOP, tmp_path / "shop")
    (tmp_path / "shop" / "segments" / "vip.yaml").write_text("name: vip\nif: {evryone: true}\n")
    command = [sys.executable, "-m", "heliograph.cli", "serve", "--project", tmp_path / "shop"]
    done = subprocess.run(
        [*command, "--data", tmp_path / "data", "--port", "0"], check=False, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 1
    assert "segments/vip.yaml:2" in done.stdout
    assert "did you mean everyone?" in done.stdout


def test_serve_on_a_full_disk_says_so_in_one_sentence(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder and its keys could still be written; the plan does not fit."""

    class Brimful(MemoryStore):
        def commit(self, commit: Commit, *, sync: bool = True) -> None:
            self.full = commit.plan is not None or self.full
            super().commit(commit, sync=sync)

    monkeypatch.setattr(bootstrap, "RocksStore", lambda _path: Brimful())
    said = run("serve", "--project", SHOP, "--data", tmp_path / "data", "--port", "0")
    assert said.code == 1
    words = [line for line in said.err.splitlines() if not line.startswith("{")]
    assert words == ["The first plan cannot be written: the disk is full. Make room and start again."]


def test_version_is_printed(run: Run) -> None:
    assert run("--version").out.startswith("heliograph ")
