"""Wake-ups: many runs that wait, some of them due at a steady rate, then all the rest at once.

The engine runs in this process on RocksDB, without HTTP and mail; its clock is the machine's, set back so that the
first timers are about to fire.  The store is filled directly with the states that ``step`` made.
"""

import asyncio
import logging
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import structlog

from bench import plans
from bench.figures import Report, amount
from bench.interpreter import as_engine
from heliograph import decide, render
from heliograph.adapters.rocksdb import RocksStore
from heliograph.adapters.schema import JsonSchema
from heliograph.events.event import Event
from heliograph.events.record import EventBody, Record
from heliograph.ports import Commit
from heliograph.runtime.engine import EmbeddedEngine
from heliograph.runtime.meter import Meter

WAIT_MS = 3_600_000
STEADY_RATE, STEADY_S = 1_000, 10
PORTION = 2_000
JOURNEY = {"name": "waits", "entry": {"event": "Start"}, "steps": [{"wait": "PT1H"}, {"exit": True}]}


class OffsetClock:
    """The machine's clock, moved."""

    def __init__(self) -> None:
        self.offset = 0

    def now(self) -> int:
        return time.time_ns() // 1_000_000 + self.offset

    def put(self, at: int) -> None:
        self.offset += at - self.now()


class Lateness(Meter):
    """Keeps every timer's lateness, in ms."""

    def __init__(self) -> None:
        super().__init__()
        self.ms: list[float] = []

    def observe(self, name: str, value: float, *labels: str) -> None:
        if name == "timer_lateness_seconds":
            self.ms.append(value * 1000)
        else:
            super().observe(name, value, *labels)


def document() -> dict[str, Any]:
    document = plans.document(0, 0)
    document["journeys"] = {"waits": JOURNEY}
    document["templates"] = {}
    return document


def fill(store: RocksStore, deadlines: Iterator[tuple[int, str]]) -> None:
    """A run that waits for each, as ``step`` makes it."""
    plan, commit = decide.compile_plan(document(), 1), Commit()
    for deadline, user in deadlines:
        at = deadline - WAIT_MS
        event = Event(f"e{user}", "track", "Start", at, user_id=user)
        record = Record(f"u:{user}", event.event_id, at, 1, EventBody(event))
        state, _effects = decide.step(decide.new_state(record.key), record, plan)
        commit.states[record.key] = decide.encode_state(state)
        commit.wakeups[record.key] = (None, decide.deadline(state))
        if len(commit.states) == PORTION:
            store.commit(commit, sync=False)
            commit = Commit(states={}, wakeups={})
    store.commit(commit)


def deadlines(steady: int, rest: int) -> Iterator[tuple[int, str]]:
    """The steady ones from T0 on, all the rest at one instant an hour later."""
    for n in range(steady):
        yield plans.T0 + n * 1000 // STEADY_RATE, f"steady-{n}"
    for n in range(rest):
        yield plans.T0 + WAIT_MS, f"rest-{n}"


async def fire(report: Report, store: RocksStore, steady: int, rest: int) -> None:
    clock, meter = OffsetClock(), Lateness()
    clock.put(plans.T0 - 1_000)
    engine = EmbeddedEngine(
        store, compile_schema=JsonSchema, load_template=render.load, clock=clock, meter=meter
    )  # fmt: skip
    await engine.start(document())
    cpu = time.process_time()
    await _fired(meter, steady)
    late = sorted(meter.ms)
    report.add(
        "timers", f"lateness at {STEADY_RATE:,} timers/s, p99", late[int(len(late) * 0.99)], "ms", target="50 ms",
        cpu_us=(time.process_time() - cpu) / steady * 1e6, processes=1,
        note=f"p50 {amount(late[len(late) // 2])} ms, most {amount(late[-1])} ms; {steady + rest:,} pending",
    )  # fmt: skip
    clock.put(plans.T0 + WAIT_MS)
    engine.wakeups.stir()
    cpu, started = time.process_time(), time.monotonic()
    await _fired(meter, steady + rest)
    spent = time.monotonic() - started
    report.add(
        "timers", f"fired when {rest:,} are due at once", rest / spent, "timers/s", target="50,000",
        cpu_us=(time.process_time() - cpu) / rest * 1e6, processes=1, note="each ends its run, durable",
    )  # fmt: skip
    await engine.stop()


async def _fired(meter: Lateness, count: int, patience_s: float = 600) -> None:
    deadline = time.monotonic() + patience_s
    while len(meter.ms) < count:
        if time.monotonic() > deadline:
            raise RuntimeError(f"{len(meter.ms)} of {count} timers fired")
        await asyncio.sleep(0.005)


def run(report: Report, folder: Path, quick: bool) -> None:
    pending, steady = (2_000, 500) if quick else (300_000, STEADY_RATE * STEADY_S)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    store = RocksStore(folder / "data")
    fill(store, deadlines(steady, pending - steady))
    with as_engine():
        asyncio.run(fire(report, store, steady, pending - steady))
    store.close()
    shutil.rmtree(folder / "data")
