"""The law of this package: what was decided live, decided again from what was recorded, is the same one by one."""

import random
from pathlib import Path
from typing import Any

import pytest

from heliograph.adapters.rocksdb import RocksStore, RocksView
from heliograph.backtest.job import VerifyJob, run_verify
from heliograph.backtest.verify import Verified
from heliograph.events.record import LedgerRow
from heliograph.ports import Arrival, Commit
from tests.backtest.kit import CART, MINUTE, PEOPLE, PRESSURE, T0, World, document, stories
from tests.replays import test_log
from tests.runtime.harness import call, identify, template

DECISIONS = frozenset(
    {"run_started", "run_refused", "run_ended", "message_decided", "message_skipped", "message_deferred", "goal",
     "segment_entered", "segment_left", "run_step"}
)  # fmt: skip


def one_call(chance: random.Random, now: int) -> Arrival:
    who, browser = chance.choice(PEOPLE), f"browser-{chance.randrange(3)}"
    at = now - chance.choice((0, 0, 0, 0, 5 * MINUTE, 90 * MINUTE, 4 * 24 * 60 * MINUTE))
    match chance.randrange(9):
        case 0:
            return identify(who, email=f"{who}@x.test", anonymous=browser)
        case 1:
            return identify(who, email=f"{who}@x.test", consent={"offers": chance.random() < 0.6})
        case 2 | 3:
            return call("Product Viewed", None, anonymous=browser, at=at)
        case 4:
            return call("Product Viewed", who, at=at)
        case 5:
            return call("Product Added", who, cart_id=f"cart-{chance.randrange(2)}", at=at)
        case 6:
            return call("Product Added", None, anonymous=browser, cart_id="cart-0", at=at)
        case 7:
            return call("Signed Up", who)
        case _:
            return call("Order Completed", who, id=f"order-{who}-{chance.randrange(4)}", total=12.5)


def afternoon(world: World, steps: int) -> None:
    chance = world.chance
    for _ in range(steps):
        world.send(*(one_call(chance, world.clock.now()) for _ in range(chance.randrange(1, 5))))
        world.advance(chance.randrange(60) * MINUTE)
        if chance.random() < 0.1:
            world.say(f"{chance.choice(PEOPLE)}@x.test", chance.choice(("offers", "news")), chance.random() < 0.5)


@pytest.fixture
def recorded(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """A data folder in which some people spent an afternoon, by the seed that the test asks for."""
    seed, plan = request.param
    world = World(tmp_path / "data", plan, seed)
    afternoon(world, 40)
    world.close()
    return tmp_path / "data"


PRESSED = document(policies=PRESSURE)
WORLDS = [(seed, plan) for seed in range(5) for plan in (None, PRESSED)]
NAMES = [f"{seed}-{'pressed' if plan else 'free'}" for seed, plan in WORLDS]


def judged(folder: Path) -> Verified:
    found = run_verify(VerifyJob(str(folder)))
    assert found.listed == []
    assert found.facts > 50
    return found


@pytest.mark.parametrize("recorded", WORLDS, ids=NAMES, indirect=True)
def test_the_log_decided_again_gives_every_recorded_decision(recorded: Path) -> None:
    assert judged(recorded).messages > 5


@pytest.mark.parametrize("seed", range(3))
async def test_so_does_the_log_of_a_running_engine(seed: int, tmp_path: Path) -> None:
    test_log.number_again()
    store = RocksStore(tmp_path / "data")
    await test_log.live(store, seed, 30, chunked=True)
    store.close()
    judged(tmp_path / "data")


def test_so_does_a_log_with_broadcasts_in_it(tmp_path: Path) -> None:
    """Under plans that are compiled as a whole, where the server only put a broadcast into the one it had."""
    plan = {**PRESSED, "templates": {**PRESSED["templates"], "news": template("news")}}
    world = World(tmp_path / "data", plan, 1)
    afternoon(world, 12)
    world.send(identify("twin", email="ann@x.test"))
    for audience in ({"everyone": True}, {"if": {"did": {"event": "Product Viewed"}}}):
        world.crank.create_broadcast({"name": "n", "template": "news", "topic": "offers", "audience": audience})
        while world.crank.broadcast(2):
            world.advance(MINUTE)
        afternoon(world, 6)
    world.close()
    judged(tmp_path / "data")


def journal_of(view: RocksView) -> dict[str, list[tuple[int, str, dict[str, Any]]]]:
    """The decisions in the journal, by the person they ended up with; with ids, instants and reasons."""
    found: dict[str, list[tuple[int, str, dict[str, Any]]]] = {}
    for key in view.keys(limit=10_000):
        decided = [(row.at, row.kind, row.data) for row in view.facts(key) if row.kind in DECISIONS]
        if decided:
            found[key] = sorted(decided, key=lambda one: one[0])
    return found


@pytest.mark.parametrize("recorded", WORLDS, ids=NAMES, indirect=True)
def test_a_draft_that_is_the_published_version_decides_what_was_decided_live(recorded: Path) -> None:
    """In a world of its own: hops, wake-ups and cancels are made anew, only what came from outside is given."""
    view = RocksView(recorded)
    again: dict[str, list[tuple[int, str, dict[str, Any]]]] = {}
    for story in stories(view, "cart", CART, since=T0 - 1, until=view.last_received_at() + 1):
        for one in story.decided:
            if one.kind in DECISIONS:
                again.setdefault(one.key, []).append((one.at, one.kind, one.data))
    expected = journal_of(view)
    view.close()
    for key in sorted(expected.keys() | again.keys()):
        assert sorted(again.get(key, ()), key=lambda one: one[0]) == expected.get(key, []), key


def test_a_tampered_journal_is_found(tmp_path: Path) -> None:
    """The verifier can fail."""
    world = World(tmp_path / "data")
    world.send(identify("ann", email="ann@x.test"), call("Signed Up", "ann"))
    world.advance(10 * MINUTE)
    row = world.store.messages(limit=1)[0][0]
    row.template = "another"
    world.store.commit(Commit(messages={row.message_id: row}))
    world.close()
    found = run_verify(VerifyJob(str(tmp_path / "data")))
    assert (found.parted, found.listed[0].profile_id) == (1, "ann")


def test_a_word_in_the_ledger_is_as_good_as_a_decision(tmp_path: Path) -> None:
    """What was withdrawn by a link, long after, ends what the draft would mail from then on."""
    world = World(tmp_path / "data")
    world.send(identify("ann", email="ann@x.test"))
    world.crank.change_ledger([LedgerRow("ann@x.test", "offers", False, world.clock.now(), "page")])
    world.advance(MINUTE)
    world.send(call("Product Added", "ann", cart_id="c1"))
    world.advance(60 * MINUTE)
    world.close()
    view = RocksView(tmp_path / "data")
    (story,) = stories(view, "cart", {**CART, "holdout": "0%"}, since=T0 - 1)
    view.close()
    skipped = [one.data["reason"] for one in story.decided if one.kind == "message_skipped"]
    assert "no_consent: offers" in skipped
