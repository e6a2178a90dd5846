"""What is wrong with a project, and where."""

from collections.abc import Iterable
from typing import NamedTuple


class Finding(NamedTuple):
    """One line of ``heliograph check``.  ``file`` is relative to the project; ``line`` counts from 1, None for the file
    as a whole; ``hint`` is the nearest valid word."""

    file: str
    line: int | None
    message: str
    hint: str = ""
    warning: bool = False

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        kind = "warning: " if self.warning else ""
        return f"{place}: {kind}{self.message}" + (f" (did you mean {self.hint}?)" if self.hint else "")


def in_order(findings: Iterable[Finding]) -> list[Finding]:
    """By file and line, errors before warnings, each once."""
    return sorted(set(findings), key=lambda one: (one.file, one.line or 0, one.warning, one.message))


class ProjectError(Exception):
    """This project cannot be published: fix what ``findings`` names."""

    def __init__(self, findings: list[Finding]) -> None:
        super().__init__("\n".join(map(str, findings)))
        self.findings = findings
