"""The table of operators: two-valued, without coercion (contract, section 3)."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heliograph.decide.conditions.operators import OPERATORS
from tests.decide.people import Person, condition, event, problems

MISSING = type("Missing", (), {"__repr__": lambda _: "missing"})()


def holds(operators: dict[str, Any], value: Any) -> bool:
    traits = {} if value is MISSING else {"x": value}
    return condition({"trait": {"path": "x", **operators}}).truth(Person(traits=traits), 0)


TRUE = [
    ({"is": "DE"}, "DE"),
    ({"is": 5}, 5.0),
    ({"is": 5.0}, 5),
    ({"is": True}, True),
    ({"is": None}, MISSING),
    ({"is": None}, None),
    ({"is": "a"}, ["b", "a"]),
    ({"is": "Zo\u00eb"}, "Zoe\u0308"),
    ({"is": "zo\u00cb", "ignore_case": True}, "ZOE\u0308"),
    ({"is_not": "DE"}, "FR"),
    ({"is_not": "DE"}, MISSING),
    ({"is_not": "DE"}, 5),
    ({"is_not": "5"}, 5),
    ({"in": ["a", 1]}, 1.0),
    ({"in": ["a", 1]}, [3, "a"]),
    ({"in": ["A"], "ignore_case": True}, "a"),
    ({"not_in": ["a"]}, MISSING),
    ({"not_in": ["a"]}, ["b"]),
    ({"contains": "ell"}, "hello"),
    ({"contains": "ELL", "ignore_case": True}, "hello"),
    ({"contains": 3}, [1, 3]),
    ({"contains": "b"}, ["a", "b"]),
    ({"starts_with": "he"}, "hello"),
    ({"ends_with": "lo"}, "hello"),
    ({"matches": "l+"}, "hello"),
    ({"matches": "^H", "ignore_case": True}, "hello"),
    ({"gt": 1}, 1.5),
    ({"gte": 2}, 2),
    ({"lt": 0}, -1),
    ({"lte": 0}, [5, 0]),
    ({"exists": True}, False),
    ({"exists": True}, ""),
    ({"exists": True}, []),
    ({"exists": False}, MISSING),
    ({"exists": False}, None),
    ({"gt": 1, "lt": 3}, 2),
]
FALSE = [
    ({"is": "DE"}, "de"),
    ({"is": "5"}, 5),
    ({"is": 5}, "5"),
    ({"is": True}, 1),
    ({"is": 1}, True),
    ({"is": 0}, False),
    ({"is": "a"}, MISSING),
    ({"is": "a"}, {"a": "a"}),
    ({"is": "a"}, [["a"]]),
    ({"is": None}, ""),
    ({"is": None}, 0),
    ({"is": None}, []),
    ({"is_not": None}, MISSING),
    ({"is_not": "a"}, ["b", "a"]),
    ({"in": [1]}, True),
    ({"in": ["a"]}, MISSING),
    ({"not_in": ["a"]}, "a"),
    ({"contains": "a"}, MISSING),
    ({"contains": "a"}, ["abc"]),
    ({"contains": 1}, "1"),
    ({"starts_with": "h"}, ["hello"]),
    ({"starts_with": "h"}, 5),
    ({"ends_with": "o"}, None),
    ({"matches": "l"}, ["l"]),
    ({"matches": "1"}, 1),
    ({"matches": "a"}, "\ud800a"),
    ({"gt": 0}, True),
    ({"gt": 0}, "1"),
    ({"gt": 0}, MISSING),
    ({"lt": 9}, None),
    ({"gt": 1}, 1),
    ({"lt": 9}, {"a": 1}),
    ({"exists": True}, None),
    ({"exists": True}, MISSING),
    ({"exists": False}, 0),
    ({"gt": 1, "lt": 3}, 5),
]


@pytest.mark.parametrize(("operators", "value"), TRUE, ids=repr)
def test_true(operators: dict[str, Any], value: Any) -> None:
    assert holds(operators, value)


@pytest.mark.parametrize(("operators", "value"), FALSE, ids=repr)
def test_false(operators: dict[str, Any], value: Any) -> None:
    assert not holds(operators, value)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)
OPERANDS: dict[str, list[Any]] = {
    "is": ["a", 0, True, None],
    "is_not": ["a", 0, True, None],
    "in": [["a", 0], [True]],
    "not_in": [["a", 0], [True]],
    "contains": ["a", 0, False],
    "exists": [True, False],
    **{word: ["a"] for word in ("starts_with", "ends_with", "matches")},
    **{word: [0] for word in ("gt", "gte", "lt", "lte")},
}


def test_the_operands_of_these_laws_cover_the_table() -> None:
    assert OPERANDS.keys() == OPERATORS.keys()


@given(JSON)
def test_every_operator_answers_true_or_false_to_every_value(value: Any) -> None:
    for word, operands in OPERANDS.items():
        for operand in operands:
            answers = {holds({word: operand, "ignore_case": case}, value) for case in (False, True)}
            assert answers <= {True, False}


@given(JSON)
def test_negated_operators_are_exactly_not_their_positive(value: Any) -> None:
    for operand in OPERANDS["is"]:
        assert holds({"is_not": operand}, value) is not holds({"is": operand}, value)
    for operand in OPERANDS["in"]:
        assert holds({"not_in": operand}, value) is not holds({"in": operand}, value)
    assert holds({"exists": False}, value) is not holds({"exists": True}, value)


@given(JSON)
def test_a_trait_and_a_where_ask_the_same_question(value: Any) -> None:
    for word, operands in OPERANDS.items():
        for operand in operands:
            did = condition({"did": {"event": "X", "where": {"properties.x": {word: operand}}}})
            (leaf,) = did.leaves
            assert (leaf.observe(None, event("X", 1, x=value), 1) is not None) is holds({word: operand}, value)


@pytest.mark.parametrize(
    ("operators", "reason"),
    [
        ({"is": ["a"]}, "takes text, a number, true or false, not a list"),
        ({"is": {"a": 1}}, "not a mapping"),
        ({"in": "a"}, "is a list, not text"),
        ({"in": []}, "has from 1"),
        ({"in": [None]}, "not nothing"),
        ({"contains": None}, "not nothing"),
        ({"gt": "5"}, "takes a number, not text"),
        ({"gt": True}, "takes a number"),
        ({"gt": float("nan")}, "not a number that JSON can carry"),
        ({"exists": "yes"}, "true or false"),
        ({"matches": "(a"}, "missing )"),
        ({"matches": "(?=a)"}, "invalid perl operator"),
        ({"matches": "a" * 501}, "at most 500"),
        ({"matches": "((a{100}){100}){100}"}, ""),
        ({"starts_with": 5}, "is text"),
        ({"ignore_case": True}, "an operator is missing"),
        ({"is": "a", "ignore_case": "yes"}, "true or false"),
        ({"equals": 1}, "has no `equals`"),
        ({}, "an operator is missing"),
    ],
)
def test_a_wrong_operand_is_a_problem(operators: dict[str, Any], reason: str) -> None:
    found = problems({"trait": {"path": "x", **operators}})
    assert found
    assert reason in found[0]
