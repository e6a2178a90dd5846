"""Segments over what happened before they were written: building, person by person."""

from typing import Any

from heliograph import decide
from heliograph.runtime.publishing import completed
from tests.decide.driver import MINUTE, World, journey, plan_document

VIEWED = {"did": {"event": "View", "within": "PT10M"}}
TWICE = {"did": {"event": "Buy", "at_least": 2}}


def document(**segments: Any) -> dict[str, Any]:
    journeys = [journey(f"on-{name}", entry={"segment": name}, steps=[{"wait": "P1D"}]) for name in segments]
    return plan_document(journeys, segments=segments)


def entered(world: World, key: str = "u:1") -> list[str]:
    return [data["segment"] for data in world.facts("segment_entered", key)]


def test_while_it_builds_a_segment_shows_who_is_in_it_and_enters_nobody() -> None:
    world = World(document(viewed=VIEWED))
    world.track("Buy")
    world.publish(document(viewed=VIEWED, twice=TWICE), touch=False)
    world.track("Buy")
    assert "twice" not in world.segments(), "one of the two is not known yet"
    world.track("Buy")
    assert "twice" in world.segments() and not entered(world) and not world.runs()
    world.track("View")
    assert entered(world) == ["viewed"], "the others go on"


def test_the_sweep_sets_it_in_silence_and_from_then_on_it_counts() -> None:
    world = World(document(viewed=VIEWED))
    world.track("Buy")
    world.track("Buy", "2")
    world.track("Buy", "2")
    world.publish(document(viewed=VIEWED, twice=TWICE), touch=False)
    world.sweep("u:1")
    world.sweep("u:2")
    assert (world.segments("u:1"), world.segments("u:2")) == ([], ["twice"])
    assert not entered(world, "u:2") and not world.runs("u:2")
    world.track("Buy")
    assert entered(world) == ["twice"] and world.runs() == [("on-twice", "wait-1")]


def test_somebody_who_comes_after_the_publish_is_never_building() -> None:
    world = World(document(viewed=VIEWED))
    world.publish(document(viewed=VIEWED, twice=TWICE), touch=False)
    world.track("Buy", "new")
    world.track("Buy", "new")
    assert entered(world, "u:new") == ["twice"]


def test_a_segment_that_names_a_building_one_is_building_too() -> None:
    segments = {"viewed": VIEWED, "twice": TWICE, "not-twice": {"not": {"in_segment": "twice"}}}
    world = World(document(viewed=VIEWED))
    world.track("Buy")
    world.publish(document(**segments), touch=False)
    assert set(world.plan.fresh.building) == {"twice", "not-twice"}
    world.track("Buy")
    world.track("Buy")
    assert "not-twice" not in world.segments() and not world.facts("segment_left")
    world.sweep()
    assert world.segments() == ["twice"]


def test_only_the_window_changed_nothing_is_building_and_the_past_is_there() -> None:
    world = World(document(viewed=VIEWED))
    world.track("View")
    world.advance(30 * MINUTE)
    world.publish(document(viewed={"did": {"event": "View", "within": "PT1H"}}), touch=False)
    assert not world.plan.fresh.leaves
    world.track("Anything")
    assert world.segments() == ["viewed"] and len(entered(world)) == 1


def test_a_new_segment_over_what_is_known_is_set_in_silence_also_by_a_timer() -> None:
    """A timer of an unchanged segment is due before the state has met the plan: what it turns in a new one is that
    one's first evaluation."""
    gone = {"all": [{"did": {"event": "View"}}, {"not": {"in_segment": "viewed"}}]}
    world = World(document(viewed=VIEWED))
    world.track("View")
    world.advance(5 * MINUTE)
    world.publish(document(viewed=VIEWED, gone=gone), touch=False)
    world.advance(10 * MINUTE)
    assert world.segments() == ["gone"]
    assert entered(world) == ["viewed"] and [data["segment"] for data in world.facts("segment_left")] == ["viewed"]
    assert not [run for run in world.runs() if run[0] == "on-gone"]


def test_a_wait_for_a_condition_ends_when_the_sweep_shows_that_it_holds() -> None:
    def waiting(condition: dict[str, Any]) -> dict[str, Any]:
        steps = [{"wait_until": {"any": [{"if": condition}], "timeout": "P9D"}, "id": "w"}, {"wait": "P1D"}]
        return plan_document([journey(steps=steps, on_edit="follow")])

    world = World(waiting({"did": {"event": "Never"}}))
    world.track("Buy")
    world.track("Buy")
    world.track("Start")
    active = {(run.journey, run.version) for run in world.state().runs.values()}
    world.publish(completed(waiting(TWICE), world.plan.document, active), touch=False)
    world.track("Anything")
    assert world.runs() == [("j", "w")]
    world.sweep()
    assert world.runs() == [("j", "wait-1")]


def test_a_merged_person_lacks_what_either_half_lacks() -> None:
    world = World(document(viewed=VIEWED))
    world.track("Buy", None, anon="b")
    world.track("Buy")
    world.publish(document(viewed=VIEWED, twice=TWICE), touch=False)
    world.sweep()
    world.identify("1", anon="b")
    assert world.state().swept == 1 and not world.segments()
    world.sweep()
    assert world.state().swept == 2 and world.segments() == ["twice"] and not entered(world)


def test_why_says_that_a_segment_is_building() -> None:
    world = World(document(viewed=VIEWED))
    world.track("Buy")
    world.publish(document(viewed=VIEWED, twice=TWICE), touch=False)
    world.track("Buy")
    told = decide.explain_journey(world.state(), world.plan, "on-twice", world.now, [])
    assert told["reason"] == "building" and "still building" in told["sentence"]
    world.sweep()
    told = decide.explain_journey(world.state(), world.plan, "on-twice", world.now, [])
    assert told["reason"] == "member_before"


def test_marks_are_the_servers_business() -> None:
    document_ = document(viewed=VIEWED) | {"fresh": {"leaves": {"x": "y"}}}
    try:
        decide.compile_plan(document_, 1)
    except decide.PlanErrors as error:
        assert "written by the server" in str(error)
    else:
        raise AssertionError
    assert decide.as_written(document_) == document(viewed=VIEWED)
