"""Law: whenever a condition is published, and whenever the sweep comes by, in the end everybody is where they would be
had it always been there; and until the sweep has come by, nothing is entered on it."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from heliograph import decide
from heliograph.events.record import Record, Touch
from tests.decide.driver import HOUR, MINUTE, World, journey, plan_document

CONDITIONS: dict[str, Any] = {
    "once": {"did": {"event": "A"}},
    "lately": {"did": {"event": "A", "within": "PT3H"}},
    "often": {"did": {"event": "A", "at_least": 3, "within": "PT12H"}},
    "exactly": {"did": {"event": "B", "exactly": 2}},
    "never": {"not": {"did": {"event": "B", "within": "PT6H"}}},
    "same": {"did": {"event": "A", "same": "properties.sku", "at_least": 2}},
    "sum": {"did_sum": {"event": "B", "property": "properties.total", "gte": 30, "within": "PT12H"}},
    "avg": {"did_avg": {"event": "B", "property": "properties.total", "lt": 12}},
    "max": {"did_max": {"event": "B", "property": "properties.total", "gte": 18, "within": "P1D"}},
    "distinct": {"did_distinct": {"event": "A", "property": "properties.sku", "gte": 3}},
    "sequence": {"sequence": {"events": [{"event": "A"}, {"event": "B"}], "within": "PT2H"}},
    "near": {"near": {"lat": 51.45, "lon": -2.59, "radius_m": 500, "within": "PT6H"}},
}
NEW = CONDITIONS | {
    "named": {"all": [{"in_segment": "often"}, {"not": {"in_segment": "exactly"}}]},
    "known": {"did": {"event": "C", "within": "PT9H"}},
}
OLD = plan_document(segments={"known": {"did": {"event": "C", "within": "PT1H"}}})
JOURNEYS = [journey(f"on-{name}", entry={"segment": name}, steps=[{"wait": "P1D"}]) for name in NEW]
DOCUMENT = plan_document(JOURNEYS, segments=NEW)

PLACES = [
    {"location": {"latitude": 51.451, "longitude": -2.59}},
    {"location": {"latitude": 48.1, "longitude": 11.5}},
    {},
]
calls = st.tuples(
    st.sampled_from("AABBC"),
    st.sampled_from(["1", "1", None]),
    st.integers(0, 5 * HOUR),
    st.sampled_from(["x", "y", "z"]),
    st.integers(1, 20),
    st.sampled_from(PLACES),
    st.integers(0, 4 * HOUR),
)


def call(world: World, number: int, one: Any) -> None:
    """By the user, or by the browser that is linked to them sooner or later."""
    name, user, late, sku, total, place, passed = one
    more = {"anon": "b"} if user is None or total % 5 == 0 else {}
    world.track(name, user, at=world.now - late, id=f"e{number}", sku=sku, total=total, context=place, **more)
    world.advance(passed)


@settings(max_examples=60, deadline=None)
@given(st.lists(calls, max_size=12), st.lists(calls, max_size=6), st.lists(calls, max_size=6))
def test_a_plan_that_came_late_ends_where_it_would_have_been(before: Any, building: Any, after: Any) -> None:
    late, always = World(OLD), World(DOCUMENT)
    for number, one in enumerate(before):
        call(late, number, one)
        call(always, number, one)
    late.publish(DOCUMENT, touch=False)
    here = {key for key, blob in late.blobs.items() if not decide.decode_state(blob).forward}
    for number, one in enumerate(building, 100):
        call(late, number, one)
        call(always, number, one)
    for key in here & late.blobs.keys():
        told = {data["segment"] for data in late.facts("segment_entered", key)} - {"known"}
        assert not told & late.plan.fresh.building.keys() or decide.decode_state(late.blobs[key]).swept > 1, told
    for key in [key for key, blob in late.blobs.items() if not decide.decode_state(blob).forward]:
        late.sweep(key)
    for number, one in enumerate(after, 200):
        call(late, number, one)
        call(always, number, one)
    late.advance(MINUTE)
    always.advance(MINUTE)
    assert set(late.members) == set(always.members)
    for key in late.blobs:
        ours, theirs = decide.decode_state(late.blobs[key]), decide.decode_state(always.blobs[key])
        assert ours.conditions == theirs.conditions, key
        timers = ({name: due for name, due in one.timers.items() if name.startswith("c:")} for one in (ours, theirs))
        assert next(timers) == next(timers)


@settings(max_examples=30, deadline=None)
@given(st.lists(calls, max_size=10), st.lists(calls, max_size=5))
def test_a_fold_that_comes_twice_changes_nothing(before: Any, after: Any) -> None:
    world = World(OLD)
    for number, one in enumerate(before):
        call(world, number, one)
    world.publish(DOCUMENT, touch=False)
    for number, one in enumerate(after, 100):
        call(world, number, one)
    keys = [key for key, blob in world.blobs.items() if not decide.decode_state(blob).forward]
    for key in keys:
        world.sweep(key)
    touches = {key: record.body for key in keys for record in world.log if record.key == key and is_touch(record)}
    seen = {key: decide.decode_state(world.blobs[key]).conditions for key in keys}, dict(world.members)
    for key, touch in touches.items():
        world.append(key, touch)
    assert seen == ({key: decide.decode_state(world.blobs[key]).conditions for key in keys}, dict(world.members))


def is_touch(record: Record) -> bool:
    return isinstance(record.body, Touch)
