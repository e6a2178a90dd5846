"""Every condition agrees with a brute-force oracle at every instant, however the events arrive.

Histories are reordered, repeated and split; states go through msgpack; queries are at random instants, at every edge of
a window and one millisecond to either side.
"""

import math
from hashlib import blake2b
from random import Random
from typing import Any

import msgspec
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from heliograph.decide.conditions import Condition, LeafIndex, fold, mark_of, parse_condition
from heliograph.decide.parsing import Context
from heliograph.events.event import Event
from tests.decide.people import Person
from tests.properties import oracle
from tests.properties.oracle import Node, Somebody

NAMES = ["A", "B", "Café", "Email Sent", "Email Delivered", "Email Opened", "Email Clicked"]
SPELLINGS = {"Café": ["Café", "Cafe\u0301"]}
BRISTOL, RADII = (51.45, -2.59), [1, 300, 20_000, 900_000]

# -- histories --

numbers = st.sampled_from([0, 1, 2, 5, -1, 0.1, 0.2, 2.5, 19.99, 1e-7, 1e13, 0.30000000000000004])
values = numbers | st.sampled_from(["x", "X", "é", "e\u0301", "5", True, False, None])
value_lists = st.lists(values, max_size=3)
lines = st.lists(st.fixed_dictionaries({}, optional={"v": values | value_lists}), max_size=3)
properties = st.fixed_dictionaries({}, optional={"v": values | value_lists, "w": values, "items": lines})
locations = st.one_of(
    st.tuples(st.floats(-0.3, 0.3), st.floats(-0.3, 0.3)).map(
        lambda off: {"latitude": BRISTOL[0] + off[0], "longitude": BRISTOL[1] + off[1]}
    ),
    st.tuples(st.floats(-90, 90), st.floats(-180, 180)).map(lambda at: {"latitude": at[0], "longitude": at[1]}),
    st.sampled_from([None, "here", {}, {"latitude": "51", "longitude": 2}, {"latitude": 91, "longitude": 0}]),
    st.just({"latitude": BRISTOL[0], "longitude": BRISTOL[1]}),
)
contexts = st.fixed_dictionaries({}, optional={"location": locations, "ip": st.sampled_from(["1", "2"])})


@st.composite
def histories(draw: st.DrawFn, most: int = 10) -> list[Node]:
    """Events with close and equal instants."""
    found = []
    for number in range(draw(st.integers(0, most))):
        name = draw(st.sampled_from(["A", "A", "A", "B", "B", *NAMES]))
        found.append(
            {
                "id": f"e{number}",
                "name": draw(st.sampled_from(SPELLINGS.get(name, [name]))),
                "at": draw(st.integers(0, 40)),
                "properties": draw(properties),
                "traits": {},
                "context": draw(contexts),
            }
        )
    return found


@st.composite
def simple_histories(draw: st.DrawFn, most: int = 10) -> list[Node]:
    """Of what most questions are about."""
    amount = st.sampled_from([0, 1, 1, 2, 5, 0.1, 0.2, 7.5, 19.99, -1])
    event = st.tuples(st.sampled_from("AAB"), st.integers(0, 40), amount)
    return [
        {"id": f"e{number}", "name": name, "at": at, "properties": {"v": v, "w": v}, "traits": {}, "context": {}}
        for number, (name, at, v) in enumerate(draw(st.lists(event, min_size=3, max_size=most)))
    ]


# -- questions --

