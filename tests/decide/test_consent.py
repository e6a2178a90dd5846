"""Consent and suppression: who may be mailed on what, and how the state hears of it."""

import pytest

from heliograph.events.record import LedgerChange, LedgerRow
from tests.decide.driver import HOUR, T0, World, journey, plan_document

ANN = "ann@shop.example"
TOPICS = {"offers": "required", "news": "assumed"}


def consent(**topics):
    return {"consent": {"categoryPreferences": topics}}


def shop(*, topic="offers", template=None, segments=None):
    document = plan_document([journey(topic=topic)], segments, topics=TOPICS, templates={"mail": template or {}})
    return World(document)


def tried(world):
    world.track("Start")
    return world.queued() or world.skipped()


@pytest.mark.parametrize(("topic", "given", "result"), [
    ("offers", None, "no_consent: offers"), ("offers", True, "mail"), ("offers", False, "no_consent: offers"),
    ("news", None, "mail"), ("news", False, "no_consent: news"), ("marketing", None, "mail"),
])  # fmt: skip
def test_required_means_no_until_given_assumed_means_yes_until_withdrawn(topic, given, result):
    world = shop(topic=topic)
    world.identify(traits={"email": ANN}, context=consent(**({topic: given} if given is not None else {})))
    assert tried(world) == [result]


def test_without_an_address_there_is_no_mail():
    assert tried(shop(topic="news")) == ["no_address"]


def test_transactional_mail_asks_no_topic():
    world = shop(template={"class": "transactional"})
    world.identify(traits={"email": ANN})
    assert tried(world) == ["mail"]
    assert next(iter(world.messages.values())).topic is None


@pytest.mark.parametrize(("stop", "kind", "result"), [
    ("!bounce", "marketing", ["suppressed: bounce"]), ("!bounce", "transactional", ["suppressed: bounce"]),
    ("!manual", "transactional", ["suppressed: manual"]), ("!complaint", "marketing", ["suppressed: complaint"]),
    ("!complaint", "transactional", ["mail"]),
])  # fmt: skip
def test_bounces_and_manual_stops_stop_all_mail_complaints_stop_marketing(stop, kind, result):
    world = shop(topic="news", template={"class": kind})
    world.identify(traits={"email": ANN})
    world.say(ANN, stop, False)
    assert tried(world) == result
    world.say(ANN, stop, True)


def test_consent_given_before_an_address_is_known_waits_for_it():
    world = shop()
    world.identify(context=consent(offers=True))
    assert world.ledger == {}
    world.identify(traits={"email": " Ann@Shop.example"})
    assert world.ledger[ANN, "offers"].given is True
    assert tried(world) == ["mail"]


def test_an_anonymous_consent_comes_along_with_the_login():
    world = shop()
    world.identify(None, anon="x", context=consent(offers=True))
    world.identify("1", {"email": ANN}, anon="x")
    assert world.ledger[ANN, "offers"].given is True
    assert tried(world) == ["mail"]


def test_what_was_said_belongs_to_the_address():
    world = shop()
    world.identify(traits={"email": ANN}, context=consent(offers=True))
    world.identify(traits={"email": "ann@work.example"})
    assert tried(world) == ["no_consent: offers"]
    assert world.holders == {ANN: set(), "ann@work.example": {"u:1"}}


def test_a_new_profile_hears_what_the_ledger_knows_of_its_address():
    world = shop(topic="news")
    world.say(ANN, "news", False)
    world.identify(traits={"email": ANN})
    assert tried(world) == ["no_consent: news"]


def test_a_word_from_a_link_reaches_every_profile_with_the_address():
    world = shop(topic="news", segments={"readers": {"in_topic": "news"}})
    for user in ("1", "2"):
        world.identify(user, {"email": ANN})
        assert "readers" in world.segments(f"u:{user}")
    world.say(ANN, "news", False)
    assert world.segments("u:1") == world.segments("u:2") == []


def test_the_later_word_wins_and_a_withdrawal_wins_ties():
    world = shop()
    world.identify(traits={"email": ANN}, context=consent(offers=True))
    world.identify(context=consent(offers=False))
    assert tried(world) == ["no_consent: offers"]
    world.identify(at=T0 - HOUR, context=consent(offers=True))
    assert world.ledger[ANN, "offers"].given is False


def test_only_an_identify_speaks_for_the_person():
    world = shop()
    world.identify(traits={"email": ANN})
    world.track("Visit", context=consent(offers=True))
    assert tried(world) == ["no_consent: offers"]


@pytest.mark.parametrize("said", [{"!bounce": True}, {"": True}, {"offers": "yes"}, {"offers": 1}, {"o" * 65: True}])
def test_what_is_no_word_on_a_topic_is_not_heard(said):
    world = shop()
    world.identify(traits={"email": ANN}, context=consent(**said))
    assert world.ledger == {}


@pytest.mark.parametrize("garbage", [None, 7, [], {"categoryPreferences": None}, {"categoryPreferences": [1]}])
def test_garbage_in_the_place_of_consent_is_nothing(garbage):
    world = shop()
    world.identify(traits={"email": ANN}, context={"consent": garbage})
    assert world.ledger == {}


def test_the_ledger_has_the_last_word_also_an_older_one():
    world = shop()
    world.identify(traits={"email": ANN}, context=consent(offers=True))
    world.append("u:1", LedgerChange([LedgerRow(ANN, "offers", False, T0 - HOUR, "page")]))
    assert tried(world) == ["no_consent: offers"]


def test_rows_of_another_address_are_nothing_to_this_person():
    world = shop()
    world.identify(traits={"email": ANN}, context=consent(offers=True))
    world.append("u:1", LedgerChange([LedgerRow("bob@shop.example", "offers", False, T0)]))
    assert tried(world) == ["mail"]


def test_taking_the_address_away_ends_mail_and_index():
    world = shop(topic="news")
    world.identify(traits={"email": ANN})
    world.identify(traits={"email": None})
    assert tried(world) == ["no_address"]
    assert world.holders == {ANN: set()}
