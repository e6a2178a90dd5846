"""The language as the contract writes it: every example works or is refused by name; what is wrong is told at once."""

from typing import Any

import msgspec
import pytest

from heliograph.decide import times
from heliograph.decide.conditions import (
    Condition,
    LeafIndex,
    first_failing,
    parse_condition,
    parse_event_filter,
    turns_at,
)
from heliograph.decide.parsing import Context
from heliograph.decide.times import MINUTE
from heliograph.events.event import Event
from tests.decide.people import Person, condition, event, observe, problems

VIEWED = "Product Viewed"

CONTRACT: list[dict[str, Any]] = [
    {"trait": {"path": "country", "is": "DE"}},
    {"did": {"event": VIEWED, "where": {"properties.product_id": "sku-1"}, "at_least": 2, "within": "PT10M"}},
    {"did": {"event": VIEWED, "same": "properties.product_id", "at_least": 3, "within": "P1D"}},
    {"not": {"did": {"event": "Order Completed", "within": "PT10M"}}},
    {"in_segment": "buyers"},
    {"did_sum": {"event": "Order Completed", "property": "properties.total", "gte": 100, "within": "P30D"}},
    {"did_avg": {"event": "Order Completed", "property": "properties.total", "gt": 99.5, "where": {"context.ip": "1"}}},
    {"did_min": {"event": "Order Completed", "property": "properties.total", "lte": 10, "within": "P30D"}},
    {"did_max": {"event": "Order Completed", "property": "properties.items.*.price", "lt": 10, "is_not": 3}},
    {"did_distinct": {"event": VIEWED, "property": "properties.product_id", "gte": 3, "within": "P1D"}},
    {"sequence": {"events": [{"event": VIEWED}, {"event": "Product Added"}], "within": "PT1H"}},
    {"near": {"lat": 51.45, "lon": -2.59, "radius_m": 500, "within": "PT1H"}},
    {"in_topic": "offers"},
    {"engaged": {"kind": "clicked", "within": "P90D"}},
    {"bucket": {"salt": "rollout", "below": "10%"}},
    {"everyone": True},
]


@pytest.mark.parametrize("node", CONTRACT, ids=lambda node: next(iter(node)))
def test_every_example_of_the_contract_compiles(node: dict[str, Any]) -> None:
    compiled = condition(node, topics={"offers": "required"}, segments=["buyers"])
    assert compiled.text
    assert compiled.explain(Person(), 0).truth is compiled.truth(Person(), 0)


def test_geofences_are_refused_by_name() -> None:
    assert problems({"near": {"geofence": "harbour", "within": "PT1H"}}) == [
        "if.near.geofence: `geofence` is not in this version"
    ]


@pytest.mark.parametrize(
    ("node", "reason"),
    [
        ([{"everyone": True}], "under `all:` or `any:`"),
        ("buyers", "a condition is a mapping"),
        ({}, "an empty condition"),
        ({"all": []}, "from 1 to 200"),
        ({"all": {"everyone": True}}, "is a list"),
        ({"everyone": True, "in_segment": "a"}, "one condition to a node"),
        ({"everyone": False}, "`everyone: true`"),
        ({"trate": {"path": "a"}}, "did you mean 'trait'"),
        ({"trait": "a"}, "`trait` is a mapping"),
        ({"trait": {"is": 1}}, "needs `path`"),
        ({"trait": {"path": "a..b", "is": 1}}, "empty step"),
        ({"did": VIEWED}, "`did` is a mapping"),
        ({"did": {"at_least": 2}}, "needs `event`"),
        ({"did": {"event": VIEWED, "at_last": 2}}, "did you mean 'at_least'"),
        ({"did": {"event": VIEWED, "at_least": 0}}, "from 1 to 1000"),
        ({"did": {"event": VIEWED, "at_least": 1.5}}, "whole number"),
        ({"did": {"event": VIEWED, "at_least": 1, "at_most": 2}}, "takes one of"),
        ({"did": {"event": VIEWED, "between": [3, 1]}}, "from the smaller"),
        ({"did": {"event": VIEWED, "between": [1]}}, "2 items"),
        ({"did": {"event": VIEWED, "within": "P1M"}}, "write days"),
        ({"did": {"event": VIEWED, "within": "-P1D"}}, "negative"),
        ({"did": {"event": VIEWED, "same": "properties.a", "at_most": 3}}, "lower bound"),
        ({"did": {"event": VIEWED, "same": "product_id"}}, "begins with"),
        ({"did": {"event": VIEWED, "where": {"product_id": 1}}}, "begins with"),
        ({"did": {"event": VIEWED, "where": {"properties.a": [1]}}}, "{in: [...]}"),
        ({"did": {"event": VIEWED, "where": ["a"]}}, "mapping of paths"),
        ({"in_segment": 5}, "is text"),
        ({"in_topic": "ofers"}, "did you mean 'offers'"),
    ],
)
def test_mistakes_are_told(node: Any, reason: str) -> None:
    found = problems(node, topics={"offers": "required"})
    assert len(found) == 1
    assert reason in found[0]


