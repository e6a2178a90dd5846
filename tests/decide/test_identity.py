"""Who is who: links, merges, stubs, shared devices, aliases (design, section 4)."""

import pytest

from heliograph.decide import decode_state
from heliograph.events.event import Event
from heliograph.events.identity import email_key
from heliograph.events.record import MAX_HOPS, EventBody, Link, Record
from tests.decide.driver import DAY, HOUR, MINUTE, T0, World, journey, plan_document

CART = {
    "name": "cart",
    "entry": {"event": "Product Added", "key": "properties.cart_id"},
    "exit": [{"event": "Order Completed"}],
    "steps": [{"wait": "PT30M"}, {"send": "reminder"}],
}
BUYERS = {"buyers": {"did": {"event": "Order Completed"}}, "twice": {"did": {"event": "Visit", "at_least": 2}}}


def test_a_cart_filled_before_the_login_is_exited_by_the_order_after_it():
    world = World(plan_document([CART]))
    world.track("Product Added", None, anon="x", cart_id="c1")
    world.identify("1", {"email": "ann@shop.example"}, anon="x")
    world.track("Order Completed")
    world.advance(DAY)
    assert world.messages == {}
    assert world.ended("u:1") == ["exited"]


def test_a_run_begun_before_the_login_goes_on_after_it():
    world = World(plan_document([CART]))
    world.track("Product Added", None, anon="x", cart_id="c1")
    world.advance(10 * MINUTE)
    world.identify("1", {"email": "ann@shop.example"}, anon="x")
    world.advance(20 * MINUTE)
    assert [(message.address, message.created_at) for message in world.messages.values()] == [
        ("ann@shop.example", T0 + 30 * MINUTE)
    ]


def test_conditions_count_what_was_done_before_and_after_the_login():
    world = World(plan_document(segments=BUYERS))
    world.track("Visit", None, anon="x")
    world.track("Visit", "1", anon="x")
    assert world.segments("u:1") == ["twice"]
    assert world.segments("a:x") == []


def test_who_was_a_member_stays_one_since_then_and_enters_nothing_again():
    welcome = journey(entry={"segment": "all"})
    world = World(plan_document([welcome], {"all": {"everyone": True}}))
    world.identify(None, {"email": "ann@shop.example"}, anon="x")
    world.advance(HOUR)
    world.identify("1", {"email": "ann@shop.example"}, anon="x")
    assert world.members == {("all", "u:1"): T0}
    assert len(world.messages) == 1


def test_an_event_with_only_the_anonymous_id_reaches_the_user_after_the_login():
    world = World(plan_document(segments=BUYERS))
    world.identify("1", anon="x")
    world.track("Order Completed", None, anon="x")
    assert world.segments("u:1") == ["buyers"]


def test_a_second_link_of_the_same_device_needs_no_hop():
    world = World()
    world.identify("1", anon="x")
    before = len(world.log)
    world.track("Visit", "1", anon="x")
    assert len(world.log) == before + 1


def test_a_shared_device_moves_no_history_and_follows_the_latest_user():
    world = World(plan_document(segments=BUYERS))
    world.track("Order Completed", None, anon="x")
    world.identify("1", anon="x")
    world.identify("2", anon="x")
    assert world.segments("u:1") == ["buyers"] and world.segments("u:2") == []
    world.track("Visit", None, anon="x")
    world.track("Visit", None, anon="x")
    assert world.segments("u:2") == ["twice"]
    world.identify("1", anon="x")
    world.track("Visit", None, anon="x")
    world.track("Visit", None, anon="x")
    assert world.segments("u:1") == ["buyers", "twice"]


def test_an_alias_merges_two_users():
    world = World(plan_document([CART], BUYERS))
    world.track("Order Completed", "old")
    world.track("Product Added", "old", cart_id="c1")
    world.alias("new", "old")
    assert world.segments("u:new") == ["buyers"]
    assert world.runs("u:new") == [("cart", "wait-1")]
    world.track("Order Completed", "old")
    assert world.runs("u:new") == []


def test_an_alias_takes_an_anonymous_id_too():
    world = World(plan_document(segments=BUYERS))
    world.track("Order Completed", None, anon="x")
    world.alias("1", "x")
    assert world.segments("u:1") == ["buyers"]


