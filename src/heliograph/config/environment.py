"""``HELIOGRAPH_…`` over what the file says; ``..._FILE`` reads a secret from a file."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from heliograph.config.judging import TEXTS, shown
from heliograph.config.problems import Problem
from heliograph.config.settings import KUBERNETES, NAMED, OTHER_VARIABLES, PREFIX, SECTIONS, fields, table
from heliograph.decide.parsing import nearest


def apply_environment(raw: dict[str, Any], environ: Mapping[str, str], overridden: dict[str, str]) -> list[Problem]:
    """Write every ``HELIOGRAPH_…`` over the file's value; ``overridden`` tells afterwards which key came from where."""
    problems: list[Problem] = []
    known = _known_variables(raw)
    for variable, text in sorted(environ.items()):
        if not variable.startswith(PREFIX) or variable in OTHER_VARIABLES or KUBERNETES.fullmatch(variable):
            continue
        path = _path_of(variable, raw) or _path_of(variable.removesuffix("_FILE"), raw)
        if path is None:
            if hint := nearest(variable.removeprefix(PREFIX), known):
                said = f"{variable} names no key"
                problems.append(Problem(variable, said, PREFIX + hint, source="environment"))
            continue
        if _path_of(variable, raw) is None:
            if variable.removesuffix("_FILE") in environ:
                problems.append(Problem(variable, f"{variable} and its plain form are both set", source="environment"))
                continue
            try:
                text = Path(text).read_text(encoding="utf-8").strip()
            except (OSError, UnicodeDecodeError) as error:
                why = error.strerror if isinstance(error, OSError) else error
                problems.append(Problem(variable, f"{variable}: cannot read {text}: {why}", source="environment"))
                continue
        problems += _put(raw, path, text, variable)
        overridden[".".join(path)] = variable
    return problems


def _known_variables(raw: dict[str, Any]) -> list[str]:
    """Without the prefix."""
    names = [f"{section}_{field}".upper() for section, kind in SECTIONS.items() for field in fields(kind)]
    return names + [
        f"{section}_{name}_{field}".upper()
        for section, kind in NAMED.items()
        for name in {"default", *table(raw.get(section))}
        for field in fields(kind)
    ]


def _path_of(variable: str, raw: dict[str, Any]) -> tuple[str, ...] | None:
    section, _, rest = variable.removeprefix(PREFIX).lower().partition("_")
    if section in SECTIONS:
        return (section, rest) if rest in fields(SECTIONS[section]) else None
    for field in fields(NAMED[section]) if section in NAMED else ():
        if name := rest.removesuffix("_" + field) if rest.endswith("_" + field) else "":
            written = {one.lower().replace("-", "_"): one for one in table(raw.get(section))}
            return (section, written.get(name, name), field)
    return None


def _put(raw: dict[str, Any], path: tuple[str, ...], text: str, variable: str) -> list[Problem]:
    kind = fields((NAMED | SECTIONS)[path[0]])[path[-1]].type
    value: Any = text
    try:
        if kind is int:
            value = int(text)
        elif kind is float:
            value = float(text)
        elif kind == TEXTS and not text.lstrip().startswith("["):
            value = text.split()
        elif kind is not str and kind != str | None:
            value = json.loads(text)
    except ValueError:
        want = {int: "a whole number", float: "a number"}.get(kind, "a list in JSON")
        return [Problem(variable, f"{variable} must be {want}{shown(path[-1], text)}", source="environment")]
    place = raw
    for step in path[:-1]:
        place = place.setdefault(step, {})
        if not isinstance(place, dict):
            return []  # the file's own mistake, reported by _judge
    place[path[-1]] = value
    return []
