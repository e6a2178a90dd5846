"""Steps: what each of them does to a run.  Each test states one rule."""

import json
from datetime import datetime

import pytest

from heliograph.decide import compile_plan, render_context
from heliograph.decide.times import to_ms
from heliograph.events.record import Expire
from tests.decide.driver import DAY, HOUR, MINUTE, SECOND, T0, World, journey, plan_document
from tests.decide.test_journeys import problems, warnings


def shop(*journeys, segments=None, **more):
    world = World(plan_document(list(journeys), segments, **more))
    world.identify(traits={"email": "ann@shop.example"})
    return world


def walk(*steps, **traits):
    """Somebody with these traits starts a journey of these steps."""
    world = shop(journey(steps=list(steps)))
    if traits:
        world.identify(traits=traits)
    world.track("Start", total=5, cart={"id": "c1"})
    return world


def steps_of(world, *what):
    return [fact for fact in world.facts("run_step") if fact["what"] in what]


# -- goto --


def test_a_goto_leads_to_a_step_ahead_or_behind_and_is_no_step_itself():
    again = {"branch": [{"if": {"trait": {"path": "more", "is": True}}, "then": {"goto": "again"}}]}
    world = walk({"goto": "again"}, {"exit": True}, {"wait": "PT1H", "id": "again"}, {"send": "mail"}, again, more=True)
    assert world.runs() == [("j", "again")]
    assert "goto-1" not in world.plan.journeys["j"].index
    for visit in range(3):
        world.advance(HOUR)
        assert len(world.messages) == visit + 1
        world.deliver()
    assert len({message.message_id for message in world.messages.values()}) == 3
    world.identify(traits={"more": False})
    world.advance(HOUR)
    world.deliver()
    assert world.ended() == ["finished"]


def test_mail_of_earlier_rounds_is_still_the_runs_own():
    paths = [{"event": "Email Clicked", "message": "any", "then": "exit"}]
    steps = [{"send": "mail", "id": "m"}, {"wait_until": {"any": paths, "timeout": "P1D"}}, {"goto": "m"}]
    for ended in (False, True):
        world = shop(journey(steps=steps, exit=[{"event": "Stop"}]))
        world.track("Start")
        for _ in range(3):
            world.deliver()
            world.advance(DAY)
        world.deliver()
        first, *_ = world.messages
        if ended:
            world.track("Stop")
        world.outcome(first, "clicked")
        fact = world.facts("message_outcome")[-1]
        assert (fact["journey"], fact["step_id"], fact["kind"]) == ("j", "m", "clicked")
        assert world.ended() == ["exited"]


def test_what_was_old_when_a_mail_was_rendered_is_said_where_it_is_said_to_be_sent():
    world = walk({"send": "mail"})
    (message_id,) = world.messages
    world.outcome(message_id, "sent", properties={"stale": {"profile": 12.3}})
    world.outcome(message_id, "opened")
    assert [fact.get("stale") for fact in world.facts("message_outcome")] == [{"profile": 12.3}, None]


def test_a_goto_to_a_goto_goes_where_that_one_leads():
    world = walk({"goto": "b"}, {"goto": "c", "id": "b"}, {"exit": True}, {"wait": "PT1H", "id": "c"})
    assert world.runs() == [("j", "c")]


@pytest.mark.parametrize(("steps", "path", "hint"), [
    ([{"goto": "frist"}, {"wait": "PT1H", "id": "first"}], "steps.0.goto", "first"),
    ([{"wait": "PT1H"}, {"send": "mail", "on_failure": {"goto": "wait-2"}}], "steps.1.on_failure.goto", "wait-1"),
])  # fmt: skip
def test_an_unknown_id_is_answered_with_the_nearest(steps, path, hint):
    found = problems(plan_document([journey(steps=steps)]))
    assert [(at, near) for at, _, near in found] == [(f"journeys.j.{path}", hint)]


VIP = {"trait": {"path": "vip", "is": True}}


