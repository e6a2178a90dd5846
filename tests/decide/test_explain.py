"""``why``: an answer for any person and any journey or template, also where nothing happened."""

import json

import pytest

from heliograph.decide import explain_journey, explain_template, profile_view, render_context
from tests.decide.driver import DAY, HOUR, MINUTE, T0, World, journey, plan_document

CART = {
    "name": "cart",
    "topic": "offers",
    "entry": {
        "event": "Product Added",
        "where": {"properties.price": {"gt": 0}},
        "key": "properties.cart_id",
        "if": {"not": {"in_segment": "staff"}},
        "reentry": {"after": "P1D"},
    },
    "exit": [{"event": "Order Completed"}],
    "steps": [{"wait": "PT30M"}, {"send": "reminder"}],
}
BACK = {"name": "back", "entry": {"segment": "lapsed"}, "steps": [{"send": "come-back"}]}
SEGMENTS = {
    "staff": {"trait": {"path": "email", "ends_with": "@shop.example"}},
    "lapsed": {
        "all": [
            {"did": {"event": "Order Completed"}},
            {"not": {"did": {"event": "Order Completed", "within": "P30D"}}},
        ]
    },
}


@pytest.fixture
def world():
    world = World(plan_document([CART, BACK], SEGMENTS, topics={"offers": "assumed"}, templates={"unused": {}}))
    world.identify(traits={"email": "ann@home.example"})
    return world


def why(world, journey="cart", key="u:1"):
    state = world.state(key) if key in world.blobs else None
    return checked(explain_journey(state, world.plan, journey, world.now, journal(world, key)))


def why_mail(world, template="reminder", key="u:1"):
    return checked(explain_template(world.state(key), world.plan, template, world.now, journal(world, key)))


def journal(world, key):
    return list(reversed(world.journal.get(key, [])))


def checked(answer):
    assert answer["sentence"].endswith(".")
    return json.loads(json.dumps(answer))


def test_nobody_and_nothing_have_answers_too(world):
    assert why(world, key="u:9")["status"] == "unknown_person"
    assert why(world, "crat")["status"] == "unknown_journey"
    assert why_mail(world, "remindr")["status"] == "unknown_template"
    assert why_mail(world, "unused")["status"] == "unused"


def test_the_entry_event_was_never_seen(world):
    assert why(world)["sentence"] == 'The entry event "Product Added" was never seen for this person.'


def test_the_entry_event_was_not_meant(world):
    world.track("Product Added", price=0, cart_id="c1")
    answer = why(world)
    assert answer["failing"]["text"] == "properties.price is greater than 0"
    assert answer["failing"]["seen"] == "0"
    assert "(seen: 0)" in answer["sentence"]


@pytest.mark.parametrize(("events", "reason", "words"), [
    ([{"price": 5}], "no_key", "no value at properties.cart_id"),
    ([{"price": 5, "cart_id": "c", "at": T0 - 2 * HOUR}], "too_late", "more than 1 hour after"),
])  # fmt: skip
def test_a_refused_entry_says_why(world, events, reason, words):
    for event in events:
        world.track("Product Added", **event)
    answer = why(world)
    assert (answer["status"], answer["reason"]) == ("refused", reason)
    assert words in answer["sentence"]


def test_the_condition_of_the_entry_failed(world):
    world.identify(traits={"email": "ann@shop.example"})
    world.track("Product Added", price=5, cart_id="c1")
    answer = why(world)
    assert answer["reason"] == "if_false"
    assert answer["failing"]["text"] == 'is in "staff"'
    assert 'is in "staff"' in answer["sentence"]


def test_a_condition_that_failed_again_is_told_with_its_latest_time():
    entry = {"event": "Signed Up", "if": {"trait": {"path": "email", "exists": True}}}
    world = World(plan_document([{"name": "hello", "entry": entry, "steps": [{"wait": "PT1H"}]}]))
    world.track("Signed Up")
    world.advance(HOUR)
    world.track("Signed Up")
    answer = why(world, "hello")
    assert (answer["since"], len(answer["facts"])) == (T0 + HOUR, 1)
    assert "`if` was false: email exists; seen: nothing" in answer["sentence"]
    forgotten = checked(explain_journey(world.state(), world.plan, "hello", world.now))
    assert (forgotten["since"], forgotten["reason"]) == (T0 + HOUR, "if_false")


def test_reentry_says_from_when(world):
    world.track("Product Added", price=5, cart_id="c1")
    world.track("Order Completed")
    world.track("Product Added", price=5, cart_id="c1")
    assert "the next may be from 2026-09-22T14:13:20Z" in why(world)["sentence"]


def test_a_waiting_run_says_where_and_until_when(world):
    world.track("Product Added", price=5, cart_id="c1")
    answer = why(world)
    assert answer["status"] == "active"
    assert answer["run"]["until"] == T0 + 30 * MINUTE
    assert "waits until 2026-09-21T14:43:20Z" in answer["sentence"]
    assert why_mail(world)["status"] == "active"


