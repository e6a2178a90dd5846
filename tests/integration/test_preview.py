"""A dry run tells what a publish then does."""

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from heliograph.adapters.memory import MemoryStore
from heliograph.adapters.rocksdb import RocksStore
from heliograph.adapters.schema import JsonSchema
from heliograph.ports import PlanTouches, Store
from heliograph.runtime.pace import Pace
from heliograph.runtime.preview import Preview
from heliograph.runtime.publishing import prepare
from tests.integration.test_live_change import later, members, some_days, swept
from tests.runtime.harness import MINUTE, call, identify, running, send, shop, template

STEPS = [{"wait": "PT30M", "id": "pause"}, {"send": "cart-reminder"}]


@pytest.fixture(params=["memory", "rocksdb"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    made: Store = MemoryStore() if request.param == "memory" else RocksStore(tmp_path / "data")
    yield made
    made.close()


def with_cart(*steps: dict[str, Any], **parts: Any) -> dict[str, Any]:
    document = shop()
    document["journeys"]["cart"] |= {"steps": list(steps), "on_edit": "follow", **parts}
    return document


@pytest.mark.parametrize("seed", range(2))
async def test_members_after_are_the_members_after(store: Store, seed: int) -> None:
    async with running(store) as engine:
        await some_days(engine, random.Random(seed), 30)
        before = {key: store.states([key]) for key in store.keys(limit=10_000)}
        report = await engine.publish(later(), dry_run=True)
        assert {key: store.states([key]) for key in store.keys(limit=10_000)} == before, "nothing was written"
        touches = report.touches
        assert touches is not None and touches.complete
        await engine.publish(later())
        await swept(engine)
        told = {one.name: one.members_after for one in touches.segments}
        assert told == {name: len(found) for name, found in members(store, list(told)).items()}
        assert {one.members_now for one in touches.segments} == {0}


async def test_runs_are_counted_by_step_and_those_that_cannot_follow_are_named(store: Store) -> None:
    async with running(store, document=with_cart(*STEPS, {"wait": "P1D"}, {"send": "welcome"})) as engine:
        for n in range(9):
            await send(engine, identify(f"p{n}", email=f"p{n}@x.test"), call("Product Added", f"p{n}", cart_id="c"))
        edited = with_cart({"wait": "PT20M", "id": "pause"}, {"send": "cart-reminder"}, {"send": "welcome"})
        touches = (await engine.publish(edited, dry_run=True)).touches
        assert touches is not None
        (cart,) = touches.journeys
        assert (cart.active, cart.moved, cart.by_step, cart.unmapped) == (9, 9, {"pause": 9}, [])
        assert [(one.step_id, one.change) for one in cart.steps] == [("pause", "changed"), ("wait-2", "deleted")]
        assert (touches.runs_moved, touches.runs_ended, touches.changed) == (9, 0, 9)
        renamed = with_cart({"wait": "PT30M", "id": "rest"}, {"send": "cart-reminder"})
        touches = (await engine.publish(renamed, dry_run=True)).touches
        assert touches is not None
        (cart,) = touches.journeys
        (unmapped,) = cart.unmapped
        assert (unmapped.step_id, unmapped.why, unmapped.count, cart.moved) == ("pause", "gone", 9, 0)
        pinned = with_cart({"wait": "PT20M", "id": "pause"}, {"send": "cart-reminder"}, on_edit="pin")
        touches = (await engine.publish(pinned, dry_run=True)).touches
        assert touches is not None
        (cart,) = touches.journeys
        assert (cart.moved, cart.unmapped, cart.parts) == (0, [], ["on_edit"])


async def test_what_it_says_of_runs_comes_true(store: Store) -> None:
    async with running(store, document=with_cart(*STEPS)) as engine:
        for n in range(6):
            await send(engine, identify(f"p{n}", email=f"p{n}@x.test"), call("Product Added", f"p{n}", cart_id="c"))
        old = engine.plan.journeys["cart"].version
        edited = with_cart({"wait": "PT20M", "id": "pause"}, {"send": "cart-reminder"})
        touches = (await engine.publish(edited, dry_run=True)).touches
        await engine.publish(edited)
        await swept(engine)
        states = [engine.state(f"u:p{n}") for n in range(6)]
        versions = [run.version for state in states if state is not None for run in state.runs.values()]
        assert touches is not None and old not in versions and len(versions) == touches.runs_moved == 6
        assert engine._desk.tally.active() == {("cart", engine.plan.journeys["cart"].version)}
        edited["templates"]["extra"] = template("extra")
        await engine.publish(edited)
        assert not engine.plan.document["pinned"], "no run is left in the old version"


async def test_a_sample_says_that_it_is_one(store: Store) -> None:
    async with running(store) as engine:
        await send(engine, *(call("Product Viewed", f"p{n}") for n in range(50)))
        new = prepare(later(), engine.plan, set(), 1, JsonSchema, lambda _compiled: None)
        plan = new.published.plan
        preview = Preview(store, engine.plan, plan, new.report, engine.clock.now() + MINUTE)
        touches: PlanTouches = await preview.run(Pace(lambda: 0), max_people=20)
        assert touches.people == 20 and not touches.complete
        late = await Preview(store, engine.plan, plan, new.report, engine.clock.now()).run(Pace(lambda: 0), max_s=0)
        assert late.people == 0 and not late.complete
