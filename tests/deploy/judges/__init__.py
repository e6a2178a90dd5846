"""The files of deploy/ as data: what is written, and what Helm makes of it.

Rendering and judging Helm charts needs libraries that have an environment of their own (``requirements.lock`` beside
this file, made by ``scripts/proxies.sh``); so does what npm has of other people's JSON schemas.
"""

import json
import shlex
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from tests.e2e.harness import ROOT

DEPLOY = ROOT / "deploy"
CHART = DEPLOY / "helm/heliograph"
HERE = Path(__file__).parent
FILES = sorted(
    file
    for folder in ("compose", "helm", "systemd", "caddy", "nginx")
    for file in (DEPLOY / folder).rglob("*")
    if file.is_file() and "secrets" not in file.parts
) + sorted(DEPLOY.glob("Dockerfile*"))  # fmt: skip


def compose() -> Any:
    """The compose file with its anchors in place."""
    return json.loads(json.dumps(YAML(typ="safe").load(DEPLOY / "compose/compose.yaml")))


def unit_commands() -> list[list[str]]:
    """What the unit starts, without the program."""
    lines = (DEPLOY / "systemd/heliograph.service").read_text().splitlines()
    return [
        shlex.split(line.partition("=")[2])[1:] for line in lines if line.startswith(("ExecStart=", "ExecStartPre="))
    ]


def ask(question: str, **given: Any) -> Any:
    """Put a question to ``judge.py`` in its own environment."""
    python = HERE / ".venv/bin/python"
    if not (HERE / ".venv/.installed").exists():
        pytest.skip("nothing here renders charts: sh scripts/proxies.sh")
    words = [str(python), str(HERE / "judge.py"), question]
    said = subprocess.run(words, input=json.dumps(given), capture_output=True, text=True, check=False)
    assert said.returncode == 0, said.stderr[-4000:]
    return json.loads(said.stdout)


def schema_of(package: str, path: str) -> Path:
    file = HERE / "node_modules" / package / path
    if not file.exists():
        pytest.skip(f"no {package} here: sh scripts/proxies.sh")
    return file


@cache
def _rendered(values: str) -> str:
    return json.dumps(ask("render", chart=str(CHART), values=json.loads(values)))


def rendered(**values: Any) -> list[Any]:
    """Every manifest, as Helm makes it of these values over the chart's own."""
    found: list[Any] = json.loads(_rendered(json.dumps(values, sort_keys=True)))
    return found
