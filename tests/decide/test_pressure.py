"""Caps, quiet hours and arbitration: what they hold back, until when, and why."""

from typing import Any

import pytest

from heliograph.decide import encode_state, explain_journey
from heliograph.decide.effects import DecideMessage
from heliograph.decide.state import Slot
from heliograph.events.event import Event
from heliograph.events.record import Outcome
from tests.decide.driver import DAY, HOUR, MINUTE, SECOND, T0, World, journey, plan_document

WEEK = 7 * DAY
DEFER = {"when_exceeded": "defer", "defer_for": "P14D"}
NIGHT = {"from": "21:00", "to": "08:00", "timezone": "person"}
"""T0 is 15:13:20 in London."""


def cap(most: int = 1, per: str = "P7D", **more: Any) -> dict[str, Any]:
    return {"max": most, "per": per, **more}


def mails(name: str, event: str, priority: int = 0, **parts: Any) -> dict[str, Any]:
    return journey(name, entry={"event": event, "key": "properties.n"}, priority=priority, **parts)


class Mall(World):
    def track(self, name: str, user: str | None = "1", **more: Any) -> Event:
        """Every event has an ``n``, the key of the journeys."""
        return super().track(name, user, **{"n": 1, **more})


def world(*caps: dict[str, Any], journeys: list[dict[str, Any]] | None = None, **more: Any) -> World:
    """One person with an address, and journeys by the events A, B and C."""
    templates, topics = more.pop("templates", None), more.pop("topics", None)
    policies = {**({"caps": list(caps)} if caps else {}), **more}
    found = journeys or [mails(name.lower(), name, steps=[{"send": name.lower()}]) for name in "ABC"]
    made = Mall(plan_document(found, policies=policies, templates=templates, topics=topics))
    made.identify(traits={"email": "ann@example.com"})
    return made


def planned(world: World, key: str = "u:1") -> dict[str, int]:
    """Journey -> how long its message has still to wait."""
    return {run.journey: run.planned_at - world.now for run in world.state(key).runs.values() if run.planned_at}


def rows(world: World) -> list[tuple[str, str, str]]:
    return [(row.template, world.status[row.message_id], row.reason) for row in world.messages.values()]


def slots(world: World) -> list[tuple[int, bool]]:
    return [(slot.at - T0, slot.sent) for slot in world.state().slots]


def of(world: World, template: str) -> DecideMessage:
    return next(row for row in world.messages.values() if row.template == template)


# -- caps --


def test_a_full_cap_skips_and_says_which():
    one = world(cap())
    one.track("A")
    one.deliver()
    one.track("B")
    assert rows(one)[1] == ("b", "skipped", "cap: 1 per 7 days")
    assert one.facts("message_skipped")[0]["reason"] == "cap: 1 per 7 days"
    one.advance(WEEK - 1)
    one.track("B", n=2)
    assert one.queued() == []
    one.advance(1)
    one.track("B", n=3)
    assert one.queued() == ["b"], "exactly `per` after the 250 there is room again"


def test_a_full_cap_that_defers_holds_the_message_until_there_is_room():
    one = world(cap(**DEFER))
    one.track("A")
    one.advance(HOUR)
    one.deliver()
    one.track("B")
    assert planned(one) == {"b": WEEK}
    assert rows(one)[1] == ("b", "deferred", "cap: 1 per 7 days")
    (fact,) = one.facts("message_deferred")
    assert (fact["until"], fact["reason"], fact["template"]) == (T0 + HOUR + WEEK, "cap: 1 per 7 days", "b")
    one.advance(WEEK - 1)
    assert one.queued() == []
    one.advance(1)
    assert one.queued() == ["b"]
    assert of(one, "b").created_at == T0 + HOUR, "the decision is as old as it is"


