"""YAML as projects use it: the 1.2 core schema, lines, and nothing that JSON cannot say."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heliograph.project.yaml import MAX_NODES, parse_yaml

PLAIN = [
    ("NO", "NO"), ("yes", "yes"), ("on", "on"), ("21:00", "21:00"), ("2026-01-31", "2026-01-31"), ("1_000", "1_000"),
    ("true", True), ("False", False), ("~", None), ("null", None), ("12", 12), ("-3", -3), ("0x1f", 31), ("0o17", 15),
    ("2.50", 2.5), ("1e3", 1000.0), (".5", 0.5), ("'12'", "12"), ('"true"', "true"), ("1.2.3", "1.2.3"),
    ("12345678901234567890", 12345678901234567890.0),
]  # fmt: skip


@pytest.mark.parametrize(("text", "value"), PLAIN)
def test_plain_scalars_mean_what_yaml_1_2_says(text: str, value: object) -> None:
    read = parse_yaml(f"a: {text}\n")
    assert (read.value, read.mistakes) == ({"a": value}, [])
    assert type(read.value["a"]) is type(value)


def test_every_key_and_element_has_its_line() -> None:
    read = parse_yaml("a:\n  b: 1\n\n  c:\n    - x\n    - y: 2\n")
    assert [read.line(path) for path in [("a", "b"), ("a", "c"), ("a", "c", 0), ("a", "c", 1, "y")]] == [2, 4, 5, 6]
    assert read.line(("a", "c", 1, "nowhere", "near")) == 6


@pytest.mark.parametrize(
    ("text", "line", "word"),
    [
        ("a: 1\nb: 2\na: 3\n", 3, "twice (first in line 1)"),
        ("a: !!str 5\n", 1, "tags"),
        ("a: .nan\n", 1, "JSON"),
        ("a: 1e999\n", 1, "JSON"),
        ("a: *b\n", 1, "refers to no"),
        ("a: &a [*a]\n", 1, "refers to no"),
        ("a: 1\n---\nb: 2\n", 2, "second document"),
        ("? [1]\n: 2\n", 1, "plain text"),
        ("# only a comment\n", 1, "empty"),
        ("a:\n\t- x\n", 2, "not YAML"),
        ("a: [1, 2\n", 2, "not YAML"),
    ],
)
def test_a_mistake_names_its_line(text: str, line: int, word: str) -> None:
    [mistake] = parse_yaml(text).mistakes
    assert (mistake.line, mistake.warning) == (line, False)
    assert word in mistake.message


def test_leading_zeros_are_a_warning() -> None:
    [mistake] = parse_yaml("plz: 01234\n").mistakes
    assert mistake.warning
    assert "quote it" in mistake.message


def test_aliases_cannot_unfold_without_bound() -> None:
    text = "a: &a [1, 1, 1, 1, 1, 1, 1, 1, 1]\n"
    for before, after in zip("abcdefg", "bcdefgh", strict=True):
        text += f"{after}: &{after} [{', '.join(['*' + before] * 9)}]\n"
    assert MAX_NODES < 9**8
    assert "too many" in parse_yaml(text).mistakes[-1].message


def test_deep_nesting_is_refused_not_a_crash() -> None:
    assert parse_yaml("[" * 5000).mistakes


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**15), 10**15) | st.text(st.characters(codec="utf-8"), max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("abc é:#", max_size=5), inner, max_size=4),
    max_leaves=20,
)


@settings(max_examples=100, deadline=None)
@given(json_values)
def test_json_is_yaml(value: object) -> None:
    """What JSON says, YAML says (with ASCII escapes: raw control characters are not YAML)."""
    read = parse_yaml(json.dumps(value))
    assert read.value == value
    assert read.mistakes == []


@settings(max_examples=200, deadline=None)
@given(st.text(st.sampled_from("ab:-? \n\t[]{}&*!|>'\"#%@`,0.~\x00é"), max_size=40))
def test_no_text_makes_the_reader_raise(text: str) -> None:
    parse_yaml(text)
