"""A publish over people with a past: how fast the sweep reaches everybody, and what live calls feel of it.

The engine runs in this process on RocksDB, without HTTP and mail.  History and states are written as the engine would
have; then three plans are published: a segment that needs no history, one that counts the past, and one more of those
beside calls at a steady rate, each timed from when it was meant to come.
"""

import asyncio
import logging
import shutil
import time
from copy import deepcopy
from pathlib import Path
from typing import Any

import structlog

from bench import plans
from bench.figures import Report, amount
from bench.interpreter import as_engine
from heliograph import decide
from heliograph.adapters.rocksdb import RocksStore
from heliograph.adapters.schema import JsonSchema
from heliograph.events.event import Event
from heliograph.events.record import EventBody, Record
from heliograph.ports import Arrival, Commit
from heliograph.runtime.engine import EmbeddedEngine

EVENTS = 10
"""Of each person's past; one in ten is an order."""
RATE, BEFORE_S = 500, 4
PORTION = 500
HOUR_MS = 3_600_000
NAMES = ("Order Completed", *["Product Viewed"] * (EVENTS - 1))


def document(*conditions: dict[str, Any]) -> dict[str, Any]:
    document = deepcopy(plans.document(10, 2))
    for number, condition in enumerate(conditions):
        document["segments"][f"late-{number}"] = {"name": f"late-{number}", "if": condition}
    return document


NO_HISTORY = {"trait": {"path": "plan", "is": "gold"}}
COUNTS = {"did": {"event": "Order Completed", "at_least": 1, "within": "P30D"}}
COUNTS_MORE = {"did": {"event": "Order Completed", "at_least": 2, "within": "P30D"}}


def past(person: int, number: int, now: int) -> Event:
    properties = {
        "product_id": f"sku-{number}",
        "price": 12.5,
        "currency": "GBP",
        "name": "A lamp in the shape of a ship",
    }
    return Event(
        f"e{person}-{number}", "track", NAMES[number], now - (number + 1) * HOUR_MS, user_id=f"p{person}",
        properties=properties,
    )  # fmt: skip


def fill(store: RocksStore, people: int) -> None:
    """Log, history and states, as if all of it had just come in."""
    now, position = time.time_ns() // 1_000_000, 0
    plan, commit = decide.compile_plan(document(), 1), Commit()
    for person in range(people):
        state = decide.new_state(f"u:p{person}")
        for number in reversed(range(EVENTS)):
            event, position = past(person, number, now), position + 1
            record = Record(state.key, event.event_id, now, 1, EventBody(event))
            commit.log.append((position, record))
            state, _ = decide.step(state, record, plan)
        commit.states[state.key] = decide.encode_state(state)
        commit.wakeups[state.key] = (None, decide.deadline(state))
        if len(commit.states) == PORTION:
            store.commit(commit, sync=False)
            commit = Commit(log=[], states={}, wakeups={})
    store.commit(commit)


class Callers:
    """Calls at a steady rate, whatever becomes of them; ``ms``: how long each took from when it was meant to come."""

    def __init__(self, engine: EmbeddedEngine, people: int) -> None:
        self._engine, self._people = engine, people
        self._tasks: set[asyncio.Task[None]] = set()
        self.ms: list[float] = []

    async def run(self) -> None:
        number, at = 0, time.perf_counter()
        while True:
            at, number = at + 1 / RATE, number + 1
            await asyncio.sleep(max(0, at - time.perf_counter()))
            task = asyncio.create_task(self._call(number, at))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _call(self, number: int, at: float) -> None:
        name, now = f"live-{id(self)}-{number}", time.time_ns() // 1_000_000
        event = Event(name, "track", "Product Viewed", now, user_id=f"p{number * 7919 % self._people}")
        await self._engine.collect([Arrival(name, event, b"{}")])
        self.ms.append((time.perf_counter() - at) * 1000)

    def p99(self) -> tuple[float, str]:
        """Of the calls since this was last asked, with the rest as a note."""
        found, self.ms = sorted(self.ms), []
        return found[int(len(found) * 0.99)], f"p50 {amount(found[len(found) // 2])} ms, most {amount(found[-1])} ms"


async def swept(engine: EmbeddedEngine) -> None:
    while engine.building():  # noqa: ASYNC110 - from outside it can only be asked
        await asyncio.sleep(0.01)


async def measure(report: Report, store: RocksStore, people: int, before_s: float) -> None:
    engine = EmbeddedEngine(store, compile_schema=JsonSchema, load_template=lambda _compiled: None)
    await engine.start(document())
    published = document()
    for what, condition in (("no history to read", NO_HISTORY), (f"{EVENTS} events of each read", COUNTS)):
        published["segments"][what.replace(" ", "-")] = {"name": what.replace(" ", "-"), "if": condition}
        cpu, started = time.process_time(), time.monotonic()
        await engine.publish(published)
        await swept(engine)
        report.add(
            "publish", f"swept, {what}", people / (time.monotonic() - started), "people/s", target="16,700",
            cpu_us=(time.process_time() - cpu) / people * 1e6, processes=1, note=f"{people:,} people, nobody calls",
        )  # fmt: skip
    callers = Callers(engine, people)
    task = asyncio.create_task(callers.run())
    await asyncio.sleep(before_s)
    alone, rest = callers.p99()
    report.add("publish", f"a call at {RATE}/s, no sweep, p99", alone, "ms", note=rest)
    published["segments"]["beside"] = {"name": "beside", "if": COUNTS_MORE}
    started = time.monotonic()
    await engine.publish(published)
    await swept(engine)
    rate = people / (time.monotonic() - started)
    beside, rest = callers.p99()
    report.add("publish", f"a call at {RATE}/s beside a sweep, p99", beside, "ms", target="unchanged",
               beside=f"{amount(alone)} ms without", note=f"{rest}; {amount(rate)} people/s meanwhile")  # fmt: skip
    task.cancel()
    await asyncio.gather(*callers._tasks, return_exceptions=True)
    await engine.stop()


def run(report: Report, folder: Path, quick: bool) -> None:
    people, before_s = (1_000, 1) if quick else (100_000, BEFORE_S)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    store = RocksStore(folder / "data")
    fill(store, people)
    with as_engine():
        asyncio.run(measure(report, store, people, before_s))
    store.close()
    shutil.rmtree(folder / "data")