def test_two_users_who_are_aliased_to_each_other_become_one():
    world = World(plan_document(segments=BUYERS))
    world.track("Order Completed", "b")
    world.alias("a", "b")
    world.alias("b", "a")
    world.track("Visit", "a")
    world.track("Visit", "b")
    keys = {key for key, blob in world.blobs.items() if not decode_state(blob).forward}
    (survivor,) = {key for key in keys if world.state(key).traits or world.segments(key)}
    assert world.segments(survivor) == ["buyers", "twice"]


def test_keys_that_ask_each_other_at_once_do_not_wait_for_ever():
    world = World(plan_document(segments=BUYERS))
    world.track("Visit", "a")
    world.track("Visit", "b")
    alias_a = Record("u:a", "x1", T0, 1, EventBody(_alias("x1", "a", "b")))
    alias_b = Record("u:b", "x2", T0, 1, EventBody(_alias("x2", "b", "a")))
    world.feed(alias_a, alias_b)
    assert world.segments("u:a") == ["twice"]
    assert world.state("u:b").key == "u:a"
    assert world.state("u:a").pending == [] and world.state("u:a").parked == []


def test_a_known_email_links_a_user_but_never_an_anonymous_visitor():
    address = "ann@shop.example"
    world = World(plan_document(segments=BUYERS))
    world.call("track", "Order Completed", None, context={"traits": {"email": address}})
    world.identify(None, {"email": address}, anon="x")
    assert world.segments("a:x") == []
    world.identify("1", {"email": "Ann@Shop.example "})
    assert world.segments("u:1") == ["buyers"]
    assert world.state(email_key(address)).key == "u:1"


def test_equal_email_never_merges_two_users():
    world = World(plan_document(segments=BUYERS))
    world.track("Order Completed", "1", context={"traits": {"email": "ann@shop.example"}})
    world.identify("2", {"email": "ann@shop.example"})
    assert world.segments("u:2") == []
    assert world.holders == {"ann@shop.example": {"u:1", "u:2"}}


def test_of_two_runs_of_the_same_journey_and_key_the_earlier_stays():
    world = World(plan_document([CART]))
    world.track("Product Added", None, anon="x", cart_id="c1")
    world.advance(MINUTE)
    world.track("Product Added", "1", cart_id="c1")
    world.identify("1", anon="x")
    (run,) = world.state("u:1").runs.values()
    assert run.entered_at == T0
    assert world.ended("u:1") == ["merged"]


def test_the_last_writer_of_each_trait_wins_across_a_merge():
    world = World()
    world.identify("1", {"plan": "old", "city": "Bristol"})
    world.advance(HOUR)
    world.identify(None, {"plan": "new", "name": "Ann"}, anon="x")
    world.advance(HOUR)
    world.track("Visit", "1", anon="x")
    assert world.state("u:1").traits == {"plan": "new", "city": "Bristol", "name": "Ann"}


def test_outcomes_of_mail_that_was_decided_before_the_merge_follow_the_person():
    steps = [{"send": "one"}, {"send": "two"}]
    world = World(plan_document([journey(steps=steps)]))
    world.identify(None, {"email": "ann@shop.example"}, anon="x")
    world.track("Start", None, anon="x")
    world.identify("1", anon="x")
    world.deliver()  # the message still belongs to a:x in the ledger of messages
    assert world.queued() == ["two"]
    assert world.owner[list(world.messages)[-1]] == "u:1"


def test_list_changes_reach_the_survivor():
    world = World(plan_document(segments={"listed": {"in_segment": "spring"}}))
    world.identify("1", anon="x")
    world.put_on_list("a:x", "spring")
    assert world.segments("u:1") == ["listed", "spring"]


def test_a_duplicate_is_known_as_one_after_the_merge():
    world = World(plan_document([CART]))
    world.track("Product Added", None, anon="x", cart_id="c1", id="same")
    world.identify("1", anon="x")
    world.track("Order Completed")
    world.track("Product Added", "1", anon="x", cart_id="c1", id="same")
    assert world.runs("u:1") == []


def test_records_that_arrive_while_a_link_is_asked_wait_and_keep_their_order():
    world = World(plan_document([CART]))
    world.track("Product Added", None, anon="x", cart_id="c1")
    login = _track("l", "Visit", "1", "x")
    order = _track("o", "Order Completed", "1", "x")
    world.feed(*(Record("u:1", event.event_id, T0, 1, EventBody(event)) for event in (login, order)))
    assert world.ended("u:1") == ["exited"]
    assert world.state("u:1").parked == []


