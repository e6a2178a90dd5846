"""Journeys as people use them: what starts, moves and ends a run.  Each test states one rule."""

import pytest

from heliograph.decide import render_context
from heliograph.decide.state import Refused
from tests.decide.driver import DAY, HOUR, MINUTE, T0, World, journey, plan_document

CART = {
    "name": "cart",
    "topic": "offers",
    "entry": {
        "event": "Product Added",
        "where": {"properties.price": {"gt": 0}},
        "key": "properties.cart_id",
        "on_repeat": "restart",
    },
    "exit": [{"event": "Order Completed"}],
    "goal": {"event": "Order Completed", "within": "P3D", "value": "properties.total"},
    "steps": [{"wait": "PT30M"}, {"send": "reminder"}],
}
TRUSTED = {"offers": "assumed"}


def shop(*journeys, segments=None, **more):
    world = World(plan_document(list(journeys), segments, topics=TRUSTED, **more))
    world.identify(traits={"email": "ann@shop.example"})
    return world


# -- the cart --


def test_the_reminder_goes_out_when_the_wait_is_over_and_not_before():
    world = shop(CART)
    world.track("Product Added", price=5, cart_id="c1")
    world.advance(30 * MINUTE - 1)
    assert world.queued() == []
    world.advance(1)
    assert world.queued() == ["reminder"]
    assert next(iter(world.messages.values())).created_at == T0 + 30 * MINUTE


def test_an_order_during_the_wait_ends_the_run_and_no_mail_goes_out():
    world = shop(CART)
    world.track("Product Added", price=5, cart_id="c1")
    world.track("Order Completed", total=5)
    world.advance(DAY)
    assert world.messages == {}
    assert world.ended() == ["exited"]


def test_an_order_while_the_mail_is_queued_cancels_it():
    world = shop(CART)
    world.track("Product Added", price=5, cart_id="c1")
    world.advance(30 * MINUTE)
    world.track("Order Completed")
    assert list(world.status.values()) == ["cancelled"]


def test_two_carts_are_two_runs():
    world = shop(CART)
    for cart in ("c1", "c2"):
        world.track("Product Added", price=5, cart_id=cart)
    world.advance(HOUR)
    assert world.queued() == ["reminder", "reminder"]


def test_adding_again_restarts_the_wait():
    world = shop(CART)
    world.track("Product Added", price=5, cart_id="c1")
    world.advance(20 * MINUTE)
    world.track("Product Added", price=7, cart_id="c1")
    world.advance(20 * MINUTE)
    assert world.queued() == []
    world.advance(10 * MINUTE)
    assert world.queued() == ["reminder"]
    assert world.ended() == ["restarted"]


def test_restarting_cancels_the_mail_of_the_run_before():
    world = shop(CART)
    world.track("Product Added", price=5, cart_id="c1")
    world.advance(30 * MINUTE)
    world.track("Product Added", price=7, cart_id="c1")
    world.advance(30 * MINUTE)
    assert list(world.status.values()) == ["cancelled", "queued"]


def test_a_goal_marks_the_run_with_its_value_before_the_exit_ends_it():
    world = shop(CART)
    world.track("Product Added", price=5, cart_id="c1")
    world.track("Order Completed", total=12.5)
    assert [goal["value"] for goal in world.facts("goal")] == [12.5]


def test_a_goal_counts_after_the_run_has_ended_but_not_after_its_window():
    for late, counted in ((3 * DAY, 1), (3 * DAY + 1, 0)):
        world = shop(CART)
        world.track("Product Added", price=5, cart_id="c1")
        world.advance(30 * MINUTE)
        world.deliver()
        world.advance(late - 30 * MINUTE)
        world.track("Order Completed", total=1)
        assert len(world.facts("goal")) == counted


# -- entries --


def test_a_where_that_fails_starts_nothing():
    world = shop(CART)
    world.track("Product Added", price=0, cart_id="c1")
    assert world.runs() == []


