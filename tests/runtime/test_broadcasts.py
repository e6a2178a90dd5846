"""Broadcasts from beginning to end: walked, paused, resumed, cancelled; counted exactly; each address once."""

from typing import Any

import pytest

from heliograph.events.record import LedgerRow
from heliograph.ports import BroadcastRefused
from heliograph.runtime.broadcaster import MAX_AHEAD
from tests.runtime.harness import HOUR, MINUTE, T0, call, identify
from tests.runtime.shouting import Town, document, plan


class TestTheWay:
    def test_everybody_with_an_address_gets_it_once(self) -> None:
        town = Town()
        names = town.settle_many(40)
        town.crank.collect([identify("silent")])
        broadcast_id = town.start()
        town.run(7)
        row = town.row(broadcast_id)
        assert sorted(one.address for one in town.rows(broadcast_id)) == sorted(f"{name}@x.test" for name in names)
        assert (row.status, row.offered, row.refused, row.messages) == ("finished", 41, {"no_address": 1}, {"sent": 40})
        town.check(broadcast_id)

    @pytest.mark.parametrize("audience", [{"segment": "buyers"}, {"list": "vip"}, {"if": {"in_segment": "buyers"}}])
    def test_only_its_audience_gets_it(self, audience: dict[str, Any]) -> None:
        town = Town()
        names = town.settle_many(30)
        town.crank.collect([call("Order Completed", name) for name in names[:10]])
        town.mail()
        town.put_on_list("vip", names[:10])
        broadcast_id = town.start(audience=audience)
        town.run(4)
        assert {one.key for one in town.rows(broadcast_id)} == {f"u:{name}" for name in names[:10]}
        assert town.row(broadcast_id).total >= 10
        town.check(broadcast_id)

    def test_a_condition_that_nobody_asked_before_knows_the_past_and_nobody_is_swept(self) -> None:
        town = Town()
        names = town.settle_many(20)
        town.crank.collect([call("Cheese Tasted", name) for name in names[:6]])
        broadcast_id = town.start(audience={"if": {"did": {"event": "Cheese Tasted"}}})
        assert not town.crank.sweep()
        town.run(4)
        assert {one.key for one in town.rows(broadcast_id)} == {f"u:{name}" for name in names[:6]}
        assert town.row(broadcast_id).refused == {"if_false": 14}

    def test_at_most_so_many_are_decided_and_not_sent(self) -> None:
        town = Town()
        town.settle_many(MAX_AHEAD + 700)
        broadcast_id = town.start()
        town.walk()
        queued = town.row(broadcast_id).messages["queued"]
        assert MAX_AHEAD - 512 < queued <= MAX_AHEAD
        town.run()
        assert town.row(broadcast_id).messages == {"sent": MAX_AHEAD + 700}

    def test_one_address_once_whoever_holds_it(self) -> None:
        town = Town()
        town.crank.collect([identify(name, email="shared@x.test") for name in ("ann", "bob", "eve")])
        broadcast_id = town.start()
        town.run(1)
        row = town.row(broadcast_id)
        assert (row.messages, row.skipped, row.people["entered"]) == ({"sent": 1}, {"same_address": 2}, 3)
        town.check(broadcast_id)

    def test_the_devices_of_one_person_are_one_person(self) -> None:
        town = Town()
        for number in range(4):
            town.crank.collect([call("Viewed", None, anonymous=f"d{number}")])
            town.crank.collect([identify("ann", anonymous=f"d{number}", email="ann@x.test")])
        broadcast_id = town.start()
        town.run(1)
        row = town.row(broadcast_id)
        assert (row.offered, row.messages) == (1, {"sent": 1})
        town.check(broadcast_id)

    def test_a_message_whose_person_is_lost_does_not_keep_it_open(self) -> None:
        town = Town()
        town.crank.collect([identify(None, email="ann@x.test")])
        broadcast_id = town.start()
        town.walk()
        town.crank.collect([identify("ann", email="ann@x.test"), identify("bob", email="ann@x.test")])
        town.run()
        town.walk()
        row = town.row(broadcast_id)
        assert (row.status, row.messages) == ("finished", {"cancelled": 1})

    def test_a_follow_up_goes_to_those_who_got_it(self) -> None:
        town = Town()
        names = town.settle_many(10)
        town.crank.change_ledger([LedgerRow(f"{names[0]}@x.test", "!manual", False, T0, "api")])
        first = town.start(template="alert", notice=True)
        town.run()
        second = town.start(template="alert", notice=True, audience={"broadcast": first})
        town.run()
        assert town.row(first).skipped == {"suppressed: manual": 1}
        assert {one.key for one in town.rows(second)} == {f"u:{name}" for name in names[1:]}


