"""A plan that is published over people with a past: what the sweep brings them, while they go on living."""

import asyncio
import random
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from heliograph.adapters.memory import MemoryStore
from heliograph.adapters.rocksdb import RocksStore
from heliograph.events.record import EventBody, Touch
from heliograph.ports import Arrival, Store
from heliograph.runtime import sweeper
from heliograph.runtime.clock import ManualClock
from heliograph.runtime.engine import EmbeddedEngine
from tests.runtime.harness import (
    DAY,
    HOUR,
    MINUTE,
    T0,
    PuppetMailer,
    advance,
    call,
    identify,
    messages,
    new_engine,
    running,
    send,
    shop,
    until,
)

CARTS = {"did": {"event": "Product Added", "at_least": 2, "within": "PT6H"}}
VIEWED = {"did": {"event": "Product Viewed"}}
PEOPLE = 120


@pytest.fixture(params=["memory", "rocksdb"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    made: Store = MemoryStore() if request.param == "memory" else RocksStore(tmp_path / "data")
    yield made
    made.close()


def later() -> dict[str, Any]:
    """The shop with segments over what happened before they were written, and a journey that waits for one."""
    document = shop()
    conditions: dict[str, Any] = {
        "carts": CARTS,
        "viewed-ever": {"did": {"event": "Product Viewed", "at_least": 3}},
        "idle": {
            "all": [
                {"did": {"event": "Product Viewed"}},
                {"not": {"did": {"event": "Product Viewed", "within": "P1D"}}},
            ]
        },
        "same-product": {"did": {"event": "Product Viewed", "same": "properties.product_id", "at_least": 2}},
        "named": {"all": [{"in_segment": "carts"}, {"not": {"in_segment": "buyers"}}]},
    }
    document["segments"] |= {name: {"name": name, "if": condition} for name, condition in conditions.items()}
    document["journeys"]["loyal"] = {"entry": {"segment": "carts"}, "steps": [{"send": "welcome"}]}
    return document


def one_call(chance: random.Random, now: int) -> Arrival:
    who, at = f"p{chance.randrange(PEOPLE)}", now - chance.randrange(0, 2 * HOUR)
    browser = f"b-{who}"
    match chance.randrange(10):
        case 0:
            return identify(who, anonymous=browser, email=f"{who}@x.test")
        case 1 | 2:
            return call("Product Viewed", None, anonymous=browser, at=at, product_id=f"sku-{chance.randrange(3)}")
        case 3 | 4:
            return call("Product Viewed", who, at=at, product_id=f"sku-{chance.randrange(3)}")
        case 5 | 6 | 7:
            return call("Product Added", who, at=at, cart_id="c")
        case 8:
            return call("Product Added", None, anonymous=browser, at=at, cart_id="c")
        case _:
            return call("Order Completed", who, at=at)


async def some_days(engine: EmbeddedEngine, chance: random.Random, hours: int) -> list[Arrival]:
    sent = []
    for _ in range(hours):
        calls = [one_call(chance, engine.clock.now()) for _ in range(12)]
        await send(engine, *calls)
        sent += calls
        await advance(engine, HOUR)
    return sent


def in_carts(store: Store, arrivals: list[Arrival], now: int) -> set[str]:
    """Who has two carts within six hours, counted from the calls alone: an independent opinion on the segment."""
    linked = {
        f"a:{one.event.anonymous_id}": f"u:{one.event.user_id}"
        for one in arrivals
        if one.event and one.event.user_id and one.event.anonymous_id
    }
    times: dict[str, set[tuple[int, str]]] = defaultdict(set)
    for one in arrivals:
        event = one.event
        assert event is not None
        key = f"u:{event.user_id}" if event.user_id else f"a:{event.anonymous_id}"
        if event.name == "Product Added":
            times[linked.get(key, key)].add((event.occurred_at, event.event_id))
    return {key for key, seen in times.items() if sum(now - 6 * HOUR < at <= now for at, _ in seen) >= 2}


def members(store: Store, names: list[str]) -> dict[str, set[str]]:
    return {name: {key for key, _ in store.members(name, 10_000)[0]} for name in names}


async def swept(engine: EmbeddedEngine) -> None:
    await until(lambda: engine.building() is None, 30)


@pytest.mark.parametrize("seed", range(2))
async def test_after_the_sweep_everybody_is_where_they_would_be_had_the_plan_always_been_there(
    store: Store, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweeper, "PORTION", 16)
    chance, document = random.Random(seed), later()
    names = list(document["segments"])
    async with running(store) as engine:
        sent = await some_days(engine, chance, 48)
        await engine.publish(document)
        calls = [[one_call(chance, engine.clock.now()) for _ in range(6)] for _ in range(20)]
        for part in calls:  # beside the sweep
            await send(engine, *part)
            sent += part
        await swept(engine)
        now = engine.clock.now()
        assert members(store, ["carts"])["carts"] == in_carts(store, sent, now)
        nobody_entered_while_building(store)
        sent += await some_days(engine, chance, 6)
        assert members(store, ["carts"])["carts"] == in_carts(store, sent, engine.clock.now())
        end = engine.clock.now()
    reference = MemoryStore()
    async with running(reference, document=document) as always:
        await replay_calls(always, store, end)
    assert members(store, names) == members(reference, names)


async def replay_calls(engine: EmbeddedEngine, source: Store, end: int) -> None:
    """The same calls at the same instants."""
    assert isinstance(engine.clock, ManualClock)
    for _, record in source.log(limit=1_000_000):
        event = record.body.event if isinstance(record.body, EventBody) and not record.body.hops else None
        if event is None:
            continue
        await advance(engine, record.received_at - engine.clock.now())
        await send(engine, Arrival(event.event_id, event, b"{}"))
    await advance(engine, end - engine.clock.now())


def nobody_entered_while_building(store: Store) -> None:
    """Whoever entered on a new segment had been touched by the sweep before, or was new."""
    touched: dict[str, int] = {}
    new: dict[str, bool] = {}
    for position, record in store.log(limit=1_000_000):
        new.setdefault(record.key, record.plan_version == 2)
        if isinstance(record.body, Touch):
            touched.setdefault(record.key, position)
    for key in store.keys(limit=10_000):
        for row in store.journal(key, 10_000):
            entered = row.kind == "segment_entered" and row.data["segment"] in ("carts", "same-product")
            if entered or (row.kind == "run_started" and row.data["journey"] == "loyal"):
                assert new[key] or touched.get(key, 1 << 60) < row.position, (key, row)


async def test_a_sweep_goes_on_where_it_was_after_a_restart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweeper, "PORTION", 8)
    chance, path, clock = random.Random(7), tmp_path / "data", ManualClock(T0)
    store: Store = RocksStore(path)
    engine = new_engine(store, clock)
    await engine.start(shop())
    sent = await some_days(engine, chance, 24)
    await engine.publish(later())
    await until(lambda: (engine.building() or {"done": 10**9})["done"] > 20)
    for task in engine._tasks:  # as if the process had died: nothing is finished any more
        task.cancel()
    await engine.stop(0)
    progress = sweeper.read_progress(store)
    assert progress is not None and not progress.ended_at and 20 < progress.done < 120
    store.close()
    store = RocksStore(path)
    async with running(store, clock) as again:
        assert again.building() is not None
        await swept(again)
        assert members(store, ["carts"])["carts"] == in_carts(store, sent, clock.now())
        touches = [record.key for _, record in store.log(limit=1_000_000) if isinstance(record.body, Touch)]
        assert len(touches) == len(set(touches)), "nobody was touched twice"
    store.close()


async def test_mail_and_memberships_of_the_past_are_told_again(store: Store, tmp_path: Path) -> None:
    """`Email *` and `Segment *` are in no history; what they left behind says the same."""
    document = shop()
    conditions: dict[str, Any] = {
        "mailed": {"did": {"event": "Email Sent", "where": {"properties.template": "welcome"}}},
        "clicked": {"did": {"event": "Email Clicked"}},
        "looked": {"did": {"event": "Segment Entered", "where": {"properties.segment": "viewers"}, "at_least": 2}},
    }
    document["segments"] |= {name: {"name": name, "if": condition} for name, condition in conditions.items()}
    async with running(store, socket=tmp_path / "m.sock") as engine:
        mailer = await PuppetMailer.connect(tmp_path / "m.sock")
        await send(engine, identify(email="ann@x.test"), call("Signed Up"), call("Product Viewed"))
        job = await mailer.job()
        await mailer.ask(job.message_id)
        mailer.report(job.message_id, "sent")
        await until(lambda: messages(engine)[0].status == "sent")
        await advance(engine, 11 * MINUTE)
        await send(engine, call("Product Viewed"))
        await engine.publish(document)
        await swept(engine)
        assert members(store, list(conditions)) == {"mailed": {"u:ann"}, "clicked": set(), "looked": {"u:ann"}}
        await mailer.close()


async def test_a_condition_that_was_taken_away_and_comes_back_has_no_hole(store: Store) -> None:
    with_it = shop()
    with_it["segments"]["three"] = {"name": "three", "if": {"did": {"event": "Product Viewed", "at_least": 3}}}
    async with running(store, document=with_it) as engine:
        await send(engine, call("Product Viewed"))
        await engine.publish(shop())
        await swept(engine)
        await send(engine, call("Product Viewed"))
        await engine.publish(with_it)
        await swept(engine)
        assert not store.member_count("three")
        await send(engine, call("Product Viewed"))
        assert members(store, ["three"]) == {"three": {"u:ann"}}


async def test_somebody_merged_in_the_middle_of_a_sweep_keeps_both_pasts(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one half was swept already, the other not yet."""
    monkeypatch.setattr(sweeper, "PORTION", 1)
    document = shop()
    document["segments"]["two"] = {"name": "two", "if": {"did": {"event": "Product Viewed", "at_least": 2}}}
    async with running(store) as engine:
        for n in range(30):
            await send(engine, call("Product Viewed", f"p{n}"), call("Product Viewed", None, anonymous=f"b{n}"))
        await engine.publish(document)
        for n in range(30):
            await send(engine, identify(f"p{n}", anonymous=f"b{n}"))
        await swept(engine)
        assert store.member_count("two") == 30


async def test_a_sweep_that_is_overtaken_by_a_publish_leaves_nobody_behind(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweeper, "PORTION", 1)
    first, second = shop(), shop()
    two = {"name": "two", "if": {"did": {"event": "Product Viewed", "at_least": 2}}}
    three = {"name": "three", "if": {"did": {"event": "Product Viewed", "at_least": 3}}}
    first["segments"]["two"] = second["segments"]["two"] = two
    second["segments"]["three"] = three
    async with running(store) as engine:
        for n in range(200):
            await send(engine, *(call("Product Viewed", f"p{n}") for _ in range(n % 4)))
        await engine.publish(first)
        await until(lambda: (engine.building() or {"done": 99})["done"] > 6)
        await engine.publish(second)
        building = engine.building()
        assert building is not None and building["segments"] == ["three", "two"]
        await swept(engine)
        assert (store.member_count("two"), store.member_count("three")) == (100, 50)
        second["templates"]["welcome"]["subject"] = "Hello"
        await engine.publish(second)
        assert not engine.plan.fresh.leaves, "everybody was swept"


async def test_publishing_while_live_calls_come_answers_every_one(store: Store) -> None:
    async with running(store) as engine:
        await send(engine, *(call("Product Viewed", f"p{n % 200}") for n in range(600)))
        task = asyncio.create_task(steady(engine))
        await engine.publish(later())
        await swept(engine)
        task.cancel()
        assert store.member_count("viewed-ever") == 201
        await advance(engine, DAY)


async def steady(engine: EmbeddedEngine) -> None:
    while True:
        (result,) = await send(engine, call("Product Viewed", "live"))
        assert result.status == "accepted"
        await asyncio.sleep(0)