@pytest.mark.parametrize("cart", [None, "", True, ["c1"], {}])
def test_a_missing_key_is_a_refusal(cart):
    world = shop(CART)
    world.track("Product Added", price=5, cart_id=cart)
    assert world.facts("run_refused")[0]["reason"] == "no_key"


def test_the_key_is_compared_as_text():
    world = shop(CART | {"entry": CART["entry"] | {"on_repeat": "ignore"}})
    for cart in (7, 7.0, "7"):
        world.track("Product Added", price=5, cart_id=cart)
    assert len(world.runs()) == 1


def test_a_repeat_is_ignored_while_the_run_is_active():
    world = shop(journey(steps=[{"wait": "P1D"}]))
    world.track("Start")
    world.advance(HOUR)
    world.track("Start")
    assert [refused["reason"] for refused in world.facts("run_refused")] == ["already_active"]


def test_a_repeat_may_update_the_event_in_the_same_place():
    entry = {"event": "Start", "on_repeat": "update"}
    world = shop(journey(entry=entry, steps=[{"wait": "P1D"}, {"send": "mail"}]))
    world.track("Start", n=1)
    world.advance(20 * HOUR)
    world.track("Start", n=2)
    world.advance(4 * HOUR)
    (message,) = world.messages.values()
    context = render_context(world.state(), world.plan, message.run_id, world.now)
    assert context["event"]["properties"] == {"n": 2}


def test_the_condition_of_an_entry_sees_the_person_after_the_event():
    condition = {"did": {"event": "Start", "at_least": 2}}
    world = shop(journey(entry={"event": "Start", "if": condition}, steps=[{"wait": "P1D"}]))
    world.track("Start")
    assert world.facts("run_refused")[0]["reason"] == "if_false"
    world.track("Start")
    assert len(world.runs()) == 1


@pytest.mark.parametrize(("rule", "later", "runs"), [
    ("always", 0, 2), ("never", 365 * DAY, 1), ({"after": "P1D"}, DAY - 1, 1), ({"after": "P1D"}, DAY, 2),
])  # fmt: skip
def test_reentry_counts_from_the_last_entry(rule, later, runs):
    world = shop(journey(entry={"event": "Start", "reentry": rule}, steps=[{"exit": True}]))
    world.track("Start")
    world.advance(later)
    world.track("Start")
    assert len(world.facts("run_started")) == runs


def test_a_segment_starts_a_run_in_the_instant_it_turns_true():
    idle = {"all": [{"did": {"event": "Visit"}}, {"not": {"did": {"event": "Visit", "within": "P30D"}}}]}
    world = shop(journey(entry={"segment": "idle"}), segments={"idle": idle})
    world.track("Visit")
    world.advance(30 * DAY - 1)
    assert world.messages == {}
    world.advance(1)
    (message,) = world.messages.values()
    assert message.created_at == T0 + 30 * DAY


def test_leaving_a_segment_is_an_event_like_any():
    idle = {"all": [{"did": {"event": "Visit"}}, {"not": {"did": {"event": "Visit", "within": "P30D"}}}]}
    back = journey(entry={"event": "Segment Left", "where": {"properties.segment": "idle"}})
    world = shop(back, segments={"idle": idle})
    world.track("Visit")
    world.advance(31 * DAY)
    assert world.messages == {}
    world.track("Visit")
    assert world.queued() == ["mail"]


def test_entries_go_by_priority_then_name():
    names = [("b", 1), ("a", 1), ("c", 9)]
    world = shop(*(journey(name, priority=priority) for name, priority in names))
    world.track("Start")
    assert [started["journey"] for started in world.facts("run_started")] == ["c", "a", "b"]


def test_a_held_out_person_gets_no_mail_and_is_watched_for_the_goal():
    goal = {"event": "Order Completed", "within": "P3D"}
    world = shop(journey(holdout="99.999%", goal=goal))
    world.track("Start")
    world.advance(DAY)
    world.track("Order Completed")
    assert world.messages == {}
    assert world.facts("goal")[0]["held_out"] is True
    assert world.runs() == [("j", "")]
    world.advance(2 * DAY)
    assert world.ended() == ["held_out"]


