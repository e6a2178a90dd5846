"""Schedules against python-dateutil, and against the calendar where zones put their clocks."""

from datetime import datetime, timedelta
from itertools import islice

import pytest
from dateutil.rrule import rrulestr
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from heliograph.decide.journeys.recurrence import HORIZON, WEEKDAYS, Schedule
from heliograph.decide.journeys.rrule import parse_rule
from heliograph.decide.times import DAY, HOUR, to_ms, wall_instant, zone

START = st.datetimes(datetime(1999, 1, 1), datetime(2032, 1, 1)).map(lambda at: at.replace(microsecond=0))
"""Both sides of a leap century."""


def some(values, most=4):
    return st.lists(values, min_size=1, max_size=most, unique=True).map(lambda found: ",".join(map(str, found)))


def signed(most):
    return st.integers(1, most) | st.integers(-most, -1)


DAYS = st.sampled_from(WEEKDAYS)
NTH = st.builds("{}{}".format, signed(4), DAYS)
HOURS = {"BYHOUR": some(st.integers(0, 23)), "BYMINUTE": some(st.integers(0, 59)), "BYMONTH": some(st.integers(1, 12))}
PLACES = some(signed(5))
COMMON = {"INTERVAL": st.integers(1, 5).map(str), **HOURS}
PARTS = {
    "YEARLY": COMMON | {"BYDAY": some(DAYS) | some(NTH), "BYMONTHDAY": some(signed(31)), "BYSETPOS": PLACES},
    "MONTHLY": COMMON | {"BYDAY": some(DAYS) | some(NTH), "BYMONTHDAY": some(signed(31)), "BYSETPOS": PLACES},
    "WEEKLY": COMMON | {"BYDAY": some(DAYS), "WKST": DAYS},
    "DAILY": COMMON | {"BYDAY": some(DAYS), "BYMONTHDAY": some(signed(31))},
    "HOURLY": {
        "BYDAY": some(DAYS),
        "BYHOUR": HOURS["BYHOUR"],
        "BYMINUTE": HOURS["BYMINUTE"],
        "INTERVAL": st.integers(1, 30).map(str),
    },
}


@st.composite
def rules(draw):
    freq = draw(st.sampled_from(sorted(PARTS)))
    parts = draw(st.fixed_dictionaries({}, optional=PARTS[freq]))
    if not any(name in parts for name in ("BYDAY", "BYMONTHDAY", "BYMONTH", "BYHOUR", "BYMINUTE")):
        parts.pop("BYSETPOS", None)
    return ";".join([f"FREQ={freq}", *(f"{name}={value}" for name, value in parts.items())])


def parsed(text, start):
    try:
        return parse_rule(text, start)
    except ValueError as error:
        assume("never happens" not in str(error))
        raise


@settings(max_examples=150, deadline=None)
@given(rules(), START)
def test_a_rule_means_what_dateutil_says(text, start):
    rule = parsed(text, start)
    expected = list(islice(rrulestr(text, dtstart=start), 12))
    found = list(islice(rule.from_(start), 12))
    assert found == expected[: len(found)]
    assert len(found) == len(expected) or expected[len(found)] - (found or [start])[-1] > HORIZON


@settings(max_examples=60, deadline=None)
@given(rules(), START, st.timedeltas(timedelta(0), timedelta(days=900)))
def test_from_any_day_on_it_goes_on_as_from_its_start(text, start, later):
    rule = parsed(text, start)
    expected = list(islice((one for one in islice(rule.from_(start), 2000) if one >= start + later), 3))
    assert list(islice(rule.from_(start + later), 3))[: len(expected)] == expected


@settings(max_examples=100, deadline=None)
@given(rules(), START, st.integers(1, 20))
def test_a_count_and_an_end_cut_it_off(text, start, count):
    plain = list(islice(parsed(text, start).from_(start), count))
    assert list(parse_rule(f"{text};COUNT={count}", start).from_(start)) == plain
    until = plain[-1].strftime("%Y%m%dT%H%M%S")
    assert list(islice(parse_rule(f"{text};UNTIL={until}", start).from_(start), count + 1)) == plain


ZONES = st.sampled_from(
    ["Europe/London", "America/New_York", "Asia/Beirut", "Australia/Lord_Howe", "Pacific/Apia", "UTC"]
)


