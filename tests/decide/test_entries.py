"""Entries by schedule and by the API, and holdouts.  Each test states one rule."""

from datetime import datetime

import pytest

from heliograph.decide.times import to_ms
from tests.decide.driver import DAY, HOUR, MINUTE, T0, World, journey, plan_document
from tests.decide.test_journeys import problems

WEEKLY = {"schedule": "FREQ=WEEKLY;BYDAY=TU;BYHOUR=9"}
DIGEST = journey("digest", entry=WEEKLY)
"""Tuesdays at nine on the person's clock; T0 is a Monday afternoon."""


def world_of(*journeys, segments=None, **more):
    world = World(plan_document(list(journeys), segments, **more))
    world.identify(traits={"email": "ann@shop.example"})
    return world


def at(text):
    return to_ms(datetime.fromisoformat(text))


# -- schedules --


def test_a_schedule_starts_a_run_at_each_occurrence_on_the_persons_clock():
    world = world_of(DIGEST)
    world.identify(traits={"timezone": "America/New_York"})
    world.advance(at("2026-09-22T13:00Z") - world.now - 1)
    assert world.queued() == []
    world.advance(1)
    assert world.deliver() == ["mail"]
    world.advance(7 * DAY)
    assert world.deliver() == ["mail"]
    assert len({data["cause"] for data in world.facts("run_started")}) == 2


def test_a_schedule_on_the_projects_clock_knows_no_other():
    world = world_of(journey("digest", entry={**WEEKLY, "timezone": "project"}))
    world.identify(traits={"timezone": "America/New_York"})
    assert world.state().timers == {"s:digest": at("2026-09-22T08:00Z")}


def test_a_schedule_asks_its_if_at_each_occurrence():
    world = world_of(journey("digest", entry={**WEEKLY, "if": {"trait": {"path": "news", "is": True}}}))
    world.advance(DAY)
    assert [refused["reason"] for refused in world.facts("run_refused")] == ["if_false"]
    world.identify(traits={"news": True})
    world.advance(7 * DAY)
    assert world.queued() == ["mail"]


def test_another_zone_moves_the_next_occurrence():
    world = world_of(DIGEST)
    world.now += 1
    world.track("Hello", context={"timezone": "Asia/Tokyo"})
    assert world.state().timers == {"s:digest": at("2026-09-22T00:00Z")}


def test_a_publish_sets_and_clears_the_timers_of_everybody():
    world = world_of(DIGEST)
    world.publish(plan_document([journey("monthly", entry={"schedule": "FREQ=MONTHLY;BYMONTHDAY=-1;BYHOUR=18"})]))
    assert world.state().timers == {"s:monthly": at("2026-09-30T17:00Z")}
    world.publish(plan_document([journey()]))
    assert world.state().timers == {}


def test_of_the_occurrences_missed_in_an_outage_only_the_latest_starts_a_run_and_only_while_it_is_fresh():
    hourly = journey("hourly", entry={"schedule": "FREQ=HOURLY"}, steps=[{"wait": "PT1M"}])
    world = world_of(hourly)
    world.now += 20 * HOUR
    world.track("Hello")
    assert [refused["reason"] for refused in world.facts("run_refused")] == ["missed"]
    assert len(world.facts("run_started")) == 1
    world = world_of(DIGEST)
    world.now += 3 * DAY
    world.track("Hello")
    assert [refused["reason"] for refused in world.facts("run_refused")] == ["too_late"]
    assert world.state().timers == {"s:digest": at("2026-09-29T08:00Z")}


def test_a_schedule_that_ends_sets_no_more_timers():
    world = world_of(journey("twice", entry={"schedule": "FREQ=DAILY;COUNT=2", "start": "2026-09-22T09:00"}))
    world.advance(9 * DAY)
    assert len(world.facts("run_started")) + len(world.facts("run_refused")) == 2
    assert world.state().timers == {}


@pytest.mark.parametrize(("entry", "path"), [
    ({"schedule": "every monday"}, "entry.schedule"), ({"schedule": 5}, "entry.schedule"),
    ({"schedule": "FREQ=DAILY;COUNT=2"}, "entry.schedule"),
    ({"schedule": "FREQ=DAILY", "start": "2026-02-30"}, "entry.start"),
    ({"schedule": "FREQ=DAILY", "start": "2026-02-03T09:00Z"}, "entry.start"),
    ({"schedule": "FREQ=DAILY", "timezone": "Mars"}, "entry.timezone"),
    ({"schedule": "FREQ=DAILY", "key": "properties.x"}, "entry.key"),
    ({"schedule": "FREQ=DAILY", "event": "A"}, "entry"), ({"event": "A", "start": "2026-02-03"}, "entry.start"),
    ({"api": False}, "entry.api"), ({"api": True, "where": {"properties.x": 1}}, "entry.where"),
    ({"segment": "s", "on_repeat": "restart"}, "entry.on_repeat"),
])  # fmt: skip
def test_an_entry_that_makes_no_sense_is_refused_with_its_place(entry, path):
    document = plan_document([journey(entry=entry)], {"s": {"everyone": True}})
    assert [place for place, _, _ in problems(document)] == [f"journeys.j.{path}"]


