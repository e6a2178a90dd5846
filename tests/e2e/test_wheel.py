"""The built wheel, alone in an empty environment, is the whole product."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.harness import ROOT, TOKEN, WRITE_KEY, Receiver, Server

UV = Path(sys.executable).parent / "uv"


def run(*command: str | Path, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if name not in ("VIRTUAL_ENV", "PYTHONPATH")}
    return subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env={**clean, "NO_COLOR": "1", "COLUMNS": "200", **environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.fixture(scope="module")
def heliograph(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The command of a fresh environment that has the wheel and its dependencies, nothing of this checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    built = run(UV, "build", "--wheel", "--out-dir", folder, ROOT, cwd=folder)
    assert built.returncode == 0, built.stderr
    (wheel,) = folder.glob("*.whl")
    assert run(UV, "venv", "--python", sys.executable, folder / "env", cwd=folder).returncode == 0
    python = folder / "env" / "bin" / "python"
    installed = run(UV, "pip", "install", "--python", python, wheel, cwd=folder)
    assert installed.returncode == 0, installed.stderr
    return folder / "env" / "bin" / "heliograph"


def test_init_makes_a_project_that_passes_check(heliograph: Path, tmp_path: Path) -> None:
    made = run(heliograph, "init", tmp_path / "mine", cwd=tmp_path)
    assert made.returncode == 0, made.stderr
    checked = run(heliograph, "check", tmp_path / "mine", cwd=tmp_path)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    again = run(heliograph, "init", tmp_path / "mine", cwd=tmp_path)
    assert again.returncode != 0, "a folder with something in it is left alone"


def test_the_demo_keeps_its_promises(heliograph: Path, tmp_path: Path) -> None:
    shown = run(heliograph, "demo", "--smoke", "--port", "0", "--smtp-port", "0", cwd=tmp_path)
    assert shown.returncode == 0, shown.stdout + shown.stderr
    assert not list(tmp_path.iterdir()), "it leaves nothing behind"


def test_why_answers_from_a_server_of_the_wheel(heliograph: Path, tmp_path: Path) -> None:
    run(heliograph, "init", tmp_path / "mine", cwd=tmp_path)
    keys = {"HELIOGRAPH_COLLECT_WRITE_KEY": WRITE_KEY, "HELIOGRAPH_API_TOKEN": TOKEN}
    with Receiver() as receiver, Server(tmp_path / "mine", tmp_path / "data", receiver.url, **keys) as server:
        server.send({"type": "identify", "userId": "w-1", "traits": {"email": "w@buyers.example"}})
        journey = sorted(server.get("/api/journeys")["journeys"], key=lambda one: one["name"])[0]["name"]
        answer = run(heliograph, "why", "w-1", "--journey", journey, "--url", server.url, "--token", TOKEN,
                     "--project", server.project, cwd=tmp_path)  # fmt: skip
        assert answer.returncode == 0, answer.stdout + answer.stderr
        assert len(answer.stdout) > 20


def test_a_new_project_runs_its_own_tests_with_nothing_but_pytest_beside_the_wheel(
    heliograph: Path, tmp_path: Path
) -> None:
    python = heliograph.parent / "python"
    assert run(UV, "pip", "install", "--python", python, "pytest", cwd=tmp_path).returncode == 0
    run(heliograph, "init", tmp_path / "mine", cwd=tmp_path)
    tested = run(python, "-m", "pytest", "-q", cwd=tmp_path / "mine")
    assert tested.returncode == 0, tested.stdout + tested.stderr
    assert "2 passed" in tested.stdout