@pytest.mark.parametrize("steps", [
    [{"goto": "goto-1"}],
    [{"goto": "b", "id": "a"}, {"goto": "a", "id": "b"}],
    [{"branch": [{"if": VIP, "then": {"goto": "back"}}], "id": "back"}],
    [{"split": {"arms": {"a": {"weight": 1, "then": {"goto": "split-1"}}, "b": {"weight": 1}}}}],
])  # fmt: skip
def test_a_loop_that_never_waits_is_refused(steps):
    (problem,) = problems(plan_document([journey(steps=steps)]))
    assert "never waits" in problem[1]


def test_a_loop_is_shown_where_it_begins_and_not_on_the_way_to_it():
    arm = {"if": VIP, "then": {"goto": "back"}}
    steps = [{"branch": [arm], "id": "lead"}, {"branch": [arm], "id": "back"}]
    ((path, _, _),) = problems(plan_document([journey(steps=steps)]))
    assert path == "journeys.j.steps.1"


def test_check_warns_of_loops_that_mail_again_and_of_those_that_wait_for_nothing():
    again = [{"wait": "P1D", "id": "a"}, {"send": "mail"}, {"goto": "a"}]
    assert warnings(journey(steps=again)) == ["this `send` is in a loop: it mails again each time round"]
    quick = [{"update": {"traits": {"n": 1}}, "id": "a"}, {"branch": [{"if": VIP, "then": {"goto": "a"}}]}]
    assert warnings(journey(steps=quick)) == ["this loop waits for nothing: a run that goes round it at once is cut"]
    assert warnings(journey(steps=[{"wait": "P1D", "id": "a"}, {"goto": "a"}])) == []
    for step in ({"wait": "PT30S"}, {"webhook": {"url": "https://a.test"}}):
        said = "this loop may take less than a minute each time round: let it wait longer"
        assert warnings(journey(steps=[{**step, "id": "a"}, {"goto": "a"}])) == [said]
        assert warnings(journey(steps=[{**step, "id": "a"}, {"wait": "PT1M"}, {"goto": "a"}])) == []


@pytest.mark.parametrize("pause", [
    [],
    [{"wait": "PT10S"}],
    [{"webhook": {"url": "https://a.test"}}],
    [{"window": {"from": "09:00", "to": "20:00"}}],
    [{"wait": {"date": "renewal_at", "else": "continue"}}],
    [{"branch": [{"if": VIP, "then": [{"send": "mail"}]}]}],
])  # fmt: skip
def test_a_loop_that_mails_without_a_pause_is_refused(pause):
    steps = [{"send": "mail", "id": "a"}, *pause, {"goto": "a"}]
    ((_, said, _),) = problems(plan_document([journey(steps=steps)]))
    assert said == "this loop mails without a pause: put a `wait` of a minute or more into it"
    assert warnings(journey(steps=[*steps[:-1], {"wait": "PT1M"}, {"goto": "a"}]))[0].startswith(
        "this `send` is in a loop"
    )


def test_a_run_that_floods_somebody_all_the_same_is_cut():
    """Its `if` is true each time that it comes round: nothing but the run itself can know that."""
    steps = [{"send": "mail", "id": "a"}, {"wait_until": {"any": [{"if": {"everyone": True}, "then": {"goto": "a"}}]}}]
    world = walk(*steps)
    for _ in range(30):
        world.deliver()
    assert len(world.messages) == 20
    assert world.ended() == ["loop_cut"]
    assert [(cut["what"], cut["limit"]) for cut in world.facts("cut")] == [("mails", 20)]


def test_a_loop_that_rests_is_never_cut():
    world = walk({"send": "mail", "id": "a"}, {"wait": "PT1M"}, {"goto": "a"})
    for _ in range(50):
        world.deliver()
        world.advance(MINUTE)
    assert len(world.messages) == 51
    assert world.ended() == []


def test_a_loop_of_updates_is_cut_when_it_never_waits():
    world = walk({"update": {"traits": {"n": 1}}, "id": "a"}, {"goto": "a"})
    assert world.ended() == ["loop_cut"]
    assert [(cut["what"], cut["limit"]) for cut in world.facts("cut")][-1] == ("steps", 64)