def test_the_holdout_of_many_people_is_its_share():
    world = World(plan_document([journey(holdout="20%", goal={"event": "Order", "within": "P1D"})]))
    for n in range(500):
        world.track("Start", f"p{n}")
    held = sum(world.facts("run_started", f"u:p{n}")[0]["arm"] == "holdout" for n in range(500))
    assert 70 <= held <= 130


# -- exits --


def test_match_ends_only_the_run_with_the_same_value():
    exits = [{"event": "Order Cancelled", "match": {"event": "properties.order", "entry": "properties.order_id"}}]
    world = shop(journey(entry={"event": "Start", "key": "properties.order_id"}, exit=exits, steps=[{"wait": "P1D"}]))
    world.track("Start", order_id="o1")
    world.track("Start", order_id="o2")
    world.track("Order Cancelled", order="o2")
    world.track("Order Cancelled")
    assert [run.entry_key for run in world.state().runs.values()] == ["o1"]


def test_the_entry_event_does_not_exit_or_convert_the_run_it_starts():
    world = shop(journey(exit=[{"event": "Start"}], goal={"event": "Start", "within": "P1D"}, steps=[{"wait": "P1D"}]))
    world.track("Start")
    assert len(world.runs()) == 1 and world.facts("goal") == []
    world.track("Start")
    assert world.ended() == ["exited"] and len(world.facts("goal")) == 1


def test_an_exit_condition_ends_the_run_at_the_instant_it_turns_true():
    quiet = {"not": {"did": {"event": "Visit", "within": "PT1H"}}}
    world = shop(journey(exit=[{"if": quiet}], steps=[{"wait": "P1D"}]))
    world.track("Visit")
    world.track("Start")
    world.advance(2 * HOUR)
    assert [(run.reason, run.ended_at) for run in world.state().ended] == [("exited", T0 + HOUR)]


def test_an_exit_condition_that_holds_at_the_entry_ends_the_run_before_its_next_step():
    world = shop(
        journey(exit=[{"if": {"trait": {"path": "vip", "is": True}}}], steps=[{"wait": "P1D"}, {"send": "mail"}])
    )
    world.identify(traits={"vip": True})
    world.track("Start")
    assert len(world.runs()) == 1
    world.advance(DAY)
    assert world.messages == {} and world.ended() == ["exited"]


# -- steps --


def test_the_next_wait_counts_from_the_outcome_of_the_mail():
    world = shop(journey(steps=[{"send": "one"}, {"wait": "PT1H"}, {"send": "two"}]))
    world.track("Start")
    world.advance(10 * MINUTE)
    world.deliver()
    world.advance(HOUR - 1)
    assert world.queued() == []
    world.advance(1)
    assert world.queued() == ["two"]


def test_a_wait_may_count_from_the_event():
    world = shop(journey(steps=[{"send": "one"}, {"wait": {"for": "PT1H", "from": "event"}}, {"send": "two"}]))
    world.track("Start", at=T0 - 20 * MINUTE)
    world.deliver()
    world.advance(40 * MINUTE)
    assert world.queued() == ["two"]


def test_wall_clock_waits_follow_the_zone_of_the_person():
    step = {"wait": {"until": {"time": "09:00", "days": ["tue"]}}}
    for traits, context, hour in (
        ({"timezone": "America/New_York"}, {}, 13),
        ({}, {"timezone": "Asia/Tokyo"}, 0),
        ({"timezone": "Mars/Base"}, {}, 8),
    ):
        world = shop(journey(steps=[step, {"send": "mail"}]))
        world.identify(traits=traits)
        world.track("Start", context=context)
        world.advance(3 * DAY)
        (message,) = world.messages.values()
        midnight = T0 - T0 % DAY + DAY
        assert message.created_at == midnight + hour * HOUR


