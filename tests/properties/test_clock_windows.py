"""Windows of the day against a scan of the clock, minute by minute, in zones that put it in every way there is."""

from datetime import datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heliograph.decide.times import DAY, DAYS, MINUTE, from_ms, inside, next_inside, parse_clock, to_ms, zone

CHANGES = [
    ("Europe/London", "2026-03-29T01:00Z"), ("Europe/London", "2026-10-25T01:00Z"),
    ("America/New_York", "2026-03-08T07:00Z"), ("America/New_York", "2026-11-01T06:00Z"),
    ("Asia/Beirut", "2026-03-28T22:00Z"), ("Asia/Beirut", "2026-10-24T21:00Z"),  # at midnight
    ("Australia/Lord_Howe", "2026-04-04T15:00Z"), ("Australia/Lord_Howe", "2026-10-03T15:30Z"),  # by half an hour
    ("Pacific/Apia", "2011-12-30T10:00Z"),  # a whole day is skipped
    ("America/St_Johns", "2006-10-29T02:31Z"),  # a minute past midnight
    ("Asia/Kolkata", "2026-06-01T00:00Z"),
]  # fmt: skip
CLOCKS = st.builds("{:02}:{:02}".format, st.integers(0, 23), st.sampled_from([0, 1, 15, 30, 59]))
SOME_DAYS = st.frozensets(st.sampled_from(DAYS))


def shown_inside(at: int, start: str, end: str, days: frozenset[str], name: str) -> bool:
    """What somebody says who looks at the clock and the calendar on the wall."""
    shown = from_ms(at, zone(name))
    clock, opens, closes = shown.time(), parse_clock(start), parse_clock(end)
    today, yesterday = shown.weekday(), (shown.weekday() - 1) % 7
    if opens < closes:
        began = today if opens <= clock < closes else None
    else:
        began = today if clock >= opens else yesterday if clock < closes else None
    return began is not None and (not days or DAYS[began] in days)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(CHANGES), CLOCKS, CLOCKS, SOME_DAYS, st.integers(-36 * 60, 36 * 60))
def test_the_next_instant_inside_is_the_first_minute_at_which_the_clock_shows_it(change, start, end, days, minutes):
    name, instant = change
    at = to_ms(datetime.fromisoformat(instant)) + minutes * MINUTE
    scan = range(at, at + 15 * DAY, MINUTE)
    first = next((minute for minute in scan if shown_inside(minute, start, end, days, name)), None)
    assert next_inside(at, start, end, days, zone(name)) == first


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(CHANGES), CLOCKS, CLOCKS, SOME_DAYS, st.integers(-3 * DAY, 3 * DAY))
def test_inside_is_what_the_clock_shows(change, start, end, days, ms):
    name, instant = change
    at = to_ms(datetime.fromisoformat(instant)) + ms
    assert inside(at, start, end, days, zone(name)) is shown_inside(at, start, end, days, name)


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(CHANGES), CLOCKS, CLOCKS, st.integers(-3 * DAY, 3 * DAY))
def test_the_rest_of_the_day_is_the_window_the_other_way_round(change, start, end, ms):
    """So the first instant after quiet hours is the first one inside their opposite."""
    name, instant = change
    at = to_ms(datetime.fromisoformat(instant)) + ms
    if start != end:
        assert inside(at, start, end, None, zone(name)) is not inside(at, end, start, None, zone(name))


@pytest.mark.parametrize(("at", "then"), [
    ("2026-11-20T21:59+00:00", "2026-11-20T22:00+00:00"),  # Friday
    ("2026-11-21T05:59+00:00", "2026-11-21T05:59+00:00"),  # still Friday's
    ("2026-11-21T06:00+00:00", "2026-11-27T22:00+00:00"),
    ("2026-11-21T23:00+00:00", "2026-11-27T22:00+00:00"),
])  # fmt: skip
def test_a_window_over_midnight_belongs_to_the_day_on_which_it_begins(at, then):
    found = next_inside(to_ms(datetime.fromisoformat(at)), "22:00", "06:00", ["fri"], zone("Europe/London"))
    assert found == to_ms(datetime.fromisoformat(then))
