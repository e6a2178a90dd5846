"""Plans that change over people with a past, replayed: the log carries what the sweeps brought."""

import random
from pathlib import Path
from typing import Any

import pytest

from heliograph.adapters.memory import MemoryStore
from heliograph.adapters.rocksdb import RocksStore
from heliograph.adapters.schema import JsonSchema
from heliograph.ports import Commit, Store
from heliograph.runtime import sweeper
from heliograph.runtime.chunk import Chunk
from heliograph.runtime.clock import ManualClock
from heliograph.runtime.desk import Desk
from tests.integration.test_live_change import later, one_call, swept
from tests.replays.test_log import number_again
from tests.runtime.harness import HOUR, advance, running, send, shop

PAUSED: list[dict[str, Any]] = [{"wait": "PT3H", "id": "pause"}, {"send": "cart-reminder", "id": "remind"}]


def plans() -> list[dict[str, Any]]:
    """The shop; with segments over the past and a journey that follows its edits; edited; and the shop again."""
    first, second, third = shop(), later(), later()
    for document, wait in ((first, "PT3H"), (second, "PT2H"), (third, "PT30M")):
        steps = [{"wait": wait, "id": "pause"}, *PAUSED[1:]]
        document["journeys"]["cart"] |= {"steps": steps, "on_edit": "follow"}
    del third["segments"]["same-product"]
    return [first, second, third, shop()]


async def days(store: Store, seed: int) -> None:
    """Every plan for some hours; calls come before a sweep, beside it and behind it."""
    number_again()
    chance = random.Random(seed)
    first, *others = plans()
    async with running(store, document=first) as engine:
        for document in [None, *others]:
            if document is not None:
                await engine.publish(document)
            for hour in range(8):
                await send(engine, *(one_call(chance, engine.clock.now()) for _ in range(12)))
                if hour == 2:
                    await swept(engine)
                await advance(engine, HOUR)


def decided(store: Store) -> dict[str, Any]:
    keys = store.keys(limit=10_000)
    names = sorted(plans()[1]["segments"])
    return {
        "states": dict(zip(keys, store.states(keys), strict=True)),
        "journal": {key: store.journal(key, 10_000) for key in keys},
        "members": {name: store.members(name, 10_000)[0] for name in names},
        "messages": sorted((m.message_id, m.template, m.created_at) for m in store.messages(limit=10_000)[0]),
        "due": store.due(10**15, 10_000),
    }


def replayed(source: Store, into: Store) -> None:
    """Each record under the plan that it was decided under."""
    desk: Desk | None = None
    for position, record in source.log(limit=1_000_000):
        if desk is None or desk.plan.version != record.plan_version:
            into.commit(Commit(plan=source.plan(record.plan_version)))
            desk = desk or Desk(into, JsonSchema)
            desk._reload_plan()
        chunk = Chunk(desk, ManualClock(record.received_at))
        chunk.replay(record)
        assert desk.position == position
        commit = chunk.finish()
        desk.seal()
        into.commit(commit)
        desk.settle()


@pytest.mark.parametrize("seed", range(2))
async def test_a_log_over_four_plans_replays_to_the_same_decisions(
    seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweeper, "PORTION", 16)
    source, copy = RocksStore(tmp_path / "data"), MemoryStore()
    await days(source, seed)
    kinds = {row.kind for key in source.keys(limit=10_000) for row in source.journal(key, 10_000)}
    assert {"run_moved", "segment_entered"} <= kinds
    replayed(source, copy)
    assert decided(source) == decided(copy)
    source.close()
