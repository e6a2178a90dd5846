"""How an RRULE is written (RFC 5545, section 3.3.10), and what is wrong with one."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final, TypeAlias

from heliograph.decide.journeys.recurrence import ANCHOR, FREQS, MONTHLY, WEEKDAYS, WEEKLY, YEARLY, Rule

MAX_COUNT: Final = 1000
"""Of COUNT: such a rule is counted from its start."""

Reader: TypeAlias = Callable[[str, str], Any]


def parse_rule(text: str, start: datetime | None = None) -> Rule:
    """``FREQ=WEEKLY;BYDAY=MO;BYHOUR=9``, with or without ``RRULE:``; :class:`ValueError` with a sentence otherwise."""
    parts: dict[str, str] = {}
    for part in text.removeprefix("RRULE:").upper().split(";"):
        name, equals, value = part.partition("=")
        if not equals or not value:
            raise ValueError(f"{part!r} is no part of an RRULE like FREQ=WEEKLY;BYDAY=MO;BYHOUR=9")
        if name not in _READERS:
            raise ValueError(f"{name} is none of {', '.join(_READERS)}")
        if name in parts:
            raise ValueError(f"{name} stands there twice")
        parts[name] = value
    if "FREQ" not in parts:
        raise ValueError("FREQ is missing, as in FREQ=WEEKLY;BYDAY=MO;BYHOUR=9")
    fields: dict[str, Any] = {}
    for name, value in parts.items():
        field, read = _READERS[name]
        fields[field] = read(name, value)
    rule = Rule(start=start or ANCHOR, **fields)
    _check(rule, parts, start)
    return rule


def _check(rule: Rule, parts: dict[str, str], start: datetime | None) -> None:
    if start is None and (rule.count or rule.interval > 1):
        raise ValueError("COUNT and INTERVAL are counted from a `start`: give one")
    if rule.count and rule.until is not None:
        raise ValueError("COUNT and UNTIL exclude each other")
    if any(number for number, _ in rule.weekdays) and rule.freq not in (YEARLY, MONTHLY):
        raise ValueError("a number before a weekday (2MO) needs FREQ=MONTHLY or FREQ=YEARLY")
    if rule.month_days and rule.freq == WEEKLY:
        raise ValueError("BYMONTHDAY does not go with FREQ=WEEKLY")
    if rule.places and not any(name.startswith("BY") and name != "BYSETPOS" for name in parts):
        raise ValueError("BYSETPOS picks from what another BY... part gives: there is none")
    if next(rule.from_(rule.start), None) is None:
        raise ValueError("this never happens")


def _freq(_name: str, value: str) -> str:
    if value not in FREQS:
        raise ValueError(f"FREQ is one of {', '.join(FREQS)}, not {value}")
    return value


def _integer(name: str, text: str, least: int, most: int) -> int:
    digits = text.removeprefix("-").removeprefix("+")
    number = int(text) if digits.isdecimal() and digits.isascii() and len(digits) <= 4 else most + 1
    if not least <= number <= most or (number == 0 and least != 0):
        raise ValueError(f"{name} is from {least} to {most}, not {text}")
    return number


def _number(most: int) -> Reader:
    return lambda name, value: _integer(name, value, 1, most)


def _numbers(least: int, most: int) -> Reader:
    return lambda name, value: tuple(sorted({_integer(name, one, least, most) for one in value.split(",")}))


def _weekday(name: str, text: str) -> int:
    if text not in WEEKDAYS:
        raise ValueError(f"{name} has {', '.join(WEEKDAYS)}, not {text}")
    return WEEKDAYS.index(text)


def _weekdays(name: str, value: str) -> tuple[tuple[int, int], ...]:
    return tuple(sorted({_nth_weekday(name, one) for one in value.split(",")}))


def _nth_weekday(name: str, text: str) -> tuple[int, int]:
    """``2MO``: (2, 0); ``MO``: (0, 0)."""
    nth = text[:-2]
    if text[-2:] not in WEEKDAYS or nth[-1:].isalpha():
        raise ValueError(f"{name} has {', '.join(WEEKDAYS)} (or 2MO, -1FR), not {text}")
    return _integer(name, nth, -53, 53) if nth else 0, WEEKDAYS.index(text[-2:])


def _until(_name: str, value: str) -> datetime:
    day, _, clock = value.removesuffix("Z").partition("T")
    try:
        if len(day) != 8 or (clock and len(clock) != 6) or not (day + clock).isdecimal():
            raise ValueError
        at = datetime.strptime(day + (clock or "235959"), "%Y%m%d%H%M%S")
    except ValueError:
        raise ValueError(f"UNTIL is like 20261231 or 20261231T225959Z, not {value}") from None
    return at.replace(tzinfo=UTC) if value.endswith("Z") else at


_READERS: Final[dict[str, tuple[str, Reader]]] = {
    "FREQ": ("freq", _freq),
    "INTERVAL": ("interval", _number(1000)),
    "COUNT": ("count", _number(MAX_COUNT)),
    "UNTIL": ("until", _until),
    "BYDAY": ("weekdays", _weekdays),
    "BYMONTHDAY": ("month_days", _numbers(-31, 31)),
    "BYMONTH": ("months", _numbers(1, 12)),
    "BYHOUR": ("hours", _numbers(0, 23)),
    "BYMINUTE": ("minutes", _numbers(0, 59)),
    "BYSETPOS": ("places", _numbers(-366, 366)),
    "WKST": ("week_start", _weekday),
}
