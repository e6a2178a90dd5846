"""Steps in the engine: what a journey writes and emits is decided in the commit of the event, and replays alike."""

from pathlib import Path
from typing import Any

from heliograph import decide
from heliograph.adapters.memory import MemoryStore
from heliograph.adapters.rocksdb import RocksStore
from heliograph.ports import Store
from tests.replays.test_log import decided, replayed
from tests.runtime.harness import HOUR, MINUTE, advance, call, identify, running, send, shop

JOURNEYS: dict[str, Any] = {
    "stages": {
        "entry": {"event": "Product Added"},
        "exit": [{"event": "Cart Lost", "where": {"properties.stage": "lost"}}],
        "steps": [
            {"update": {"traits": {"stage": "cart", "cart_at": "{{ run.entered_at }}"}}},
            {"split": {"arms": {"a": {"weight": 1}, "b": {"weight": 1, "then": [{"wait": "PT10M"}]}}}},
            {"branch": [{"if": {"trait": {"path": "stage", "is": "cart"}}, "then": [{"wait": "PT5M"}]}]},
            {"wait": {"date": "cart_at", "offset": "PT2H"}},
            {"emit": {"event": "Cart Lost", "properties": {"stage": "lost"}}},
            {"send": "welcome"},
        ],
    },
    "lost": {"entry": {"event": "Cart Lost"}, "steps": [{"update": {"traits": {"stage": "lost"}}}]},
    "daily": {
        "entry": {"schedule": "FREQ=DAILY;BYHOUR=9", "if": {"in_segment": "lost"}},
        "steps": [{"send": "welcome"}],
    },
}
SEGMENTS = {"lost": {"name": "lost", "if": {"trait": {"path": "stage", "is": "lost"}}}}


async def a_day(store: Store) -> None:
    document = shop(journeys=JOURNEYS, segments={**shop()["segments"], **SEGMENTS})
    async with running(store, document=document) as engine:
        await send(engine, identify("ann", email="ann@x.test"), call("Product Added", "ann", id="added"))
        state = decide.decode_state(store.states(["u:ann"])[0] or b"")
        assert state.traits["stage"] == "cart", "decided when the call was answered"
        for _ in range(12):
            await advance(engine, 15 * MINUTE)
        await send(engine, call("Product Viewed", None, anonymous="x", id="seen"))
        await send(engine, identify("bob", anonymous="x", email="bob@x.test"))
        for _ in range(24):
            await advance(engine, HOUR)


async def test_what_steps_do_is_decided_with_the_event_and_replays_alike(tmp_path: Path) -> None:
    memory, rocks, copy = MemoryStore(), RocksStore(tmp_path / "data"), MemoryStore()
    for store in (memory, rocks):
        await a_day(store)
    replayed(memory, copy)
    ann = decide.decode_state(memory.states(["u:ann"])[0] or b"")
    assert ann.traits["stage"] == "lost" and "lost" in ann.members
    facts = [row.data for row in memory.journal("u:ann", 1000) if row.kind in ("run_ended", "run_started")]
    ends = {(data["journey"], data["reason"]) for data in facts if "reason" in data}
    assert ends == {("stages", "exited"), ("lost", "finished")}
    assert sum(data["journey"] == "daily" for data in facts) == 1, "the run waits for its mail"
    one, other = decided(memory), decided(copy)
    assert {**one, "messages": 0} == {**other, "messages": 0}
    twin = decided(rocks)
    assert {key: [row.kind for row in rows] for key, rows in twin["journal"].items()} == {
        key: [row.kind for row in rows] for key, rows in one["journal"].items()
    }
    rocks.close()
