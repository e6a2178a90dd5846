"""What a publish keeps beside the new plan, and what it says has changed."""

from heliograph.decide import journey_version
from heliograph.runtime.publishing import SWEPT, changes, complete_since, orphaned, pinned, same_document
from tests.runtime.harness import T0, shop, template


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


class Meta:
    def meta(self, _name: str) -> None:
        return None


def test_only_new_segments_begin_at_the_publish() -> None:
    old, new = shop(), shop()
    new["segments"]["fresh"] = {"name": "fresh", "if": {"everyone": True}}
    assert complete_since(new, old, Meta(), T0) == {"viewers": 0, "buyers": 0, "fresh": T0}  # type: ignore[arg-type]