class TestTime:
    def test_it_waits_for_its_instant(self) -> None:
        town = Town()
        town.settle("ann")
        broadcast_id = town.start(at="2025-06-15T16:00:00Z")
        town.run()
        assert (town.row(broadcast_id).status, town.rows(broadcast_id)) == ("scheduled", [])
        assert town.crank.next_at() == town.row(broadcast_id).starts_at + 1
        town.clock.at = town.row(broadcast_id).starts_at
        town.run()
        assert town.row(broadcast_id).status == "finished"

    def test_a_rate_is_kept_by_those_who_enter(self) -> None:
        town = Town()
        town.settle_many(20)
        broadcast_id = town.start(rate="10/m")
        entered = []
        for _ in range(20):
            town.run()
            entered.append(town.row(broadcast_id).people["entered"])
            town.clock.advance(6_000)
        assert entered == list(range(1, 21))

    def test_local_time_waits_for_each_clock_and_then_ends(self) -> None:
        town = Town()
        town.settle("ann", timezone="Asia/Tokyo")
        town.settle("bob", timezone="America/New_York")
        broadcast_id = town.start(at="2025-06-16T09:00", local_time=True)
        town.clock.at = town.row(broadcast_id).starts_at
        town.run()
        row = town.row(broadcast_id)
        assert (row.status, row.people["active"], row.messages) == ("running", 2, {})
        town.clock.advance(24 * HOUR)
        town.crank.wake()
        town.run()
        row = town.row(broadcast_id)
        assert (row.status, row.messages) == ("finished", {"sent": 2})
        sent = sorted((one.created_at, one.address) for one in town.rows(broadcast_id))
        assert [address for _, address in sent] == ["ann@x.test", "bob@x.test"]
        assert sent[1][0] - sent[0][0] == 13 * HOUR