def test_a_loop_of_short_waits_makes_up_for_an_outage_only_so_far():
    world = walk({"wait": "PT0.5S", "id": "a"}, {"goto": "a"})
    world.now += 20 * DAY
    world.track("Hello")
    assert [(cut["what"], cut["limit"]) for cut in world.facts("cut")] == [("timers", 10_000)]
    assert world.runs() == [("j", "a")]
    assert world.state().next_due == world.now + 500


# -- split --

ARMS = {
    "plain": {"weight": 50, "then": [{"wait": "P1D", "id": "p"}]},
    "gift": {"weight": 50, "then": [{"wait": "P1D", "id": "g"}]},
}


def test_an_arm_is_kept_whatever_becomes_of_the_weights():
    steps = [{"split": {"arms": ARMS}}, {"wait": "P1D"}]
    world = World(plan_document([journey(steps=steps)]))
    for user in map(str, range(60)):
        world.track("Start", user)
    arms = {user: steps_of_user(world, user) for user in map(str, range(60))}
    assert {"plain", "gift"} == set(arms.values())
    other = World(plan_document([journey(steps=steps)]))
    for user in reversed(arms):
        other.track("Start", user)
        assert steps_of_user(other, user) == arms[user], "whoever came before"


def steps_of_user(world, user):
    return next(fact["arm"] for fact in world.facts("run_step", f"u:{user}") if fact["what"] == "split")


def test_arms_and_made_up_ids_do_not_depend_on_the_order_in_which_arms_stand():
    """A document loses the order of its keys on its way through the store."""
    waits = {name: {"weight": 50, "then": [{"wait": "P1D"}]} for name in ("plain", "gift")}
    worlds = []
    for arms in (waits, dict(reversed(waits.items()))):
        worlds.append(world := World(plan_document([journey(steps=[{"split": {"arms": arms}}])])))
        for user in map(str, range(30)):
            world.track("Start", user)
    one, other = worlds
    assert one.plan.journeys["j"].version == other.plan.journeys["j"].version
    for user in map(str, range(30)):
        assert steps_of_user(one, user) == steps_of_user(other, user)
        assert one.facts("run_step", f"u:{user}") == other.facts("run_step", f"u:{user}")


def test_a_second_visit_takes_the_arm_of_the_first():
    split = {"split": {"arms": {f"a{n}": {"weight": 1} for n in range(20)}}, "id": "s"}
    world = walk(split, {"wait": "PT1H"}, {"goto": "s"})
    world.advance(5 * HOUR)
    assert len({fact["arm"] for fact in steps_of(world, "split")}) == 1
    assert len(steps_of(world, "split")) == 6


def test_a_salt_of_ones_own_draws_another_lot():
    drawn = []
    for salt in ({}, {"salt": "spring"}, {"salt": "spring"}):
        world = World(plan_document([journey(steps=[{"split": {"arms": ARMS, **salt}}, {"wait": "P1D"}])]))
        for user in map(str, range(30)):
            world.track("Start", user)
        drawn.append([steps_of_user(world, str(user)) for user in range(30)])
    assert drawn[0] != drawn[1] == drawn[2]


@pytest.mark.parametrize(
    "arms", [{}, [], {"a": {}}, {"a": {"weight": 0}}, {"a": {"weight": -1}}, {"a": {"weight": "5%"}}]
)
def test_arms_need_weights_above_zero(arms):
    assert problems(plan_document([journey(steps=[{"split": {"arms": arms}}])]))


# -- update and emit --


def test_the_next_step_sees_the_traits_that_an_update_wrote():
    update = {
        "update": {"traits": {"stage": "{{ event.properties.total }}", "note": "cart {{ event.properties.cart.id }}!"}}
    }
    branch = {"branch": [{"if": {"trait": {"path": "stage", "is": 5}}, "then": [{"send": "mail"}]}]}
    world = walk(update, branch, stage="new")
    assert world.queued() == ["mail"]
    assert world.state().traits["stage"] == 5
    assert world.state().traits["note"] == "cart c1!"