def test_what_would_wait_longer_than_defer_for_is_skipped_at_once():
    one = world(cap(when_exceeded="defer", defer_for="P6D"))
    one.track("A")
    one.deliver()
    one.track("B")
    assert rows(one)[1] == ("b", "skipped", "cap: 1 per 7 days")
    (fact,) = one.facts("message_skipped")
    assert (fact["until"], fact["held_by"]) == (T0 + WEEK, [of(one, "a").message_id])
    answer = explain_journey(one.state(), one.plan, "b", one.now, list(reversed(one.journal["u:1"])))
    assert f"at most 1 per 7 days, says a cap (its places: {of(one, 'a').message_id})" in answer["sentence"]


def test_a_message_that_waits_keeps_its_place_from_who_comes_later():
    one = world(cap(**DEFER))
    one.track("A")
    one.deliver()
    one.track("B")
    one.advance(DAY)
    one.track("C")
    assert planned(one) == {"b": 6 * DAY, "c": 13 * DAY}


def test_an_unsent_message_counts_as_now_and_a_sent_one_at_its_250():
    one = world(cap(**DEFER))
    one.track("A")
    one.advance(DAY)
    one.track("B")
    assert planned(one) == {"b": WEEK}
    one.outcome(of(one, "a").message_id, "sent")
    one.advance(WEEK)
    assert one.queued() == ["b"]


def test_a_late_250_moves_what_was_planned():
    one = world(cap(**DEFER))
    one.track("A")
    one.track("B")
    assert planned(one) == {"b": WEEK}
    one.advance(3 * DAY)
    one.deliver()
    one.advance(4 * DAY)
    assert (one.queued(), planned(one)) == ([], {"b": 3 * DAY})
    one.advance(3 * DAY)
    assert one.queued() == ["b"]


@pytest.mark.parametrize("kind", ["bounced", "expired", "cancelled", "skipped"])
def test_a_place_that_is_given_back_is_taken_by_who_waits(kind):
    one = world(cap(**DEFER))
    one.track("A")
    one.track("B")
    one.track("C")
    one.advance(HOUR)
    one.outcome(of(one, "a").message_id, kind)
    one.advance(0)
    assert one.queued() == ["b"]
    assert planned(one) == {"c": WEEK}


@pytest.mark.parametrize("kind", ["sent", "unknown"])
def test_what_may_have_arrived_keeps_its_place(kind):
    one = world(cap(**DEFER))
    one.track("A")
    one.outcome(of(one, "a").message_id, kind)
    if kind == "sent":
        one.outcome(of(one, "a").message_id, "bounced")
    one.track("B")
    assert planned(one) == {"b": WEEK}
    assert slots(one) == [(0, True), (WEEK, False)]


def test_transactional_mail_and_other_topics_count_under_no_cap():
    found = [
        mails("a", "A", topic="offers", steps=[{"send": "a"}]),
        mails("b", "B", topic="news", steps=[{"send": "b"}]),
        mails("c", "C", topic="offers", steps=[{"send": "c"}]),
    ]
    topics = {"offers": "assumed", "news": "assumed"}
    one = world(
        cap(topics=["offers"]), journeys=found, topics=topics, templates={"c": {"class": "transactional"}},
        quiet_hours={"from": "00:00", "to": "23:59"},
    )  # fmt: skip
    one.track("C")
    assert one.queued() == ["c"], "not even quiet hours hold it back"
    one = world(cap(topics=["offers"]), journeys=found, topics=topics)
    for name in "ABBB":
        one.track(name, n=one.count)
        one.deliver()
    one.track("C")
    assert [status for _, status, _ in rows(one)] == ["sent"] * 4 + ["skipped"]


def test_every_cap_has_to_have_room_and_the_least_patient_speaks():
    one = world(cap(1, "PT1H", when_exceeded="defer", defer_for="P1D"), cap(2, "P7D"))
    one.track("A")
    one.track("B")
    assert planned(one) == {"b": HOUR}
    one.track("C")
    assert rows(one)[2] == ("c", "skipped", "cap: 2 per 7 days")


