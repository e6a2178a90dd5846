"""Durations, zones and wall clocks."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heliograph.decide import times
from heliograph.decide.times import DAY, HOUR, MINUTE, SECOND, Duration

LONDON = times.zone("Europe/London")
BERLIN = times.zone("Europe/Berlin")


def at(text: str) -> int:
    instant = times.parse_instant(text, UTC)
    assert instant is not None
    return instant


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("PT30M", Duration(30 * MINUTE)),
        ("P1D", Duration(24 * HOUR)),
        ("P2W", Duration(14 * DAY)),
        ("P1DT2H3M4.5S", Duration(DAY + 2 * HOUR + 3 * MINUTE + 4 * SECOND + 500)),
        ("PT0S", Duration()),
        ("-P7D", Duration(-7 * DAY)),
        ("P1M", Duration(months=1)),
        ("-P1Y2M3D", Duration(-3 * DAY, -14)),
    ],
)
def test_a_duration_is_iso_8601_with_days_of_24_hours(text: str, expected: Duration) -> None:
    assert times.parse_duration(text) == expected


@pytest.mark.parametrize("text", ["", "P", "PT", "P1", "30m", "P1H", "PT1D", "P1.5D", "p1d", "P1DT", "P40000D", "P１D"])
def test_anything_else_is_refused_with_a_sentence(text: str) -> None:
    with pytest.raises(ValueError, match=r"ISO-8601|hundred years"):
        times.parse_duration(text)


def test_fixed_lengths_refuse_the_calendar() -> None:
    with pytest.raises(ValueError, match="write days"):
        times.ms("P1M")


def test_time_scale_divides_and_never_reaches_nothing() -> None:
    assert times.ms("PT30M", 60) == 30 * SECOND
    assert times.ms("PT0.001S", 1000) == 1
    assert times.parse_duration("-P1M").scaled(2) == Duration(-times.MEAN_MONTH // 2)
    assert Duration().scaled(10) == Duration()


@given(st.integers(0, times.MAX_DURATION))
def test_every_fixed_duration_can_be_said_in_english(ms: int) -> None:
    assert times.describe(ms)


def test_english() -> None:
    assert times.describe(times.parse_duration("P1DT2H")) == "1 day 2 hours"
    assert times.describe(times.parse_duration("-P1Y1M")) == "1 year 1 month"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-03-01T10:00:00Z", "2026-03-01T10:00:00Z"),
        ("2026-03-01t10:00:00.25z", "2026-03-01T10:00:00.250Z"),
        ("2026-03-01T10:00:00.123456789+01:00", "2026-03-01T09:00:00.123Z"),
        ("2026-07-01", "2026-06-30T23:00:00Z"),
    ],
)
def test_instants_are_rfc_3339_or_dates_at_midnight_in_the_zone(text: str, expected: str) -> None:
    instant = times.parse_instant(text, LONDON)
    assert instant is not None
    assert times.iso(instant) == expected


@pytest.mark.parametrize(
    "text",
    ["", "2026", "2026-02-30", "2026-03-01T10:00:00", "2026-3-1", "20260301", "0000-01-01", "2026-03-01T25:00:00Z"],
)
def test_no_other_text_is_an_instant(text: str) -> None:
    assert times.parse_instant(text, times.zone("Asia/Tokyo")) is None


def test_zones_come_from_the_pinned_package_only() -> None:
    assert times.is_zone("America/New_York")
    assert not times.is_zone("../../etc/passwd")
    assert times.zone_or_utc("Mars/Olympus") is UTC
    with pytest.raises(ValueError, match="time zone"):
        times.zone("Europe/Londn")


def test_every_zone_of_the_package_loads() -> None:
    assert len(times.zone_names()) > 500
    for name in times.zone_names():
        assert times.zone(name).utcoffset(datetime(2026, 7, 1)) is not None


def test_a_gap_hour_moves_forward() -> None:
    """Berlin jumps from 02:00 to 03:00 on 29 March 2026."""
    found = times.next_time(at("2026-03-29T00:00:00Z"), "02:30", None, BERLIN)
    assert times.iso(found) == "2026-03-29T01:30:00Z"
    assert times.from_ms(found, BERLIN).strftime("%H:%M") == "03:30"


def test_a_doubled_hour_takes_the_first() -> None:
    """Berlin shows 02:30 twice on 25 October 2026; once the first has passed, the next is tomorrow's."""
    first = times.next_time(at("2026-10-24T22:00:00Z"), "02:30", None, BERLIN)
    assert times.iso(first) == "2026-10-25T00:30:00Z"
    assert times.iso(times.next_time(first + 1, "02:30", None, BERLIN)) == "2026-10-26T01:30:00Z"


def test_next_time_takes_the_instant_itself_and_the_days_named() -> None:
    monday_nine = at("2026-11-23T09:00:00Z")
    assert times.next_time(monday_nine, "09:00", ["mon"], LONDON) == monday_nine
    assert times.next_time(monday_nine + 1, "09:00", ["mon"], LONDON) == monday_nine + 7 * DAY
    assert times.next_time(monday_nine + 1, "09:00", ["tue", "fri"], LONDON) == monday_nine + DAY


@given(
    st.integers(0, 4_000_000_000_000),
    st.sampled_from(["Europe/London", "America/Sao_Paulo", "Asia/Kathmandu", "Pacific/Apia", "Africa/Cairo", "UTC"]),
    st.times(),
    st.sets(st.sampled_from(times.DAYS)),
)
def test_next_time_is_at_or_after_and_within_eight_days(after: int, name: str, clock: object, days: set[str]) -> None:
    clock = clock.replace(second=0, microsecond=0, tzinfo=None)  # type: ignore[attr-defined]
    found = times.next_time(after, clock, days, times.zone(name))
    assert after <= found <= after + 9 * DAY


def test_months_are_counted_on_the_calendar_of_the_zone() -> None:
    end_of_january = at("2026-01-31T09:00:00Z")
    assert times.iso(times.shift(end_of_january, Duration(months=1), UTC)) == "2026-02-28T09:00:00Z"
    nine_in_berlin = at("2026-03-01T08:00:00Z")
    assert times.iso(times.shift(nine_in_berlin, Duration(months=1), BERLIN)) == "2026-04-01T07:00:00Z"
    assert times.iso(times.shift(at("2025-12-31T00:00:00Z"), Duration(DAY, -1), UTC)) == "2025-12-01T00:00:00Z"
    with pytest.raises(OverflowError):
        times.shift(at("9990-01-01T00:00:00Z"), Duration(months=120), UTC)
