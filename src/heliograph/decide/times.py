"""Durations, zones and wall clocks.  Instants are int ms UTC; nothing here asks what time it is.

Zones come from the pinned ``tzdata`` package and never from the machine, or a replay elsewhere would decide
otherwise (design, section 8).  Fixed durations are ms (P1D is 24 hours); months and years are calendar arithmetic in
a person's zone and are only taken where a caller asks for them.
"""

import re
from collections.abc import Collection, Iterator
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from functools import lru_cache
from importlib.resources import files
from typing import Final
from zoneinfo import ZoneInfo

import msgspec
import tzdata  # type: ignore[import-untyped]

TZDATA_VERSION: Final = tzdata.__version__
"""The zone rules that decide; part of every plan."""

SECOND: Final = 1000
MINUTE: Final = 60 * SECOND
HOUR: Final = 60 * MINUTE
DAY: Final = 24 * HOUR
WEEK: Final = 7 * DAY
MEAN_MONTH: Final = 2_629_746 * SECOND
"""A twelfth of the mean Gregorian year: what a month becomes once ``time_scale`` shortens it."""
MAX_DURATION: Final = 36_525 * DAY
"""A hundred years: beyond it a duration is a typing error, and datetime arithmetic begins to overflow."""

DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MS = timedelta(milliseconds=1)
_DURATION = re.compile(
    r"(?P<sign>[+-]?)P(?=[\dT])(?:(?P<years>\d+)Y)?(?:(?P<months>\d+)M)?(?:(?P<weeks>\d+)W)?(?:(?P<days>\d+)D)?"
    r"(?:T(?=\d)(?:(?P<hours>\d+)H)?(?:(?P<minutes>\d+)M)?(?:(?P<seconds>\d+)(?:[.,](?P<fraction>\d{1,3}))?S)?)?",
    re.ASCII,
)
_CLOCK = re.compile(r"([01]\d|2[0-3]):([0-5]\d)(?::([0-5]\d))?", re.ASCII)
_DATE = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_RFC3339 = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d)(?:\.(\d+))?([Zz]|[+-]\d\d:\d\d)",
    re.ASCII,
)


class Duration(msgspec.Struct, frozen=True):
    """A signed length of time: whole calendar ``months`` first, then ``ms``; both carry the sign."""

    ms: int = 0
    months: int = 0

    @property
    def calendar(self) -> bool:
        return self.months != 0

    def __neg__(self) -> "Duration":
        return Duration(-self.ms, -self.months)

    @property
    def sign(self) -> int:
        total = self.ms + self.months * MEAN_MONTH
        return (total > 0) - (total < 0)

    def scaled(self, scale: float) -> "Duration":
        """Divided by a project's ``time_scale``, to the nearest ms and never to nothing.

        A scaled month is :data:`MEAN_MONTH` / scale: trials have no calendar.
        """
        if scale == 1:
            return self
        total = self.ms + self.months * MEAN_MONTH
        return Duration(self.sign * max(round(abs(total) / scale), 1) if total else 0)


def parse_duration(text: str) -> Duration:
    """An ISO-8601 duration, with an optional sign in front; :class:`ValueError` with a sentence otherwise."""
    found = _DURATION.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is not an ISO-8601 duration, like PT30M, P1D or P7D")
    sign = -1 if found["sign"] == "-" else 1
    part = {name: int(value or 0) for name, value in found.groupdict("").items() if name not in ("sign", "fraction")}
    ms = (
        part["weeks"] * WEEK
        + part["days"] * DAY
        + part["hours"] * HOUR
        + part["minutes"] * MINUTE
        + part["seconds"] * SECOND
        + int((found["fraction"] or "").ljust(3, "0"))
    )
    months = part["years"] * 12 + part["months"]
    if ms + months * MEAN_MONTH > MAX_DURATION:
        raise ValueError(f"{text!r} is longer than a hundred years")
    return Duration(sign * ms, sign * months)


def ms(text: str, scale: float = 1) -> int:
    """A fixed duration in ms, divided by ``scale``; :class:`ValueError` for months and years."""
    duration = parse_duration(text)
    if duration.calendar:
        raise ValueError(f"{text!r} has months or years, whose length varies: write days")
    return duration.scaled(scale).ms


