"""Printing: results on stdout, what went wrong on stderr.  Colours only on a terminal."""

import getpass
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, NoReturn

import msgspec
import typer
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from heliograph.project import Finding

out = Console(highlight=False, soft_wrap=True)
err = Console(highlight=False, soft_wrap=True, stderr=True)


def say(text: str, style: str = "") -> None:
    """One line for the user; never markup, because it may hold other people's words."""
    out.print(Text(text, style))


def print_json(value: Any) -> None:
    """For scripts: JSON on stdout, nothing else."""
    sys.stdout.write(msgspec.json.format(msgspec.json.encode(value)).decode() + "\n")


def complain(text: str) -> None:
    err.print(Text(text, "red"))


def fail(text: str, code: int = 1) -> NoReturn:
    """Say what is wrong and stop."""
    complain(text)
    sys.exit(code)


def show_findings(findings: list[Finding]) -> None:
    for finding in findings:
        say(str(finding), "yellow" if finding.warning else "red")


def when(at: int | None) -> str:
    """An instant (ms) as people read it, in UTC."""
    if not at:
        return "-"
    return datetime.fromtimestamp(at / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S") + "Z"


def count(number: int, noun: str) -> str:
    """``1 error``, ``2 errors``, ``3 people``."""
    plural = {"person": "people", "address": "addresses"}.get(noun, noun + "s")
    return f"{number:,} {noun if number == 1 else plural}"


def whoami() -> str:
    """Who types this, for the record."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # no name in a bare container
        return "command"


def asked() -> bool:
    """Whether there is somebody to ask."""
    return sys.stdin.isatty()


def confirmed(text: str) -> bool:
    """Ask a person; a script has to say --yes."""
    if not asked():
        fail(f"{text}: say --yes where nobody can be asked")
    return typer.confirm(f"{text}; go on?")


WIDE = 160
"""Columns of a table that does not go to a terminal."""


def table(heads: Iterable[str], rows: Iterable[Sequence[str]]) -> None:
    """Lines on a terminal, plain columns in a pipe."""
    shown = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for head in heads:
        shown.add_column(head)
    for row in rows:
        shown.add_row(*(Text(cell, overflow="fold") for cell in row))
    target = out if out.is_terminal else Console(file=out.file, width=WIDE, highlight=False)
    target.print(shown)
