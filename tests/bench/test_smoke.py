"""Each benchmark runs for a second or two and prints sane figures.  Never a threshold on time."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from bench.__main__ import NAMES
from bench.processes import missing

ROOT = Path(__file__).parent.parent.parent
NEEDS = {
    "ingest": missing("wrk"),
    "mail": missing("smtp-sink", "smtp-source", "openssl"),
    "broadcast": missing("smtp-sink"),
}


@pytest.mark.parametrize("name", NAMES)
def test_each_benchmark_says_what_it_measured(name: str, tmp_path: Path) -> None:
    out = tmp_path / "figures.json"
    command = [sys.executable, "-m", "bench", name, "--quick", "--json", str(out)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=180, check=False)
    assert done.returncode == 0, done.stderr
    said = json.loads(out.read_text())
    assert said["machine"]
    assert said["figures"]
    for figure in said["figures"]:
        assert figure["bench"] == name
        assert f"{name}: {figure['name']}: " in done.stdout
        if figure["value"] is None:
            assert NEEDS.get(name), f"not measured, though nothing is missing: {figure}"
        else:
            assert figure["value"] >= 0
            assert figure.get("cpu_us", 0) >= 0


def test_what_is_missing_is_said_and_not_guessed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from bench.figures import Report

    from bench import mail

    monkeypatch.setattr("bench.mail.missing", lambda *_: "apt-get install postfix")
    report = Report()
    mail.run(report, tmp_path, quick=True)
    (figure,) = report.figures
    assert figure.text == "not measured"
    assert figure.note == "apt-get install postfix"