def test_a_flood_behind_a_link_is_decided_without_waiting():
    world = World(plan_document(segments=BUYERS))
    world.track("Order Completed", None, anon="x")
    flood = [_track(f"f{n}", "Visit", "1", "x") for n in range(400)]
    world.feed(*(Record("u:1", event.event_id, T0, 1, EventBody(event)) for event in flood))
    assert world.segments("u:1") == ["buyers", "twice"]
    assert world.facts("cut")[0]["what"] == "parked"
    assert len(world.state("u:1").seen) // 8 + len(world.state("u:1").seen_before) // 8 == 401


def test_an_event_too_large_to_park_is_decided_at_once():
    world = World(plan_document(segments=BUYERS))
    world.track("Visit", "1", anon="x", blob="x" * 200_000)
    world.track("Visit", "1", anon="x")
    assert world.segments("u:1") == ["twice"]


def test_a_circle_of_stubs_is_cut_and_the_record_decided():
    world = World(plan_document(segments=BUYERS))
    circle = (("u:a", "u:b"), ("u:b", "u:c"), ("u:c", "u:a"))
    world.feed(*(Record(key, "l" + key, T0, 1, Link(to)) for key, to in circle))
    world.track("Visit", "a")
    world.track("Visit", "a")
    cuts = [data for facts in world.journal.values() for _, kind, data in facts if kind == "cut"]
    assert cuts and cuts[0]["limit"] == MAX_HOPS
    assert sorted(name for name, _ in world.members) == ["twice"]


def test_a_person_has_at_most_64_ids():
    world = World(plan_document(segments=BUYERS))
    for n in range(70):
        world.track("Visit", "1", anon=f"device{n}")
    assert world.state("u:1").links == [f"a:device{n}" for n in range(6, 70)]
    assert world.segments("u:1") == ["twice"]
    assert [cut["key"] for cut in world.facts("cut")] == [f"a:device{n}" for n in range(6)]


def test_the_65th_device_brings_its_history_and_the_first_is_still_heard():
    world = World(plan_document(segments=BUYERS))
    for n in range(64):
        world.identify("1", anon=f"device{n}")
    world.track("Visit", None, anon="new")
    world.identify("1", {"email": "ann@example.com"}, anon="new")
    assert world.segments("u:1") == []
    world.track("Visit", None, anon="device0")
    assert world.segments("u:1") == ["twice"], "what the new device did, and what the one that was let go does now"
    world.identify("1", anon="device0")
    world.identify("1", {"email": "ann@example.com"}, anon="device1")
    assert world.segments("u:1") == ["twice"] and len(world.state("u:1").links) == 64
    assert "a:device1" in world.state("u:1").links and not world.state("u:1").parked


def test_the_answer_to_a_link_is_derived_from_the_record_that_caused_it():
    def ids():
        world = World()
        world.track("Visit", None, anon="x")
        world.identify("1", anon="x")
        return [(record.key, record.id, record.received_at) for record in world.log]

    first = ids()
    assert first == ids()
    assert len({record_id for _, record_id, _ in first}) == len(first)
    assert all(received_at == T0 for *_, received_at in first)


def test_traits_past_the_bound_leave_one_fact_a_call_not_one_for_each() -> None:
    """A flood of names is cut and said once: it must not fill the journal."""
    world = World()
    for number in range(2):
        world.identify("1", {f"trait_{number}_{n}": n for n in range(900)})
    cuts = [data for _, kind, data in world.journal["u:1"] if kind == "cut"]
    assert [(cut["what"], cut["limit"]) for cut in cuts] == [("traits", 1000)]


def _track(event_id, name, user, anon):
    return _event(event_id, "track", name, user_id=user, anonymous_id=anon)


def _alias(event_id, user, previous):
    return _event(event_id, "alias", "", user_id=user, previous_id=previous)


def _event(event_id, type, name, **ids):
    return Event(event_id, type, name, T0, **ids)


@pytest.mark.parametrize("salt", range(8))
def test_calls_of_one_millisecond_that_happened_on_arrival_count_in_their_order(salt: int) -> None:
    """As in a batch without timestamps: whatever their ids hash to."""
    world = World()
    for number in range(4):
        world.identify(traits={"plan": number}, id=f"{salt}.{number}")
    assert world.state().traits["plan"] == 3