def test_all_mistakes_are_told_at_once_with_their_places() -> None:
    found = problems(
        {"any": [{"trait": {"path": "a", "iss": 1, "gt": "x"}}, {"not": {"in_topic": "x"}}, {"sequence": 1}]}
    )
    assert [line.partition(":")[0] for line in found] == [
        "if.any.0.trait.iss", "if.any.0.trait.gt", "if.any.1.not.in_topic", "if.any.2.sequence"
    ]  # fmt: skip


def test_nesting_has_a_bound() -> None:
    node: dict[str, Any] = {"everyone": True}
    for _ in range(500):
        node = {"not": node}
    assert "nest at most" in problems(node)[0]


def test_unknown_segments_are_lists_and_are_noted() -> None:
    context = Context(segments=["buyers"])
    parse_condition({"any": [{"in_segment": "buyers"}, {"in_segment": "vips"}]}, ("if",), context)
    assert context.lists == {"vips"}
    assert not context.problems


def test_members_topics_and_groups() -> None:
    compiled = condition(
        {"all": [{"in_segment": "a"}, {"any": [{"in_topic": "offers"}, {"not": {"in_segment": "b"}}]}]},
        topics={"offers": "required"},
    )
    assert compiled.truth(Person(members={"a": 0}), 0)
    assert not compiled.truth(Person(members={"a": 0, "b": 0}), 0)
    assert compiled.truth(Person(members={"a": 0, "b": 0}, topics=frozenset({"offers"})), 0)


def test_equal_leaves_have_equal_ids_whatever_the_spelling() -> None:
    """Key order, 2 or 2.0, repeats and order in lists do not matter; the kind of a value does."""

    def ids(node: dict[str, Any]) -> list[str]:
        return [leaf.id for leaf in condition(node).leaves]

    a = {"did": {"event": "X", "where": {"properties.a": 2.0, "properties.b": {"in": [2, 1, 2]}}}}
    b = {"did": {"where": {"properties.b": {"in": [1, 2]}, "properties.a": {"is": 2}}, "event": "X", "at_least": 1}}
    assert ids(a) == ids(b)
    assert ids({"trait": {"path": "a", "is": 1}}) != ids({"trait": {"path": "a", "is": True}})
    assert ids({"trait": {"path": "a", "is": 1}}) != ids({"trait": {"path": "a", "is": "1"}})


def test_windows_over_the_same_events_share_one_state() -> None:
    """A changed window keeps its past."""
    day = condition({"did": {"event": "X", "within": "P1D"}})
    week = condition({"did": {"event": "X", "within": "P7D"}})
    assert day.leaves[0].id == week.leaves[0].id
    assert day.canonical != week.canonical
    both = condition({"all": [{"did": {"event": "X", "within": "P1D"}}, {"did": {"event": "X", "within": "P7D"}}]})
    assert len(both.leaves) == 2


def test_group_ids_ignore_the_order_of_their_parts() -> None:
    a, b = {"in_segment": "a"}, {"in_segment": "b"}
    assert condition({"all": [a, b]}).id == condition({"all": [b, a, b]}).id
    assert condition({"all": [a, b]}).id != condition({"any": [a, b]}).id


def test_ids_are_on_disk_and_never_change() -> None:
    leaf = condition({"did": {"event": VIEWED, "where": {"properties.product_id": "sku-1"}, "at_least": 2}}).leaves[0]
    assert leaf.id == "tna5djvwwxqn"