def test_an_exit_takes_a_message_that_waits_along_and_frees_its_place():
    found = [
        mails("a", "A", steps=[{"send": "a"}]),
        mails("b", "B", steps=[{"send": "b"}], exit=[{"event": "Out"}]),
        mails("c", "C", steps=[{"send": "c"}]),
    ]
    one = world(cap(**DEFER), journeys=found)
    for name in "ABC":
        one.track(name)
    assert planned(one) == {"b": WEEK, "c": 2 * WEEK}
    one.track("Out")
    one.advance(0)
    assert rows(one)[1][:2] == ("b", "cancelled")
    assert planned(one) == {"c": WEEK}


@pytest.mark.parametrize("cancelled", [True, False])
def test_a_place_that_this_very_event_may_free_is_waited_for(cancelled):
    """A restart cancels the mail of the run before: one of the two is sent, never both and never none."""
    found = [journey("a", entry={"event": "A", "on_repeat": "restart"}, steps=[{"send": "a"}])]
    one = world(cap(), journeys=found)
    one.track("A")
    first = of(one, "a").message_id
    if not cancelled:
        one.status[first] = "sending"
    one.track("A")
    assert planned(one) == {"a": SECOND}
    one.advance(SECOND)
    statuses = [status for _, status, _ in rows(one)]
    assert statuses == (["cancelled", "queued"] if cancelled else ["sending", "skipped"])


def test_what_waited_is_decided_anew():
    """Consent, suppression, the journey's `if`: as they are when its time has come."""
    found = [
        mails("a", "A", steps=[{"send": "a"}]),
        journey(
            "b",
            entry={"event": "B", "if": {"not": {"did": {"event": "Order"}}}},
            steps=[{"send": "b", "on_failure": [{"wait": "PT1H"}]}],
        ),
        mails("c", "C", topic="offers", steps=[{"send": "c"}]),
    ]
    one = world(cap(2, **DEFER), journeys=found, topics={"offers": "assumed"})
    one.track("A")
    one.track("A", n=2)
    one.deliver()
    one.track("B")
    one.track("C")
    one.track("Order")
    one.say("ann@example.com", "offers", False)
    one.advance(WEEK)
    assert rows(one)[2:] == [("b", "skipped", "if_false"), ("c", "skipped", "no_consent: offers")]
    assert one.runs() == [("b", "wait-1")]
    assert slots(one) == [(0, True), (0, True)]


def test_what_would_be_stale_by_then_expires_at_once():
    found = [
        mails("a", "A", steps=[{"send": "a"}]),
        mails("b", "B", steps=[{"send": "b", "on_failure": [{"send": "c"}]}]),
    ]
    one = world(cap(**DEFER), journeys=found, templates={"b": {"freshness_ms": WEEK}})
    one.track("A")
    one.track("B")
    assert rows(one)[1] == ("b", "expired", "stale")
    assert one.facts("message_outcome")[0]["because"] == "cap: 1 per 7 days"
    assert planned(one) == {"b": WEEK}, "the other template has time"


def test_waits_that_end_in_the_same_instant_go_on_by_priority():
    found = [
        mails(name, "A", priority, steps=[{"wait": "PT1H"}, {"send": name}])
        for name, priority in [("low", 1), ("high", 9), ("also", 1), ("mid", 5)]
    ]
    one = world(cap(2), journeys=found)
    one.track("A")
    one.advance(HOUR)
    assert one.queued() == ["high", "mid"]
    assert [row[0] for row in rows(one)] == ["high", "mid", "also", "low"]


def test_a_cap_that_a_publish_lifts_lets_go_what_waited():
    one = world(cap(**DEFER))
    for name in "ABC":
        one.track(name)
    assert planned(one) == {"b": WEEK, "c": 2 * WEEK}
    document = plan_document([mails(name.lower(), name, steps=[{"send": name.lower()}]) for name in "ABC"])
    one.publish(document)
    one.advance(0)
    assert one.queued() == ["a", "b", "c"]


def test_more_slots_than_there_may_be_skip_instead_of_passing_a_cap():
    one = world(cap(100, "P1D"), cap(100, "P31D", topics=["marketing"]))
    state = one.state()
    state.slots = [Slot(T0 - n, f"m{n}", "other", True) for n in range(1, 513)]
    one.blobs["u:1"] = encode_state(state)
    one.track("A")
    assert one.skipped() == ["state_full"]
    one.advance(DAY)
    one.track("B")
    assert one.queued() == ["b"], "what no window reaches any more is forgotten"


