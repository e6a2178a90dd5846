"""Broadcasts, person by person: who is let in, why not, and that an address gets one."""

from typing import Any

import pytest

from heliograph import decide
from heliograph.decide.broadcasts import journey_of, judge, objection
from heliograph.decide.members import MAX_BROADCASTS
from heliograph.decide.parsing import Context
from heliograph.events.record import ListChange, Offer
from tests.decide.driver import DAY, HOUR, MINUTE, T0, World, journey, plan_document

TEMPLATES: dict[str, dict[str, Any]] = {"news": {}, "alert": {"class": "transactional"}}


def document(name: str = "b", **parts: Any) -> dict[str, Any]:
    return {"name": name, "template": "news", "audience": {"everyone": True}, **parts}


def world(*broadcasts: dict[str, Any], **parts: Any) -> World:
    """With these broadcasts in the plan, by name; ``u:1`` has an address."""
    plan = plan_document(parts.pop("journeys", None), parts.pop("segments", None), templates=TEMPLATES, **parts)
    plan["broadcasts"] = {one["name"]: one for one in broadcasts}
    found = World(plan)
    found.identify("1", {"email": "one@x.test"})
    return found


def offer(found: World, name: str = "b", user: str = "1") -> str:
    """Offer it; why this person does not enter, ``""`` when they do."""
    before = len(found.facts("run_refused", f"u:{user}"))
    found.append(f"u:{user}", Offer(name))
    refused = [one for one in found.facts("run_refused", f"u:{user}")[before:] if one["journey"] == journey_of(name)]
    return refused[0]["reason"] if refused else ""


class TestWhoGetsIt:
    def test_somebody_in_the_audience_is_mailed_once_however_often_it_comes_by(self) -> None:
        found = world(document())
        assert [offer(found), offer(found)] == ["", "already_offered"]
        assert found.queued() == ["news"]
        found.deliver()
        assert (found.runs(), found.ended()) == ([], ["finished"])

    def test_membership_of_that_moment_decides(self) -> None:
        segments = {"vip": {"trait": {"path": "vip", "is": True}}}
        found = world(document(audience={"segment": "vip"}), segments=segments)
        found.identify("2", {"email": "two@x.test", "vip": True})
        assert [offer(found), offer(found, user="2")] == ["if_false", ""]

    def test_the_refusal_says_which_part_of_the_condition_was_false(self) -> None:
        found = world(document(audience={"if": {"trait": {"path": "country", "is": "DE"}}}))
        offer(found)
        assert "country" in found.facts("run_refused")[0]["condition"]

    def test_a_list_and_everybody_without_a_condition(self) -> None:
        found = world(document(audience={"list": "friends"}))
        assert offer(found) == "if_false"
        other = world(document(audience={"list": "friends"}))
        other.put_on_list("u:1", "friends")
        assert offer(other) == ""

    def test_nobody_without_an_address_enters(self) -> None:
        found = world(document())
        found.identify("2", {})
        assert offer(found, user="2") == "no_address"

    def test_who_was_refused_is_asked_again_once_they_are_one_with_somebody_else(self) -> None:
        found = world(document(audience={"list": "friends"}))
        found.identify(None, {"email": "two@x.test"}, anon="phone")
        found.append("a:phone", ListChange("friends", True, T0))
        found.identify("2", {"name": "Two"})
        assert [offer(found, user="2"), offer(found, user="2")] == ["if_false", "already_offered"]
        found.identify("2", anon="phone")
        assert [offer(found, user="2"), offer(found, user="2")] == ["", "already_offered"]

    def test_consent_and_suppression_are_asked_when_it_is_decided(self) -> None:
        found = world(document(topic="offers"), topics={"offers": "required"})
        assert offer(found) == ""
        assert found.skipped() == ["no_consent: offers"]

    @pytest.mark.parametrize("lot", ["holdout", "global_holdout"])
    def test_a_holdout_is_kept_back_by_lot(self, lot: str) -> None:
        own = {"holdout": "50%"} if lot == "holdout" else {}
        found = world(document(**own), policies={"global_holdout": "50%"} if lot == "global_holdout" else {})
        reasons = []
        for number in range(2, 42):
            found.identify(str(number), {"email": f"p{number}@x.test"})
            reasons.append(offer(found, user=str(number)))
        assert set(reasons) == {"", lot}

    def test_a_broadcast_that_has_left_the_plan_is_over(self) -> None:
        assert offer(world(), "b") == "over"

    def test_caps_put_it_off_and_a_broadcast_gives_way_to_journeys(self) -> None:
        caps = {"caps": [{"max": 1, "per": "P1D", "when_exceeded": "defer", "defer_for": "P2D"}], "arbitrate": "PT5M"}
        found = world(document(), journeys=[journey()], policies=caps)
        offer(found)
        found.track("Start")
        found.advance(6 * MINUTE)
        assert found.queued() == ["mail"]
        found.deliver()
        found.advance(DAY + HOUR)
        assert found.queued() == ["news"]


