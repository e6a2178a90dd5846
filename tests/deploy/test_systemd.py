"""The unit is one that systemd takes, keeps its promises of hardening, and starts what exists."""

import configparser
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.harness import ROOT

UNIT = ROOT / "deploy/systemd/heliograph.service"
EXPOSURE = 2.0
"""`systemd-analyze security` calls up to 2 fine for what is reachable from the net."""


def analyze() -> str:
    found = shutil.which("systemd-analyze")
    if found is None:
        pytest.skip("no systemd-analyze here (apt-get install systemd)")
    return found


def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    """With a program in the place of /opt/heliograph, which this machine does not have."""
    text = UNIT.read_text()
    assert "/opt/heliograph/bin/heliograph" in text
    unit = tmp_path / UNIT.name
    unit.write_text(text.replace("/opt/heliograph/bin/heliograph", sys.executable))
    said = subprocess.run([analyze(), "verify", str(unit)], capture_output=True, text=True, check=False)
    assert (said.returncode, said.stderr) == (0, "")


def test_it_is_shut_off_from_the_machine() -> None:
    environment = {**os.environ, "LC_ALL": "C.UTF-8"}
    command = [analyze(), "security", "--offline=yes", str(UNIT)]
    said = subprocess.run(command, capture_output=True, text=True, check=False, env=environment).stdout
    level = re.search(r"exposure level for heliograph\.service: ([0-9.]+)", said)
    assert level is not None, said
    assert float(level[1]) <= EXPOSURE


def test_it_stops_gently_comes_back_and_has_files_enough() -> None:
    parser = configparser.RawConfigParser(strict=False)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read(UNIT)
    service = parser["Service"]
    assert (service["KillMode"], service["KillSignal"], service["Restart"]) == ("mixed", "SIGTERM", "on-failure")
    assert int(service["TimeoutStopSec"]) > 12, "the engine drains for ten seconds, the door for two"
    assert int(service["LimitNOFILE"]) >= 65_536
    assert service["StateDirectory"] == "heliograph"
