"""Reading conditions is total, and so is asking them: whatever was written, whatever arrives."""

from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from heliograph.decide.conditions import LeafIndex, lasting, parse_condition
from heliograph.decide.conditions.amounts import TESTS
from heliograph.decide.conditions.grammar import DID_KEYS, READERS
from heliograph.decide.conditions.operators import OPERATORS
from heliograph.decide.parsing import Context
from heliograph.events.event import Event
from tests.decide.people import Person

PARTS = ["property", "events", "lat", "lon", "radius_m", "geofence", "kind", "salt", "below"]
WORDS = [
    *READERS,
    *DID_KEYS,
    *OPERATORS,
    *PARTS,
    "path",
    "before",
    "after",
    "ignore_case",
    "properties.a",
    "traits.*.b",
    "X",
]
OPERANDS = ["P1D", "-P1M", "2026-01-01", "X", "properties.a", "a.*", "", "DE", True, False, None, 0, 1, 2, 1.5]

scalars = st.sampled_from(OPERANDS) | st.text(max_size=4) | st.integers() | st.floats()
written = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(WORDS) | st.integers(0, 2), inner, max_size=3)
    ),
    max_leaves=12,
)
operators = st.dictionaries(st.sampled_from([*OPERATORS, "before", "within"]), scalars, min_size=1, max_size=2)
traits = operators.map(lambda node: {"trait": {"path": "a", **node}})
dids = st.fixed_dictionaries(
    {"event": st.just("X")},
    optional={
        "where": st.dictionaries(st.just("properties.a"), operators | scalars, max_size=1),
        "within": st.sampled_from(["P1D", "PT0.005S"]),
        "at_least": st.integers(1, 3),
        "same": st.just("properties.b.*"),
    },
).map(lambda node: {"did": node})
amounts = st.tuples(
    st.sampled_from([f"did_{measure}" for measure in ("sum", "avg", "min", "max", "distinct")]),
    st.fixed_dictionaries(
        {"event": st.just("X"), "property": st.sampled_from(["properties.a", "properties.b.*", "properties.b.*.a"])},
        optional={
            "where": st.dictionaries(st.just("properties.a"), operators | scalars, max_size=1),
            "within": st.sampled_from(["P1D", "PT0.005S"]),
            **{word: st.integers(-1, 2) | st.floats() for word in TESTS},
        },
    ),
).map(lambda pair: {pair[0]: pair[1]})
elements = st.fixed_dictionaries(
    {"event": st.sampled_from("XY")},
    optional={"where": st.dictionaries(st.just("properties.a"), operators | scalars, max_size=1)},
)
others = st.one_of(
    st.lists(elements, max_size=3).map(lambda events: {"sequence": {"events": events}}),
    st.tuples(st.floats(), st.floats(), st.integers(0, 10**7)).map(
        lambda at: {"near": {"lat": at[0], "lon": at[1], "radius_m": at[2]}}
    ),
    scalars.map(lambda below: {"bucket": {"salt": "s", "below": below}}),
    st.sampled_from(["received", "opened", "bounced"]).map(lambda kind: {"engaged": {"kind": kind}}),
)
plausible = st.recursive(
    traits
    | dids
    | amounts
    | others
    | st.sampled_from([{"everyone": True}, {"in_segment": "s"}, {"in_topic": "marketing"}]),
    lambda inner: (
        st.lists(inner, min_size=1, max_size=3).map(lambda parts: {"all": parts})
        | st.lists(inner, min_size=1, max_size=3).map(lambda parts: {"any": parts})
        | inner.map(lambda part: {"not": part})
    ),
    max_leaves=5,
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("ab"), inner, max_size=2),
    max_leaves=6,
)
properties = st.dictionaries(st.sampled_from("ab"), values, max_size=2)


@settings(deadline=None)
@given(written | plausible)
def test_what_is_written_compiles_or_has_a_problem(node: Any) -> None:
    context = Context()
    compiled = parse_condition(node, ("if",), context)
    assert (compiled is None) is bool(context.problems)
    assert all(problem.path[0] == "if" and problem.message for problem in context.problems)


@settings(deadline=None)
@given(plausible, st.lists(st.tuples(properties, st.integers(0, 20)), max_size=4), properties)
def test_every_condition_answers_to_every_person(
    node: Any, events: list[tuple[dict[str, Any], int]], known: dict[str, Any]
) -> None:
    """Its state can be stored, its explanation is JSON, agrees with its truth, and its next flip lies ahead."""
    compiled = parse_condition(node, ("if",), Context())
    if compiled is None:
        return
    person = Person(traits=known)
    index = LeafIndex(compiled.leaves)
    for number, (carried, at) in enumerate(events):
        event = Event(f"{number}", "track", "X", at, properties=carried, context={"location": carried.get("a")})
        met = {leaf.id for leaf in index.for_event(event)}
        for leaf in index.leaves.values():
            old = person.conditions.get(leaf.id)
            new = leaf.observe(old, event, number)
            assert leaf.id in met or new is old
            takes = [take for leaf_id, take in index.takers(event) if leaf_id == leaf.id]
            assert takes or new is old
            assert all(take(old, event, number) == new for take in takes)
            if new is not None:
                person.conditions[leaf.id] = msgspec.msgpack.decode(msgspec.msgpack.encode(new))
    explained = compiled.explain(person, 20)
    assert explained.truth is compiled.truth(person, 20)
    assert msgspec.json.encode(explained)
    flip = compiled.next_flip(person, 20)
    assert flip is None or (compiled.timed and flip > 20)
    if (sole := lasting(compiled)) is not None:
        until = sole.until(person.conditions.get(sole.id))
        assert (until > 20) is compiled.truth(person, 20)
        assert flip == (until if compiled.timed and until > 20 else None)


@settings(deadline=None)
@given(plausible, properties, st.sampled_from("ab"), values)
def test_a_changed_trait_turns_only_what_the_index_names(
    node: Any, before: dict[str, Any], name: str, value: Any
) -> None:
    compiled = parse_condition(node, ("if",), Context())
    if compiled is None:
        return
    old, new = Person(traits=before), Person(traits={**before, name: value})
    named = {leaf.id for leaf in LeafIndex(compiled.leaves).for_trait(name, before.get(name), value)}
    for leaf in compiled.leaves:
        assert leaf.id in named or leaf.truth(old, 0) is leaf.truth(new, 0)
