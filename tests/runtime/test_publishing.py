"""What a publish keeps beside the new plan, and what it says has changed."""

import msgspec

from heliograph.decide import Plan, as_written, compile_plan, journey_version
from heliograph.runtime.publishing import (
    SWEPT,
    changes,
    complete_since,
    leaves_since,
    orphaned,
    pinned,
    prepare,
    same_document,
)
from tests.runtime.harness import DAY, T0, shop, template


def with_journey(**changed: object) -> dict:
    document = shop()
    document["journeys"]["cart"] = {**document["journeys"]["cart"], **changed}
    return document


def test_a_replaced_journey_is_pinned_even_before_anybody_runs_in_it() -> None:
    old, new = shop(), with_journey(priority=9)
    version = journey_version(old["journeys"]["cart"])
    assert pinned(new, old, set()) == {f"cart@{version}": old["journeys"]["cart"]}


def test_an_older_version_stays_only_while_it_has_runs() -> None:
    first, second, third = shop(), with_journey(priority=2), with_journey(priority=3)
    version = journey_version(first["journeys"]["cart"])
    second["pinned"] = pinned(second, first, set())
    assert f"cart@{version}" in pinned(third, second, {("cart", version)})
    assert f"cart@{version}" not in pinned(third, second, set())


def test_going_back_to_a_version_unpins_it() -> None:
    first, second = shop(), with_journey(priority=2)
    second["pinned"] = pinned(second, first, set())
    version = journey_version(first["journeys"]["cart"])
    assert f"cart@{version}" not in pinned(first, second, {("cart", version)})


def test_templates_of_pinned_journeys_stay() -> None:
    old, new = shop(), shop()
    del new["journeys"]["cart"], new["templates"]["cart-reminder"]
    new["pinned"] = pinned(new, old, set())
    assert list(orphaned(new, old)) == ["cart-reminder"]


def test_changes_name_what_is_added_changed_removed_and_the_same() -> None:
    old, new = shop(), with_journey(priority=9)
    del new["segments"]["buyers"]
    new["templates"]["extra"] = template("extra")
    found = {(kind, name): what for kind, name, what in changes(new, old)}
    assert found["journey", "cart"] == "changed"
    assert found["journey", "welcome"] == "same"
    assert found["segment", "buyers"] == "removed"
    assert found["template", "extra"] == "added"
    assert same_document(shop(), shop()) and not same_document(new, old)


def test_a_changed_zone_pace_address_policy_or_schema_is_named_and_reaches_people_where_it_must() -> None:
    parts = {
        "project": {**shop()["project"], "time_scale": 60},
        "policies": {"topics": {"offers": {"consent": "required"}}},
        "schemas": {"Order Completed": {"required": ["total"]}},
    }
    for part, value in parts.items():
        found = {name: what for _, name, what in changes(shop(**{part: value}), shop())}
        assert [name for name, what in found.items() if what != "same"] == [
            part if part != "schemas" else "Order Completed"
        ]
    for field in ("timezone", "base_url", "time_scale"):
        new = shop(project={**shop()["project"], field: "other"})
        assert ("project", "project", "changed") in changes(new, shop())
    assert {"project", "policies"} <= SWEPT


class Store:
    """What a publish looks at in the store."""

    def __init__(self, begun: int, known: dict[str, int]) -> None:
        self.begun, self.known = begun, known

    def meta(self, _name: str) -> bytes:
        return msgspec.msgpack.encode(self.known)

    def plans(self) -> list[tuple[int, int]]:
        return [(1, self.begun)]


def with_segment(name: str, condition: dict) -> dict:
    document = shop()
    document["segments"][name] = {"name": name, "if": condition}
    return document


def test_a_new_condition_knows_what_history_holds_and_what_names_it_knows_no_more() -> None:
    old = compile_plan(shop(), 1)
    document = with_segment("carts", {"did": {"event": "Product Added"}})
    document["segments"]["named"] = {"name": "named", "if": {"in_segment": "carts"}}
    document["segments"]["again"] = {"name": "again", "if": {"did": {"event": "Order Completed"}}}
    new = compile_plan(document, 2)
    young, ancient = Store(T0 - DAY, {}), Store(T0 - 500 * DAY, {})
    assert set(complete_since(new, leaves_since(new, old, young, T0)).values()) == {0}  # type: ignore[arg-type]
    found = complete_since(new, leaves_since(new, old, ancient, T0))  # type: ignore[arg-type]
    reach = T0 - 400 * DAY
    assert found == {"viewers": 0, "buyers": 0, "carts": reach, "named": reach, "again": 0}


def test_a_condition_that_stays_keeps_what_it_knows() -> None:
    old = compile_plan(shop(), 1)
    (leaf,) = old.segments.by_name["buyers"].condition.leaves
    store = Store(T0 - 500 * DAY, {leaf.id: 7})
    assert complete_since(old, leaves_since(old, old, store, T0)) == {"viewers": 0, "buyers": 7}  # type: ignore[arg-type]


def test_a_leaf_that_nobody_observed_is_fresh_until_everybody_was_swept() -> None:
    first = compile_plan(shop(), 1)
    document = with_segment("carts", {"did": {"event": "Product Viewed", "at_least": 2}})
    second = published(document, first, swept=0)
    (leaf,) = second.segments.by_name["carts"].condition.leaves
    assert second.fresh.leaves == {leaf.id: 2}
    assert second.fresh.segments == {"viewers": 1, "buyers": 1, "carts": 2}
    document["journeys"]["cart"]["priority"] = 7
    assert published(document, second, swept=None).fresh.leaves == {leaf.id: 2}
    assert published(document, second, swept=2).fresh.leaves == {}


def test_a_condition_that_comes_back_is_fresh_again_and_a_client_cannot_say_otherwise() -> None:
    first, without = compile_plan(shop(), 1), shop()
    del without["segments"]["buyers"]
    second = published(without, first, swept=0)
    third = published({**shop(), "fresh": {"leaves": {}, "segments": {}}}, second, swept=2)
    (leaf,) = third.segments.by_name["buyers"].condition.leaves
    assert third.fresh.leaves == {leaf.id: 3} and third.fresh.building == {"buyers": 3}


def test_a_template_kept_for_runs_under_way_is_told_and_is_no_part_of_the_version_to_go_back_to() -> None:
    first, without = compile_plan(shop(), 1), shop()
    del without["journeys"]["cart"], without["templates"]["cart-reminder"]
    ready = prepare(without, first, set(), 0, lambda _schema: lambda _value: None, lambda _compiled: None)
    document = ready.published.plan.document
    assert ("template", "cart-reminder", "kept") in ready.report.changes
    assert "cart-reminder" in document["templates"] and "cart-reminder" not in as_written(document)["templates"]
    assert same_document(without, document)


def published(document: dict, old: Plan, *, swept: int | None) -> Plan:
    ready = prepare(document, old, set(), swept, lambda _schema: lambda _value: None, lambda _compiled: None)
    return ready.published.plan