windows = st.one_of(st.just({}), *2 * [st.integers(1, 30).map(lambda n: {"within": f"PT{n / 1000:.3f}S"})])
texts = st.sampled_from(["x", "X", "é", "e\u0301", "5", ""])
checks = st.one_of(
    values,
    st.fixed_dictionaries(
        {},
        optional={
            "is": values,
            "is_not": values,
            "in": st.lists(values.filter(lambda one: one is not None), min_size=1, max_size=3),
            "not_in": st.lists(values.filter(lambda one: one is not None), min_size=1, max_size=3),
            "contains": values.filter(lambda one: one is not None),
            "starts_with": texts.filter(bool),
            "ends_with": texts.filter(bool),
            "matches": texts.filter(bool),
            "gt": numbers,
            "gte": numbers,
            "lt": numbers,
            "lte": numbers,
            "exists": st.booleans(),
        },
    ).flatmap(lambda node: st.booleans().map(lambda folds: {**node, **({"ignore_case": True} if folds else {})})),
).filter(lambda node: not isinstance(node, dict) or bool(node.keys() - {"ignore_case"}))
wheres = st.fixed_dictionaries(
    {},
    optional={
        "where": st.dictionaries(
            st.sampled_from(["properties.v", "properties.w", "properties.items.*.v", "context.ip", "properties.gone"]),
            checks,
            min_size=1,
            max_size=2,
        )
    },
)
names = st.sampled_from(["A", "A", "A", "B", "B", "Café", "Cafe\u0301"])
asked_events = st.tuples(names, st.one_of(*4 * [st.just({})], wheres)).map(lambda pair: {"event": pair[0], **pair[1]})
paths = st.sampled_from(["properties.v", "properties.v", "properties.v", "properties.w", "properties.items.*.v"])
operands = st.sampled_from([0, 1, 2, 5, 7.5, 0.1, 0.3, 19.99, 20.09, -1])
comparisons = st.dictionaries(
    st.sampled_from(["is", "is_not", "gt", "gte", "lt", "lte"]), operands, min_size=1, max_size=2
)
counts = st.one_of(
    st.just({}),
    st.integers(1, 4).map(lambda n: {"at_least": n}),
    st.integers(0, 3).map(lambda n: {"at_most": n}),
    st.integers(0, 3).map(lambda n: {"exactly": n}),
    st.tuples(st.integers(0, 3), st.integers(0, 3)).map(lambda pair: {"between": sorted(pair)}),
)
same_counts = st.one_of(
    st.just({}), st.integers(1, 3).map(lambda n: {"at_least": n}), st.integers(1, 3).map(lambda n: {"exactly": n})
)


def joined(*parts: st.SearchStrategy[Node]) -> st.SearchStrategy[Node]:
    return st.tuples(*parts).map(lambda found: {key: value for part in found for key, value in part.items()})


dids = joined(asked_events, counts, windows).map(lambda node: {"did": node})
sames = joined(asked_events, same_counts, windows, paths.map(lambda path: {"same": path})).map(
    lambda node: {"did": node}
)
amounts = st.tuples(
    st.sampled_from(["did_sum", "did_sum", "did_avg", "did_min", "did_max"]),
    joined(asked_events, comparisons, windows, paths.map(lambda path: {"property": path})),
).map(lambda pair: {pair[0]: pair[1]})
reached = joined(
    asked_events,
    st.sampled_from(["gte", "gt"]).flatmap(lambda word: operands.map(lambda operand: {word: operand})),
    windows,
    paths.map(lambda path: {"property": path}),
).map(lambda node: {"did_sum": node})
distincts = joined(
    asked_events,
    st.dictionaries(
        st.sampled_from(["is", "is_not", "gt", "gte", "lt", "lte"]), st.integers(0, 4), min_size=1, max_size=2
    ),
    windows,
    paths.map(lambda path: {"property": path}),
).map(lambda node: {"did_distinct": node})
sequences = joined(st.lists(asked_events, min_size=2, max_size=3).map(lambda found: {"events": found}), windows).map(
    lambda node: {"sequence": node}
)
nears = joined(
    st.sampled_from(RADII).map(lambda metres: {"lat": BRISTOL[0], "lon": BRISTOL[1], "radius_m": metres}), windows
).map(lambda node: {"near": node})
engagements = joined(st.sampled_from(["received", "opened", "clicked"]).map(lambda kind: {"kind": kind}), windows).map(
    lambda node: {"engaged": node}
)
others = st.one_of(
    st.tuples(texts.filter(bool), st.integers(0, 99)).map(
        lambda pair: {"bucket": {"salt": pair[0], "below": f"{pair[1]}%"}}
    ),
    st.sampled_from([{"everyone": True}, {"in_segment": "buyers"}, {"in_topic": "offers"}]),
)
date_traits = st.fixed_dictionaries(
    {"path": st.just("due")},
    optional={
        "within": st.sampled_from(["PT0.005S", "PT0.020S", "-PT0.005S", "-PT0.020S", "P1D"]),
        "before": st.sampled_from(["PT0.010S", "-PT0.010S", "1970-01-01T00:00:00.020Z", "1970-01-02"]),
        "after": st.sampled_from(["PT0.010S", "-PT0.010S", "1970-01-01T00:00:00.020Z", "1970-01-01"]),
    },
).filter(lambda node: len(node) > 1)
value_traits = st.tuples(st.sampled_from(["v", "items.*.v", "gone"]), checks).map(
    lambda pair: {"path": pair[0], **(pair[1] if isinstance(pair[1], dict) else {"is": pair[1]})}
)
traits = (date_traits | value_traits).map(lambda node: {"trait": node})
LEAVES = {
    "did": dids,
    "same": sames,
    "sum": reached,
    "amounts": amounts,
    "distinct": distincts,
    "sequence": sequences,
    "near": nears,
    "engaged": engagements,
    "other": others,
    "trait": traits,
}
leaves = st.one_of(*LEAVES.values())
trees = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=3).map(lambda parts: {"all": parts}),
        st.lists(inner, min_size=1, max_size=3).map(lambda parts: {"any": parts}),
        inner.map(lambda part: {"not": part}),
    ),
    max_leaves=4,
)
due_dates = st.sampled_from(["1970-01-01T00:00:00.030Z", "1970-01-01T00:00:00.055Z", "1970-01-01", "soon", None])
people = st.builds(
    Somebody,
    st.one_of(simple_histories(), simple_histories(), histories()),
    traits=st.fixed_dictionaries({}, optional={"v": values | value_lists, "items": lines, "due": due_dates}),
    members=st.sampled_from([{}, {"buyers": 3}]),
    topics=st.sampled_from([frozenset(), frozenset({"offers"})]),
    zone=st.sampled_from(["UTC", "Asia/Tokyo", "America/New_York"]),
    key=st.sampled_from(["u:1", "u:2", "a:3"]),
)