def test_a_run_that_was_exited_says_by_what_and_what_became_of_its_mail(world):
    world.track("Product Added", price=5, cart_id="c1")
    world.advance(HOUR)
    world.track("Order Completed")
    said = why(world)["sentence"]
    assert '"Order Completed" came, which is an exit' in said
    assert "The mail 'reminder' was cancelled" in said


def test_what_happened_before_a_merge_is_explained_after_it(world):
    world.track("Product Added", None, anon="x", price=5, cart_id="c1")
    world.track("Order Completed", None, anon="x")
    world.identify("2", anon="x")
    assert "Order Completed" in why(world, key="u:2")["sentence"]


def test_the_latest_event_is_the_news_when_it_was_not_meant(world):
    world.track("Product Added", price=5, cart_id="c1")
    world.track("Order Completed")
    world.advance(HOUR)
    world.track("Product Added", price=0, cart_id="c1")
    assert why(world)["sentence"].startswith('The latest "Product Added" (2026-09-21T15:13:20Z) is not meant')


def test_a_segment_that_is_not_entered_yet_says_when_time_alone_will_do_it(world):
    assert why(world, "back")["failing"]["seen"] == "never"
    world.track("Order Completed")
    answer = why(world, "back")
    assert answer["could_turn_true_at"] == T0 + 30 * DAY
    assert "2026-10-21T14:13:20Z" in answer["sentence"]


def test_a_member_since_before_the_publish_is_told_so(world):
    world.publish(plan_document([{**BACK, "entry": {"segment": "everybody"}}], {"everybody": {"everyone": True}}))
    assert "nothing starts for who was in it" in why(world, "back")["sentence"]


def test_a_held_out_person_is_told_so():
    world = World(plan_document([journey(holdout="99.999%", goal={"event": "Order", "within": "P1D"})]))
    world.track("Start")
    assert why(world, "j")["status"] == "holdout"


def test_a_skipped_mail_says_why_in_plain_english():
    world = World(plan_document([journey(topic="offers")], topics={"offers": "required"}))
    world.identify(traits={"email": "ann@home.example"})
    assert why_mail(world, "mail")["sentence"].endswith(
        "there would be no mail now: no consent for the topic 'offers'."
    )
    world.track("Start")
    answer = why_mail(world, "mail")
    assert answer["status"] == "decided"
    assert answer["messages"][0]["reason"] == "no_consent: offers"
    assert "was skipped" in answer["sentence"] and "no consent for the topic 'offers'" in answer["sentence"]


def test_a_mail_that_went_out_and_what_came_after(world):
    world.track("Product Added", price=5, cart_id="c1")
    world.advance(30 * MINUTE)
    world.deliver()
    assert "was sent at" in why_mail(world)["sentence"]
    world.advance(HOUR)
    world.track("Product Added", price=5, cart_id="c1")
    assert "Since then: cart: The latest" in why_mail(world)["sentence"]


def test_templates_see_what_the_contract_says():
    waits = {"wait_until": {"any": [{"event": "Reply"}]}}
    steps = [waits, {"send": "mail"}]
    document = plan_document(
        [journey(entry={"event": "Start", "key": "properties.n"}, steps=steps)], templates={"mail": {"last": ["Visit"]}}
    )
    world = World(document)
    world.identify(traits={"email": " Ann@Home.example", "firstName": "Ann", "id": "mine"})
    for n in range(7):
        world.track("Visit", n=n)
    world.track("Start", n=7, context={"page": {"path": "/"}})
    world.advance(MINUTE)
    world.track("Reply", text="yes")
    (message,) = world.messages.values()
    context = render_context(world.state(), world.plan, message.run_id, world.now)
    assert context["profile"] == {
        "id": "1", "email": "ann@home.example", "firstName": "Ann", "timezone": "Europe/London",
    }  # fmt: skip
    assert context["event"] == {
        "name": "Start", "properties": {"n": 7}, "context": {"page": {"path": "/"}}, "occurred_at": T0,
    }  # fmt: skip
    assert context["trigger"]["properties"] == {"text": "yes"}
    assert context["run"] == {"key": "7", "journey": "j", "entered_at": T0}
    assert [event["properties"]["n"] for event in context["last"]["Visit"]] == [6, 5, 4, 3, 2]
    assert context["now"] == T0 + MINUTE
    assert render_context(world.state(), world.plan, "no such run", world.now) is None


def test_the_api_sees_a_whole_person(world):
    world.track("Product Added", price=5, cart_id="c1")
    world.say("ann@home.example", "offers", False)
    view = checked_view(profile_view(world.state(), world.plan, world.now))
    assert view["profile_id"] == "1" and view["email"] == "ann@home.example"
    assert view["runs"][0]["status"] == "active" and view["runs"][0]["until"] == T0 + 30 * MINUTE
    assert view["consent"]["topics"]["offers"] == {"given": False, "at": T0, "source": "page"}
    assert view["consent"]["topics"]["marketing"] == {"given": True, "at": None, "source": "assumed"}


def checked_view(view):
    return json.loads(json.dumps(view))