class TestNotice:
    def test_it_ignores_consent_caps_and_quiet_hours(self) -> None:
        policies = {"caps": [{"max": 1, "per": "P1D"}], "quiet_hours": {"from": "00:00", "to": "23:59"}}
        found = world(document(template="alert", notice=True), policies=policies)
        found.say("one@x.test", "marketing", False)
        assert (offer(found), found.queued()) == ("", ["alert"])

    def test_but_no_stop_of_all_mail(self) -> None:
        found = world(document(template="alert", notice=True))
        found.say("one@x.test", "!manual", False)
        offer(found)
        assert found.skipped() == ["suppressed: manual"]


class TestOneAddress:
    def test_two_people_with_one_address_are_one_message(self) -> None:
        found = world(document())
        found.identify("2", {"email": "ONE@x.test "})
        assert [offer(found), offer(found, user="2")] == ["", ""]
        assert (found.deliver(), len(found.messages)) == (["news"], 1)
        assert found.facts("message_outcome", "u:2")[0]["reason"] == "same_address"
        assert (found.segments(), found.segments("u:2"), found.ended("u:2")) == (["broadcast:b"], [], ["finished"])

    @pytest.mark.parametrize("taken", [False, True])
    def test_what_was_put_off_goes_to_the_address_of_then_unless_somebody_there_has_it(self, taken: bool) -> None:
        caps = {"caps": [{"max": 1, "per": "P1D", "when_exceeded": "defer", "defer_for": "P2D"}]}
        found = world(document(), journeys=[journey()], policies=caps)
        found.track("Start")
        found.deliver()
        offer(found)
        if taken:
            found.identify("2", {"email": "other@x.test"})
            offer(found, user="2")
            found.deliver()
        found.identify("1", {"email": "other@x.test"})
        found.advance(DAY + HOUR)
        found.deliver()
        rows = {one.address: found.status[one.message_id] for one in found.messages.values() if one.journey != "j"}
        assert rows == {"one@x.test": "cancelled", "other@x.test": "sent"}
        assert found.facts("message_outcome")[-1]["reason"] == ("same_address" if taken else "")
        assert found.runs() == []

    def test_with_local_time_the_address_of_the_hour_counts(self) -> None:
        found = world(document(at="2026-09-22T09:00", local_time=True))
        assert offer(found) == ""
        found.identify("1", {"email": "other@x.test"})
        found.identify("2", {"email": "other@x.test"})
        offer(found, user="2")
        found.advance(DAY)
        assert [(one.address, one.status) for one in found.messages.values()] == [("other@x.test", "queued")]


class TestLocalTime:
    def test_each_waits_for_their_own_clock(self) -> None:
        found = world(document(at="2026-09-22T09:00", local_time=True))
        found.identify("2", {"email": "two@x.test", "timezone": "America/New_York"})
        offer(found), offer(found, user="2")
        assert found.queued() == []
        london = 1_790_064_000_000
        found.advance(london - found.now)
        assert [one.address for one in found.messages.values()] == ["one@x.test"]
        found.advance(5 * HOUR)
        assert [one.address for one in found.messages.values()] == ["one@x.test", "two@x.test"]

    def test_who_is_past_it_by_more_than_an_hour_is_too_late(self) -> None:
        found = world(document(at="2026-09-21T15:00", local_time=True))
        found.identify("2", {"email": "two@x.test", "timezone": "Asia/Tokyo"})
        assert [offer(found), offer(found, user="2")] == ["", "too_late"]
        assert found.facts("run_refused", "u:2")[0]["at"] < found.now - HOUR


