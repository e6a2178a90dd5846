"""Visitors who never came back are forgotten; whoever can still be reached by a merge, a run or a word is not."""

from heliograph.decide import IDLE_MS
from heliograph.events.record import Expire
from tests.decide.driver import DAY, MINUTE, World, journey, plan_document

VISITORS = {"visited": {"did": {"event": "Visit"}}, "lately": {"did": {"event": "Visit", "within": "P90D"}}}


def world(**parts: object) -> World:
    return World(plan_document(segments=VISITORS, **parts))


def expire(world: World, key: str = "a:x") -> None:
    world.append(key, Expire(IDLE_MS))


def test_an_idle_visitor_leaves_everything_and_is_unknown() -> None:
    w = world()
    w.identify(None, {"email": "ann@shop.example"}, anon="x")
    w.track("Visit", None, anon="x")
    w.put_on_list("a:x", "spring")
    assert w.segments("a:x") == ["lately", "spring", "visited"] and w.next_due()
    w.advance(IDLE_MS)
    expire(w)
    assert "a:x" not in w.blobs and w.segments("a:x") == [] and w.next_due() is None
    assert not w.holders["ann@shop.example"]
    assert [kind for _, kind, _ in w.journal["a:x"]][-1] == "forgotten"


def test_one_who_was_heard_from_within_thirty_days_stays() -> None:
    w = world()
    w.track("Visit", None, anon="x")
    w.advance(IDLE_MS - MINUTE)
    expire(w)
    assert w.segments("a:x") == ["lately", "visited"]


def test_timers_and_sweeps_are_no_sign_of_life_but_an_import_is() -> None:
    w = world()
    w.track("Visit", None, anon="x")
    w.advance(20 * DAY)
    w.publish(plan_document(segments=VISITORS))
    w.track("Visit", None, anon="y", at=w.now - 200 * DAY, context={"historical": True})
    w.advance(10 * DAY)
    expire(w, "a:x")
    expire(w, "a:y")
    assert set(w.blobs) == {"a:y"}


def test_a_key_with_a_run_under_way_stays() -> None:
    w = world(journeys=[journey(steps=[{"wait": "P60D"}])])
    w.track("Start", None, anon="x")
    w.advance(40 * DAY)
    expire(w)
    assert w.runs("a:x") == [("j", "wait-1")]


def test_users_people_known_by_address_and_stubs_stay() -> None:
    w = world()
    w.track("Visit", "1", anon="x")
    w.identify(None, {"email": "ann@shop.example"})
    keys = set(w.blobs)
    w.advance(400 * DAY)
    for key in keys:
        expire(w, key)
    assert set(w.blobs) == keys and w.state("a:x").key == "u:1"


def test_who_comes_back_begins_anew_and_can_be_merged() -> None:
    w = world()
    w.track("Visit", None, anon="x")
    w.advance(IDLE_MS)
    expire(w)
    w.track("Other", None, anon="x")
    assert w.segments("a:x") == []
    w.track("Visit", None, anon="x")
    w.identify("1", anon="x")
    assert w.segments("u:1") == ["lately", "visited"]
