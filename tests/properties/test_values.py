"""Laws of values with holes: what is written is what comes out, whatever the data; and reading them is total."""

from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from heliograph.decide.conditions.paths import parse_path
from heliograph.decide.journeys.values import MISSING, depth, fill, parse_value
from heliograph.decide.parsing import Context

SCALARS = (
    st.none() | st.booleans() | st.integers(-(1 << 62), 1 << 62) | st.floats(allow_nan=False, allow_infinity=False)
)
NAMES = (
    st.text(st.characters(codec="utf-8", exclude_characters="{}|'\"\\.*"), min_size=1, max_size=6)
    .map(str.strip)
    .filter(bool)
)
PLAIN = st.text(st.characters(codec="utf-8", exclude_characters="{"), max_size=8)
DATA = st.recursive(
    SCALARS | PLAIN, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3), max_leaves=8
)


def read(node: Any) -> Any:
    context = Context()
    value = parse_value(node, (), context, ("crm",))
    assert not context.problems, list(map(str, context.problems))
    return value


@settings(max_examples=200, deadline=None)
@given(DATA)
def test_data_without_holes_is_itself(node):
    assert fill(read(node), {}, []) == node


@settings(max_examples=200, deadline=None)
@given(NAMES, DATA)
def test_a_text_that_is_one_hole_is_the_value_with_its_type(name, value):
    missing: list[str] = []
    filled = fill(read(f"{{{{ profile.{name} }}}}"), {"profile": {name: value}}, missing)
    if value is None:
        assert filled is MISSING and missing == [f"profile.{name}"]
    else:
        assert filled == value and type(filled) is type(value) and not missing


@settings(max_examples=200, deadline=None)
@given(PLAIN, NAMES, DATA.filter(lambda value: value is not None), PLAIN)
def test_holes_within_text_give_text(before, name, value, after):
    if not before + after:
        before = "x"
    said = fill(read(f"{before}{{{{profile.{name}}}}}{after}"), {"profile": {name: value}}, [])
    shown = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    assert said == before + shown + after


@settings(max_examples=100, deadline=None)
@given(NAMES, st.sampled_from(["'a b'", '"x"', "5", "-2.5", "true", "false", "''"]))
def test_a_default_stands_in_for_what_is_missing_and_for_nothing_else(name, literal):
    value = read(f"{{{{ profile.{name} | default: {literal} }}}}")
    default = {"'a b'": "a b", '"x"': "x", "5": 5, "-2.5": -2.5, "true": True, "false": False, "''": ""}[literal]
    assert fill(value, {"profile": None}, []) == default
    assert fill(value, {"profile": {name: False}}, []) is False


@settings(max_examples=100, deadline=None)
@given(
    st.dictionaries(
        NAMES,
        st.lists(st.sampled_from(["{{ event.properties.no }}", "{{ run.key }}", "x {{ trigger.name }}"]), max_size=3),
        max_size=3,
    )
)
def test_what_is_missing_leaves_no_hole(node):
    filled = fill(read(node), {"run": {"key": "k"}, "event": None, "trigger": None}, [])
    assert filled == {name: ["k" for one in values if "run" in one] for name, values in node.items()}


@settings(max_examples=300, deadline=None)
@given(
    st.text("{}%|.'\" aprofile\\*:", max_size=30)
    | st.recursive(
        st.text(max_size=3) | SCALARS | st.floats() | st.integers(),
        lambda inner: st.lists(inner) | st.dictionaries(st.integers() | st.text(max_size=2), inner),
    )
)
def test_reading_is_total_and_what_was_read_can_be_filled(node):
    context = Context()
    value = parse_value(node, (), context, ())
    if not context.problems:
        msgspec.json.encode(None if (said := fill(value, {}, [])) is MISSING else said)


def test_an_escaped_dot_is_part_of_a_name():
    assert fill(read(r"{{ profile.a\.b }}"), {"profile": {"a.b": 1}}, []) == 1
    assert parse_path(r"profile.a\.b").keys == ("profile", "a.b")


def test_a_star_gives_the_list_of_what_is_there():
    scope = {"event": {"properties": {"lines": [{"sku": "a"}, {}, {"sku": "b"}]}}}
    assert fill(read("{{ event.properties.lines.*.sku }}"), scope, []) == ["a", "b"]
    assert fill(read("{{ event.properties.lines.*.no }}"), scope, []) is MISSING


def test_depth_counts_to_its_limit():
    value: Any = 1
    for _ in range(200):
        value = [value]
    assert depth(value) == 65 and depth({"a": [1]}) == 2 and depth(5) == 0
