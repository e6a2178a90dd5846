"""When does a schedule come round?  RFC 5545, section 3.3.10, on wall clocks; pure, and no more often than hourly.

A rule is a set of wall-clock times: those of :class:`Rule` in order, period by period (a year, month, week, day or
hour), each period's days filtered by the ``BY...`` parts.  A :class:`Schedule` puts them on the clocks of a zone: a
time in an hour that the clock skips moves forward, of a doubled hour it is the first.  The parts are those that
calendars write: BYWEEKNO, BYYEARDAY and BYSECOND are refused by name.

Beside the RFC: without ``start`` a rule counts from Monday 1 January 2024, 00:00 (so COUNT and INTERVAL above 1 need
one); a start that the rule does not meet is no occurrence; an ``UNTIL`` date is the whole of that day.
"""

from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime, time, timedelta
from itertools import islice, takewhile
from typing import Final

import msgspec

from heliograph.decide.times import from_ms, to_ms, wall_instant, zone_or_utc

YEARLY, MONTHLY, WEEKLY, DAILY, HOURLY = FREQS = ("YEARLY", "MONTHLY", "WEEKLY", "DAILY", "HOURLY")
WEEKDAYS: Final = ("MO", "TU", "WE", "TH", "FR", "SA", "SU")
ANCHOR: Final = datetime(2024, 1, 1)
HORIZON: Final = timedelta(days=366 * 41)
"""How far ahead an occurrence is looked for: 29 February on a given weekday comes within 40 years."""
_LAST: Final = datetime(9000, 1, 1)
_LAST_MS: Final = to_ms(_LAST.replace(tzinfo=UTC))
_SLACK: Final = timedelta(hours=25)
"""How far a clock is ever put at once (Samoa skipped a day): wall times this close may stand in another order."""


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """``weekdays``: (n, weekday from Monday 0), n 0 for every one, else the n-th of the month or year, from its end
    when negative.  ``until`` has a zone (UTC) or is on the clock."""

    freq: str
    start: datetime = ANCHOR
    interval: int = 1
    count: int = 0
    until: datetime | None = None
    weekdays: tuple[tuple[int, int], ...] = ()
    month_days: tuple[int, ...] = ()
    months: tuple[int, ...] = ()
    hours: tuple[int, ...] = ()
    minutes: tuple[int, ...] = ()
    places: tuple[int, ...] = ()
    week_start: int = 0

    def from_(self, at: datetime) -> Iterator[datetime]:
        """The wall-clock times at or after ``at``, in order."""
        times = self._counted() if self.count else self._from(at)
        end = self._end()
        return (one for one in takewhile(lambda one: one <= end, times) if one >= at)

    def _end(self) -> datetime:
        """Behind it there is nothing on any clock."""
        until = self.until
        if until is None or until.tzinfo is None:
            return until or _LAST
        return until.replace(tzinfo=None) + _SLACK

    def _counted(self) -> Iterator[datetime]:
        return islice(self._from(self.start), self.count)

    def _from(self, at: datetime) -> Iterator[datetime]:
        at = max(at, self.start)
        limit, found = at + HORIZON, at
        for period in _periods(self, at):
            if period > min(limit, _LAST):
                return
            for one in _times(self, period):
                if one >= at:
                    yield one
                    found = one
            limit = found + HORIZON


# -- periods --


def _periods(rule: Rule, at: datetime) -> Iterator[datetime]:
    """The beginnings of the periods that the rule looks at, from the one of ``at`` (or the next it does) on."""
    first = _begin(rule, rule.start)
    behind = _distance(rule.freq, first, _begin(rule, at))
    number = behind + -behind % rule.interval
    while number < _MOST:
        yield _plus(rule.freq, first, number)
        number += rule.interval


_MOST: Final = 60_000_000
"""Hours, the smallest period, to the year 9000."""


def _begin(rule: Rule, at: datetime) -> datetime:
    day = datetime.combine(at.date(), time())
    match rule.freq:
        case "YEARLY":
            return day.replace(month=1, day=1)
        case "MONTHLY":
            return day.replace(day=1)
        case "WEEKLY":
            return day - timedelta(days=(day.weekday() - rule.week_start) % 7)
        case "HOURLY":
            return day + timedelta(hours=at.hour)
    return day


_LENGTHS: Final = {WEEKLY: timedelta(days=7), DAILY: timedelta(days=1), HOURLY: timedelta(hours=1)}


def _distance(freq: str, one: datetime, other: datetime) -> int:
    """Periods from ``one`` to ``other``, both the beginning of one."""
    if freq == YEARLY:
        return other.year - one.year
    if freq == MONTHLY:
        return (other.year - one.year) * 12 + other.month - one.month
    return (other - one) // _LENGTHS[freq]


def _plus(freq: str, at: datetime, number: int) -> datetime:
    if freq in _LENGTHS:
        length = _LENGTHS[freq]
        return at + length * number if number < (datetime.max - at) // length else datetime.max
    months = at.month - 1 + number * (12 if freq == YEARLY else 1)
    year = at.year + months // 12
    return at.replace(year=year, month=months % 12 + 1) if year <= 9999 else datetime.max


# -- the times of one period --


