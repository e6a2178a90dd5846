"""The embedded engine on both stores: what is acknowledged is on disk and decided."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from heliograph.adapters.memory import MemoryStore
from heliograph.adapters.rocksdb import RocksStore
from heliograph.events.record import HISTORICAL, EventBody, LedgerRow, ListChange
from heliograph.ports import Arrival, Busy, Commit, PlanRefused, Store
from heliograph.runtime.clock import ManualClock
from heliograph.runtime.waiting import Waiting
from tests.runtime.harness import (
    DAY,
    HOUR,
    MINUTE,
    T0,
    advance,
    call,
    identify,
    messages,
    new_engine,
    running,
    send,
    shop,
    template,
    until,
)

ADDRESS = "ann@example.com"


@pytest.fixture(params=["memory", "rocksdb"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    made: Store = MemoryStore() if request.param == "memory" else RocksStore(tmp_path / "data")
    yield made
    made.close()


class TestCollect:
    async def test_an_acknowledged_event_is_in_the_log_the_history_and_the_state(self, store: Store) -> None:
        async with running(store) as engine:
            (result,) = await send(engine, call("Product Viewed", id="e-1"))
            assert (result.message_id, result.status) == ("e-1", "accepted")
            ((position, record),) = store.log()
            assert (position, record.key, record.id, record.received_at) == (1, "u:ann", "e-1", T0)
            assert [event.event_id for event in store.history("u:ann")] == ["e-1"]
            assert [key for key, _ in store.members("viewers")[0]] == ["u:ann"]

    async def test_the_same_message_again_is_a_duplicate_and_changes_nothing(self, store: Store) -> None:
        async with running(store) as engine:
            await send(engine, identify(email=ADDRESS), call("Order Completed", id="order"))
            again = await send(engine, call("Order Completed", id="order"))
            assert [result.status for result in again] == ["duplicate"]
            assert len(messages(engine)) == 1

    async def test_a_call_is_in_one_commit_however_many_events_it_brings(
        self, store: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async with running(store) as engine:
            commit, sizes = store.commit, list[int]()

            def counted(one: Commit) -> None:
                sizes.append(len(one.log))
                commit(one)

            monkeypatch.setattr(store, "commit", counted)
            await send(engine, *(call("X", id=f"b{n}") for n in range(3000)))
            assert sizes == [3000]

    async def test_a_duplicate_inside_one_call_is_seen(self, store: Store) -> None:
        async with running(store) as engine:
            results = await send(engine, call("X", id="one"), call("X", id="one"))
            assert [result.status for result in results] == ["accepted", "duplicate"]

    async def test_a_duplicate_is_seen_through_the_hops_of_a_merged_person(self, store: Store) -> None:
        async with running(store) as engine:
            await send(engine, call("X", None, anonymous="browser", id="one"))
            await send(engine, identify("ann", anonymous="browser"))
            results = await send(engine, call("X", None, anonymous="browser", id="one"))
            assert [result.status for result in results] == ["duplicate"]

    async def test_what_decoding_refused_is_answered_and_not_kept(self, store: Store) -> None:
        async with running(store) as engine:
            refused = Arrival("m", None, b"{}", "too large")
            results = await send(engine, refused, call("X", id="good"))
            assert [(r.status, r.reason) for r in results] == [("refused", "too large"), ("accepted", "")]
            assert store.last_position() == 1

    async def test_identify_and_track_in_one_batch_mail_the_new_address(self, store: Store) -> None:
        async with running(store) as engine:
            await send(engine, identify(email=ADDRESS), call("Order Completed"))
            assert [(row.address, row.status, row.template) for row in messages(engine)] == [
                (ADDRESS, "queued", "confirmation")
            ]

    async def test_the_log_never_goes_back_in_time_also_over_a_restart(self, store: Store) -> None:
        async with running(store, ManualClock(T0)) as engine:
            await send(engine, call("X"))
        async with running(store, ManualClock(T0 - HOUR)) as engine:
            await send(engine, call("X", at=T0 + DAY))
        records = [record for _, record in store.log()]
        assert [record.received_at for record in records] == [T0, T0]
        assert isinstance(body := records[1].body, EventBody) and body.event.occurred_at == T0

    async def test_an_import_carries_its_flag(self, store: Store) -> None:
        async with running(store) as engine:
            await send(engine, call("Order Completed", context={"historical": True}))
            ((_, record),) = store.log()
            assert record.flags & HISTORICAL
            assert not messages(engine)

    async def test_concurrent_calls_of_one_person_are_decided_in_order(self, store: Store) -> None:
        async with running(store) as engine:
            calls = [engine.collect([call("Product Viewed", id=f"n{n}")]) for n in range(200)]
            await asyncio.gather(*calls)
            assert [record.id for _, record in store.log()] == [f"n{n}" for n in range(200)]


class TestHops:
    async def test_hops_stand_right_behind_their_record_in_the_log(self, store: Store) -> None:
        async with running(store) as engine:
            await send(engine, call("Product Viewed", None, anonymous="browser"))
            await send(engine, identify("ann", anonymous="browser"), call("Product Viewed", "bob"))
            keys = [(record.key, type(record.body).__name__) for _, record in store.log()]
            assert keys[1][0] == "u:ann" and keys[-1] == ("u:bob", "EventBody")
            assert ("a:browser", "Link") in keys and ("u:ann", "MergeInto") in keys

    async def test_a_cart_filled_before_login_is_exited_by_the_order_after_it(self, store: Store) -> None:
        async with running(store) as engine:
            await send(engine, call("Product Added", None, anonymous="browser", cart_id="c1"))
            await send(engine, identify("ann", anonymous="browser", email=ADDRESS), call("Order Completed"))
            await advance(engine, HOUR)
            assert [row.template for row in messages(engine)] == ["confirmation"]
            assert engine.find("browser") == ["u:ann"]


class TestSchemas:
    SCHEMAS = {"Order Completed": {"type": "object", "required": ["total"]}}  # noqa: RUF012

    async def test_what_a_schema_rejects_becomes_a_dead_letter_and_no_decision(self, store: Store) -> None:
        async with running(store, document=shop(schemas=self.SCHEMAS)) as engine:
            results = await send(engine, identify(email=ADDRESS), call("Order Completed", id="bad"))
            assert results[1].status == "dead_letter" and "total" in results[1].reason
            (letter,), _ = store.dead_letters()
            assert (letter.event_name, letter.payload, letter.at) == ("Order Completed", b"{}", T0)
            assert not messages(engine)

    async def test_a_sender_that_tries_again_leaves_one_dead_letter(self, store: Store) -> None:
        clock = ManualClock(T0)
        schema = {"required": ["total"], "properties": {"total": {"type": "number"}}}
        async with running(store, clock, shop(schemas={"Order Completed": schema})) as engine:
            for _ in range(3):
                clock.advance(MINUTE)
                await send(engine, call("Order Completed", id="order"))
            await send(engine, call("Order Completed", id="order", total="much"))
            other, letter = store.dead_letters()[0]
            assert "total" in other.reason and other.reason != letter.reason
            assert letter.at == T0 + 3 * MINUTE

    async def test_a_repaired_dead_letter_is_decided_once(self, store: Store) -> None:
        async with running(store, document=shop(schemas=self.SCHEMAS)) as engine:
            await send(engine, identify(email=ADDRESS), call("Order Completed", id="bad"))
            (letter,), _ = store.dead_letters()
            payload = b'{"type": "track", "event": "Order Completed", "userId": "ann", "messageId": "bad", %s}'
            still = await engine.replay_dead_letters([letter.id], {letter.id: payload % b'"properties": {}'})
            assert still[0].status == "dead_letter"
            repaired = {letter.id: payload % b'"properties": {"total": 5}'}
            assert (await engine.replay_dead_letters([letter.id], repaired))[0].status == "accepted"
            assert (await engine.replay_dead_letters([letter.id], repaired))[0].status == "duplicate"
            assert [row.template for row in messages(engine)] == ["confirmation"]
            (kept,), _ = store.dead_letters()
            assert kept.id == letter.id and kept.replayed_at == T0


class TestTimers:
    async def test_a_reminder_is_decided_at_its_instant(self, store: Store) -> None:
        async with running(store) as engine:
            await send(engine, identify(email=ADDRESS), call("Product Added", cart_id="c1"))
            await advance(engine, 30 * MINUTE - 1)
            assert not messages(engine)
            await advance(engine, 1)
            (row,) = messages(engine)
            assert (row.template, row.created_at) == ("cart-reminder", T0 + 30 * MINUTE)

    async def test_what_fell_due_while_nobody_ran_fires_at_once(self, store: Store) -> None:
        async with running(store, ManualClock(T0)) as engine:
            await send(engine, identify(email=ADDRESS), call("Product Added", cart_id="c1"))
        async with running(store, ManualClock(T0 + HOUR)) as engine:
            await until(lambda: messages(engine))

    async def test_leaving_a_window_needs_no_event(self, store: Store) -> None:
        async with running(store) as engine:
            await send(engine, call("Product Viewed"))
            await advance(engine, 10 * MINUTE)
            assert store.member_count("viewers") == 0

    async def test_thousands_of_timers_of_one_instant_all_fire(self, store: Store) -> None:
        async with running(store) as engine:
            await send(engine, *(call("Product Viewed", f"p{n}") for n in range(2400)))
            assert store.member_count("viewers") == 2400
            await advance(engine, 10 * MINUTE)
            assert store.member_count("viewers") == 0


class TestConsent:
    async def test_a_withdrawal_stops_what_is_queued_before_it_is_acknowledged(self, store: Store) -> None:
        async with running(store) as engine:
            await send(engine, identify(email=ADDRESS), call("Signed Up"), call("Order Completed"))
            await engine.change_ledger([LedgerRow(ADDRESS, "offers", False, T0)])
            statuses = {row.template: (row.status, row.reason) for row in messages(engine)}
            assert statuses["welcome"] == ("cancelled", "no_consent: offers")
            assert statuses["confirmation"][0] == "queued"

    async def test_a_withdrawal_reaches_every_key_that_holds_the_address(self, store: Store) -> None:
        async with running(store) as engine:
            await send(engine, identify("ann", email=ADDRESS), identify("bob", email=ADDRESS))
            await engine.change_ledger([LedgerRow(ADDRESS, "offers", False, T0)])
            await send(engine, call("Signed Up", "ann"), call("Signed Up", "bob"))
            assert {row.status for row in messages(engine)} == {"skipped"}

    async def test_the_ledger_is_attached_to_a_new_profile_with_a_known_address(self, store: Store) -> None:
        async with running(store) as engine:
            await engine.change_ledger([LedgerRow(ADDRESS, "offers", False, T0)])
            await send(engine, identify(email=ADDRESS), call("Signed Up"))
            assert [(row.status, row.reason) for row in messages(engine)] == [("skipped", "no_consent: offers")]

    @pytest.mark.parametrize(
        ("words", "stands"),
        [
            ([(True, 1), (False, 2)], False),
            ([(False, 2), (True, 1)], False),
            ([(True, 5), (False, 5)], False),
            ([(False, 5), (True, 5)], False),
            ([(False, 1), (True, 2)], True),
        ],
    )
    async def test_the_later_word_wins_and_a_withdrawal_wins_ties(
        self, store: Store, words: list[tuple[bool, int]], stands: bool
    ) -> None:
        async with running(store) as engine:
            for given, at in words:
                await engine.change_ledger([LedgerRow(ADDRESS, "news", given, at)])
            (row,) = store.ledger(ADDRESS)
            assert row.given is stands

    async def test_an_imported_grant_never_lifts_a_withdrawal(self, store: Store) -> None:
        async with running(store) as engine:
            await send(engine, identify(email=ADDRESS, consent={"news": False}))
            granted = identify(email=ADDRESS, consent={"news": True})
            assert granted.event is not None
            granted.event.context["historical"] = True
            engine.clock.advance(HOUR)  # type: ignore[attr-defined]
            await send(engine, granted)
            (row,) = store.ledger(ADDRESS)
            assert row.given is False
            state = engine.state("u:ann")
            assert state is not None and state.consent["news"].given is False

    async def test_a_suppression_stops_transactional_mail_too(self, store: Store) -> None:
        async with running(store) as engine:
            await engine.change_ledger([LedgerRow(ADDRESS, "!manual", False, T0)])
            await send(engine, identify(email=ADDRESS), call("Order Completed"))
            assert [row.status for row in messages(engine)] == ["skipped"]
            assert [row.address for row in store.suppressions()[0]] == [ADDRESS]


class TestLists:
    async def test_people_put_on_a_list_are_its_members(self, store: Store) -> None:
        async with running(store) as engine:
            await engine.change_lists([("u:ann", ListChange("vip", True, T0)), ("u:bob", ListChange("vip", True, T0))])
            await engine.change_lists([("u:bob", ListChange("vip", False, T0 + 1))])
            assert [key for key, _ in store.members("vip")[0]] == ["u:ann"]


class TestPublish:
    def changed(self) -> dict[str, Any]:
        document = shop()
        document["segments"]["all"] = {"name": "all", "if": {"everyone": True}}
        document["templates"]["cart-reminder"] = template("cart-reminder", version="00000002")
        document["journeys"]["cart"]["steps"][0] = {"wait": "PT10M"}
        return document

    async def test_a_publish_switches_sweeps_and_leaves_waiting_runs_alone(self, store: Store) -> None:
        async with running(store) as engine:
            await send(engine, identify(email=ADDRESS), call("Product Added", cart_id="c1"), call("X", "bob"))
            report = await engine.publish(self.changed())
            assert report.version == 2 and ("segment", "all", "added") in report.changes
            await until(lambda: engine.building() is None)
            assert store.member_count("all") == 2
            assert engine.complete_since() == {"viewers": 0, "buyers": 0, "all": 0}
            await advance(engine, 10 * MINUTE)
            assert not messages(engine), "the waiting run keeps its 30 minutes"
            await advance(engine, 20 * MINUTE)
            assert [row.template_version for row in messages(engine)] == ["00000002"]

    async def test_a_new_segment_enters_nobody_into_journeys(self, store: Store) -> None:
        async with running(store) as engine:
            await send(engine, identify(email=ADDRESS))
            document = self.changed()
            document["journeys"]["greet"] = {"entry": {"segment": "all"}, "steps": [{"send": "welcome"}]}
            await engine.publish(document)
            await until(lambda: engine.building() is None)
            assert not messages(engine)

    async def test_a_broken_document_is_refused_with_every_problem_and_the_old_plan_stays(self, store: Store) -> None:
        async with running(store) as engine:
            document = shop(schemas={"X": {"type": 5}})
            document["journeys"]["cart"]["steps"] = [{"sand": "cart-reminder"}]
            with pytest.raises(PlanRefused) as refused:
                await engine.publish(document)
            paths = [path for path, _ in refused.value.problems]
            assert any(path.startswith("journeys.cart") for path in paths) and "schemas.X" in paths
            assert engine.plan.version == 1
            await send(engine, call("X"))

    async def test_a_template_that_does_not_load_is_refused(self, store: Store) -> None:
        def load(compiled: dict[str, Any]) -> None:
            if compiled["name"] == "welcome":
                raise ValueError("line 3: unknown tag")

        engine = new_engine(store, load_template=load)
        with pytest.raises(PlanRefused, match=r"templates\.welcome: line 3"):
            await engine.start(shop())
        await engine.stop(0)

    async def test_a_dry_run_changes_nothing(self, store: Store) -> None:
        async with running(store) as engine:
            report = await engine.publish(self.changed(), dry_run=True)
            assert report.version == 0 and ("journey", "cart", "changed") in report.changes
            assert engine.plan.version == 1 and len(store.plans()) == 1

    async def test_publishing_the_same_again_is_the_same_plan(self, store: Store) -> None:
        async with running(store) as engine:
            assert (await engine.publish(shop())).version == 1

    async def test_a_restart_keeps_the_plan_and_ends_the_sweep(self, store: Store) -> None:
        async with running(store) as engine:
            await send(engine, *(call("X", f"p{n}") for n in range(700)))
            await engine.publish(self.changed())
        async with running(store) as engine:
            assert engine.plan.version == 2
            await until(lambda: engine.building() is None)
            assert store.member_count("all") == 700

    async def test_publishing_beside_traffic_loses_and_refuses_nothing(self, store: Store) -> None:
        async with running(store) as engine:
            await send(engine, *(call("X", f"p{n}") for n in range(600)))

            async def traffic() -> None:
                for n in range(300):
                    (result,) = await send(engine, call("Product Viewed", f"p{n}"))
                    assert result.status == "accepted"

            task = asyncio.create_task(traffic())
            await engine.publish(self.changed())
            await task
            await until(lambda: engine.building() is None)
            assert (store.member_count("all"), store.member_count("viewers")) == (600, 300)


class TestBackPressure:
    async def test_a_full_queue_says_busy_and_takes_none_of_the_call(self) -> None:
        store = MemoryStore()
        async with running(store, waiting=Waiting(max_records=3)) as engine:
            taken = [engine.collect([call("X", id=f"t{n}")]) for n in range(3)]
            with pytest.raises(Busy):
                engine.collect([call("X", id="one too many")])
            await asyncio.gather(*taken)
            assert {record.id for _, record in store.log()} == {"t0", "t1", "t2"}
            assert (await send(engine, call("X")))[0].status == "accepted"

    async def test_after_stop_everything_is_busy(self) -> None:
        async with running() as engine:
            pass
        with pytest.raises(Busy):
            engine.collect([call("X")])
        assert not engine.ready

    async def test_stop_decides_what_was_queued(self) -> None:
        store = MemoryStore()
        async with running(store) as engine:
            waiting = [engine.collect([call("X")]) for _ in range(100)]
        assert all(result[0].status == "accepted" for result in await asyncio.gather(*waiting))
        assert store.last_position() == 100


class TestFullDisk:
    async def test_nothing_is_acknowledged_and_nothing_remembered_of_what_the_disk_refused(self) -> None:
        store = MemoryStore()
        async with running(store, full_pause_s=0.01) as engine:
            await send(engine, identify(email=ADDRESS))
            store.full = True
            with pytest.raises(Busy):
                await send(engine, call("Order Completed", id="order"))
            assert not engine.ready
            with pytest.raises(Busy):
                await send(engine, call("X"))
            store.full = False
            await until(lambda: engine.ready)
            (result,) = await send(engine, call("Order Completed", id="order"))
            assert result.status == "accepted", "the first try left no trace"
            assert len(messages(engine)) == 1
            positions = [position for position, _ in store.log()]
            assert positions == list(range(1, len(positions) + 1))

    async def test_timers_wait_for_the_disk_and_then_fire(self) -> None:
        store = MemoryStore()
        async with running(store, full_pause_s=0.01) as engine:
            await send(engine, identify(email=ADDRESS), call("Product Added", cart_id="c1"))
            store.full = True
            engine.clock.advance(HOUR)  # type: ignore[attr-defined]
            engine.wakeups.stir()
            await until(lambda: not engine.ready)
            store.full = False
            await until(lambda: messages(engine))
            assert len(messages(engine)) == 1

    async def test_a_plan_whose_commit_failed_is_not_in_force(self) -> None:
        store = MemoryStore()
        async with running(store, full_pause_s=0.01) as engine:
            store.full = True
            document = shop(segments={})
            with pytest.raises(Busy):
                await engine.publish(document)
            assert engine.plan.version == 1
            store.full = False
            await until(lambda: engine.ready)
            assert (await engine.publish(document)).version == 2


class TestBugs:
    async def test_a_record_that_cannot_be_decided_is_set_aside_and_its_neighbours_are_decided(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from heliograph import decide

        step = decide.step

        def broken(state: Any, record: Any, plan: Any) -> Any:
            if record.id == "poison":
                raise ZeroDivisionError
            return step(state, record, plan)

        monkeypatch.setattr(decide, "step", broken)
        store = MemoryStore()
        async with running(store) as engine:
            calls = [engine.collect([call("X", id=name)]) for name in ("before", "poison", "after")]
            results = [(await one)[0] for one in calls]
            assert [result.status for result in results] == ["accepted", "dead_letter", "accepted"]
            assert [record.id for _, record in store.log()] == ["before", "after"]
            assert len(store.dead_letters()[0]) == 1


class TestFind:
    async def test_a_person_is_found_by_every_name(self, store: Store) -> None:
        async with running(store) as engine:
            await send(engine, call("X", None, anonymous="browser"))
            await send(engine, identify("ann", anonymous="browser", email=ADDRESS))
            for name in ("ann", "browser", "anon:browser", ADDRESS, " Ann@Example.com "):
                assert engine.find(name) == ["u:ann"], name
            assert engine.find("nobody") == []

    async def test_counts_of_journeys_survive_a_restart(self, store: Store) -> None:
        async with running(store) as engine:
            await send(engine, identify(email=ADDRESS), call("Product Added", cart_id="c1"), call("Signed Up"))
        async with running(store) as engine:
            counts = engine.journey_counts()
            assert counts["cart"]["active"] == 1 and counts["cart"]["started"] == 1
            await send(engine, call("Order Completed"))
            assert engine.journey_counts()["cart"]["active"] == 0


class TestLive:
    async def test_a_reader_sees_events_and_messages(self) -> None:
        async with running() as engine:
            live = engine.subscribe()
            await send(engine, identify(email=ADDRESS), call("Order Completed"))
            kinds = [(await live.get())["kind"] for _ in range(4)]
            assert {"event", "message"} <= set(kinds)
            live.close()


class TestPinned:
    async def test_an_old_version_stays_in_the_plan_while_it_has_runs_and_then_goes(self, store: Store) -> None:
        async with running(store) as engine:
            await send(engine, identify(email=ADDRESS), call("Product Added", cart_id="c1"))
            (first,) = [version for name, version in engine.plan.all_journeys if name == "cart"]
            for priority in (1, 2):
                document = shop()
                document["journeys"]["cart"]["priority"] = priority
                await engine.publish(document)
            assert ("cart", first) in engine.plan.all_journeys
            await send(engine, call("Order Completed"))
            document = shop()
            document["journeys"]["cart"]["priority"] = 3
            await engine.publish(document)
            assert ("cart", first) not in engine.plan.all_journeys


class TestForgetting:
    async def test_idle_visitors_go_from_the_store_and_their_log_replays(self, store: Store) -> None:
        async with running(store) as engine:
            await send(engine, call("Product Viewed", None, anonymous="gone"), call("Product Viewed", "ann"))
            await advance(engine, 31 * DAY)
            await send(engine, call("Product Viewed", None, anonymous="here"))
            for _ in range(2):  # the engine's own round may stand at the last key
                await engine.forgetter.portion()
            assert store.states(["a:gone"]) == [None]
            assert sorted(store.keys()) == ["a:here", "u:ann"]
            assert [event.name for event in store.history("a:gone")] == ["Product Viewed"]
            assert engine.find("anon:gone") == []
            await send(engine, call("Product Viewed", None, anonymous="gone"))
            assert engine.find("anon:gone") == ["a:gone"]