def test_an_update_in_the_millisecond_of_the_event_that_started_it_comes_after_it():
    for user in map(str, range(40)):
        entry = {"event": "Identified"}
        world = World(
            plan_document(
                [journey(entry=entry, steps=[{"update": {"traits": {"x": 2}}}, {"update": {"traits": {"x": 3}}}])]
            )
        )
        world.identify(user, {"x": 1})
        assert world.state(f"u:{user}").traits["x"] == 3


def test_an_update_moves_segments_and_starts_what_waits_for_them():
    world = shop(
        journey(steps=[{"update": {"traits": {"vip": True}}}]),
        journey("k", entry={"segment": "vips"}),
        segments={"vips": VIP},
    )
    world.track("Start")
    assert world.segments() == ["vips"]
    assert world.queued() == ["mail"]


def test_instants_are_written_as_dates_that_conditions_understand():
    world = walk({"update": {"traits": {"last_cart_at": "{{ run.entered_at }}"}}})
    assert world.state().traits["last_cart_at"] == "2026-09-21T14:13:20Z"


def test_a_value_that_is_missing_is_left_out_and_told():
    world = walk(
        {"update": {"traits": {"a": "{{ event.properties.none }}", "b": "{{ trigger.name | default: 'none' }}"}}}
    )
    assert "a" not in world.state().traits and world.state().traits["b"] == "none"
    assert [fact["paths"] for fact in steps_of(world, "missing")] == [["event.properties.none"]]


def test_an_update_of_nothing_is_no_event():
    world = walk({"update": {"traits": {"a": "{{ webhook.x.y }}"}}}, {"webhook": {"url": "https://a.test/", "as": "x"}})
    assert steps_of(world, "updating") == []
    assert world.runs() == [("j", "webhook-1")]


def test_check_warns_of_the_event_of_a_journey_that_no_event_starts():
    update = {"update": {"traits": {"a": ["x {{ event.properties.n }}"]}}}
    scheduled = journey(entry={"schedule": "FREQ=DAILY"}, steps=[update])
    assert warnings(scheduled) == ["'event.properties.n' in the step 'update-1' is empty: no event starts this journey"]
    assert warnings(journey(entry={"api": True}, steps=[update])) == []


def test_what_a_journey_does_to_a_visitor_is_no_sign_of_life():
    world = World(plan_document([journey(entry={"schedule": "FREQ=DAILY"}, steps=[{"update": {"traits": {"n": 1}}}])]))
    world.track("Hello", None, anon="x")
    world.advance(31 * DAY)
    assert world.state("a:x").traits == {"n": 1}
    world.append("a:x", Expire(30 * DAY))
    assert "a:x" not in world.blobs or not world.state("a:x").traits


def test_null_removes_a_trait():
    world = walk({"update": {"traits": {"stage": None}}}, stage="new")
    assert "stage" not in world.state().traits


def test_an_emitted_event_counts_starts_and_exits_like_any_other():
    lost = {"emit": {"event": "Cart Lost", "properties": {"id": "{{ event.properties.cart.id }}"}}}
    world = shop(
        journey(steps=[lost, {"wait": "P1D"}], exit=[{"event": "Cart Lost"}]),
        journey("k", entry={"event": "Cart Lost", "where": {"properties.id": "c1"}}),
        segments={"lost": {"did": {"event": "Cart Lost"}}},
    )  # fmt: skip
    world.track("Start", cart={"id": "c1"})
    assert world.ended() == ["exited"]
    assert world.queued() == ["mail"]
    assert world.segments() == ["lost"]
    assert world.state().timers == {}


def test_events_that_lead_to_events_are_cut_after_eight_and_every_run_goes_on():
    """Each of two journeys starts the other, at once."""
    steps = {"on_repeat": "restart", "key": "properties.n"}
    world = shop(
        journey("a", entry={"event": "A"}, steps=[{"emit": {"event": "B"}}, {"wait": "P1D"}]),
        journey("b", entry={"event": "B"}, steps=[{"emit": {"event": "A"}}, {"wait": "P1D"}]),
        journey("c", entry={"event": "C", **steps}, steps=[{"emit": {"event": "C", "properties": {"n": 1}}}]),
    )
    world.track("A")
    assert world.facts("cut") == []
    assert world.runs() == [("a", "wait-1"), ("b", "wait-1")]
    world.track("C", n=1)
    assert [(cut["what"], cut["limit"]) for cut in world.facts("cut")] == [("depth", 8)]
    assert world.ended() == ["restarted"] * 8 + ["finished"]


