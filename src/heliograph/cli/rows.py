"""Rows of a file: read, mapped to our names, typed; bad ones with their line and the reason.

Column names are matched without regard to case, blanks, dashes and underscores for the names that mean something
(``User ID`` is user_id); every other column keeps its name as a trait or property.
"""

import csv
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

KNOWN = ("user_id", "anonymous_id", "email", "timestamp", "consent_at", "message_id", "event", "reason")
"""Columns with a meaning of their own; ``consent.TOPIC`` is another one."""
ALIASES = {"emailaddress": "email"}
"""Other tools' names for them, folded."""
TEXTS = frozenset(KNOWN)
"""Never read as numbers."""
DELIMITERS = ",;\t|"
_NUMBER = re.compile(r"-?(0|[1-9][0-9]{0,14})(\.[0-9]{1,9})?")
_BOOLEANS = {"true": True, "false": False}


class Row(NamedTuple):
    """One row: ``values`` by our names, dots unfolded into objects; ``line`` in the file, from 1."""

    line: int
    values: dict[str, Any]


class BadRow(NamedTuple):
    line: int
    reason: str


Rows: TypeAlias = list[Row | BadRow]


class MapError(Exception):
    """The file or the mapping cannot be used at all."""


class Columns(NamedTuple):
    """``names``: column -> our name; ``texts``: columns whose values stay text; ``dropped``: columns left out;
    ``verbatim``: the values of all columns stay text."""

    names: dict[str, str]
    texts: frozenset[str]
    dropped: frozenset[str]
    verbatim: bool = False

    @classmethod
    def parse(cls, options: list[str], *, verbatim: bool = False) -> "Columns":
        """From ``COLUMN=NAME`` words; several may stand in one option, separated by commas."""
        names: dict[str, str] = {}
        texts, dropped = set(), set()
        for word in _words(options):
            column, equals, name = word.partition("=")
            if not equals or not column.strip() or not name.strip():
                raise MapError(f"--map {word}: write COLUMN=NAME")
            column, name = column.strip(), name.strip()
            if name == "-":
                dropped.add(column)
                continue
            if name.endswith(":text"):
                texts.add(column)
                name = name.removesuffix(":text")
            names[column] = name.removeprefix("traits.")
        return cls(names, frozenset(texts), frozenset(dropped), verbatim)

    def name(self, column: str) -> str:
        if column in self.names:
            return self.names[column]
        folded = re.sub(r"[\s_\-]", "", column).lower()
        folded = ALIASES.get(folded, folded)
        return next((known for known in KNOWN if known.replace("_", "") == folded), column)


def _words(options: list[str]) -> Iterator[str]:
    for option in options:
        parts = option.split(",")
        yield from parts if all("=" in part for part in parts) else [option]


def read_rows(file: Path, columns: Columns) -> Rows:
    """Every row of a CSV or JSON lines file.  Raises :class:`OSError` or :class:`MapError` when there is none."""
    data = file.read_bytes()
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise MapError(f"line {line} is not UTF-8; convert the file first") from None
    if file.suffix in (".jsonl", ".ndjson"):
        return [_json_row(number, line, columns) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
    return list(_csv_rows(text, columns))


def _csv_rows(text: str, columns: Columns) -> Iterator[Row | BadRow]:
    first = text.partition("\n")[0]
    delimiter = max(DELIMITERS, key=first.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    header = _header(reader, columns)
    line = reader.line_num + 1
    while True:
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield BadRow(line, f"not CSV: {error}")
            line = reader.line_num + 1
            continue
        if any(cell.strip() for cell in cells):
            yield _csv_row(line, header, cells, columns)
        line = reader.line_num + 1


def _header(reader: Any, columns: Columns) -> list[str]:
    try:
        header = [name.strip() for name in next(reader)]
    except (StopIteration, csv.Error):
        raise MapError("the first line must name the columns") from None
    for column in (*columns.names, *columns.dropped):
        if column not in header:
            raise MapError(f"--map: there is no column {column}; there are: {', '.join(header)}")
    names = [columns.name(column) for column in header if column not in columns.dropped]
    for name in names:
        if names.count(name) > 1:
            raise MapError(f"two columns are both {name or 'without a name'}; use --map")
    return header


def _csv_row(line: int, header: list[str], cells: list[str], columns: Columns) -> Row | BadRow:
    if len(cells) != len(header):
        return BadRow(line, f"{len(cells)} values for {len(header)} columns")
    values: dict[str, Any] = {}
    for column, cell in zip(header, cells, strict=True):
        if column in columns.dropped or not (text := cell.strip()):
            continue
        name = columns.name(column)
        stays = columns.verbatim or name in TEXTS or column in columns.texts
        values[name] = text if stays else typed(text)
    return Row(line, values)


def typed(text: str) -> Any:
    """A cell as JSON would have it: plain decimal numbers and true/false; ``007`` and ``+44`` stay text."""
    if text.lower() in _BOOLEANS:
        return _BOOLEANS[text.lower()]
    if _NUMBER.fullmatch(text):
        return float(text) if "." in text else int(text)
    return text


def _json_row(line: int, text: str, columns: Columns) -> Row | BadRow:
    try:
        value = json.loads(text)
    except ValueError as error:
        return BadRow(line, f"not JSON: {error}")
    if not isinstance(value, dict):
        return BadRow(line, "not a JSON object")
    return Row(line, {columns.name(name): one for name, one in value.items() if name not in columns.dropped})


def unfold(values: dict[str, Any]) -> dict[str, Any]:
    """``{"address.city": "Ulm"}`` -> ``{"address": {"city": "Ulm"}}``; :class:`ValueError` when a name is both."""
    result: dict[str, Any] = {}
    for name, value in values.items():
        *path, last = name.split(".")
        place = result
        for step in path:
            place = place.setdefault(step, {})
            if not isinstance(place, dict):
                raise ValueError(f"{name}: {step} is a value already")
        if last in place:
            raise ValueError(f"{name} is there twice")
        place[last] = value
    return result