_UNITS = ((DAY, "day"), (HOUR, "hour"), (MINUTE, "minute"), (SECOND, "second"), (1, "ms"))


def describe(duration: Duration | int) -> str:
    """Plain English: ``1 day 2 hours``; the sign is dropped."""
    if isinstance(duration, int):
        duration = Duration(duration)
    years, months = divmod(abs(duration.months), 12)
    counts = [(years, "year"), (months, "month")]
    rest = abs(duration.ms)
    for size, unit in _UNITS:
        count, rest = divmod(rest, size)
        counts.append((count, unit))
    words = [f"{n} {unit}{'s' if n != 1 and unit != 'ms' else ''}" for n, unit in counts if n]
    return " ".join(words) or "no time"


# -- instants --


def to_ms(instant: datetime) -> int:
    """An aware datetime as ms, rounded down."""
    return (instant - _EPOCH) // _MS


def from_ms(at: int, zone: tzinfo = UTC) -> datetime:
    """``at`` on the clocks of ``zone``; :class:`OverflowError` outside the years 1 to 9999."""
    return (_EPOCH + timedelta(milliseconds=at)).astimezone(zone)


def iso(at: int) -> str:
    """``at`` as RFC 3339 in UTC, ms only where there are any."""
    seconds, rest = divmod(at, SECOND)
    try:
        text = _to_the_second(seconds)
    except OverflowError:
        return f"{at} ms"
    return f"{text}.{rest:03}Z" if rest else f"{text}Z"


@lru_cache(1024)
def _to_the_second(seconds: int) -> str:
    """Kept, because what happens together is written together: a message shows four instants, one of them now."""
    return from_ms(seconds * SECOND).replace(tzinfo=None).isoformat()


def parse_instant(text: str, zone: tzinfo) -> int | None:
    """RFC 3339, or a date at 00:00 in ``zone``; None for anything else, also for what no calendar has."""
    try:
        if _DATE.fullmatch(text):
            return wall_instant(date.fromisoformat(text), time(), zone)
        if (found := _RFC3339.fullmatch(text)) is None:
            return None
        day, clock, fraction, offset = found.groups()
        offset = "+00:00" if offset in "Zz" else offset
        instant = datetime.fromisoformat(f"{day}T{clock}.{(fraction or '0')[:6].ljust(6, '0')}{offset}")
        return to_ms(instant)
    except (ValueError, OverflowError):
        return None


# -- zones --


@lru_cache(maxsize=1)
def zone_names() -> frozenset[str]:
    """Every zone of the pinned tzdata."""
    return frozenset((files("tzdata") / "zones").read_text(encoding="utf-8").split())


@lru_cache(maxsize=1024)
def zone(name: str) -> tzinfo:
    """The zone of this IANA name from the pinned package; :class:`ValueError` when there is none."""
    if name == "UTC":
        return UTC
    if name not in zone_names():
        raise ValueError(f"{name!r} is not an IANA time zone, like Europe/London")
    with files("tzdata").joinpath("zoneinfo", *name.split("/")).open("rb") as file:
        return ZoneInfo.from_file(file, key=name)


def is_zone(name: object) -> bool:
    return isinstance(name, str) and name in zone_names()


def zone_or_utc(name: object) -> tzinfo:
    """Total: for names that came with a person's data and may be anything."""
    return zone(name) if isinstance(name, str) and name in zone_names() else UTC


# -- wall clocks --


def wall_instant(day: date, clock: time, zone: tzinfo) -> int:
    """When clocks in ``zone`` show this.  In a gap it moves forward by the gap, of a doubled hour it is the first
    (PEP 495 with fold 0, which is also what RFC 5545 asks for)."""
    return to_ms(datetime.combine(day, clock.replace(fold=0), tzinfo=zone))


def parse_clock(text: str) -> time:
    """``09:00`` or ``09:00:30``; :class:`ValueError` otherwise."""
    if (found := _CLOCK.fullmatch(text)) is None:
        raise ValueError(f"{text!r} is not a time of day, like 09:00")
    hour, minute, second = (int(part or 0) for part in found.groups())
    return time(hour, minute, second)


