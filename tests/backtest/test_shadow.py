"""A draft beside the live version: from where people are, on what happens now, and without a word to anybody."""

from pathlib import Path
from typing import Any

import pytest

from heliograph.adapters.rocksdb import RocksView
from heliograph.backtest.job import ShadowJob, _beside
from heliograph.backtest.shadow import SETTLE_MS, Shadow, Shadowed
from tests.backtest.kit import CART, HOUR, MINUTE, PLAIN, STAY, World, document
from tests.backtest.test_law import PRESSED, afternoon
from tests.runtime.harness import call, identify, template


class Watch:
    """A shadow over a world that goes on."""

    def __init__(self, world: World, name: str, journey: dict[str, Any], lasts: int = 10**12) -> None:
        self.world = world
        self.views = RocksView(world.folder), RocksView(world.folder)
        until = world.clock.now() + lasts
        plans = _beside(self.views[0], ShadowJob(str(world.folder), name, journey, until))
        self.shadow = Shadow(*self.views, plans, name, until)

    def look(self) -> Shadowed:
        self.shadow.follow(self.world.clock.now() + 2 * SETTLE_MS)
        return self.shadow.told()

    def close(self) -> None:
        for view in self.views:
            view.close()
        self.world.close()


@pytest.mark.parametrize("plan", [document(), PRESSED], ids=["free", "pressed"])
@pytest.mark.parametrize("seed", range(4))
def test_the_published_version_beside_itself_differs_in_nothing(
    seed: int, plan: dict[str, Any], tmp_path: Path
) -> None:
    """Wherever people are when it begins."""
    world = World(tmp_path / "data", plan, seed)
    afternoon(world, 15)
    watch = Watch(world, "cart", CART)
    for _ in range(5):
        afternoon(world, 4)
        found = watch.look()
        assert (found.differences.people, found.differences.listed) == (0, [])
        assert (found.draft_entrants, found.draft_mails) == (found.live_entrants, found.live_mails)
    assert found.records > 30
    watch.close()


def test_runs_under_way_go_on_and_new_ones_follow_the_draft(tmp_path: Path) -> None:
    world = World(tmp_path / "data", PLAIN)
    world.send(*(identify(who, email=f"{who}@x.test") for who in ("ann", "bob")))
    world.send(call("Product Added", "ann", cart_id="c"))
    world.advance(10 * MINUTE)
    watch = Watch(world, "cart", {**STAY, "steps": [{"wait": "PT45M"}, *STAY["steps"][1:]]})
    world.send(call("Product Added", "bob", cart_id="c"))
    world.advance(2 * HOUR)
    found = watch.look()
    (one,) = found.differences.listed
    assert (one.profile_id, one.live, one.draft) == ("bob", "mails cart-reminder", "mails cart-reminder")
    assert one.draft_at - one.live_at == 15 * MINUTE
    assert (found.differences.people, found.differences.moved) == (1, 1)
    assert {row.template for row in world.store.messages()[0]} == {"cart-reminder"}
    watch.close()


def test_what_a_draft_asks_for_the_first_time_is_known_from_history(tmp_path: Path) -> None:
    world = World(tmp_path / "data", PLAIN)
    world.send(identify("ann", email="ann@x.test"), call("Page Liked", "ann"))
    asked = {**STAY, "entry": {**STAY["entry"], "if": {"did": {"event": "Page Liked"}}}}
    watch = Watch(world, "cart", asked)
    world.send(call("Product Added", "ann", cart_id="c"), call("Product Added", "bob", cart_id="c"))
    found = watch.look()
    assert (found.live_entrants, found.draft_entrants) == (2, 1)
    (one,) = found.differences.listed
    assert (one.profile_id, one.live, one.draft) == ("bob", "enters c", "does not enter: if_false")
    watch.close()


def test_a_broadcast_in_between_is_everybodys_on_both_sides_and_takes_its_places_under_the_caps(tmp_path: Path) -> None:
    world = World(tmp_path / "data", {**PRESSED, "templates": {**PRESSED["templates"], "news": template("news")}})
    world.send(*(identify(who, email=f"{who}@x.test") for who in ("ann", "bob", "eve")))
    watch = Watch(world, "cart", CART)
    world.crank.create_broadcast({"name": "n", "template": "news", "topic": "offers", "audience": {"everyone": True}})
    while world.crank.broadcast():
        world.advance(MINUTE)
    afternoon(world, 6)
    world.send(call("Product Added", "ann", cart_id="c"))
    world.advance(3 * HOUR)
    found = watch.look()
    assert (found.ended, found.differences.people, found.differences.listed) == ("", 0, [])
    assert watch.shadow._live_plan.broadcasts
    watch.close()


def test_another_plan_and_the_end_of_its_time_end_it(tmp_path: Path) -> None:
    world = World(tmp_path / "data", PLAIN)
    watch = Watch(world, "cart", STAY, lasts=HOUR)
    world.advance(2 * HOUR)
    assert watch.look().ended == "its time is over"
    for view in watch.views:
        view.close()
    watch = Watch(world, "cart", STAY)
    world.crank.publish(document())
    world.send(call("Product Viewed", "ann"))
    assert watch.look().ended == "plan 2 was published"
    watch.close()


def test_a_log_that_was_cut_before_it_was_read_ends_it(tmp_path: Path) -> None:
    world = World(tmp_path / "data", PLAIN)
    world.send(call("Product Viewed", "ann"))
    watch = Watch(world, "cart", STAY)
    world.advance(2 * HOUR)
    for _ in range(3):
        world.send(call("Product Viewed", "ann"))
    world.store.expire(log_before=world.clock.now() + 1, history_before=0, dead_letters_before=0)
    assert watch.look().ended == "the log was cut before it was read"
    watch.close()


def test_it_holds_what_is_about_the_journey_and_only_so_much_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(tmp_path / "data", document(), 1)
    watch = Watch(world, "cart", CART)
    afternoon(world, 10)
    watch.look()
    held = [*watch.shadow._live_decided, *watch.shadow._draft.decided]
    assert held and {one.data["journey"] for one in held} == {"cart"}
    monkeypatch.setattr("heliograph.backtest.shadow.MAX_DECIDED", len(held) + 1)
    for _ in range(8):
        afternoon(world, 10)
    assert "as many as it can hold" in watch.look().ended
    watch.close()