# -- the product --


def compiled(node: Node) -> Condition:
    context = Context(topics={"offers": "required"}, segments=["buyers"])
    condition = parse_condition(node, ("if",), context)
    assert condition is not None, [str(problem) for problem in context.problems]
    return condition


def event_of(event: Node) -> Event:
    parts = {name: event[name] for name in ("properties", "traits", "context")}
    return Event(event["id"], "track", event["name"], event["at"], **parts)


def person_of(who: Somebody, states: dict[str, Any]) -> Person:
    """With states as they are stored."""
    stored = msgspec.msgpack.decode(msgspec.msgpack.encode(states))
    return Person(who.traits, stored, who.members, who.zone, who.topics, who.key)


def observed(condition: Condition, arrived: list[Node]) -> dict[str, Any]:
    """Live: event by event, through the index."""
    index, states = LeafIndex(condition.leaves), dict[str, Any]()
    for happened in arrived:
        event = event_of(happened)
        for leaf_id, take in index.takers(event):
            old = states.get(leaf_id)
            new = take(old, event, mark_of(event))
            assert new is not old or new == old
            if new is not None:
                states[leaf_id] = new
    return states


def on_the_edge(who: Somebody) -> bool:
    """Whether a place lies so near a circle that two ways of computing may differ."""
    places = [event["context"].get("location") for event in who.events]
    found = [place for place in places if isinstance(place, dict) and isinstance(place.get("latitude"), float)]
    away = [oracle.metres((place["latitude"], place["longitude"]), BRISTOL) for place in found]
    return any(abs(metres - radius) < 0.01 for metres in away for radius in RADII)


def instants(node: Node, who: Somebody, last: int) -> list[int]:
    edges = {edge + off for edge in oracle.turning_points(node, who) for off in (-1, 0, 1)}
    return sorted({last, last + 1, last + 100, *(edge for edge in edges if edge >= last)})


def last_of(who: Somebody) -> int:
    return max((event["at"] for event in who.events), default=0)


# -- laws --


def check_truth(node: Node, who: Somebody, random: Any) -> None:
    """At every edge, after any order of arrival."""
    assume(not on_the_edge(who))
    condition = compiled(node)
    arrived = who.events + [random.choice(who.events) for _ in who.events]
    random.shuffle(arrived)
    person = person_of(who, observed(condition, arrived))
    for t in instants(node, who, last_of(who)):
        assert condition.truth(person, t) is oracle.truth(node, who, t), t


