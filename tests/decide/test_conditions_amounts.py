"""Amounts, different values, sequences, places, engagement and lots: what they say, and what they refuse."""

from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from heliograph.decide.conditions import LeafIndex, content_id
from heliograph.decide.conditions.amounts import MAX_AMOUNT, decimal_text, micros
from heliograph.decide.times import DAY, HOUR
from heliograph.events.event import Event
from tests.decide.driver import T0
from tests.decide.people import Person, condition, observe, problems

ORDERS: dict[str, Any] = {"event": "Order Completed", "property": "properties.total"}
HISTORY = [
    Event("1", "track", "Order Completed", T0, properties={"total": 49.99, "items": [{"price": 3}, {"price": 4.5}]}),
    Event("2", "track", "Order Completed", T0 + 1000, properties={"total": 20.01}),
    Event("3", "track", "Product Viewed", T0, properties={"id": "a"},
          context={"location": {"latitude": 51.45, "longitude": -2.59}}),
    Event("4", "track", "Product Viewed", T0 + 5, properties={"id": "b"}),
    Event("5", "track", "Product Added", T0 + 65_000),
    Event("6", "track", "Email Clicked", T0),
]  # fmt: skip
SAID = [
    (
        {"did_sum": {**ORDERS, "gte": 50, "within": "P30D"}},
        'the sum of properties.total over "Order Completed" is at least 50 within 30 days',
        ("no amounts", "70 from 2 amounts, latest 2026-09-21T14:13:21Z"),
        30 * DAY,
    ),
    (
        {"did_avg": {**ORDERS, "gt": 9.5}},
        'the average of properties.total over "Order Completed" is greater than 9.5',
        ("no amounts", "35 from 2 amounts, latest 2026-09-21T14:13:21Z"),
        None,
    ),
    (
        {"did_max": {**ORDERS, "property": "properties.items.*.price", "lt": 10, "is_not": 3}},
        'the greatest of properties.items.*.price over "Order Completed" is less than 10 and is not 3',
        ("no amounts", "4.5 from 2 amounts, latest 2026-09-21T14:13:20Z"),
        None,
    ),
    (
        {"did_distinct": {"event": "Product Viewed", "property": "properties.id", "gte": 2, "within": "P1D"}},
        'the number of different properties.id over "Product Viewed" is at least 2 within 1 day',
        ("no values", "2 different values, latest 2026-09-21T14:13:20.005Z"),
        DAY,
    ),
    (
        {"sequence": {"events": [{"event": "Product Viewed"}, {"event": "Product Added"}], "within": "PT1H"}},
        '"Product Viewed" then "Product Added", all within 1 hour',
        ("none of these events", "took 1 minute 4 seconds 995 ms at best"),
        None,
    ),
    (
        {"near": {"lat": 51.45, "lon": -2.59, "radius_m": 500, "within": "PT1H"}},
        "was within 500 m of 51.45, -2.59 in the last 1 hour",
        ("never", "latest 2026-09-21T14:13:20Z"),
        HOUR,
    ),
    (
        {"engaged": {"kind": "clicked", "within": "P90D"}},
        "clicked in a mail within 90 days",
        ("never", "latest 2026-09-21T14:13:20Z"),
        90 * DAY,
    ),
]  # fmt: skip


@pytest.mark.parametrize(("node", "text", "seen", "turns"), SAID, ids=[next(iter(one[0])) for one in SAID])
def test_an_explanation_is_plain_english_with_the_value_seen(
    node: dict[str, Any], text: str, seen: tuple[str, str], turns: int | None
) -> None:
    compiled, t = condition(node), T0 + 100_000
    nobody, somebody = compiled.explain(Person(), t), compiled.explain(observe(Person(), compiled, *HISTORY), t)
    assert (nobody.text, nobody.truth, nobody.seen) == (text, False, seen[0])
    assert (somebody.truth, somebody.seen) == (True, seen[1])
    assert somebody.turns_at == (None if turns is None else T0 + turns)
    assert "inexact" not in msgspec.json.decode(msgspec.json.encode(somebody))


REFUSED = [
    ({"did_sum": {**ORDERS, "property": "total", "gte": 1}}, "did_sum.property: a path within an event begins with"),
    ({"did_sum": {**ORDERS, "gt_e": 1}}, "did_sum.gt_e: `did_sum` has no `gt_e` (did you mean 'gte'?)"),
    ({"did_sum": ORDERS}, "did_sum: `did_sum` needs a comparison: is, is_not, gt, gte, lt, lte"),
    ({"did_sum": {**ORDERS, "gte": "1"}}, "did_sum.gte: `gte` takes a number, not text"),
    ({"did_sum": {**ORDERS, "gte": 0.1234567}}, "did_sum.gte: `gte`: 0.1234567 has more than six decimals"),
    ({"did_sum": {**ORDERS, "gte": 1e13}}, "did_sum.gte: `gte`: 10000000000000.0 is beyond 9000000000000"),
    ({"did_sum": {"event": "A", "gte": 1}}, "did_sum: `did_sum` needs `property`"),
    ({"did_avg": {**ORDERS, "within": "P1M", "is": 1}}, "did_avg.within: `within`: 'P1M' has months or years"),
    ({"did_summ": {}}, "did_summ: a condition has no `did_summ` (did you mean 'did_sum'?)"),
    ({"did_distinct": {**ORDERS, "gte": 2000}}, "did_distinct.gte: `gte` is from 0 to 1999, not 2000"),
    ({"did_distinct": {**ORDERS, "gte": 1.5}}, "did_distinct.gte: `gte` is a whole number"),
    ({"sequence": {"events": [{"event": "A"}]}}, "sequence.events: `events` has from 2 to 10 items, not 1"),
    ({"sequence": {"event": []}}, "sequence.event: `sequence` has no `event` (did you mean 'events'?)"),
    (
        {"sequence": {"events": [{"event": "A"}, {"evnt": "B"}]}},
        "sequence.events.1.evnt: an event has no `evnt` (did you mean 'event'?)",
    ),
    ({"near": {"lat": 95, "lon": 0, "radius_m": 5}}, "near.lat: `lat` is from -90 to 90, not 95"),
    ({"near": {"lat": 5, "lng": 0, "radius_m": 5}}, "near.lng: `near` has no `lng` (did you mean 'lon'?)"),
    ({"near": {"lat": 5, "lon": 0}}, "near: `near` needs `radius_m`"),
    ({"near": {"geofence": "harbour"}}, "near.geofence: `geofence` is not in this version"),
    ({"engaged": {"kind": "click"}}, "engaged.kind: `kind` is one of clicked, opened, received, not 'click' (did you"),
    ({"bucket": {"salt": "x", "below": 10}}, "bucket.below: `below` is a share like 5%, below 100%"),
    ({"bucket": {"below": "10%"}}, "bucket: `bucket` needs `salt`"),
]  # fmt: skip


