"""before, after and within on traits: half-open spans that flip by timer."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heliograph.decide import times
from heliograph.decide.conditions import turns_at
from heliograph.decide.times import DAY, UTC
from tests.decide.people import Person, condition, problems

RENEWAL = "2026-12-10T12:00:00Z"
AT = times.parse_instant(RENEWAL, UTC) or 0


def trait(**operators: Any) -> Any:
    return condition({"trait": {"path": "renewal_at", **operators}})


def person(value: Any = RENEWAL, timezone: str = "UTC") -> Person:
    return Person(traits={"renewal_at": value}, timezone=timezone)


@pytest.mark.parametrize(
    ("operators", "first", "end"),
    [
        ({"within": "P7D"}, AT - 7 * DAY, AT),
        ({"within": "-P7D"}, AT, AT + 7 * DAY),
        ({"before": "-P30D"}, AT + 30 * DAY + 1, None),
        ({"before": "PT0S"}, AT + 1, None),
        ({"after": "P30D"}, None, AT - 30 * DAY),
        ({"after": "-P1D"}, None, AT + DAY),
        ({"within": "P7D", "after": "P1D"}, AT - 7 * DAY, AT - DAY),
    ],
)
def test_true_from_the_first_instant_to_before_the_end(
    operators: dict[str, str], first: int | None, end: int | None
) -> None:
    asked = trait(**operators)
    if first is not None:
        assert not asked.truth(person(), first - 1)
        assert asked.truth(person(), first)
        assert turns_at(asked, person(), first - DAY) == first
    if end is not None:
        assert asked.truth(person(), end - 1)
        assert not asked.truth(person(), end)
        assert turns_at(asked, person(), end - 1) == end


def test_fixed_bounds_never_flip() -> None:
    assert trait(before="2026-12-11").truth(person(), 0)
    assert not trait(before="2026-12-10").truth(person(), 0)
    assert trait(after="2026-12-10T13:59:59+02:00").truth(person(), 0)
    assert trait(after="2026-12-10").next_flip(person(), 0) is None
    assert not trait(after="2026-12-10").timed


def test_dates_begin_at_midnight_in_the_persons_zone() -> None:
    asked = trait(within="-P1D")
    tokyo = person("2026-12-10", "Asia/Tokyo")
    midnight = times.parse_instant("2026-12-09T15:00:00Z", UTC) or 0
    assert not asked.truth(tokyo, midnight - 1)
    assert asked.truth(tokyo, midnight)
    assert asked.leaves[0].trait_names == {"renewal_at", "timezone"}


def test_calendar_months_end_with_the_month() -> None:
    asked = trait(within="P1M")
    march_31 = person("2026-03-31T09:00:00Z")
    assert times.iso(asked.next_flip(march_31, 0)) == "2026-02-28T09:00:00Z"


@pytest.mark.parametrize("value", [None, 5, True, "soon", "", [], {}, ["soon"], "9999-12-31"])
def test_no_instant_is_false_and_never_flips(value: Any) -> None:
    asked = trait(within="P2M")
    assert not asked.truth(person(value), 0)
    assert asked.next_flip(person(value), 1 << 50) is None


def test_a_list_does_when_any_element_does() -> None:
    asked = trait(within="-P1D")
    dates = person(["2026-12-10", "soon", "2026-12-20"])
    found = [times.iso(at) for at in _edges(asked, dates)]
    assert found == [f"2026-12-{day}T00:00:00Z" for day in (10, 11, 20, 21)]


def _edges(asked: Any, dates: Person) -> list[int]:
    edges, t = [], 0
    while (edge := asked.next_flip(dates, t)) is not None:
        edges.append(edge)
        t = edge
    return edges


@given(
    st.lists(st.integers(0, 60), max_size=3),
    st.sampled_from(["within", "before", "after"]),
    st.integers(-20, 20).filter(bool),
)
def test_spans_agree_with_an_oracle_at_every_millisecond(dates: list[int], word: str, length: int) -> None:
    sign = "-" if length < 0 else ""
    asked = trait(**{word: f"{sign}PT{abs(length) / 1000:.3f}S"})
    seen = person([times.iso(at) for at in dates])
    previous = None
    for t in range(-100, 150):
        if word == "before":
            expected = any(d < t + length for d in dates)
        elif word == "after":
            expected = any(d > t + length for d in dates)
        elif length > 0:
            expected = any(t < d <= t + length for d in dates)
        else:
            expected = any(t + length < d <= t for d in dates)
        assert asked.truth(seen, t) is expected
        if previous is not None and previous is not expected:
            assert asked.next_flip(seen, t - 1) == t
        previous = expected


@pytest.mark.parametrize(
    ("operators", "reason"),
    [
        ({"before": "tomorrow"}, "an instant (RFC 3339), a date or a duration"),
        ({"before": 5}, "is text"),
        ({"within": "2026-01-01"}, "ISO-8601"),
        ({"within": "PT0S"}, "zero"),
        ({"before": "2026-02-30"}, "an instant"),
    ],
)
def test_wrong_operands(operators: dict[str, Any], reason: str) -> None:
    assert reason in problems({"trait": {"path": "renewal_at", **operators}})[0]


def test_on_events_they_are_refused() -> None:
    (found,) = problems({"did": {"event": "X", "where": {"properties.at": {"within": "P1D"}}}})
    assert "for traits only" in found


def test_time_scale_shortens_them() -> None:
    asked = condition({"trait": {"path": "renewal_at", "within": "P7D"}}, time_scale=7)
    assert asked.next_flip(person(), 0) == AT - DAY