def test_wait_until_takes_the_first_path_that_happens():
    paths = [
        {"event": "Reply", "where": {"properties.ok": True}, "then": [{"send": "yes"}]},
        {"if": {"trait": {"path": "no", "is": True}}, "then": [{"send": "no"}]},
    ]
    step = {"wait_until": {"any": paths, "timeout": "P1D", "else": [{"send": "silence"}]}}
    replied = shop(journey(steps=[step, {"send": "end"}]))
    replied.track("Start")
    replied.track("Reply", ok=False)
    replied.track("Reply", ok=True)
    assert replied.deliver() == ["yes"] and replied.queued() == ["end"]
    said_no = shop(journey(steps=[step]))
    said_no.track("Start")
    said_no.identify(traits={"no": True})
    assert said_no.queued() == ["no"]
    silent = shop(journey(steps=[step]))
    silent.track("Start")
    silent.advance(DAY)
    assert silent.queued() == ["silence"]


def test_wait_until_with_a_condition_that_holds_already_goes_on_at_once():
    step = {"wait_until": {"any": [{"if": {"everyone": True}}], "else": "exit"}}
    world = shop(journey(steps=[step, {"send": "mail"}]))
    world.track("Start")
    assert world.queued() == ["mail"]


def test_wait_until_goes_on_when_time_alone_turns_its_condition():
    quiet = {"not": {"did": {"event": "Start", "within": "PT1H"}}}
    world = shop(journey(steps=[{"wait_until": {"any": [{"if": quiet}]}}, {"send": "mail"}]))
    world.track("Start")
    world.advance(HOUR)
    assert world.queued() == ["mail"]


def test_the_event_that_starts_a_run_does_not_resume_it():
    world = shop(journey(steps=[{"wait_until": {"any": [{"event": "Start"}]}}, {"send": "mail"}]))
    world.track("Start")
    assert world.queued() == []
    world.track("Start")
    assert world.queued() == ["mail"]


def test_a_click_means_a_click_in_the_last_mail_of_this_run_unless_said_otherwise():
    def clicked_first(message):
        path = {"event": "Email Clicked", "then": [{"send": "thanks"}], **message}
        steps = [{"send": "one"}, {"send": "two"}, {"wait_until": {"any": [path]}}]
        world = shop(journey(steps=steps))
        world.track("Start")
        world.deliver()
        world.deliver()
        world.outcome(next(iter(world.messages)), "clicked")
        return world.queued()

    assert clicked_first({}) == []
    assert clicked_first({"message": "any"}) == ["thanks"]
    assert clicked_first({"message": "send-one"}) == ["thanks"]
    assert clicked_first({"message": "send-two"}) == []


def test_machine_clicks_neither_resume_nor_count():
    segments = {"clickers": {"did": {"event": "Email Clicked"}}}
    steps = [{"send": "one"}, {"wait_until": {"any": [{"event": "Email Clicked"}]}}, {"send": "thanks"}]
    world = shop(journey(steps=steps), segments=segments)
    world.track("Start")
    world.deliver()
    world.outcome(next(iter(world.messages)), "clicked", machine=True)
    assert world.queued() == [] and world.segments() == []
    world.outcome(next(iter(world.messages)), "clicked")
    assert world.queued() == ["thanks"] and world.segments() == ["clickers"]


def test_a_branch_takes_the_first_true_arm_else_goes_on():
    arms = [
        {"if": {"trait": {"path": "tier", "is": "gold"}}, "then": [{"send": "gold"}]},
        {"if": {"trait": {"path": "tier", "is": "none"}}, "then": "exit"},
        {"else": [{"send": "other"}]},
    ]
    for tier, sent in (("gold", ["gold"]), ("none", []), ("silver", ["other"])):
        world = shop(journey(steps=[{"branch": arms}]))
        world.identify(traits={"tier": tier})
        world.track("Start")
        assert world.queued() == sent


@pytest.mark.parametrize(("kind", "goes"), [
    ("sent", "next"), ("unknown", "next"), ("cancelled", "next"),
    ("skipped", "failed"), ("bounced", "failed"), ("expired", "failed"),
])  # fmt: skip
def test_the_first_outcome_ends_the_parking_and_failures_have_their_own_target(kind, goes):
    world = shop(journey(steps=[{"send": "one", "on_failure": [{"send": "failed"}, {"exit": True}]}, {"send": "next"}]))
    world.track("Start")
    (message,) = world.messages
    world.outcome(message, kind)
    world.outcome(message, "bounced")
    assert world.queued() == [goes]


