"""Through ``step``, with timers and late events: at every instant people are in the segments that a brute-force oracle
puts them in, and the history folds to the states that they have."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from heliograph.decide.conditions import fold
from heliograph.events.event import Event
from heliograph.events.ids import make_id
from tests.decide.driver import MINUTE, T0, World, plan_document
from tests.properties import oracle
from tests.properties.oracle import Node, Somebody

BRISTOL = {"lat": 51.45, "lon": -2.59, "radius_m": 500}
TOTAL = {"event": "Order", "property": "properties.total"}
SEGMENTS: dict[str, Node] = {
    "spent": {"did_sum": {**TOTAL, "gte": 50, "within": "PT10M"}},
    "thrifty": {"did_sum": {**TOTAL, "lt": 20, "within": "PT7M"}},
    "fine": {"did_avg": {**TOTAL, "gt": 9.99, "within": "PT6M"}},
    "cheap": {"did_min": {**TOTAL, "lte": 5, "within": "PT8M"}},
    "once big": {"did_max": {**TOTAL, "gte": 30}},
    "browsing": {"did_distinct": {"event": "View", "property": "properties.items.*", "gte": 3, "within": "PT5M"}},
    "narrow": {"did_distinct": {"event": "View", "property": "properties.items.*", "is": 1, "within": "PT5M"}},
    "bought": {"sequence": {"events": [{"event": "View"}, {"event": "Order"}], "within": "PT2M"}},
    "there": {"near": {**BRISTOL, "within": "PT4M"}},
    "drawn": {"bucket": {"salt": "rollout", "below": "50%"}},
    "not drawn": {"not": {"in_segment": "drawn"}},
    "both": {"all": [{"in_segment": "spent"}, {"not": {"in_segment": "cheap"}}]},
    "mixed": {"any": [{"in_segment": "there"}, {"all": [{"in_segment": "drawn"}, {"in_segment": "browsing"}]}]},
}
DOCUMENT = plan_document(segments=SEGMENTS)

contexts = st.sampled_from(
    [{}, {}, {"location": {"latitude": 51.451, "longitude": -2.591}}, {"location": {"latitude": 48.1, "longitude": 11}}]
)
moves = st.lists(
    st.tuples(
        st.sampled_from(["Order", "Order", "View", "View", "Other"]),
        st.sampled_from([5, 9.99, 10.01, 19.99, 30, "9", None]),
        st.lists(st.sampled_from(["a", "b", "c", 1]), max_size=3),
        contexts,
        st.integers(0, 3 * MINUTE),
        st.sampled_from([0, 0, 0, 1, MINUTE, 5 * MINUTE, 30 * MINUTE]),
        st.booleans(),
    ),
    max_size=14,
)


def expected(who: Somebody, t: int) -> list[str]:
    """Memberships in dependency order."""
    who.members = {}
    for name, node in SEGMENTS.items():
        if oracle.truth(node, who, t):
            who.members[name] = t
    return sorted(who.members)


@settings(max_examples=60, deadline=None)
@given(moves, st.sampled_from(["1", "2", "3"]), st.lists(st.integers(0, 20 * MINUTE), min_size=5, max_size=5))
def test_memberships_are_the_oracles_at_every_instant(
    stream: list[tuple[Any, ...]], user: str, idle: list[int]
) -> None:
    world, who = World(DOCUMENT, now=T0), Somebody([], key=f"u:{user}")
    for number, (name, total, items, context, wait, late, again) in enumerate(stream):
        world.advance(wait)
        event = Event(
            f"e{number}", "track", name, world.now - late, user_id=user,
            properties={"total": total, "items": items}, context=context,
        )  # fmt: skip
        for _ in range(2 if again else 1):
            world.post(event)
        who.events.append(
            {"id": event.event_id, "name": name, "at": event.occurred_at, "properties": event.properties,
             "traits": {}, "context": context}
        )  # fmt: skip
        assert world.segments(who.key) == expected(who, world.now)
    if not stream:
        return
    state = world.state(who.key)
    past = [body.event for body in (record.body for record in world.log) if hasattr(body, "event")]
    assert fold(world.plan.leaves.leaves.values(), reversed(past)) == state.conditions
    for wait in sorted(idle):
        edges = {edge for node in SEGMENTS.values() for edge in oracle.turning_points(node, who)}
        for edge in sorted(edge for edge in edges if world.now < edge <= world.now + wait):
            world.advance(edge - 1 - world.now)
            assert world.segments(who.key) == expected(who, world.now)
            world.advance(1)
            assert world.segments(who.key) == expected(who, world.now)
        world.advance(wait)


def test_a_bucket_is_drawn_at_first_sight_and_outlives_logging_in() -> None:
    for number in range(40):
        world = World(DOCUMENT, now=T0)
        world.track("Other", None, anon=str(number))
        before = world.segments(f"a:{number}")
        assert ("drawn" in before) is not ("not drawn" in before)
        world.track("Other", f"user {number}", anon=str(number))
        after = world.segments(f"u:user {number}")
        assert ("drawn" in after) is ("drawn" in before)


def test_a_share_is_drawn_and_a_greater_one_keeps_it() -> None:
    def drawn(below: str) -> set[str]:
        node = {"bucket": {"salt": "s", "below": below}}
        return {key for key in (make_id(n) for n in range(4000)) if oracle.truth(node, Somebody([], key=key), 0)}

    few, many = drawn("10%"), drawn("30%")
    assert few < many
    assert abs(len(few) - 400) < 80 and abs(len(many) - 1200) < 120
