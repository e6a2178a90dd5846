"""What is wrong with a server's settings, said so that its reader can mend it."""

from typing import Any, NamedTuple

from heliograph.config.settings import FILE, Settings


class Problem(NamedTuple):
    """``key``: dotted, as in ``smtp.url``.  ``source``: the variable or the file that set it.  ``missing``: it was
    not set at all."""

    key: str
    message: str
    hint: str = ""
    source: str = FILE
    line: int | None = None
    missing: bool = False

    def __str__(self) -> str:
        place = f"{self.source}:{self.line}" if self.line else self.source
        return f"{place}: {self.message}" + (f" (did you mean {self.hint}?)" if self.hint else "")


class ConfigError(Exception):
    """These settings cannot start a server: fix what ``problems`` names."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = problems


class Inspection(NamedTuple):
    """``settings`` is None when something needed is missing or wrong; ``raw`` is what could be read."""

    settings: Settings | None
    raw: dict[str, Any]
    problems: list[Problem]
