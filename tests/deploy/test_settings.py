"""What deploy/ sets and calls is there: every variable a setting, every command a command."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from heliograph.adapters.flink import KAFKA_VARIABLE
from heliograph.cli.app import app
from heliograph.config.settings import NAMED, SECTIONS, fields, variable_of
from tests.deploy.judges import FILES, compose, rendered, unit_commands
from tests.e2e.harness import ROOT

VARIABLES = {
    KAFKA_VARIABLE, *(variable_of(f"{section}.{name}") for section, kind in SECTIONS.items() for name in fields(kind)),
}  # fmt: skip
NAMED_VARIABLES = re.compile(
    "|".join(f"HELIOGRAPH_{section}_\\w+_{name}".upper() for section, kind in NAMED.items() for name in fields(kind))
)


def known(variable: str) -> bool:
    plain = variable.removesuffix("_FILE")
    return variable in VARIABLES or plain in VARIABLES or bool(NAMED_VARIABLES.fullmatch(plain))


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_every_variable_is_a_setting(file: Path) -> None:
    said = set(re.findall(r"HELIOGRAPH_[A-Z0-9_]+", file.read_text()))
    assert not sorted(variable for variable in said if not known(variable))


def commands() -> Iterator[tuple[str, list[str]]]:
    """Where it is written, and the words behind ``heliograph``."""
    for name, service in compose()["services"].items():
        if "x-heliograph" in str(service.get("labels", "")) or service["image"].startswith("${IMAGE"):
            yield f"compose {name}", service["command"]
    for words in unit_commands():
        yield "systemd", words
    docker = (ROOT / "deploy/Dockerfile").read_text()
    (cmd,) = re.findall(r"^CMD \[(.*)\]$", docker, re.MULTILINE)
    yield "Dockerfile", [word.strip('"') for word in shlex.split(cmd.replace(",", " "))]


@pytest.mark.parametrize(
    ("where", "words"), list(commands()), ids=lambda value: value if isinstance(value, str) else ""
)
def test_every_command_is_one_with_these_options(where: str, words: list[str]) -> None:
    parse(typer.main.get_command(app), words)


def test_the_commands_of_the_chart_are_commands() -> None:
    root = typer.main.get_command(app)
    containers = [
        one for manifest in rendered() for one in _containers(manifest) if one["image"].startswith("heliograph:")
    ]
    assert len(containers) >= 5
    for container in containers:
        parse(root, container["args"])


def _containers(manifest: Any) -> Iterator[Any]:
    pod = manifest.get("spec", {}).get("template", {}).get("spec", {})
    yield from pod.get("containers", [])
    yield from pod.get("initContainers", [])


def parse(command: Any, words: list[str]) -> None:
    """As the command line would be read, and not run."""
    context = command.make_context("heliograph", list(words))
    while hasattr(context.command, "resolve_command"):
        rest = [*context._protected_args, *context.args]
        name, found, rest = context.command.resolve_command(context, rest)
        context = found.make_context(name, rest, parent=context)


@pytest.mark.parametrize("words", [["serf"], ["serve", "--rule", "all"], ["facts", "lode"], ["doctor", "--only"]])
def test_what_is_no_command_is_found(words: list[str]) -> None:
    with pytest.raises(Exception, match=r"No such|requires an argument"):
        parse(typer.main.get_command(app), words)