class TestRecipients:
    def test_who_gets_it_is_a_member_and_a_follow_up_finds_them(self) -> None:
        found = world(document(), document("again", audience={"broadcast": "b"}))
        assert offer(found, "again", "1") == "if_false"
        found = world(document(), document("again", audience={"broadcast": "b"}))
        offer(found)
        assert found.segments() == ["broadcast:b"]
        assert offer(found, "again") == ""

    def test_who_got_nothing_is_none_of_them(self) -> None:
        found = world(document())
        offer(found)
        found.outcome(next(iter(found.messages)), "cancelled")
        assert found.segments() == []

    def test_a_segment_may_ask_and_turns_at_once(self) -> None:
        found = world(document(), segments={"got": {"in_segment": "broadcast:b"}})
        offer(found)
        assert found.segments() == ["broadcast:b", "got"]

    def test_a_person_is_known_to_have_got_the_newest_few(self) -> None:
        names = [f"b{number:02}" for number in range(MAX_BROADCASTS + 3)]
        found = world(*(document(name) for name in names))
        for name in names:
            offer(found, name)
            found.advance(MINUTE)
        assert found.segments() == [journey_of(name) for name in names[3:]]

    def test_they_stay_members_when_it_has_left_the_plan(self) -> None:
        found = world(document())
        offer(found)
        found.deliver()
        found.publish(plan_document(templates=TEMPLATES, segments={"s": {"everyone": True}}))
        assert "broadcast:b" in found.segments()


class TestPlan:
    def test_a_broadcast_that_comes_or_goes_changes_nothing_for_anybody_else(self) -> None:
        found = world(journeys=[journey(steps=[{"wait": "P1D"}, {"send": "mail"}])])
        found.track("Start")
        before = found.state()
        found.plan = found.plan.with_broadcasts({"b": document()}, 0)
        found.track("Other")
        after = found.state()
        assert after.plan_version == before.plan_version + 1
        assert (after.runs, after.members, after.timers) == (before.runs, before.members, before.timers)

    def test_what_its_condition_counted_goes_when_it_has_been_gone_for_a_while(self) -> None:
        found = world()
        for number in range(20):
            asked = {"if": {"did": {"event": f"Viewed {number}"}}}
            found.plan = found.plan.with_broadcasts({"b": document(audience=asked)}, 0)
            found.track(f"Viewed {number}")
            found.advance(DAY)
        assert 7 <= len(found.state().conditions) <= 9

    def test_the_cheap_way_gives_what_compiling_the_whole_gives(self) -> None:
        segments = {"s": {"did": {"event": "Viewed"}}}
        plan = decide.compile_plan(plan_document([journey()], segments, templates=TEMPLATES), 1)
        condition = {
            "all": [{"did": {"event": "Viewed"}}, {"did_sum": {"event": "Paid", "property": "properties.x", "gte": 5}}]
        }
        cheap = plan.with_broadcasts({"b": document(audience={"if": condition})}, 0)
        whole = decide.compile_plan(cheap.document, 2)
        for name in ("heard", "clocked", "marketing", "written", "remembered"):
            assert getattr(cheap, name) == getattr(whole, name), name
        assert cheap.leaves.leaves.keys() == whole.leaves.leaves.keys()
        assert cheap.fresh.leaves == whole.fresh.leaves != {}
        assert cheap.all_journeys.keys() == whole.all_journeys.keys()
        assert cheap.broadcasts.keys() == whole.broadcasts.keys() == {"b"}

    def test_when_it_leaves_its_runs_end_and_its_mail_is_cancelled(self) -> None:
        found = world(document(at="2026-09-22T09:00", local_time=True))
        offer(found)
        found.plan = found.plan.with_broadcasts({}, 0)
        found.advance(2 * DAY)
        assert (found.ended(), found.messages) == (["cancelled"], {})

    def test_no_journey_segment_or_list_may_take_its_name(self) -> None:
        for part in ({"journeys": [journey("broadcast:b")]}, {"segments": {"broadcast:b": {"everyone": True}}}):
            with pytest.raises(decide.PlanErrors, match="names that begin with 'broadcast:'"):
                world(**part)
        found = world(document())
        found.put_on_list("u:1", "broadcast:b")
        assert found.segments() == []

    def test_what_the_project_has_dropped_stops_no_broadcast(self) -> None:
        found = world(document(audience={"segment": "gone"}, topic="dropped"))
        assert found.plan.broadcasts.keys() == {"b"}
        assert offer(found) == "if_false"


