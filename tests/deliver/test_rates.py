"""No stretch of time as long as what was written ever holds more messages than were written."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heliograph.deliver.rates import DAY, NEVER, RESERVE, SLACK_MS, Days, Pace, Rate, Sliding, of, parse, per_second

STEPS = st.lists(st.integers(0, 400), min_size=1, max_size=200)
"""How the clock goes on, ms; unevenly, and often not at all."""
T0 = 1_790_000_000_000


def test_a_rate_as_written() -> None:
    assert parse("100/s") == Rate(100, 1000) and parse("5/d") == Rate(5, DAY) and parse("") is None
    assert per_second("120/m") == 2.0 and per_second("") == 0.0
    assert str(Rate(50, 3_600_000)) == "50/h"
    for wrong in ("100", "x/s", "1/y", "²/s", "-1/s"):
        with pytest.raises(ValueError, match="a rate is like"):
            parse(wrong)


def most_within(instants: list[int], length: int) -> int:
    """The most of them in any half-open stretch."""
    return max((sum(1 for at in instants if start <= at < start + length) for start in instants), default=0)


@given(STEPS, st.integers(1, 60), st.sampled_from([1000, 2000]))
def test_a_pace_holds_in_every_stretch_of_its_unit_and_bursts_no_more_than_its_slack(
    steps: list[int], count: int, unit: int
) -> None:
    pace, now, gone = Pace(Rate(count, unit), T0), T0, list[int]()
    for step in steps:
        now += step
        while pace.opens(now) <= now:
            pace.take(now)
            gone.append(now)
    assert most_within(gone, unit) <= count
    at_once = -(-(1 + SLACK_MS) * count // (unit + SLACK_MS))
    assert most_within(gone, 1) <= max(at_once, 1), "the law for one millisecond"


@given(st.integers(1, 3000), st.sampled_from([1000, 60_000, 3_600_000, DAY]))
def test_a_pace_never_says_later_than_it_must(count: int, unit: int) -> None:
    pace, now = Pace(Rate(count, unit), T0), T0
    for _ in range(50):
        opens = pace.opens(now)
        assert opens <= now + (unit + SLACK_MS) // count + 1
        now = max(now, opens)
        assert pace.opens(now) <= now, "at that instant it is open"
        assert opens <= now - 1 or pace.opens(now - 1) > now - 1, "and not a moment before"
        pace.take(now)


def test_a_pace_reaches_its_rate_but_for_its_slack() -> None:
    pace, gone = Pace(Rate(1000, 1000), T0), 0
    for now in range(T0, T0 + 60_000, 7):
        while pace.opens(now) <= now:
            pace.take(now)
            gone += 1
    assert 0.97 * 60_000 <= gone <= 60_000


def test_a_pace_that_was_kept_goes_on_and_a_clock_that_was_set_back_costs_one_unit() -> None:
    pace = Pace(Rate(1, DAY), T0)
    pace.take(T0)
    again = Pace(Rate(1, DAY))
    again.resume(pace.next_ms)
    assert again.opens(T0 + 1) > T0 + DAY - SLACK_MS
    again.mend(T0 - 10 * DAY)
    assert again.opens(T0 - 10 * DAY) <= T0 - 9 * DAY


@given(STEPS, st.integers(1, 40), st.integers(0, 3))
def test_a_sliding_stretch_never_holds_more_than_its_limit_and_gives_all_of_it_at_once(
    steps: list[int], limit: int, greed: int
) -> None:
    sliding, now, gone = Sliding(limit, 1200), T0, list[int]()
    for step in steps:
        now += step
        for _ in range(limit if greed == 0 else greed):
            opens = sliding.opens(now)
            if opens > now:
                then = Sliding(limit, 1200, *sliding.dump())
                assert then.opens(opens - 1) > opens - 1 and then.opens(opens) <= opens
                break
            sliding.take(now)
            gone.append(now)
    assert most_within(gone, 1200) <= limit
    assert sliding.used == sum(sliding.dump()[0])
    assert greed or gone.count(gone[0]) == limit


def test_a_sliding_stretch_survives_a_restart_and_a_clock_set_back() -> None:
    sliding = Sliding(3, 1200)
    for _ in range(3):
        sliding.take(T0)
    again = Sliding(3, 1200, *sliding.dump())
    assert again.opens(T0 - 50_000) > T0 - 50_000 and again.opens(T0 + 1_000) > T0 + 1_000
    assert again.opens(T0 + 1_260) <= T0 + 1_260
    assert Sliding(0, 1200).opens(T0) == NEVER


def test_a_day_is_a_day_of_the_calendar_in_utc() -> None:
    days, noon = Days(3), DAY * 20_000 + DAY // 2
    for _ in range(3):
        assert days.opens(noon) <= noon
        days.take(noon)
    assert days.opens(noon) == DAY * 20_001
    assert days.opens(noon - DAY) == DAY * 20_001, "a clock set back begins no new day"
    assert days.opens(DAY * 20_001) == DAY * 20_001


def test_what_did_not_go_is_given_back_to_its_own_day_only() -> None:
    days = Days(1)
    days.take(DAY)
    days.give_back(1)
    assert days.opens(DAY) <= DAY
    days.take(DAY)
    days.take(2 * DAY)
    days.give_back(1)
    assert days.used == 1


def test_a_broadcast_leaves_a_tenth_which_is_released_as_the_day_passes() -> None:
    days, start = Days(100), DAY * 20_000
    gone = 0
    for now in range(start, start + DAY, 60_000):
        while days.opens(now, patient=True) <= now:
            days.take(now)
            gone += 1
        if now == start:
            assert gone == 100 - 100 // RESERVE
            assert days.opens(now) <= now < days.opens(now, patient=True), "triggered mail has room all day"
    assert gone == 100, "at its end all of it was there"


def test_a_small_day_has_no_reserve() -> None:
    days = Days(9)
    for _ in range(9):
        assert days.opens(DAY, patient=True) <= DAY
        days.take(DAY)
    assert days.opens(DAY, patient=True) == 2 * DAY


@given(st.floats(1 / 3600, 1e6))
def test_the_nearest_rate_is_not_above(per_s: float) -> None:
    rate = of(per_s)
    assert rate.count * 1000 / rate.unit_ms <= per_s or rate == Rate(1, 3_600_000)
    assert rate.count * 1000 / rate.unit_ms >= per_s * 0.9 or rate.count == 1 or rate.unit_ms > 1000
