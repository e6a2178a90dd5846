"""Instants on the wire: RFC 3339 as everybody really writes it, to ms UTC."""

import re
from datetime import UTC, datetime, timedelta

LAST_MS = 253_402_300_799_999
"""The end of year 9999."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MS = timedelta(milliseconds=1)
_read = datetime.fromisoformat
_NUMBER = re.compile(r"\d{1,19}(\.\d{1,9})?")
_LEAP = re.compile(r"(:\d\d):60")
_ZONE_WORD = re.compile(r"\s*(utc|gmt|z)$", re.IGNORECASE)
_SPACED_ZONE = re.compile(r"\s+([+-]\d\d:?\d\d)$")

_EPOCH_UNITS = ((1e11, 1000.0), (1e14, 1.0), (1e17, 1e-3), (float("inf"), 1e-6))
"""(below this number, factor to ms): seconds, milliseconds, microseconds, nanoseconds.  The borders are in the years
5138 and 1973, so no instant that a client means today is read in the wrong unit."""


def parse_instant(value: str | int | float) -> int | None:
    """Milliseconds since 1970 UTC, between 1970 and 9999, else None.

    Takes RFC 3339 and its common relatives (no zone: UTC; a date alone; blanks; lower case; leap seconds; more than
    six decimals) and epoch numbers, also as text.
    """
    if not isinstance(value, str):
        return _from_epoch(value)
    try:
        return _to_ms(_read(value))
    except ValueError:
        return _parse_relative(value.strip())


def _to_ms(at: datetime) -> int | None:
    if at.tzinfo is None:
        at = at.replace(tzinfo=UTC)
    ms = (at - _EPOCH) // _MS
    return ms if ms >= 0 else None


def _from_epoch(number: int | float) -> int | None:
    for below, factor in _EPOCH_UNITS:
        if number < below:
            ms = number * factor
            return int(ms) if 0 <= ms <= LAST_MS else None
    return None


def _parse_relative(text: str) -> int | None:
    """Spellings that ``fromisoformat`` does not know."""
    if _NUMBER.fullmatch(text):
        return _from_epoch(float(text))
    text, leap = _LEAP.subn(r"\1:59", text.upper())
    text = _SPACED_ZONE.sub(r"\1", _ZONE_WORD.sub("+00:00", text))
    try:
        ms = _to_ms(_read(text))
    except ValueError:
        return None
    return ms + 1000 * leap if ms is not None else None
