"""A YAML file that a command sends to the server, and where in it the server's objections belong."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from heliograph.cli.show import complain, fail
from heliograph.project.yaml import Yaml, parse_yaml, read_yaml


class Written(NamedTuple):
    """``place``: its name for people; ``lines`` are known of a file only."""

    place: str
    yaml: Yaml

    @property
    def value(self) -> dict[str, Any]:
        value: dict[str, Any] = self.yaml.value
        return value

    def complain(self, problems: Iterable[tuple[str, str]]) -> None:
        """Each with its line; ``path`` as the API says it: ``audience.if.all.0``."""
        for path, message in problems:
            parts = tuple(int(part) if part.isdigit() else part for part in path.split(".") if part)
            line = self.yaml.line(parts)
            complain(f"{self.place}:{line}: {message}" if line is not None else f"{path or self.place}: {message}")


def read_file(file: Path, what: str) -> Written:
    """A mapping from a file, or the end of the command.  ``what``: a word for it, like ``a broadcast``."""
    if not file.is_file():
        fail(f"there is no file {file}")
    read = read_yaml(file)
    for mistake in read.mistakes:
        complain(f"{file}:{mistake.line or 1}: {mistake.message}")
    if any(not mistake.warning for mistake in read.mistakes) or not isinstance(read.value, dict):
        fail(f"{file} is not {what}: a mapping of keys")
    return Written(str(file), read)


def read_text(text: str, option: str) -> Any:
    """JSON or YAML from an option."""
    read = parse_yaml(text)
    for mistake in read.mistakes:
        fail(f"{option}: {mistake.message}")
    return read.value