@pytest.mark.parametrize(("node", "said"), REFUSED, ids=lambda one: one if isinstance(one, str) else "")
def test_a_mistake_is_told_with_its_place_and_the_nearest_word(node: dict[str, Any], said: str) -> None:
    assert any(problem.startswith(f"if.{said}") for problem in problems(node)), problems(node)


@given(
    st.one_of(
        st.floats(),
        st.integers(),
        st.decimals(allow_nan=False, allow_infinity=False, places=3).map(float),
        st.floats(-1, 1),
    )
)
@example(0.1)
@example(0.0000005)
@example(0.0000015)
@example(float(MAX_AMOUNT))
@example(8999999999999.999)
def test_an_amount_is_the_shortest_decimal_of_its_number(value: float) -> None:
    """To the nearest millionth, a half to the even one."""
    if not abs(value) <= MAX_AMOUNT:
        assert micros(value) is None
        return
    exact = (Decimal(repr(value)) * 1_000_000).to_integral_value(ROUND_HALF_EVEN)
    assert micros(value) == int(exact)
    if isinstance(value, int):
        assert decimal_text(micros(value) or 0) == str(value)


def test_sums_are_of_decimals() -> None:
    leaf = condition({"did_sum": {**ORDERS, "is": 0.3}})
    carried = [0.1, 0.2, "5", True, None, {"a": 1}, 1e300]
    events = [Event(str(n), "track", "Order Completed", n, properties={"total": one}) for n, one in enumerate(carried)]
    assert leaf.truth(observe(Person(), leaf, *events), 10)


def test_nothing_sums_to_zero_and_has_no_average() -> None:
    nobody = Person()
    assert condition({"did_sum": {**ORDERS, "lt": 1}}).truth(nobody, 0)
    assert condition({"did_distinct": {**ORDERS, "is": 0}}).truth(nobody, 0)
    for measure in ("did_avg", "did_min", "did_max"):
        assert not condition({measure: {**ORDERS, "lt": 1}}).truth(nobody, 0)
        assert condition({measure: {**ORDERS, "is_not": 1}}).truth(nobody, 0)


def test_what_determines_the_state_names_it() -> None:
    """Windows, operands and measures do not; so an edit keeps what is known."""
    one = condition({"did_sum": {**ORDERS, "gte": 50, "within": "P30D"}})
    for other in (
        {"did_sum": {**ORDERS, "lt": 2, "within": "P7D"}},
        {"did_avg": {**ORDERS, "lt": 2}},
        {"did_max": {**ORDERS, "is": 2}},
    ):
        assert condition(other).id == one.id
        assert content_id(condition(other).canonical) != content_id(one.canonical)
    assert condition({"did_sum": {**ORDERS, "gte": 50, "where": {"properties.a": 1}}}).id != one.id
    steps = [{"event": "A"}, {"event": "B"}]
    sequence = condition({"sequence": {"events": steps, "within": "PT1H"}})
    assert condition({"sequence": {"events": steps}}).id == sequence.id
    assert condition({"sequence": {"events": steps[::-1]}}).id != sequence.id
    clicked = condition({"engaged": {"kind": "clicked"}})
    assert condition({"did": {"event": "Email Clicked"}}).id == clicked.id
    few, more = ({"did_distinct": {**ORDERS, "gte": count}} for count in (3, 7))
    assert condition(few).id == condition(more).id


def test_the_index_finds_them_by_event_and_value() -> None:
    where = {"where": {"properties.sku": "a"}}
    leaves = [
        condition({"did_sum": {**ORDERS, **where, "gte": 1}}).leaves[0],
        condition({"did_distinct": {**ORDERS, **where, "gte": 1}}).leaves[0],
        condition({"sequence": {"events": [{"event": "Order Completed", **where}, {"event": "B"}]}}).leaves[0],
    ]
    index = LeafIndex(leaves)
    for sku, found in (("a", 3), ("b", 0)):
        event = Event("e", "track", "Order Completed", 0, properties={"sku": sku, "total": 1})
        assert len(index.for_event(event)) == len(index.takers(event)) == found
    assert len(index.takers(Event("e", "track", "B", 0))) == 1


def test_places_cost_nothing_without_a_location() -> None:
    index = LeafIndex(condition({"near": {"lat": 51, "lon": lon, "radius_m": 500}}).leaves[0] for lon in range(-90, 90))
    assert index.takers(Event("e", "track", "A", 0)) == ()
    here = Event("e", "track", "A", 0, context={"location": {"latitude": 51, "longitude": 7}})
    assert len(index.takers(here)) == len(index.for_event(here)) == 1
