"""Instants on the wire."""

from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heliograph.events.instants import LAST_MS, parse_instant

AT = 1_767_261_600_123  # 2026-01-01T10:00:00.123Z


@pytest.mark.parametrize(
    "text",
    [
        "2026-01-01T10:00:00.123Z",
        "2026-01-01T10:00:00.123456789Z",
        "2026-01-01t10:00:00.123z",
        "2026-01-01 10:00:00.123 UTC",
        "2026-01-01 11:00:00.123 +0100",
        "2026-01-01T05:00:00.123-05:00",
        "2026-01-01T10:00:00.123",
        " 2026-01-01T10:00:00,123Z ",
        "1767261600123",
        "1767261600.123",
        1_767_261_600_123,
        1_767_261_600.123,
        1_767_261_600_123_456,
        1_767_261_600_123_456_789,
    ],
)
def test_every_common_spelling_is_the_same_instant(text: str | float) -> None:
    assert parse_instant(text) == AT


@pytest.mark.parametrize(
    "text", ["", "yesterday", "0001-01-01T00:00:00Z", "1969-12-31T23:59:59Z", -1, "2026-13-01", float("inf"), 10**30]
)
def test_what_is_no_instant_since_1970_is_none(text: str | float) -> None:
    assert parse_instant(text) is None


def test_a_leap_second_is_the_second_after() -> None:
    assert parse_instant("2016-12-31T23:59:60Z") == parse_instant("2017-01-01T00:00:00Z")


@given(st.datetimes(datetime(1970, 1, 1), datetime(9999, 12, 31), timezones=st.just(UTC)))
@settings(deadline=None)
def test_rfc_3339_is_read_to_the_millisecond(at: datetime) -> None:
    exact = (at - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds() * 1000
    assert abs((parse_instant(at.isoformat()) or 0) - exact) <= 1


@given(st.text() | st.floats() | st.integers())
@settings(deadline=None)
def test_anything_is_an_instant_in_range_or_none(value: str | float) -> None:
    at = parse_instant(value)
    assert at is None or 0 <= at <= LAST_MS
