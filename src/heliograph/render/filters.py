"""Filters: python-liquid's, made to pass on what is missing, and a few of our own.

Ours: ``raw`` (do not escape), ``date`` (in the person's zone, or the one named second), ``money`` (``12.5 | money:
"GBP"`` is £12.50), ``json``.  In plain text ``escape`` and ``escape_once`` change nothing, ``newline_to_br`` leaves the
newlines, and ``raw`` drops the markup, so that one source serves both parts.
"""

import json
import re
from collections.abc import Callable
from datetime import date, datetime, time, tzinfo
from decimal import Decimal, InvalidOperation
from functools import wraps
from html import unescape
from typing import Any

from babel import Locale, UnknownLocaleError
from babel.numbers import format_currency, format_decimal
from liquid import Environment, Markup
from liquid.exceptions import FilterArgumentError
from liquid.filter import flatten, with_context

from heliograph.decide.times import from_ms, is_zone, zone
from heliograph.render.context import MAX_OUTPUT, Context, Missing

Filter = Callable[..., Any]

REMOVED = ("safe",)
"""Names of python-liquid that say what ``raw`` says."""
_MS_FROM = 100_000_000_000
"""Numbers from here on are ms since 1970 (as seconds they would be the year 5138)."""
_WIDE = re.compile(r"%[-_0^#+]*\d{3}")
"""The C library pads to any width that it is told, up to all memory."""
_MARKUP = re.compile(r"<[^>]*>")
MAX_INDENT = 100
"""Characters that ``json`` puts before a line; Python makes them all at once, however many."""


def install(env: Environment, *, html: bool) -> None:
    for name in REMOVED:
        del env.filters[name]
    env.filters.update({"date": _date, "money": _money, "json": _json, "map": _map})
    env.filters.update({"raw": Markup} if html else _PLAIN)
    env.filters.update({name: _bounded(env.filters[name], size) for name, size in _SIZES.items()})
    env.filters.update({name: _passing_missing(f) for name, f in env.filters.items() if name != "default"})


def _passing_missing(function: Filter) -> Filter:
    """Missing in, missing out: the hole is reported by its path where it would show, or filled by ``default``.
    A compiled template looks for it itself where it can, and calls what is wrapped."""

    @wraps(function)
    def passing(value: object, *args: object, **named: object) -> object:
        if isinstance(value, Missing):
            return value
        for arg in args:
            if isinstance(arg, Missing):
                return arg
        return function(value, *args, **named)

    passing.passes_missing = True  # type: ignore[attr-defined]
    return passing


def _bounded(function: Filter, size: Callable[..., int]) -> Filter:
    """Two texts that may be there each can make one that no memory holds: that is refused before it is made."""

    @wraps(function)
    def bounded(value: object, *args: object, **named: object) -> object:
        try:
            expected = size(value, *args, **named)
        except TypeError:
            expected = 0  # nothing that the filter takes; it says so
        if expected > MAX_OUTPUT:
            raise FilterArgumentError(f"more than {MAX_OUTPUT:,} characters", token=None)
        return function(value, *args, **named)

    return bounded


def _size_replaced(value: object, seq: object, sub: object = "") -> int:
    text = str(value)
    return len(text) + text.count(str(seq)) * len(str(sub))


def _size_joined(value: object, separator: object = " ", **_: object) -> int:
    return len(value) * len(str(separator)) if isinstance(value, list | tuple | range) else 0


_SIZES: dict[str, Callable[..., int]] = {"replace": _size_replaced, "join": _size_joined}


def _map(value: object, key: object) -> object:
    """The ``key`` of each item; missing when one of them has none."""
    items = flatten(value) if isinstance(value, list | tuple) else [value]
    found = [item.get(key) if isinstance(item, dict) else None for item in items]
    return Missing(f"*.{key}") if None in found else found


@with_context
def _date(value: object, fmt: object = None, zone_name: object = None, *, context: Context) -> object:
    """Shopify's: ``%`` directives; numbers are seconds or ms since 1970, text is ISO 8601, ``now`` or ``today``.
    Text that is no date comes back as it is."""
    where = _zone(zone_name, context.zone)
    if value in ("now", "today"):
        value = context.scope.get("now")
    at = _instant(value, where)
    if at is None or fmt is None:
        return value
    if _WIDE.search(str(fmt)):
        raise FilterArgumentError("a date field is at most 99 characters wide", token=None)
    return at.strftime(str(fmt))


def _zone(name: object, otherwise: tzinfo) -> tzinfo:
    if name is None:
        return otherwise
    if not is_zone(name):
        raise FilterArgumentError(f"{name!r} is no time zone", token=None)
    return zone(str(name))


def _instant(value: object, where: tzinfo) -> datetime | None:
    if isinstance(value, str) and not value.isdigit():
        return _parsed(value, where)
    if isinstance(value, str | int | float) and not isinstance(value, bool):
        number = float(value)
        try:
            return from_ms(int(number if abs(number) >= _MS_FROM else number * 1000), where)
        except OverflowError:
            return None
    return None


def _parsed(text: str, where: tzinfo) -> datetime | None:
    try:
        at = datetime.fromisoformat(text.strip())
    except ValueError:
        return None
    if len(text.strip()) <= len("2026-01-01"):
        return datetime.combine(date(at.year, at.month, at.day), time(), where)
    return at.astimezone(where) if at.tzinfo else at.replace(tzinfo=where)


@with_context
def _money(value: object, currency: object = None, *, context: Context) -> str:
    """An amount as the person's locale writes it (trait ``locale``, else English); two decimals without a currency."""
    try:
        amount = Decimal(str(value).strip())
    except InvalidOperation:
        raise FilterArgumentError(f"{value!r} is no amount", token=None) from None
    locale = _locale(context)
    if currency is None:
        return format_decimal(amount, format="#,##0.00", locale=locale)
    code = str(currency).strip().upper()
    if not re.fullmatch("[A-Z]{3}", code):
        raise FilterArgumentError(f"{currency!r} is no currency: three letters, like EUR", token=None)
    return format_currency(amount, code, locale=locale)


def _locale(context: Context) -> Locale:
    named = context.get(["profile", "locale"], token=None, default="en")
    try:
        return Locale.parse(str(named).replace("-", "_"))
    except (ValueError, UnknownLocaleError):
        return Locale.parse("en")


def _json(value: object, indent: int | str | None = None) -> str:
    width = len(indent) if isinstance(indent, str) else indent
    if isinstance(width, int) and width > MAX_INDENT:
        raise FilterArgumentError(f"an indent is at most {MAX_INDENT} characters wide", token=None)
    return json.dumps(value, ensure_ascii=False, indent=indent)


def _same(value: object) -> str:
    return str(value)


def _without_markup(value: object) -> str:
    return unescape(_MARKUP.sub("", str(value)))


_PLAIN: dict[str, Filter] = {
    "raw": _without_markup,
    "escape": _same,
    "escape_once": _same,
    "newline_to_br": _same,
}