def test_a_journey_that_emits_its_own_entry_is_told_and_the_second_run_refused():
    loop = journey(steps=[{"emit": {"event": "Start"}}, {"wait": "P1D"}])
    assert warnings(loop) == []
    assert len(warnings({**loop, "entry": {"event": "Start", "on_repeat": "restart"}})) == 1
    world = shop(loop)
    world.track("Start")
    assert [refused["reason"] for refused in world.facts("run_refused")] == ["already_active"]
    assert world.runs() == [("j", "wait-1")]


def test_an_update_after_an_outage_is_written_though_it_starts_nothing():
    identified = journey("k", entry={"event": "Identified"}, steps=[{"wait": "P9D"}])
    world = World(plan_document([journey(steps=[{"wait": "PT1H"}, {"update": {"traits": {"x": 1}}}, {"wait": "P1D"}]),
                                 identified]))  # fmt: skip
    world.track("Start")
    world.now += 5 * DAY
    world.track("Hello")
    assert world.state().traits["x"] == 1
    assert world.runs() == [("j", "wait-2")]
    assert [refused["reason"] for refused in world.facts("run_refused")] == ["too_late"]


def test_a_run_whose_event_is_lost_goes_on_after_an_hour():
    world = shop(journey(steps=[{"emit": {"event": "Gone"}}, {"wait": "P1D"}]))
    world._deciding = True  # hops stay where they are
    world.track("Start")
    world._decide(world._hops.popleft())
    world._hops.clear()
    world._deciding = False
    assert world.runs() == [("j", "emit-1")]
    world.advance(HOUR)
    assert world.runs() == [("j", "wait-1")]
    assert steps_of(world, "resumed")[0]["reason"] == "lost"


def test_an_update_reaches_somebody_who_was_merged_meanwhile():
    """The event is on its way to a key that has become a stub: it is handed on, and the run with it."""
    world = World(plan_document([journey(steps=[{"wait": "PT1H"}, {"update": {"traits": {"x": 1}}}, {"wait": "P1D"}])]))
    world.track("Start", None, anon="x")
    world.advance(HOUR - 1)
    world.now += 1
    world.identify("1", {"email": "a@shop.example"}, anon="x")
    assert world.state("u:1").traits["x"] == 1
    assert world.runs("u:1") == [("j", "wait-2")]


@pytest.mark.parametrize(("step", "path"), [
    ({"update": {"traits": {"email": "a@b.example"}}}, "update.traits.email"), ({"update": {}}, "update"),
    ({"update": {"traits": {}}}, "update.traits"), ({"update": {"traits": [1]}}, "update.traits"),
    ({"update": {"traits": {"a": "{{ event.total }}"}}}, "update.traits.a"),
    ({"update": {"traits": {"a": "{{ total | upcase }}"}}}, "update.traits.a"),
    ({"update": {"traits": {"a": ["{{ profile.x | upcase }}"]}}}, "update.traits.a.0"),
    ({"update": {"traits": {"a": "{% if profile.x %}"}}}, "update.traits.a"),
    ({"update": {"traits": {"a": "{{ webhook.crm.x }}"}}}, "update.traits.a"),
    ({"update": {"traits": {"a": "{{ profile }}"}}}, "update.traits.a"),
    ({"update": {"traits": {"a": "{{ run.id }}"}}}, "update.traits.a"),
    ({"update": {"traits": {"a": "{{ profile.x | default: y }}"}}}, "update.traits.a"),
    ({"update": {"traits": {"a": float("nan")}}}, "update.traits.a"),
    ({"update": {"traits": {"a": 1 << 70}}}, "update.traits.a"),
    ({"emit": {"event": "Email Sent"}}, "emit.event"), ({"emit": {"event": "Identified"}}, "emit.event"),
    ({"emit": {"event": ""}}, "emit.event"), ({"emit": {"event": "{{ profile.x }}"}}, "emit.event"),
    ({"emit": {"event": "é" * 600}}, "emit.event"), ({"emit": {"event": "A", "traits": {}}}, "emit.traits"),
])  # fmt: skip
def test_what_cannot_be_written_or_emitted_is_refused_with_its_place(step, path):
    assert [at for at, _, _ in problems(plan_document([journey(steps=[step])]))] == [f"journeys.j.steps.0.{path}"]


