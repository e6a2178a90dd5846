"""A running server with the example shop, and a way to call the command as a user would."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from heliograph.cli import main
from tests.e2e.harness import until

SHOP = Path(__file__).parents[2] / "examples" / "shop"


class Said(NamedTuple):
    code: int
    out: str
    err: str


Run = Callable[..., Said]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """``run("check", folder)`` -> exit code and what was printed."""

    def call(*words: object) -> Said:
        monkeypatch.setattr(sys, "argv", ["heliograph", *map(str, words)])
        try:
            main()
            code = 0
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else 1 if stop.code else 0
        out, err = capsys.readouterr()
        return Said(code, out, err)

    return call


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of `heliograph serve` with the shop, on a free port."""
    data = tmp_path_factory.mktemp("data")
    command = [sys.executable, "-m", "heliograph.cli", "serve", "--project", SHOP, "--data", data, "--port", "0"]
    said = tmp_path_factory.mktemp("said") / "log"  # a pipe that nobody reads would stop it
    with said.open("wb") as out, subprocess.Popen(command, stderr=out) as process:
        try:
            until(lambda: process.poll() is not None or serving(said), "it serves")
            assert process.poll() is None, said.read_text()
            yield json.loads(serving(said)[0])["url"]
        finally:
            process.terminate()
            process.wait(60)


def serving(said: Path) -> list[str]:
    return [line for line in said.read_text().splitlines() if '"serving"' in line]