def test_what_a_publish_made_stale_while_it_waited_goes_on_with_its_journey():
    def document(freshness_ms: int | None) -> dict[str, Any]:
        steps = {name: [{"send": name}, {"wait": "P90D"}] for name in "abc"}
        found = [mails(name, name.upper(), steps=steps[name], exit=[{"event": "Out " + name}]) for name in "abc"]
        templates = {"c": {"freshness_ms": freshness_ms}}
        return plan_document(found, policies={"caps": [cap(**DEFER)]}, templates=templates)

    one = Mall(document(None))
    one.identify(traits={"email": "ann@example.com"})
    for name in "ABC":
        one.track(name)
    one.deliver()
    assert planned(one) == {"b": WEEK, "c": 2 * WEEK}
    one.publish(document(DAY))
    one.track("Out b")
    one.advance(0)
    assert rows(one)[2] == ("c", "expired", "stale"), "a week from now, too, is too late"
    assert ("c", "wait-1") in one.runs()


# -- quiet hours --


def test_quiet_hours_hold_mail_back_until_the_persons_morning():
    one = world(quiet_hours=NIGHT)
    one.identify(traits={"timezone": "Asia/Tokyo"})
    one.track("A")
    assert planned(one) == {"a": 8 * HOUR + 46 * MINUTE + 40 * SECOND}, "it is 23:13:20 there"
    assert rows(one) == [("a", "deferred", "quiet_hours")]
    one.advance(DAY)
    assert one.queued() == ["a"]
    assert of(one, "a").not_after == T0 + 8 * HOUR + 46 * MINUTE + 40 * SECOND + 13 * HOUR, "and not after 21:00"


def test_a_message_is_not_to_begin_behind_the_next_evening():
    one = world(quiet_hours=NIGHT, templates={"b": {"freshness_ms": HOUR}})
    one.track("A")
    one.track("B")
    evening = 5 * HOUR + 46 * MINUTE + 40 * SECOND
    assert (of(one, "a").not_after, of(one, "b").not_after) == (T0 + evening, T0 + HOUR)


@pytest.mark.parametrize(("zone", "hours"), [("project", 0), ("UTC", 0), ("Asia/Tokyo", 8)])
def test_quiet_hours_follow_the_zone_that_they_name(zone, hours):
    one = world(quiet_hours={**NIGHT, "timezone": zone})
    one.track("A")
    assert planned(one).get("a", 0) // HOUR == hours


def test_what_misses_its_time_is_planned_anew():
    one = world(cap(**DEFER), quiet_hours=NIGHT)
    one.track("A")
    one.advance(6 * HOUR)
    one.outcome(of(one, "a").message_id, "missed")
    assert planned(one) == {"a": 10 * HOUR + 46 * MINUTE + 40 * SECOND}
    assert rows(one) == [("a", "deferred", "quiet_hours")]
    one.advance(DAY)
    assert one.queued() == ["a"]
    assert len(one.state().slots) == 1


def test_what_misses_its_time_goes_before_those_who_wait_behind_it():
    one = world(cap(per="PT1H", **DEFER), quiet_hours=NIGHT)
    one.track("A")
    one.advance(1)
    one.track("B")
    one.advance(6 * HOUR - 1)
    one.outcome(of(one, "a").message_id, "missed")
    assert planned(one) == dict.fromkeys("ab", 10 * HOUR + 46 * MINUTE + 40 * SECOND)
    one.advance(DAY - 7 * HOUR)
    assert one.queued() == ["a"]


def test_what_misses_its_time_and_is_stale_expires():
    one = world(quiet_hours=NIGHT, templates={"a": {"freshness_ms": HOUR}})
    one.track("A")
    one.advance(HOUR)
    one.outcome(of(one, "a").message_id, "missed")
    assert rows(one) == [("a", "expired", "stale")]
    assert one.ended() == ["finished"]