# -- what runs do at each step --

DOING = [
    ({"wait": {"date": "due", "offset": "-P3D"}}, "for 3 days before the date in 'due', which is 2026-12-29T00:00:00Z"),
    ({"wait": {"date": "due"}}, "waits for the date in 'due', which is 2027-01-01T00:00:00Z"),
    ({"window": {"from": "08:00", "to": "09:00"}}, "2026-09-22T07:00:00Z, when the clock is between 08:00 and 09:00"),
    ({"window": {"from": "08:00", "to": "09:00", "days": ["fri"]}}, "between 08:00 and 09:00 (fri)"),
    ({"webhook": {"url": "https://crm.test/x/{{ profile.id }}"}}, "asked crm.test and waits for the answer, at most"),
]  # fmt: skip


@pytest.mark.parametrize(("step", "words"), DOING)
def test_why_says_what_a_run_is_doing(step, words):
    world = World(plan_document([journey(steps=[step, {"send": "mail"}])]))
    world.identify(traits={"due": "2027-01-01", "email": "a@home.example"})
    world.track("Start")
    answer = why(world, "j")
    assert words in answer["sentence"]
    assert answer["run"]["until"]


def test_why_says_when_a_schedule_is_due_and_what_came_of_the_last_occurrence():
    entry = {"schedule": "FREQ=DAILY;BYHOUR=9", "if": {"trait": {"path": "news", "is": True}}}
    world = World(plan_document([journey(entry=entry), journey("asked", entry={"api": True})]))
    world.track("Hello")
    assert "FREQ=DAILY;BYHOUR=9); the next occurrence is 2026-09-22T08:00:00Z" in why(world, "j")["sentence"]
    assert why(world, "asked")["reason"] == "not_asked"
    world.advance(DAY)
    assert "The latest occurrence of FREQ=DAILY;BYHOUR=9 started no run" in why(world, "j")["sentence"]
    world.now += 3 * DAY
    world.track("Hello")
    assert "after it was due" in why(world, "j")["sentence"]


def test_why_says_that_a_call_was_refused():
    world = World(plan_document([journey("asked", entry={"api": True, "key": "properties.n"})]))
    world.enter("asked")
    assert "The latest call of the API started no run" in why(world, "asked")["sentence"]


def test_why_says_that_a_run_missed_its_date_or_went_round_in_circles():
    steps = [{"wait": {"date": "due"}}, {"send": "mail"}]
    loop = [{"update": {"traits": {"n": 1}}, "id": "a"}, {"goto": "a"}]
    world = World(plan_document([journey(steps=steps), journey("loop", steps=loop)]))
    world.track("Start")
    missed = next(fact for fact in why(world, "j")["facts"] if fact.get("what") == "missed")
    assert missed["reason"] == "no_date" and missed["trait"] == "due"
    assert why(world, "j")["sentence"].endswith("at the step 'wait-1': there was no date in 'due'.")
    world.identify(traits={"due": "2001-01-01"})
    world.track("Start")
    assert why(world, "j")["sentence"].endswith("the time to wait for in 'due' was over (2001-01-01T00:00:00Z).")
    assert "went round a loop" in why(world, "loop")["sentence"]


def test_a_removed_journey_whose_runs_go_on_is_explained():
    world = World(plan_document([journey(), journey("other")]))
    world.identify(traits={"email": "ann@home.example"})
    left = journey("gone", steps=[{"wait": "P1D"}, {"send": "mail"}])
    document = plan_document([journey("other")])
    version = World(plan_document([left])).plan.journeys["gone"].version
    world.publish(plan_document([journey("other"), left]))
    world.track("Start")
    world.publish({**document, "pinned": {f"gone@{version}": left}})
    sentence = why(world, "gone")["sentence"]
    assert "at the step 'wait-1'" in sentence
    assert sentence.endswith("The project no longer has this journey: nobody enters it, and runs under way go on.")


def test_why_tells_the_latest_mails_of_a_long_run():
    world = World(plan_document([journey(steps=[{"send": "mail", "id": "a"}, {"wait": "P7D"}, {"goto": "a"}])]))
    world.identify(traits={"email": "ann@home.example"})
    world.track("Start")
    for _ in range(8):
        world.deliver()
        world.advance(7 * DAY)
    sentence = why(world, "j")["sentence"]
    assert "There are 4 earlier mails." in sentence
    assert sentence.count("The mail 'mail'") == 5


@pytest.mark.parametrize(("kind", "words"), [("bounced", "bounced at"), ("cancelled", "was cancelled at")])
def test_what_came_behind_the_end_of_the_run_is_told_of_its_template_too(world, kind, words):
    """It names the message alone: which template that was, the decision said."""
    world.track("Product Added", price=5, cart_id="c1")
    world.advance(30 * MINUTE)
    world.track("Order Completed")
    (message_id,) = world.messages
    world.outcome(message_id, kind, reason="the word for it")
    sentence = why_mail(world)["sentence"]
    assert words in sentence and "the word for it" in sentence
