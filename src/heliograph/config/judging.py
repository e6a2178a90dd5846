"""Unknown, missing and wrongly typed keys, and then what types cannot say (:mod:`heliograph.config.rules`)."""

from collections.abc import Iterable
from typing import Any, Final

import msgspec

from heliograph.config.problems import Problem
from heliograph.config.rules import RULES
from heliograph.config.settings import NAMED, SECTIONS, DkimSetting, fields, part, table, variable_of
from heliograph.decide.parsing import nearest

WHAT: Final = {"sender": "senders, like [sender.default]", "relay": "relays, like [relay.backup]",
               "receiver": "receivers, like [receiver.gmail]"}  # fmt: skip


def judge(raw: dict[str, Any]) -> list[Problem]:
    """Everything that is wrong with these tables."""
    problems = _unknown(raw, [*SECTIONS, *NAMED], "")
    for section, kind in SECTIONS.items():
        problems += _judge_table(raw.get(section, {}), kind, section)
    for section, kind in NAMED.items():
        tables = raw.get(section, {})
        if not isinstance(tables, dict):
            problems.append(Problem(section, f"{section} must be a table of {WHAT[section]}"))
            continue
        for name, one in tables.items():
            problems += _judge_table(one, kind, f"{section}.{name}")
    if "sender" not in raw:
        problems.append(Problem("sender.default", "[sender.default] is missing: who is the mail from?", missing=True))
    return problems + _names(raw)


def _judge_table(tables: Any, kind: type[msgspec.Struct], prefix: str) -> list[Problem]:
    if not isinstance(tables, dict):
        return [Problem(prefix, f"{prefix} must be a table")]
    known = fields(kind)
    problems = _unknown(tables, known, prefix)
    for name, field in known.items():
        key = f"{prefix}.{name}"
        if name in tables:
            problems += _judge_value(tables[name], field, kind, key)
        elif field.required:
            elsewhere = "" if kind is DkimSetting else f"; set it here or as {variable_of(key)}"
            problems.append(Problem(key, f"{key} is missing{elsewhere}", missing=True))
    return problems


def _judge_value(value: Any, field: msgspec.structs.FieldInfo, kind: type[msgspec.Struct], key: str) -> list[Problem]:
    if (inner := part(field)) is not None:
        return _judge_part(value, *inner, key)
    try:
        msgspec.convert(value, field.type)
    except msgspec.ValidationError:
        return [Problem(key, f"{key} must be {WANT.get(field.type, 'text')}{shown(field.encode_name, value)}")]
    rule = RULES.get((kind, field.encode_name))
    said = rule(value) if rule is not None else ""
    return [Problem(key, f"{key} {said}")] if said else []


def _judge_part(value: Any, kind: type[msgspec.Struct], many: bool, key: str) -> list[Problem]:
    """A table inside, or a list of them."""
    if not many:
        return _judge_table(value, kind, key)
    if not isinstance(value, list):
        return [Problem(key, f"{key} must be a list of {{ {', '.join(fields(kind))} }}")]
    return [problem for one in value for problem in _judge_table(one, kind, key)]


def _names(raw: dict[str, Any]) -> list[Problem]:
    """Names that stand for tables elsewhere."""
    relays = ["default", *table(raw.get("relay"))]
    return [
        Problem(f"sender.{name}.relays", f"sender.{name}.relays names {relay!r}, which is no relay ([smtp] is "
                "'default', others are [relay.NAME])", nearest(str(relay), relays))
        for name, sender in table(raw.get("sender")).items()
        for relay in _list(table(sender).get("relays"))
        if relay not in relays
    ]  # fmt: skip


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


TEXTS: Any = tuple[str, ...]
WANT: dict[Any, str] = {
    int: "a whole number", float: "a number", str: "text", bool: "true or false", TEXTS: "a list of texts",
}  # fmt: skip


def shown(name: str, value: Any) -> str:
    """What stands there now, unless it may be a secret."""
    return "" if name == "secrets" else f", not {value!r}"


def _unknown(tables: dict[str, Any], known: Iterable[str], prefix: str) -> list[Problem]:
    words = list(known)
    return [
        Problem(f"{prefix}.{key}" if prefix else key, f"unknown key {key}" + (f" in [{prefix}]" if prefix else ""),
                nearest(key, words))
        for key in tables
        if key not in words
    ]  # fmt: skip