def _times(rule: Rule, period: datetime) -> Iterable[datetime]:
    hours = (period.hour,) if rule.freq == HOURLY else rule.hours or (rule.start.hour,)
    if rule.freq == HOURLY and rule.hours and period.hour not in rule.hours:
        return ()
    minutes = rule.minutes or (rule.start.minute,)
    clocks = [time(hour, minute, rule.start.second) for hour in hours for minute in minutes]
    times = [datetime.combine(day, clock) for day in _days(rule, period.date()) for clock in clocks]
    return _at_places(rule.places, times) if rule.places else times


def _at_places(places: tuple[int, ...], times: list[datetime]) -> list[datetime]:
    size = len(times)
    chosen = {place - 1 if place > 0 else size + place for place in places}
    return [times[at] for at in sorted(chosen) if 0 <= at < size]


def _days(rule: Rule, first: date) -> list[date]:
    """Of the period that begins on ``first``, in order."""
    months, month_days, weekdays = rule.months, rule.month_days, rule.weekdays
    if not month_days and not weekdays:
        months, month_days, weekdays = _implied(rule)
    return [
        day
        for day in _all_days(rule.freq, first, months)
        if (not months or day.month in months)
        and (not month_days or _is_month_day(day, month_days))
        and (not weekdays or any(_is_weekday(rule, day, *one) for one in weekdays))
    ]


def _implied(rule: Rule) -> tuple[tuple[int, ...], tuple[int, ...], tuple[tuple[int, int], ...]]:
    """What a rule without days says by its start."""
    start = rule.start
    match rule.freq:
        case "YEARLY":
            return rule.months or (start.month,), (start.day,), ()
        case "MONTHLY":
            return rule.months, (start.day,), ()
        case "WEEKLY":
            return rule.months, (), ((0, start.weekday()),)
    return rule.months, (), ()


def _all_days(freq: str, first: date, months: tuple[int, ...]) -> Iterator[date]:
    match freq:
        case "YEARLY":
            for month in months or range(1, 13):
                yield from _month(first.year, month)
        case "MONTHLY":
            yield from _month(first.year, first.month)
        case "WEEKLY":
            yield from (first + timedelta(days=at) for at in range(7))
        case _:
            yield first


def _month(year: int, month: int) -> Iterator[date]:
    return (date(year, month, day) for day in range(1, _length(year, month) + 1))


def _length(year: int, month: int) -> int:
    return (date(year + month // 12, month % 12 + 1, 1) - date(year, month, 1)).days


def _is_month_day(day: date, wanted: tuple[int, ...]) -> bool:
    return day.day in wanted or day.day - _length(day.year, day.month) - 1 in wanted


def _is_weekday(rule: Rule, day: date, number: int, weekday: int) -> bool:
    if day.weekday() != weekday:
        return False
    if not number:
        return True
    in_year = rule.freq == YEARLY and not rule.months
    place = day.timetuple().tm_yday if in_year else day.day
    length = (date(day.year, 12, 31) - date(day.year, 1, 1)).days + 1 if in_year else _length(day.year, day.month)
    return ((place - 1) // 7 + 1 if number > 0 else -((length - place) // 7 + 1)) == number


# -- on the clocks of a zone --


class Schedule:
    """A rule and whose clocks it goes by: ``person``, ``project`` or an IANA name.

    Remembers for each zone the gap between two occurrences that was last asked about: everybody asks about the same.
    """

    __slots__ = ("_gaps", "rule", "text", "zone")

    def __init__(self, rule: Rule, zone: str, text: str) -> None:
        self.rule, self.zone, self.text = rule, zone, text
        self._gaps: dict[str, tuple[int, int | None]] = {}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Schedule) and (self.rule, self.zone) == (other.rule, other.zone)

    def __hash__(self) -> int:
        return hash((self.rule, self.zone))

    def after(self, at: int, zone_name: str) -> int | None:
        """The first occurrence after ``at`` (ms), None when there is none any more."""
        gap = self._gaps.get(zone_name)
        if gap is None or not gap[0] <= at < (gap[1] or at + 1):
            gap = self._gaps[zone_name] = (at, self._find(at, zone_name))
        return gap[1]

    def latest(self, at: int, since: int, zone_name: str) -> int:
        """The last occurrence at or before ``at``, at least ``since``, which is one."""
        for days in (1, 8, 32, 367, (at - since) // 86_400_000 + 1):
            found, begin = since, max(since, at - days * 86_400_000)
            while (later := self._find(begin, zone_name)) is not None and later <= at:
                found = begin = later
            if found > since or begin == since:
                return found
        return since

    def _find(self, at: int, zone_name: str) -> int | None:
        if at >= _LAST_MS:
            return None
        zone = zone_or_utc(zone_name)
        shown = from_ms(at, zone).replace(tzinfo=None)
        best: int | None = None
        enough = _LAST
        for one in self.rule.from_(shown - _SLACK):
            if one > enough:
                break
            instant = wall_instant(one.date(), one.time(), zone)
            if instant > at and (best is None or instant < best) and self._is_before_end(instant):
                best, enough = instant, min(enough, one + _SLACK)
        return best

    def _is_before_end(self, instant: int) -> bool:
        until = self.rule.until
        return until is None or until.tzinfo is None or instant <= to_ms(until)