class TestWhy:
    def why(self, found: World, user: str = "1") -> dict[str, Any]:
        key = f"u:{user}"
        journal = list(reversed(found.journal.get(key, [])))
        state = found.state(key) if key in found.blobs else None
        return decide.explain_journey(state, found.plan, "broadcast:b", found.now, journal)

    def test_who_got_it(self) -> None:
        found = world(document())
        offer(found)
        assert "its delivery is not finished" in self.why(found)["sentence"]
        found.deliver()
        assert self.why(found)["sentence"].startswith("The mail 'news' was sent at 2026-09-21")
        found.plan = found.plan.with_broadcasts({}, 0)
        assert self.why(found)["status"] == "ended"

    def test_who_did_not(self) -> None:
        found = world(document(audience={"if": {"trait": {"path": "country", "is": "DE"}}}))
        assert "not come by this person; now they would not be in its audience" in self.why(found)["sentence"]
        offer(found)
        assert (self.why(found)["status"], self.why(found)["reason"]) == ("refused", "if_false")
        assert "seen: nothing" in self.why(found)["sentence"]
        assert self.why(found, "9")["status"] == "unknown_person"

    def test_whose_address_was_anothers(self) -> None:
        found = world(document())
        found.identify("2", {"email": "one@x.test"})
        offer(found), offer(found, user="2")
        assert "somebody else with this address gets it" in self.why(found, "2")["sentence"]

    def test_one_that_never_was(self) -> None:
        assert self.why(world())["reason"] == "over"


class TestWriting:
    @pytest.mark.parametrize(
        ("parts", "problem"),
        [
            ({"template": "newz"}, "did you mean 'news'"),
            ({"template": "alert"}, "say `notice: true`"),
            ({"notice": True}, "class: transactional"),
            ({"template": "alert", "notice": True, "topic": "marketing"}, "has no `topic`"),
            ({"template": "alert", "notice": True, "holdout": "5%"}, "has no `holdout`"),
            ({"topic": "marketin"}, "did you mean 'marketing'"),
            ({"audience": {"segment": "vips"}}, "did you mean 'vip'"),
            ({"audience": {"list": "vip"}}, "write `segment: vip`"),
            ({"audience": {}}, "needs just one of"),
            ({"audience": {"everyone": False}}, "write `everyone: true`"),
            ({"audience": {"if": {"did": {}}}}, "needs `event`"),
            ({"audiense": {}}, "did you mean 'audience'"),
            ({"rate": "fast"}, "like 50000/h"),
            ({"rate": "0/h"}, "like 50000/h"),
            ({"holdout": "100%"}, "below 100%"),
            ({"at": "tomorrow"}, "`at` is an instant"),
            ({"at": "2026-09-31T09:00"}, "`at` is an instant"),
            ({"at": "2026-09-20T09:00:00Z"}, "`at` is over"),
            ({"at": "2036-09-20T09:00:00Z"}, "more than a year"),
            ({"local_time": True}, "needs `at`"),
            ({"local_time": True, "at": "2026-12-01T09:00:00Z"}, "own clocks"),
            ({"local_time": True, "at": "2026-09-19T09:00"}, "is over everywhere"),
            ({"local_time": True, "at": "2026-12-01T09:00", "rate": "5/s"}, "take one of the two"),
            ({"id": ""}, "`id` is at most 64 letters"),
            ({"id": "a/b"}, "`id` is at most 64 letters"),
            ({"name": 7}, "`name` is text"),
        ],
    )
    def test_what_is_wrong_is_said_with_the_nearest_word(self, parts: dict[str, Any], problem: str) -> None:
        said = "; ".join(map(str, problems(document(**parts))))
        assert problem in said

    def test_all_that_is_right_is_taken(self) -> None:
        whole = document(
            topic="marketing",
            audience={"broadcast": "abc"},
            at="2026-12-01T09:00",
            rate="50000/h",
            holdout="5%",
            id="x",
        )
        context = reading()
        found = judge(whole, context, TEMPLATES, T0)
        assert not context.problems and found is not None
        assert (found.gap_ms, found.members, found.at) == (72.0, "broadcast:abc", 1_796_115_600_000)

    def test_a_verb_says_when_it_means_nothing(self) -> None:
        assert objection("running", "pause") == ""
        assert objection("finished", "pause") == "it is finished; `pause` is for one that is running or scheduled"


def reading() -> Context:
    return Context(segments={"vip"}, timezone="Europe/London")


def problems(written: dict[str, Any]) -> list[Any]:
    context = reading()
    judge(written, context, TEMPLATES, T0)
    return context.problems