def check_flips(node: Node, who: Somebody, *, exact: bool) -> None:
    """Until the next flip nothing turns; ``exact``: and there it does."""
    assume(not on_the_edge(who))
    condition = compiled(node)
    person = person_of(who, observed(condition, who.events))
    at = last_of(who)
    for _ in range(40):
        edge = condition.next_flip(person, at)
        until = at + 200 if edge is None else edge
        assert until > at
        for t in (t for t in instants(node, who, at) if at <= t < until):
            assert oracle.truth(node, who, t) is oracle.truth(node, who, at), (at, t, edge)
        if edge is None:
            return
        if exact:
            assert oracle.truth(node, who, edge) is not oracle.truth(node, who, at), (at, edge)
        at = edge
    raise AssertionError("woken for ever")


@pytest.mark.parametrize("kind", LEAVES)
@settings(max_examples=120, deadline=None)
@given(st.data(), people, st.randoms(use_true_random=False))
def test_every_leaf_is_true_when_the_oracle_says_so(kind: str, data: st.DataObject, who: Somebody, random: Any) -> None:
    check_truth(data.draw(LEAVES[kind]), who, random)


@settings(max_examples=200, deadline=None)
@given(trees, people, st.randoms(use_true_random=False))
def test_composed_conditions_are_true_when_the_oracle_says_so(node: Node, who: Somebody, random: Any) -> None:
    check_truth(node, who, random)


@pytest.mark.parametrize("kind", [kind for kind in LEAVES if kind != "other"])
@settings(max_examples=120, deadline=None)
@given(st.data(), people)
def test_no_leaf_turns_before_its_next_flip(kind: str, data: st.DataObject, who: Somebody) -> None:
    check_flips(data.draw(LEAVES[kind]), who, exact=kind not in ("did", "same", "trait"))


@settings(max_examples=200, deadline=None)
@given(trees, people)
def test_no_composed_condition_turns_before_its_next_flip(node: Node, who: Somebody) -> None:
    check_flips(node, who, exact=False)


@settings(max_examples=300, deadline=None)
@given(leaves, histories() | simple_histories(), st.data())
def test_states_do_not_depend_on_how_events_arrive(node: Node, history: list[Node], data: st.DataObject) -> None:
    """Live in order, live in disorder with repeats, folded from history, merged from parts that overlap: one state."""
    condition = compiled(node)
    expected = observed(condition, sorted(history, key=lambda event: event["at"]))
    again = data.draw(st.permutations(history + history[:3]))
    assert observed(condition, again) == expected
    assert fold(condition.leaves, map(event_of, again)) == expected
    seen_by = [data.draw(st.integers(1, 7)) for _ in history]
    parts = [
        observed(condition, [event for event, who in zip(history, seen_by, strict=True) if who & part])
        for part in (1, 2, 4)
    ]
    for leaf in condition.leaves:
        one, two, whole = (part.get(leaf.id) for part in parts)
        assert leaf.merge(leaf.merge(one, two), whole) == expected.get(leaf.id)
        assert leaf.merge(one, leaf.merge(two, whole)) == expected.get(leaf.id)
        assert leaf.merge(one, two) == leaf.merge(two, one)
        assert leaf.merge(one, one) == one


@settings(max_examples=200, deadline=None)
@given(trees, people)
def test_an_explanation_says_what_holds_and_when_it_turns(node: Node, who: Somebody) -> None:
    assume(not on_the_edge(who))
    condition = compiled(node)
    person = person_of(who, observed(condition, who.events))
    t = last_of(who)
    explained = condition.explain(person, t)
    assert explained.truth is oracle.truth(node, who, t)
    assert not explained.inexact and explained.exact_since is None
    if explained.turns_at is not None:
        assert oracle.truth(node, who, explained.turns_at) is not explained.truth
        assert oracle.truth(node, who, explained.turns_at - 1) is explained.truth


def test_the_mark_is_what_the_documentation_says() -> None:
    event = event_of({"id": "e1", "name": "A", "at": 0, "properties": {}, "traits": {}, "context": {}})
    assert mark_of(event) == int.from_bytes(blake2b(b"e1", digest_size=8).digest(), "big")