def test_same_counts_each_value_on_its_own() -> None:
    compiled = condition({"did": {"event": VIEWED, "same": "properties.product_id", "at_least": 2}})
    views = [event(VIEWED, n, event_id=str(n), product_id=sku) for n, sku in enumerate(["a", "b", None, None, 1, True])]
    person = observe(Person(), compiled, *views)
    assert not compiled.truth(person, 10)
    assert compiled.truth(observe(person, compiled, event(VIEWED, 9, event_id="9", product_id=1.0)), 10)


def test_same_takes_each_element_of_a_list() -> None:
    compiled = condition({"did": {"event": "Order", "same": "properties.lines.*.sku", "at_least": 2}})
    orders = [event("Order", n, event_id=str(n), lines=[{"sku": "a"}, {"sku": f"b{n}"}, {}]) for n in range(2)]
    person = observe(Person(), compiled, *orders)
    assert compiled.truth(person, 10)
    assert compiled.explain(person, 10).seen == '"a": 2 times or more, latest 1970-01-01T00:00:00.001Z'


@pytest.mark.parametrize("value", ["x" * 500, "a\nb", "\ud800", 1 << 70, -5, 1.5, False])
def test_any_value_of_same_can_be_stored(value: Any) -> None:
    compiled = condition({"did": {"event": VIEWED, "same": "properties.v", "at_least": 2}})
    person = observe(Person(), compiled, *(event(VIEWED, n, event_id=str(n), v=value) for n in range(2)))
    assert compiled.truth(person, 2)
    assert len(msgspec.msgpack.encode(person.conditions)) < 120


def test_event_names_compare_after_nfc() -> None:
    compiled = condition({"did": {"event": "Caf\u00e9"}})
    decomposed = event("Cafe\u0301", 1)
    index = LeafIndex(compiled.leaves)
    assert list(index.for_event(decomposed)) == list(compiled.leaves)
    assert compiled.truth(observe(Person(), compiled, decomposed), 1)


def test_why_not_names_the_first_failing_leaf_what_was_seen_and_when_it_turns() -> None:
    compiled = condition(
        {
            "all": [
                {"everyone": True},
                {"not": {"any": [{"in_segment": "x"}, {"did": {"event": "Order", "within": "PT10M"}}]}},
            ]
        }
    )
    person = observe(Person(), compiled, event("Order", 1000))
    explained = compiled.explain(person, 2000)
    failing = first_failing(explained)
    assert not explained.truth
    assert explained.turns_at == 1000 + 10 * MINUTE == turns_at(compiled, person, 2000)
    assert failing is not None
    assert failing.kind == "did"
    assert failing.seen == "once or more, latest 1970-01-01T00:00:01Z"
    assert first_failing(compiled.explain(person, 1000 + 10 * MINUTE)) is None
    assert msgspec.json.decode(msgspec.json.encode(explained))["text"] == compiled.text


def test_explanations_read_as_english() -> None:
    compiled = condition(
        {"all": [
            {"trait": {"path": "country", "in": ["DE", "AT"]}},
            {"did": {"event": VIEWED, "where": {"properties.price": {"gt": 5}}, "at_least": 2, "within": "P1DT2H"}},
            {"not": {"did": {"event": "Order Completed", "at_most": 0}}},
        ]}
    )  # fmt: skip
    assert compiled.text == (
        'country is one of ["AT","DE"]'
        ' and did "Product Viewed" where properties.price is greater than 5, at least 2 times within 1 day 2 hours'
        ' and not (did "Order Completed", never)'
    )
    assert compiled.explain(Person(traits={"country": "FR"}), 0).parts[0].seen == '"FR"'


def test_an_event_filter_says_which_part_an_event_fails() -> None:
    context = Context()
    node = {"event": VIEWED, "where": {"properties.price": {"gt": 5}, "context.page.path": "/sale"}}
    compiled = parse_event_filter(node, ("entry",), context)
    assert compiled is not None
    seen = Event("e", "track", VIEWED, 0, properties={"price": 3}, context={"page": {"path": "/sale"}})
    assert not compiled.matches(seen)
    assert compiled.matches(
        Event("e", "track", VIEWED, 0, properties={"price": 6}, context={"page": {"path": "/sale"}})
    )
    failing = first_failing(compiled.explain(seen))
    assert failing is not None
    assert (failing.text, failing.seen) == ("properties.price is greater than 5", "3")
    assert not compiled.matches(event("Other"))