# -- the API --

ASKED = journey("asked", entry={"api": True, "key": "properties.cart_id"}, steps=[{"wait": "PT1H"}, {"send": "mail"}])


def test_the_api_starts_a_run_with_the_event_it_gives():
    world = world_of(ASKED)
    world.enter("asked", cart_id="c1")
    world.enter("asked", cart_id="c2")
    assert [run.entry_key for run in world.state().runs.values()] == ["c1", "c2"]
    world.enter("asked", cart_id="c2")
    world.enter("asked")
    assert [refused["reason"] for refused in world.facts("run_refused")] == ["already_active", "no_key"]


def test_the_same_call_starts_one_run():
    world = world_of(ASKED)
    world.enter("asked", cart_id="c1", id="call-1")
    world.advance(2 * HOUR)
    world.deliver()
    world.enter("asked", cart_id="c1", id="call-1")
    assert len(world.facts("run_started")) == 1 and world.facts("run_refused") == []


@pytest.mark.parametrize("name", ["nobody", "j"])
def test_a_journey_that_is_unknown_or_not_for_the_api_is_refused(name):
    world = world_of(ASKED, journey())
    world.enter(name, cart_id="c1")
    assert [(one["journey"], one["reason"]) for one in world.facts("run_refused")] == [(name, "no_api_entry")]


def test_a_call_about_something_long_past_is_too_late():
    world = world_of(ASKED)
    world.enter("asked", cart_id="c1", at=T0 - 2 * HOUR)
    assert [refused["reason"] for refused in world.facts("run_refused")] == ["too_late"]


def test_the_api_may_enter_somebody_unknown_and_somebody_merged():
    world = World(plan_document([ASKED]))
    world.enter("asked", "7", cart_id="c1")
    assert world.runs("u:7") == [("asked", "wait-1")]
    world.alias("8", "7")
    world.enter("asked", "7", cart_id="c2")
    assert world.runs("u:8") == [("asked", "wait-1")] * 2


# -- holdouts --


def held(world, journeys):
    """User -> the journeys that hold them out, by arm."""
    arms = {}
    for user in map(str, range(400)):
        world.track("Start", user)
        for data in world.facts("run_started", f"u:{user}"):
            arms.setdefault(user, {})[data["journey"]] = data["arm"]
    return {user: tuple(arms[user][name] for name in journeys) for user in arms}


def test_a_global_holdout_keeps_the_same_people_out_of_every_journey_that_may_send_marketing():
    world = World(
        plan_document(
            [journey("a"), journey("b", holdout="50%"), journey("receipt", steps=[{"send": "receipt"}])],
            templates={"receipt": {"class": "transactional"}},
            policies={"global_holdout": "20%"},
        )
    )
    arms = held(world, ["a", "b", "receipt"])
    assert {receipt for _, _, receipt in arms.values()} == {"treated"}
    assert {a for a, _, _ in arms.values()} == {"treated", "global_holdout"}
    assert all((a == "global_holdout") == (b == "global_holdout") for a, b, _ in arms.values())
    assert {b for _, b, _ in arms.values()} == {"treated", "holdout", "global_holdout"}
    assert 0.13 < sum(a == "global_holdout" for a, _, _ in arms.values()) / 400 < 0.27


def test_who_is_held_out_is_watched_for_the_goal_also_when_the_run_has_ended():
    goal = {"event": "Bought", "within": "PT1H"}
    world = World(plan_document([journey(holdout="99%", goal=goal, steps=[{"wait": "PT1M"}])]))
    for user in map(str, range(10)):
        world.track("Start", user)
    world.advance(30 * MINUTE)
    for user in map(str, range(10)):
        world.track("Bought", user)
    assert sum(goal["held_out"] for user in range(10) for goal in world.facts("goal", f"u:{user}")) >= 8
    assert sum(len(world.facts("goal", f"u:{user}")) for user in range(10)) == 10