def test_values_that_leave_together_never_are_fewer_in_between() -> None:
    leaf = compiled({"did_distinct": {"event": "A", "property": "properties.v", "is": 1, "within": "PT0.010S"}})
    happened = [{"name": "A", "at": 5, "properties": {"v": v}, "traits": {}, "context": {}} for v in "xy"]
    events = [{**event, "id": str(number)} for number, event in enumerate(happened)]
    person = person_of(Somebody(events), observed(leaf, events))
    assert leaf.next_flip(person, 5) is None and not leaf.truth(person, 5)


degrees = st.tuples(st.integers(-90_000, 90_000), st.integers(-180_000, 180_000)).map(
    lambda at: (at[0] / 1000, at[1] / 1000)
)


@settings(max_examples=500, deadline=None)
@given(degrees, st.sampled_from([1, 100, 5_000, 70_000, 900_000, 1_000_000]), st.data())
def test_everybody_in_a_circle_is_found_and_nobody_else(
    centre: tuple[float, float], radius: int, data: st.DataObject
) -> None:
    """Around poles and over the date line, through the grid of places."""
    leaf = compiled({"near": {"lat": centre[0], "lon": centre[1], "radius_m": radius}}).leaves[0]
    angle, share = data.draw(st.floats(0, 2 * math.pi)), data.draw(st.sampled_from([0, 0.5, 0.98, 1.02, 1.5, 20]))
    place = destination(centre, angle, radius * share)
    event = Event("e", "track", "A", 7, context={"location": {"latitude": place[0], "longitude": place[1]}})
    inside = oracle.metres(place, centre) <= radius
    assert inside is (share < 1)
    taken = [take(None, event, 0) for _, take in LeafIndex([leaf]).takers(event)]
    assert (taken == [7]) is inside
    assert (leaf.observe(None, event, 0) == 7) is inside


def destination(centre: tuple[float, float], angle: float, metres: float) -> tuple[float, float]:
    """The place so far away in this direction."""
    lat, lon, way = math.radians(centre[0]), math.radians(centre[1]), metres / 6_371_008.8
    north = math.asin(math.sin(lat) * math.cos(way) + math.cos(lat) * math.sin(way) * math.cos(angle))
    across = math.sin(angle) * math.sin(way) * math.cos(lat)
    east = lon + math.atan2(across, math.cos(way) - math.sin(lat) * math.sin(north))
    return math.degrees(north), (math.degrees(east) + 180) % 360 - 180


@pytest.mark.parametrize("seed", range(4))
def test_hundreds_of_plain_histories_agree_at_every_millisecond(seed: int) -> None:
    """Dense where the searches above are wide: a few events that matter, a window, every instant until it is empty."""
    chance = Random(seed)
    for round in range(300):
        measure = chance.choice(["did_sum", "did_avg", "did_min", "did_max", "did_distinct"])
        asked: Node = {"event": "A", "property": "properties.v", "within": f"PT{chance.randrange(1, 20) / 1000:.3f}S"}
        for word in chance.sample(["is", "is_not", "gt", "gte", "lt", "lte"], chance.choice([1, 1, 2])):
            asked[word] = chance.randrange(0, 6)
        node: Node = {measure: asked}
        if chance.random() < 0.2:
            steps = [{"event": chance.choice("AB")} for _ in range(chance.choice([2, 3]))]
            node = {"sequence": {"events": steps, "within": asked["within"]}}
        low = chance.choice([0, 0, -2])
        who = Somebody(
            [
                {"id": f"e{n}", "name": chance.choice("AAB"), "at": chance.randrange(12), "traits": {}, "context": {},
                 "properties": {"v": chance.randrange(low, 4)}}
                for n in range(chance.randrange(1, 10))
            ]
        )  # fmt: skip
        condition, last = compiled(node), last_of(who)
        person = person_of(who, observed(condition, who.events))
        truths = [oracle.truth(node, who, t) for t in range(last, last + 22)]
        assert [condition.truth(person, t) for t in range(last, last + 22)] == truths, (seed, round, node, who)
        for at in range(21):
            turn = next((t for t in range(at + 1, 22) if truths[t] is not truths[at]), None)
            expected = None if turn is None else last + turn
            assert condition.next_flip(person, last + at) == expected, (seed, round, node, who, last + at)