# -- the index --


def segments_on_products(count: int) -> list[Condition]:
    where = [{"properties.product_id": f"sku-{n}", "properties.shop": "de"} for n in range(count)]
    return [condition({"did": {"event": VIEWED, "where": w, "at_least": 2}}) for w in where]


def test_an_event_meets_only_the_leaves_of_its_value() -> None:
    """Indexed under the path on which the leaves differ, not under the one that they share."""
    index = LeafIndex(leaf for compiled in segments_on_products(100) for leaf in compiled.leaves)
    assert len(index.for_event(event(VIEWED, product_id="sku-7", shop="de"))) == 1
    assert not index.for_event(event(VIEWED, product_id="other", shop="de"))
    assert not index.for_event(event(VIEWED))
    assert not index.for_event(event("Other", product_id="sku-7"))


@pytest.mark.parametrize(
    ("where", "properties"),
    [
        ({"properties.a": "x"}, {"a": ["y", "x"]}),
        ({"properties.a.*.b": 1}, {"a": [{"b": 2}, {"b": [3, 1.0]}]}),
        ({"properties.a": {"in": ["x", "y"]}}, {"a": "y"}),
        ({"properties.a": {"is": "X", "ignore_case": True}}, {"a": "x"}),
        ({"properties.a": {"is_not": "x"}}, {"a": "y"}),
        ({"properties.a": None}, {}),
        ({"properties.a": True}, {"a": True}),
        ({"properties.a": "\u00e9"}, {"a": "e\u0301"}),
    ],
)
def test_the_index_misses_nothing_that_matches(where: dict[str, Any], properties: dict[str, Any]) -> None:
    compiled = condition({"did": {"event": "X", "where": where}})
    others = [condition({"did": {"event": "X", "where": {"properties.a": n}}}) for n in range(3)]
    index = LeafIndex(leaf for each in [*others, compiled] for leaf in each.leaves)
    happened = event("X", 1, **properties)
    assert compiled.leaves[0].observe(None, happened, 1) is not None
    assert compiled.leaves[0] in index.for_event(happened)


def test_a_changed_trait_meets_the_leaves_of_its_old_and_its_new_value() -> None:
    nodes: list[dict[str, Any]] = [
        *({"trait": {"path": "country", "is": code}} for code in ("DE", "FR", "IT", "ES")),
        {"trait": {"path": "country", "is_not": "DE"}},
        {"trait": {"path": "country", "exists": False}},
        {"trait": {"path": "country", "is_not": "ES", "starts_with": "F"}},
        {"trait": {"path": "country.code", "is": "DE"}},
        {"trait": {"path": "*", "is": "DE"}},
        {"trait": {"path": "renewal_at", "within": "P1D"}},
    ]
    leaves = [condition(node).leaves[0] for node in nodes]
    index = LeafIndex(leaves)
    found = {leaf.text for leaf in index.for_trait("country", "DE", "FR")}
    assert found == {leaves[n].text for n in (0, 1, 4, 5, 6, 8)}
    assert {leaf.text for leaf in index.for_trait("country", None, {"code": "DE"})} >= {leaves[7].text}
    assert {leaf.text for leaf in index.for_trait("timezone", None, "UTC")} == {leaves[8].text, leaves[9].text}


def test_an_event_costs_the_same_with_ten_times_as_many_segments() -> None:
    """Counted in candidates, which no machine can make noisy."""
    met = []
    for count in (50, 500):
        index = LeafIndex(leaf for compiled in segments_on_products(count) for leaf in compiled.leaves)
        met.append(len(index.for_event(event(VIEWED, product_id="sku-3", shop="de"))))
    assert met == [1, 1]


def test_a_late_window_flip_is_exact_to_the_millisecond() -> None:
    compiled = condition({"did": {"event": "X", "at_least": 2, "within": "PT10M"}})
    person = observe(Person(), compiled, *(event("X", at, event_id=str(at)) for at in (1000, 5000, 3000)))
    end = 3000 + 10 * times.MINUTE
    assert compiled.next_flip(person, 5000) == end
    assert compiled.truth(person, end - 1)
    assert not compiled.truth(person, end)
