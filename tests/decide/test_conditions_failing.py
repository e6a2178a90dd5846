"""The leaf that failed, found without explaining the rest, is the one that the explanation shows."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from heliograph.decide.conditions import failing_leaf, first_failing
from tests.decide.people import Person, condition

LEAVES = st.sampled_from(
    [
        {"everyone": True},
        {"in_segment": "buyers"},
        {"in_segment": "staff"},
        {"trait": {"path": "country", "is": "DE"}},
        {"did": {"event": "Order Completed", "within": "P1D"}},
        {"did": {"event": "Order Completed", "at_most": 0}},
    ]
)
NODES = st.recursive(
    LEAVES,
    lambda nodes: st.one_of(
        nodes.map(lambda node: {"not": node}),
        st.lists(nodes, min_size=1, max_size=3).map(lambda parts: {"all": parts}),
        st.lists(nodes, min_size=1, max_size=3).map(lambda parts: {"any": parts}),
    ),
    max_leaves=8,
)
PEOPLE = st.sets(st.sampled_from(["buyers", "staff"]))


@settings(deadline=None, max_examples=200)
@given(NODES, PEOPLE, st.sampled_from(["DE", "FR"]))
def test_it_is_the_leaf_of_the_explanation(node: dict[str, Any], members: set[str], country: str) -> None:
    compiled = condition(node, segments=["buyers", "staff"])
    person = Person(members=dict.fromkeys(members, 0), traits={"country": country})
    shown, found = first_failing(compiled.explain(person, 5)), failing_leaf(compiled, person, 5)
    assert (shown is None) is (found is None)
    if shown is not None and found is not None:
        assert (shown.text, shown.seen, shown.kind) == (found.text, found.seen(person, 5), found.kind)