def next_time(after_ms: int, clock: str | time, days: Collection[str] | None, zone: tzinfo) -> int:
    """The earliest instant at or after ``after_ms`` at which clocks in ``zone`` show ``clock`` on one of ``days``
    (words of :data:`DAYS`; None or empty means every day)."""
    at = parse_clock(clock) if isinstance(clock, str) else clock
    first = from_ms(after_ms, zone).date() - timedelta(days=1)  # a gap can push yesterday's 23:30 past midnight
    for offset in range(10):
        day = first + timedelta(days=offset)
        if days and DAYS[day.weekday()] not in days:
            continue
        instant = wall_instant(day, at, zone)
        if instant >= after_ms:
            return instant
    raise AssertionError("ten days hold every weekday twice or once")


# -- windows of the day --


def inside(at: int, start: str | time, end: str | time, days: Collection[str] | None, zone: tzinfo) -> bool:
    """Whether clocks in ``zone`` show a time from ``start`` up to, not including, ``end``.

    ``end`` at or before ``start`` is of the next day.  A window belongs to the day on which it begins: ``days`` (words
    of :data:`DAYS`; None or empty means every day) says on which ones it does.  Only what the clock shows counts: of
    an hour that it skips nothing is inside, an hour that it shows twice is inside twice.
    """
    local = at + _offset(at, zone)
    return _opening(local, local + 1, start, end, days) is not None


def next_inside(at: int, start: str | time, end: str | time, days: Collection[str] | None, zone: tzinfo) -> int:
    """The earliest instant at or after ``at`` that is :func:`inside`; ``at`` itself should there be none."""
    for begin, until, offset in _stretches(at, MAX_WINDOW_SEARCH, zone):
        local = _opening(begin + offset, until + offset, start, end, days)
        if local is not None:
            return local - offset
    return at


MAX_WINDOW_SEARCH: Final = 22
"""Days.  A window of one weekday may lie in an hour, or a day, that the clock skips; three in a row never do."""


def _opening(begin: int, until: int, start: str | time, end: str | time, days: Collection[str] | None) -> int | None:
    """The first local ms within [``begin``, ``until``) that a window covers, on a clock that is never put."""
    opens, closes = _of_day(start), _of_day(end)
    closes += DAY if closes <= opens else 0
    for day in range(begin // DAY - 1, (until - 1) // DAY + 1):
        if days and DAYS[(day + 3) % 7] not in days:  # 1 January 1970 was a Thursday
            continue
        first = max(begin, day * DAY + opens)
        if first < min(until, day * DAY + closes):
            return first
    return None


def _of_day(clock: str | time) -> int:
    """ms since midnight."""
    at = parse_clock(clock) if isinstance(clock, str) else clock
    return at.hour * HOUR + at.minute * MINUTE + at.second * SECOND


def _offset(at: int, zone: tzinfo) -> int:
    """What clocks in ``zone`` are ahead of UTC, in ms."""
    return (from_ms(at, zone).utcoffset() or timedelta()) // _MS


def _stretches(at: int, days: int, zone: tzinfo) -> Iterator[tuple[int, int, int]]:
    """(begin, end, offset) of the times from ``at`` on in which nobody puts the clock; at most a day each."""
    for begin in range(at, at + days * DAY, DAY):
        until, before, after = begin + DAY, _offset(begin, zone), _offset(begin + DAY, zone)
        if before == after:
            yield begin, until, before
            continue
        low, high = begin, until
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if _offset(middle, zone) == before else (low, middle)
        yield begin, high, before
        yield high, until, after


def shift(at: int, duration: Duration, zone: tzinfo) -> int:
    """``at`` plus a duration: months on the calendar of ``zone`` (the day clamped to the month's last, the clock time
    kept), then ms.  :class:`OverflowError` outside the years 1 to 9999."""
    if not duration.months:
        return at + duration.ms
    local = from_ms(at, zone)
    months = local.year * 12 + local.month - 1 + duration.months
    year, month = divmod(months, 12)
    if not 1 <= year <= 9998:
        raise OverflowError("outside the years 1 to 9998")
    last = (date(year + (month + 1) // 12, (month + 1) % 12 + 1, 1) - timedelta(days=1)).day
    day = date(year, month + 1, min(local.day, last))
    moved = datetime.combine(day, local.timetz().replace(fold=0))
    return to_ms(moved) + duration.ms