# -- webhook --

HOOK = {"webhook": {"url": "https://crm.test/p/{{ profile.id }}?c={{ event.properties.cart.id }}", "as": "crm",
                    "json": {"id": "{{ profile.id }}", "n": "{{ event.properties.total }}", "no": "{{ trigger.name }}"},
                    "else": "exit"}}  # fmt: skip


def test_a_webhook_asks_waits_and_keeps_the_answer():
    world = walk(HOOK, {"update": {"traits": {"score": "{{ webhook.crm.score }}"}}}, {"send": "mail"})
    assert world.runs() == [("j", "webhook-1")]
    request = world.answer({"score": 7})
    assert (request.url, request.method) == ("https://crm.test/p/1?c=c1", "POST")
    assert json.loads(request.body) == {"id": "1", "n": 5}
    assert (request.timeout_ms, request.give_up_at) == (5 * SECOND, T0 + 10 * MINUTE)
    assert world.state().traits["score"] == 7
    (message,) = world.messages.values()
    assert render_context(world.state(), world.plan, message.run_id, world.now)["webhook"] == {"crm": {"score": 7}}


def test_what_goes_into_an_address_is_escaped():
    world = walk({"webhook": {"url": "https://crm.test/{{ profile.path }}"}}, path="../a b?c&d=é")
    assert world.answer().url == "https://crm.test/..%2Fa%20b%3Fc%26d%3D%C3%A9"


@pytest.mark.parametrize(("path", "safe"), [("..", False), (".", False), ("...", True), ("a..", True), ("?..", True)])
def test_no_value_climbs_out_of_the_address(path: str, safe: bool):
    world = walk({"webhook": {"url": "https://crm.test/people/{{ profile.path }}/erase?to=/../"}}, path=path)
    assert bool(world.requests) == safe
    assert [fact["reason"] for fact in steps_of(world, "failed")] == ([] if safe else ["unsafe_url"])


def test_a_webhook_that_fails_takes_its_else():
    world = walk(HOOK, {"send": "mail"})
    world.answer(ok=False, reason="timeout")
    assert world.ended() == ["exited"] and world.messages == {}
    assert [fact["reason"] for fact in steps_of(world, "failed")] == ["timeout"]


def test_a_run_waits_for_no_answer_longer_than_it_may_take():
    world = walk({"webhook": {**HOOK["webhook"], "within": "PT1M", "else": "continue"}}, {"send": "mail"})
    world.advance(2 * MINUTE - 1)
    assert world.messages == {}
    world.advance(1)
    assert world.queued() == ["mail"] and world.requests == {}
    assert [fact["reason"] for fact in steps_of(world, "failed")] == ["no_answer"]


def test_a_run_that_ends_drops_its_request_and_a_later_answer_is_only_told():
    world = shop(journey(steps=[HOOK, {"send": "mail"}], exit=[{"event": "Order Completed"}]))
    world.track("Start", cart={"id": "c"})
    ((request_id, request),) = world.requests.items()
    world.track("Order Completed")
    assert world.requests == {} and world.ended() == ["exited"]
    world.requests[request_id] = request
    world.answer({"score": 1})
    assert world.messages == {}
    assert [fact["ok"] for fact in world.facts("webhook_answered")] == [True]


def test_each_visit_is_a_request_of_its_own():
    world = walk({"webhook": {"url": "https://a.test"}, "id": "ask"}, {"wait": "PT1H"}, {"goto": "ask"})
    first = world.answer()
    world.advance(HOUR)
    assert world.answer().request_id != first.request_id