def test_mail_outcomes_are_events_for_conditions():
    world = shop(journey(), segments={"bouncers": {"did": {"event": "Email Bounced"}}})
    world.track("Start")
    world.outcome(next(iter(world.messages)), "bounced")
    assert world.segments() == ["bouncers"]


def test_a_message_has_the_freshness_of_its_template():
    world = shop(journey(), templates={"mail": {"freshness_ms": 5000}})
    world.track("Start")
    assert next(iter(world.messages.values())).not_after == T0 + 5000


def test_a_run_that_never_parks_is_cut():
    branch = {"branch": [{"if": {"everyone": True}, "then": "continue"}]}
    world = shop(journey(steps=[branch] * 70))
    world.track("Start")
    assert world.ended() == ["loop_cut"]


# -- time --


def test_an_event_older_than_act_within_starts_and_resumes_nothing_but_updates_and_exits():
    steps = [{"wait_until": {"any": [{"event": "Reply"}]}}]
    other = journey("other", entry={"event": "Reply"})
    world = shop(journey(steps=steps), other, CART, segments={"replied": {"did": {"event": "Reply"}}})
    world.track("Start")
    world.track("Product Added", price=5, cart_id="c")
    world.track("Reply", at=T0 - HOUR - 1)
    world.track("Order Completed", at=T0 - HOUR - 1)
    assert world.runs() == [("j", "wait_until-1")]
    assert [refused["reason"] for refused in world.facts("run_refused")] == ["too_late"]
    assert world.segments() == ["replied"]


def test_an_event_older_than_the_lateness_goes_to_history_only():
    world = shop(segments={"buyers": {"did": {"event": "Order Completed"}}})
    world.track("Order Completed", at=T0 - 3 * DAY - 1)
    assert world.segments() == []
    assert world.facts("late")[0]["why"] == "history_only"


def test_imported_events_update_conditions_whatever_their_age_and_trigger_nothing():
    welcome = journey("welcome", entry={"segment": "buyers"})
    world = shop(journey(), welcome, CART, segments={"buyers": {"did": {"event": "Order Completed"}}})
    world.track("Product Added", price=5, cart_id="c")
    imported = {"historical": True}
    world.track("Order Completed", at=T0 - 400 * DAY, context=imported)
    world.track("Start", context=imported)
    assert world.segments() == ["buyers"]
    assert world.runs() == [("cart", "wait-1")]
    assert world.messages == {}


def test_timers_that_flip_after_an_import_act():
    lapsed = {"all": [{"did": {"event": "Order"}}, {"not": {"did": {"event": "Order", "within": "P30D"}}}]}
    world = shop(journey(entry={"segment": "lapsed"}), segments={"lapsed": lapsed})
    world.track("Order", at=T0 - 29 * DAY, context={"historical": True})
    world.advance(DAY)
    assert world.queued() == ["mail"]


def test_timers_due_fire_before_the_record_each_at_its_own_instant():
    world = shop(CART)
    world.track("Product Added", price=5, cart_id="c1")
    world.now += 2 * HOUR  # nobody was awake
    world.track("Order Completed")
    (message,) = world.messages.values()
    assert message.created_at == T0 + 30 * MINUTE
    assert list(world.status.values()) == ["cancelled"]


def test_a_duplicate_does_nothing():
    world = shop(CART)
    world.track("Product Added", id="same", price=5, cart_id="c1")
    before = world.blobs["u:1"]
    world.track("Product Added", id="same", price=5, cart_id="c1")
    assert world.blobs["u:1"] == before


def test_an_active_run_is_never_thrown_out_a_new_entry_is_refused():
    world = shop(journey(entry={"event": "Start", "key": "properties.n"}, steps=[{"wait": "P1D"}]))
    for n in range(257):
        world.track("Start", n=n)
    assert len(world.runs()) == 256
    assert world.facts("run_refused")[0]["reason"] == "state_full"