@settings(max_examples=100, deadline=None)
@given(rules(), st.integers(0, 1200), ZONES)
def test_after_an_instant_comes_the_earliest_of_all_wall_clock_times_that_are_later(text, days, name):
    """Also where the clock is put in between: gaps move forward, of a doubled hour the first counts."""
    start = datetime(2010, 1, 4, 2, 30)
    rule = parsed(text, start)
    at = to_ms(datetime.fromisoformat("2010-03-01T00:00Z")) + days * DAY
    times = (wall_instant(one.date(), one.time(), zone(name)) for one in islice(rule.from_(start), 3000))
    later = [one for one in times if one > at]
    assume(later)
    schedule = Schedule(rule, "person", text)
    assert schedule.after(at, name) == min(later)
    assert schedule.after(at + 1, name) == min(one for one in [*later, 1 << 60] if one > at + 1) or min(later) == at + 1


@settings(max_examples=60, deadline=None)
@given(rules(), st.integers(0, 400 * DAY), ZONES)
def test_the_latest_is_the_one_after_which_there_is_none_up_to_then(text, later, name):
    schedule = Schedule(parsed(text, datetime(2020, 1, 1, 9)), "person", text)
    since = schedule.after(to_ms(datetime.fromisoformat("2024-01-01T00:00Z")), name)
    assume(since is not None)
    latest = schedule.latest(since + later, since, name)
    assert since <= latest <= since + later
    following = schedule.after(latest, name)
    assert following is None or following > since + later


@pytest.mark.parametrize(("text", "said"), [
    ("WEEKLY", "is no part of an RRULE"), ("BYDAY=MO", "FREQ is missing"), ("FREQ=MINUTELY", "FREQ is one of"),
    ("FREQ=DAILY;BYWEEKNO=3", "BYWEEKNO is none of"), ("FREQ=DAILY;FREQ=DAILY", "twice"),
    ("FREQ=DAILY;COUNT=3", "give one"), ("FREQ=WEEKLY;BYDAY=2MO", "needs FREQ=MONTHLY"),
    ("FREQ=WEEKLY;BYMONTHDAY=2", "does not go with"), ("FREQ=DAILY;BYSETPOS=1", "there is none"),
    ("FREQ=MONTHLY;BYMONTH=2;BYMONTHDAY=30", "never happens"), ("FREQ=DAILY;BYHOUR=24", "BYHOUR is from 0 to 23"),
    ("FREQ=DAILY;UNTIL=2026-12-31", "UNTIL is like"), ("FREQ=WEEKLY;BYDAY=MON", "BYDAY"),
    ("FREQ=DAILY;INTERVAL=0", "INTERVAL is from 1"),
])  # fmt: skip
def test_what_is_wrong_with_a_rule_is_said(text, said):
    with pytest.raises(ValueError, match=said):
        parse_rule(text)


def test_an_end_in_utc_ends_it_on_every_clock():
    schedule = Schedule(parse_rule("FREQ=DAILY;BYHOUR=9;UNTIL=20261123T100000Z"), "person", "")
    at = to_ms(datetime.fromisoformat("2026-11-23T00:00Z"))
    assert schedule.after(at, "Europe/London") == at + 9 * HOUR
    assert schedule.after(at, "America/New_York") is None


def test_without_a_start_a_rule_counts_from_a_monday_at_midnight():
    assert next(parse_rule("FREQ=WEEKLY").from_(datetime(2026, 11, 18))) == datetime(2026, 11, 23)
    weekly = parse_rule("RRULE:FREQ=WEEKLY;BYDAY=TU;BYHOUR=9")
    assert next(weekly.from_(datetime(2026, 11, 18))) == datetime(2026, 11, 24, 9)


def test_an_hour_that_the_clock_skips_moves_forward_and_of_a_doubled_one_the_first_counts():
    schedule = Schedule(parse_rule("FREQ=DAILY;BYHOUR=1;BYMINUTE=30"), "project", "")
    spring = to_ms(datetime.fromisoformat("2026-03-28T12:00Z"))
    assert schedule.after(spring, "Europe/London") == to_ms(datetime.fromisoformat("2026-03-29T01:30Z"))
    autumn = to_ms(datetime.fromisoformat("2026-10-24T12:00Z"))
    first = to_ms(datetime.fromisoformat("2026-10-25T00:30Z"))
    assert schedule.after(autumn, "Europe/London") == first
    assert schedule.after(first, "Europe/London") == first + 25 * HOUR
