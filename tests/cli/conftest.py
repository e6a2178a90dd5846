"""A running server with the example shop, and a way to call the command as a user would."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from heliograph.cli import main

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
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        try:
            lines = []
            for line in process.stderr:
                lines.append(line)
                if '"serving"' in line:
                    yield json.loads(line)["url"]
                    break
            else:
                raise AssertionError("".join(lines))
        finally:
            process.terminate()
            process.communicate(timeout=60)
