"""Paths: dots split, backslashes escape, a star is any element."""

from typing import Any

import pytest

from heliograph.decide.conditions.paths import ANY, parse_event_path, parse_path

ORDER = {"items": [{"sku": "a", "tags": ["x"]}, {"sku": "b"}], "a.b": 1, "*": 2, "\\": 3, "address": {"city": "Bonn"}}


@pytest.mark.parametrize(
    ("text", "keys", "value"),
    [
        ("address.city", ("address", "city"), "Bonn"),
        ("address.zip", ("address", "zip"), None),
        ("address.city.name", ("address", "city", "name"), None),
        (r"a\.b", ("a.b",), 1),
        (r"\*", ("*",), 2),
        (r"\\", ("\\",), 3),
        ("items.*.sku", ("items", ANY, "sku"), ["a", "b"]),
        ("items.*.tags", ("items", ANY, "tags"), [["x"], None]),
        ("items.sku", ("items", "sku"), None),
        ("*.city", (ANY, "city"), [None, None, None, None, "Bonn"]),
        ("nothing.*", ("nothing", ANY), [None]),
    ],
)
def test_reading(text: str, keys: tuple[Any, ...], value: Any) -> None:
    path = parse_path(text)
    assert path.keys == keys
    assert path.read(ORDER) == value


@pytest.mark.parametrize("text", ["", ".", "a.", ".a", "a..b", "a*", "**", r"a\b", "a\\", "a." * 17 + "a", "x" * 257])
def test_what_is_no_path(text: str) -> None:
    with pytest.raises(ValueError, match="path"):
        parse_path(text)


@pytest.mark.parametrize("text", ["product_id", "properties", "event.properties.x", "*.x"])
def test_event_paths_begin_with_a_root(text: str) -> None:
    with pytest.raises(ValueError, match="begins with"):
        parse_event_path(text)


def test_a_star_is_satisfied_by_any_element() -> None:
    from tests.decide.people import Person, condition

    person = Person(traits=ORDER)
    assert condition({"trait": {"path": "items.*.sku", "is": "b"}}).truth(person, 0)
    assert condition({"trait": {"path": "items.*.tags", "contains": "x"}}).truth(person, 0)
    assert condition({"trait": {"path": "items.*.sku", "starts_with": "b"}}).truth(person, 0)
    assert not condition({"trait": {"path": "items.*.sku", "is_not": "b"}}).truth(person, 0)
    assert not condition({"trait": {"path": "nothing.*.sku", "exists": True}}).truth(person, 0)