def test_a_later_attempt_that_would_come_too_late_is_planned_from_there():
    one = world(quiet_hours=NIGHT, templates={"b": {"freshness_ms": HOUR}})
    one.track("A")
    one.track("B")
    one.now += MINUTE
    for name in "ab":
        one.status[of(one, name).message_id] = "deferred"
        one.append("u:1", outcome_missed(of(one, name).message_id, T0 + 6 * HOUR, "451 later"))
    assert rows(one) == [("a", "deferred", "quiet_hours"), ("b", "expired", "stale: 451 later")]
    assert planned(one) == {"a": 16 * HOUR + 46 * MINUTE + 40 * SECOND - MINUTE}


def outcome_missed(message_id: str, at: int, reason: str) -> Any:
    return Outcome(message_id, "missed", at, reason)


def test_what_misses_its_time_when_its_run_is_gone_is_cancelled():
    one = world(cap(**DEFER), journeys=[mails("a", "A", steps=[{"send": "a"}], exit=[{"event": "Out"}])])
    one.track("A")
    message = of(one, "a").message_id
    one.status[message] = "sending"
    one.track("Out")
    one.outcome(message, "missed")
    assert rows(one)[0][:2] == ("a", "cancelled")
    assert slots(one) == []


# -- arbitration --


def candidates(*caps: dict[str, Any]) -> World:
    found = [
        mails(name, name.title(), priority, steps=[{"send": name, "on_failure": [{"wait": "PT1H"}]}])
        for name, priority in [("low", 1), ("high", 9), ("mid", 5)]
    ]
    return world(*caps, journeys=found, arbitrate="PT10M")


def test_the_best_of_those_that_come_within_the_window_gets_the_last_place():
    one = candidates(cap())
    one.track("Low")
    one.advance(4 * MINUTE)
    one.track("High")
    one.advance(5 * MINUTE)
    one.track("Mid")
    assert planned(one) == {"low": MINUTE, "high": MINUTE, "mid": MINUTE}
    assert {reason for _, _, reason in rows(one)} == {"arbitrating"}
    assert slots(one) == []
    one.advance(MINUTE)
    assert one.queued() == ["high"]
    assert one.skipped() == ["cap: 1 per 7 days"] * 2


def test_those_that_lose_wait_in_the_order_of_their_priority():
    one = candidates(cap(when_exceeded="defer", defer_for="P15D"))
    for name in ("Low", "High", "Mid"):
        one.track(name)
    one.advance(10 * MINUTE)
    assert one.queued() == ["high"]
    assert planned(one) == {"mid": WEEK, "low": 2 * WEEK}


def test_a_new_window_opens_after_the_last():
    one = candidates(cap(2))
    one.track("Low")
    one.advance(10 * MINUTE)
    assert one.queued() == ["low"]
    one.track("High")
    assert planned(one) == {"high": 10 * MINUTE}


def test_without_a_cap_nothing_is_compared():
    one = candidates()
    one.track("Low")
    assert one.queued() == ["low"]


# -- merges --


def test_two_histories_count_together():
    found = [mails(name.lower(), name, steps=[{"send": name.lower()}]) for name in "AB"]
    one = Mall(plan_document(found, policies={"caps": [cap(**DEFER)]}))
    one.identify(user=None, anon="x", traits={"email": "ann@example.com"})
    one.track("A", user=None, anon="x")
    one.deliver()
    one.track("B", user=None, anon="x")
    one.identify(user="1", anon="x")
    assert planned(one) == {"b": WEEK}
    assert slots(one) == [(0, True), (WEEK, False)]
    one.advance(WEEK)
    assert one.queued() == ["b"]


# -- why --


def test_why_names_the_messages_that_hold_the_places_and_until_when_it_waits():
    one = world(cap(**DEFER))
    one.track("A")
    one.deliver()
    one.track("B")
    answer = explain_journey(one.state(), one.plan, "b", one.now, list(reversed(one.journal["u:1"])))
    sentence = answer["sentence"]
    assert "2026-09-28T14:13:20Z" in sentence and "1 per 7 days" in sentence
    assert of(one, "a").message_id in sentence