def test_more_than_a_run_may_keep_is_a_failure():
    world = walk(HOOK, {"send": "mail"})
    world.answer({"text": "x" * 20_000})
    assert world.ended() == ["exited"]
    assert [cut["what"] for cut in world.facts("cut")] == ["answer"]


def test_a_request_whose_address_is_missing_is_not_made():
    world = walk({"webhook": {"url": "https://a.test/{{ profile.none }}", "else": [{"send": "mail"}]}})
    assert world.requests == {} and world.queued() == ["mail"]


def test_a_request_whose_body_is_missing_is_not_made():
    world = walk({"webhook": {"url": "https://a.test/", "json": "{{ profile.none }}", "else": [{"send": "mail"}]}})
    assert world.requests == {} and world.queued() == ["mail"]
    assert [fact["reason"] for fact in steps_of(world, "failed")] == ["missing: profile.none"]


def test_after_an_outage_a_request_has_all_its_time():
    world = walk({"wait": "PT1H"}, {"webhook": {"url": "https://a.test"}})
    world.now += DAY
    world.track("Hello")
    assert world.answer().give_up_at == T0 + DAY + 10 * MINUTE


@pytest.mark.parametrize(("webhook", "path"), [
    ({}, "webhook"), ({"url": "crm.test"}, "webhook.url"), ({"url": "ftp://a.test"}, "webhook.url"),
    ({"url": "https://u:p@a.test/"}, "webhook.url"), ({"url": "https://{{ profile.host }}/"}, "webhook.url"),
    ({"url": "https://a{{ profile.host }}/"}, "webhook.url"), ({"url": "https://a.test/ b"}, "webhook.url"),
    ({"url": "https://a.test", "method": "GET", "json": {}}, "webhook.json"),
    ({"url": "https://a.test", "method": "post"}, "webhook.method"),
    ({"url": "https://a.test", "as": "a.b"}, "webhook.as"),
    ({"url": "https://a.test", "timeout": "PT5M"}, "webhook.timeout"),
    ({"url": "https://a.test", "within": "P2D"}, "webhook.within"),
    ({"url": "https://a.test", "json": {"a": "{{ webhook.crm.x }}"}}, "webhook.json.a"),
])  # fmt: skip
def test_a_request_that_cannot_be_made_is_refused_with_its_place(webhook, path):
    assert [at for at, _, _ in problems(plan_document([journey(steps=[{"webhook": webhook}])]))] == [
        f"journeys.j.steps.0.{path}"
    ]


# -- wait for a date --


def at(text):
    return to_ms(datetime.fromisoformat(text))


def renewal(date, **more):
    return walk({"wait": {"date": "renewal_at", **more}}, {"send": "mail"}, renewal_at=date)


def test_a_date_is_waited_for_at_midnight_in_the_persons_zone_moved_by_the_offset():
    world = walk(
        {"wait": {"date": "plan.renewal_at", "offset": "-P3D"}},
        {"send": "mail"},
        plan={"renewal_at": "2026-10-10"},
        timezone="America/New_York",
    )
    world.advance(at("2026-10-07T04:00Z") - T0 - 1)
    assert world.queued() == []
    world.advance(1)
    assert world.queued() == ["mail"]


def test_a_date_that_has_just_passed_goes_on_at_once_and_one_long_past_takes_the_else():
    assert renewal("2026-09-21T14:13:00Z").queued() == ["mail"]
    assert renewal("2026-09-21T13:13:19Z").ended() == ["exited"]
    assert renewal("2026-09-21T13:13:19Z", grace="P1D").queued() == ["mail"]
    assert renewal("2026-09-21T14:13:19Z", grace="PT0S", **{"else": "continue"}).queued() == ["mail"]


@pytest.mark.parametrize("date", [None, 5, "soon", ["2026-10-10"], "2026-02-30"])
def test_without_a_date_the_else_is_taken_with_the_reason(date):
    world = renewal(date)
    assert world.ended() == ["exited"]
    assert [fact["reason"] for fact in steps_of(world, "missed")] == ["no_date"]