# -- a new plan --


def test_a_new_segment_takes_its_members_in_silence():
    welcome = journey(entry={"segment": "buyers"})
    buyers = {"buyers": {"did": {"event": "Order"}}, "known": {"did": {"event": "Order"}}}
    world = shop(segments={"known": {"did": {"event": "Order"}}})
    world.track("Order")
    world.publish(plan_document([welcome], buyers))
    assert world.segments() == ["buyers", "known"]
    assert world.messages == {}


def test_somebody_who_comes_after_the_publish_enters():
    everyone = journey(entry={"segment": "everybody"})
    world = shop(everyone, segments={"everybody": {"everyone": True}})
    assert world.queued() == ["mail"]


def test_a_removed_segment_leaves_the_index_and_its_timer():
    world = shop(segments={"recent": {"did": {"event": "Order", "within": "P1D"}}})
    world.track("Order")
    world.publish(plan_document())
    assert world.segments() == [] and world.state().timers == {}


def test_an_unchanged_condition_keeps_its_state_under_another_name():
    world = shop(segments={"a": {"did": {"event": "Order"}}})
    world.track("Order")
    world.publish(plan_document(segments={"b": {"did": {"event": "Order"}}}))
    assert world.segments() == ["b"]


def test_a_publish_that_is_taken_back_finds_the_condition_states_as_they_were():
    document = plan_document(segments={"a": {"did": {"event": "Order"}}})
    world = World(document)
    world.track("Order")
    world.publish(plan_document())
    world.publish(document)
    assert world.segments() == ["a"]


def test_a_flip_that_was_due_before_the_publish_still_acts_when_the_segment_is_the_same():
    idle = {"idle": {"all": [{"did": {"event": "V"}}, {"not": {"did": {"event": "V", "within": "P1D"}}}]}}
    document = plan_document([journey(entry={"segment": "idle"})], idle)
    world = World(document)
    world.identify(traits={"email": "a@b.example"})
    world.track("V")
    world.now += 2 * DAY
    world.publish({**document, "templates": {"mail": {**document["templates"]["mail"], "version": "v2"}}})
    assert world.queued() == ["mail"]


def test_waiting_runs_keep_the_version_they_started_in():
    old = journey(steps=[{"wait": "P1D"}, {"send": "old"}])
    new = journey(steps=[{"wait": "P1D"}, {"send": "new"}])
    world = shop(old)
    world.track("Start")
    document = plan_document([new], templates={"old": {}}, topics=TRUSTED)
    document["pinned"] = {f"j@{world.plan.journeys['j'].version}": old}
    world.publish(document)
    world.advance(DAY)
    assert world.queued() == ["old"]


def test_runs_of_a_version_that_is_gone_end():
    world = shop(journey(steps=[{"wait": "P1D"}]))
    world.track("Start")
    world.publish(plan_document())
    assert world.ended() == ["journey_removed"]


def test_a_condition_that_goes_on_failing_in_one_leaf_is_told_once():
    condition = {"all": [{"trait": {"path": "email", "exists": True}}, {"trait": {"path": "staff", "is_not": True}}]}
    one = journey(entry={"event": "Start", "if": condition}, steps=[{"wait": "P1D"}])
    world = World(plan_document([one]))
    told = lambda: [fact["condition"] for fact in world.facts("run_refused")]  # noqa: E731
    for _ in range(3):
        world.track("Start")
        world.advance(HOUR)
    assert told() == ["email exists"]
    assert world.state().refused == {"j": Refused(world.now - HOUR, 0)}
    world.identify(traits={"email": "ann@shop.example", "staff": True})
    world.track("Start")
    world.track("Start")
    assert told() == ["email exists", "staff is not true"]
    world.advance(MINUTE)
    world.identify(traits={"email": "ann@shop.example", "staff": False})
    world.track("Start")
    assert len(world.runs()) == 1
    assert world.state().refused == {}