class TestVerbs:
    def test_pause_stops_offers_and_mail_and_resume_goes_on(self) -> None:
        town = Town()
        town.settle_many(30)
        broadcast_id = town.start()
        town.crank.broadcast(8)
        town.crank.move_broadcast(broadcast_id, "pause", "wrong price")
        town.run()
        row = town.row(broadcast_id)
        assert (row.status, row.reason, row.messages) == ("paused", "wrong price", {"queued": row.offered})
        assert 0 < row.offered <= 8
        town.restart()
        town.run()
        assert town.row(broadcast_id) == row
        town.crank.move_broadcast(broadcast_id, "resume")
        town.run()
        assert (town.row(broadcast_id).status, town.row(broadcast_id).messages) == ("finished", {"sent": 30})
        town.check(broadcast_id)

    def test_who_holds_its_mail_pauses_it_and_who_lets_it_go_resumes_it(self) -> None:
        town = Town()
        town.settle_many(30)
        broadcast_id = town.start()
        town.crank.broadcast(8)
        town.crank.hold(f"broadcast:{broadcast_id}", "too many bounces")
        town.run()
        assert (town.row(broadcast_id).status, town.row(broadcast_id).reason) == ("paused", "too many bounces")
        assert "sent" not in town.row(broadcast_id).messages
        town.crank.lift(f"broadcast:{broadcast_id}")
        town.run()
        assert (town.row(broadcast_id).status, town.row(broadcast_id).messages) == ("finished", {"sent": 30})

    def test_cancel_takes_back_what_has_not_left(self) -> None:
        town = Town()
        town.settle_many(30)
        broadcast_id = town.start()
        town.crank.broadcast(8)
        town.crank.move_broadcast(broadcast_id, "cancel")
        assert town.mail() == 0
        town.run()
        row = town.row(broadcast_id)
        assert (row.status, row.messages) == ("cancelled", {"cancelled": row.offered})
        assert "active" not in row.people
        assert {one.reason for one in town.rows(broadcast_id)} == {"broadcast cancelled"}
        assert not town.crank._desk.holds.all()
        town.check(broadcast_id)

    def test_nothing_of_it_passes_a_commit_point_whoever_lets_its_mail_go(self) -> None:
        town = Town()
        town.settle_many(3)
        broadcast_id = town.start()
        town.walk()
        town.crank.move_broadcast(broadcast_id, "cancel", "wrong audience")
        town.crank.lift(f"broadcast:{broadcast_id}")
        assert town.mail() == 0
        assert town.row(broadcast_id).messages == {"cancelled": 3}
        assert {one.reason for one in town.rows(broadcast_id)} == {"wrong audience"}

    def test_a_message_past_its_commit_point_is_not_taken_back_but_tried_no_more(self) -> None:
        town = Town()
        town.settle_many(3)
        broadcast_id = town.start()
        town.walk()
        town.crank.offer()
        ids = [one.message_id for one in town.rows(broadcast_id)]
        town.mailer.heard.clear()
        town.ask(ids)
        town.crank.move_broadcast(broadcast_id, "cancel")
        town.run()
        town.report(ids[:1], "sent")
        town.report(ids[1:], "retry")
        town.clock.advance(HOUR)
        town.run()
        assert town.row(broadcast_id).messages == {"sent": 1, "cancelled": 2}
        town.check(broadcast_id)

    def test_a_draft_waits_to_be_started(self) -> None:
        town = Town()
        town.settle("ann")
        broadcast_id = town.crank.create_broadcast(document(), draft=True).broadcast_id
        town.run()
        assert (town.row(broadcast_id).status, town.crank.plan.broadcasts) == ("draft", {})
        town.crank.move_broadcast(broadcast_id, "start")
        town.run()
        assert town.row(broadcast_id).messages == {"sent": 1}

    def test_people_who_wait_for_their_clock_hear_of_a_cancel(self) -> None:
        town = Town()
        town.settle("ann", "bob")
        broadcast_id = town.start(at="2025-06-16T09:00", local_time=True)
        town.clock.at = town.row(broadcast_id).starts_at
        town.run()
        town.crank.move_broadcast(broadcast_id, "cancel")
        town.clock.advance(48 * HOUR)
        town.crank.wake()
        town.run()
        assert town.rows(broadcast_id) == []
        town.check(broadcast_id)

    def test_what_means_nothing_is_refused(self) -> None:
        town = Town()
        town.settle("ann")
        broadcast_id = town.start()
        town.run()
        with pytest.raises(BroadcastRefused, match="it is finished"):
            town.crank.move_broadcast(broadcast_id, "pause")
        with pytest.raises(LookupError):
            town.crank.move_broadcast("never", "pause")