def test_a_changed_date_or_zone_moves_the_wait_in_the_same_instant():
    world = renewal("2026-10-10")
    due = "r:" + next(iter(world.state().runs))
    assert world.state().timers[due] == at("2026-10-09T23:00Z")
    world.now += 1
    world.identify(traits={"renewal_at": "2026-12-01"})
    assert world.state().timers[due] == at("2026-12-01T00:00Z")
    world.now += 1
    world.identify(traits={"timezone": "Asia/Tokyo"})
    assert world.state().timers[due] == at("2026-11-30T15:00Z")
    world.track("Hello", context={"timezone": "Asia/Kolkata"})
    assert world.state().timers[due] == at("2026-11-30T15:00Z"), "the trait holds"
    world.now += 1
    world.identify(traits={"renewal_at": "2026-09-21T14:13:20Z"})
    assert world.queued() == ["mail"]


def test_a_date_that_is_taken_away_ends_the_wait_as_if_there_were_none():
    world = renewal("2026-10-10")
    world.now += 1
    world.identify(traits={"renewal_at": None})
    assert world.ended() == ["exited"]


def test_an_imported_date_moves_the_wait_and_time_acts_on_it():
    world = renewal("2026-10-10")
    world.now += 1
    world.identify(traits={"renewal_at": "2026-09-21"}, context={"historical": True})
    assert world.ended() == []
    world.advance(0)
    assert world.ended() == ["exited"]


def test_a_wait_for_a_time_of_day_follows_the_zone():
    world = walk({"wait": {"until": {"time": "09:00"}}}, {"send": "mail"})
    due = "r:" + next(iter(world.state().runs))
    assert world.state().timers[due] == at("2026-09-22T08:00Z")
    world.identify(traits={"timezone": "America/New_York"})
    assert world.state().timers[due] == at("2026-09-22T13:00Z")


# -- window --

OFFICE = {"window": {"from": "08:00", "to": "20:00", "days": ["mon", "tue", "wed", "thu", "fri"]}}


def test_a_window_waits_until_the_clock_is_inside():
    world = walk(OFFICE, {"send": "mail"})
    assert world.queued() == ["mail"], "Monday, a quarter past three in London"
    world = walk({"wait": "PT5H"}, OFFICE, {"send": "mail"})
    world.advance(at("2026-09-22T07:00Z") - T0 - 1)
    assert world.queued() == []
    world.advance(1)
    assert world.queued() == ["mail"]


def test_a_window_follows_the_zone():
    world = walk({"wait": "PT5H"}, OFFICE, {"send": "mail"})
    world.advance(5 * HOUR)
    assert world.runs() == [("j", "window-1")]
    world.identify(traits={"timezone": "America/New_York"})
    assert world.queued() == ["mail"], "ten past three in the afternoon"


@pytest.mark.parametrize("window", [
    {"from": "08:00"}, {"from": "08:00", "to": "08:00"}, {"from": "8", "to": "20:00"},
    {"from": "08:00", "to": "20:00", "days": []},
    {"from": "08:00", "to": "20:00", "timezone": "Mars"}, {"from": "08:00", "to": "20:00", "days": ["monday"]},
])  # fmt: skip
def test_a_window_that_makes_no_sense_is_refused(window):
    assert problems(plan_document([journey(steps=[{"window": window}])]))


# -- targets --


def test_a_fallback_mail_is_a_list_of_steps():
    fallback = {"send": "mail", "on_failure": [{"send": "plain", "on_failure": [{"wait": "PT1H"}]}, {"wait": "PT2H"}]}
    world = walk(fallback, {"send": "after"})
    (first,) = world.messages
    world.outcome(first, "skipped", reason="missing: profile.x")
    assert [world.messages[one].template for one in world.messages] == ["mail", "plain"]
    world.deliver()
    assert world.runs() == [("j", "wait-2")]
    world.advance(2 * HOUR)
    assert world.queued() == ["after"]


def test_follow_is_read_and_only_written_ids_are_explicit():
    plan = compile_plan(
        plan_document([journey(on_edit="follow", steps=[{"wait": "P1D", "id": "a"}, {"send": "mail"}])]), 1
    )
    assert plan.journeys["j"].follow and plan.journeys["j"].explicit == {"a"}