class TestPlan:
    def test_a_publish_carries_it_over_with_its_template(self) -> None:
        town = Town()
        town.settle_many(20)
        broadcast_id = town.start()
        town.crank.broadcast(8)
        written = plan()
        del written["templates"]["news"]
        town.crank.publish(written)
        while town.crank.sweep():
            pass
        town.run()
        assert town.row(broadcast_id).messages == {"sent": 20}
        assert town.crank.plan.document["kept"] == ["news"]
        town.crank.publish(plan(segments={}))
        assert "broadcasts" not in town.crank.plan.document

    def test_making_one_touches_nobody(self) -> None:
        town = Town()
        town.settle_many(5)
        before = town.store.last_position()
        town.start(at="2025-06-16T09:00:00Z")
        assert (town.store.last_position(), town.crank.sweep()) == (before, False)

    @pytest.mark.parametrize("swept", [1, 9, 100])
    def test_a_segment_that_is_still_building_leaves_nobody_out(self, swept: int) -> None:
        town = Town()
        names = town.settle_many(30)
        town.crank.collect([call("Cheese Tasted", name) for name in names[:20]])
        fans = {"name": "fans", "if": {"did": {"event": "Cheese Tasted"}}}
        friends = {"name": "friends", "if": {"in_segment": "fans"}}
        town.crank.publish(plan(segments={"fans": fans, "friends": friends}))
        town.crank.sweep(swept)
        broadcast_ids = [town.start(audience={"segment": name}) for name in ("fans", "friends")]
        town.crank.broadcast(5)
        while town.crank.sweep(4):
            town.crank.broadcast(3)
        town.run()
        for broadcast_id in broadcast_ids:
            assert {one.key for one in town.rows(broadcast_id)} == {f"u:{name}" for name in names[:20]}
            town.check(broadcast_id)

    def test_a_person_who_joins_another_behind_the_walk_is_not_missed(self) -> None:
        town = Town()
        names = town.settle_many(60)
        visitors = [f"v{number}" for number in range(60)]
        for name in visitors:
            town.crank.collect([identify(None, anonymous=name, email=f"{name}@x.test")])
        town.put_on_list("vip", names)
        for name in visitors:
            town.crank.change_lists([(f"a:{name}", town_list())])
        broadcast_id = town.start(audience={"list": "vip"})
        town.crank.broadcast(50)
        for number, name in enumerate(visitors):
            town.crank.collect([identify(f"new{number}", anonymous=name)])
        town.run()
        addresses = {one.address for one in town.rows(broadcast_id)}
        assert addresses == {f"{name}@x.test" for name in [*names, *visitors]}
        town.check(broadcast_id)


def town_list() -> Any:
    from heliograph.events.record import ListChange

    return ListChange("vip", True, T0)


class TestIds:
    def test_a_second_try_with_its_id_is_the_same_broadcast(self) -> None:
        town = Town()
        town.settle("ann")
        assert [town.start(id="october"), town.start(id="october")] == ["october", "october"]
        town.run()
        assert town.start(id="october") == "october"
        assert len(town.rows("october")) == 1

    def test_another_one_cannot_take_it(self) -> None:
        town = Town()
        town.start(id="october")
        with pytest.raises(BroadcastRefused, match="there is another broadcast 'october'"):
            town.start(id="october", topic="offers")


class TestRefusals:
    @pytest.mark.parametrize(
        ("parts", "problem"),
        [
            ({"template": "newz"}, "did you mean news"),
            ({"audience": {"list": "nobody"}}, "nobody is on a list 'nobody'"),
            ({"audience": {"broadcast": "never"}}, "there is no broadcast 'never'"),
            ({"at": "2025-06-15T10:00:00Z"}, "`at` is over"),
            ({"description": "x" * 70_000}, "at most 64 KB"),
        ],
    )
    def test_what_cannot_be_is_refused_and_nothing_changes(self, parts: dict[str, Any], problem: str) -> None:
        town = Town()
        with pytest.raises(BroadcastRefused, match=problem):
            town.start(**parts)
        assert (town.store.broadcasts(), town.crank.plan.version) == (([], None), 1)


def test_a_triggered_mail_is_decided_and_offered_while_a_broadcast_is_under_way() -> None:
    town = Town()
    town.settle_many(300)
    broadcast_id = town.start()
    town.crank.broadcast(200)
    town.crank.collect([call("Signed Up", "p7")])
    town.clock.advance(MINUTE)
    town.run()
    assert town.row(broadcast_id).messages == {"sent": 300}
