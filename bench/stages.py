"""Where the time goes: each stage of an event's way alone, on the shop's traffic, in CPU us.

The stages run one after the other on the same events, with the runtime's own parts and without HTTP.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

from bench import traffic
from bench.figures import Report
from bench.interpreter import as_engine
from bench.server import SHOP
from heliograph import decide
from heliograph.adapters.rocksdb import RocksStore
from heliograph.adapters.schema import JsonSchema
from heliograph.bootstrap import document_of
from heliograph.events.decode import decode_batch, open_batch
from heliograph.ports import Arrival, Store
from heliograph.runtime.chunk import Chunk
from heliograph.runtime.clock import SystemClock
from heliograph.runtime.desk import Desk, Published
from heliograph.runtime.meter import Meter
from heliograph.runtime.work import Collect, SwitchPlan, schema_complaint

CHUNK = 10
"""Batches decided into one commit: 1,000 events."""


class Stages:
    """``spent``: seconds by stage."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._clock = SystemClock()
        self._meter = Meter()
        self._desk = Desk(store, JsonSchema)
        self._published = Published(decide.compile_plan(document_of(SHOP), 1), JsonSchema)
        SwitchPlan(self._published, b"", lambda _at: {}).decide(Chunk(self._desk, self._clock))
        self.spent: dict[str, float] = {}
        self.events = self.records = self.written = 0
        self._made = 0

    def feed(self, bodies: list[bytes]) -> None:
        with self._timed("decode"):
            arrivals = [decode_batch(open_batch(body), self._clock.now(), self._name) for body in bodies]
        with self._timed("schema"):
            for batch in arrivals:
                for arrival in batch:
                    assert arrival.event is not None
                    schema_complaint(self._published, arrival.event)
        self._commit(arrivals)

    def _commit(self, arrivals: list[list[Arrival]]) -> None:
        chunk = Chunk(self._desk, self._clock)
        step = Stopwatch(decide.step)
        with mock.patch.object(decide, "step", step), self._timed("chunk"):
            for batch in arrivals:
                work = Collect(batch, self._meter)
                work.prepare(self._desk)
                work.decide(chunk)
        self._add("step", step.spent)
        with self._timed("encode"):
            commit = chunk.finish()
        self._desk.seal()
        with self._timed("commit"):
            self._store.commit(commit)
        self._desk.settle()
        self.events += sum(map(len, arrivals))
        self.records += len(commit.log)
        self.written += len(commit.states)

    def _name(self) -> str:
        self._made += 1
        return f"made-{self._made}"

    @contextlib.contextmanager
    def _timed(self, stage: str) -> Iterator[None]:
        started = time.process_time()
        yield
        self._add(stage, time.process_time() - started)

    def _add(self, stage: str, seconds: float) -> None:
        self.spent[stage] = self.spent.get(stage, 0.0) + seconds

    def us(self, stage: str) -> float:
        return self.spent[stage] / self.events * 1e6


class Stopwatch:
    """Counts the time inside a function that the chunk calls by name."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function
        self.spent = 0.0

    def __call__(self, *arguments: Any) -> Any:
        started = time.process_time()
        answer = self._function(*arguments)
        self.spent += time.process_time() - started
        return answer


def portions(bodies: list[bytes], size: int) -> Iterator[list[bytes]]:
    for at in range(0, len(bodies), size):
        yield bodies[at : at + size]


async def measure(folder: Path, count: int, size: int = traffic.BATCH, chunk: int = CHUNK) -> Stages:
    """``size``: events of a batch; ``chunk``: batches of a commit."""
    store = RocksStore(folder)
    stages = Stages(store)
    bodies = traffic.shop_batches(count, 3, profiles=20_000, size=size)
    for n, portion in enumerate(portions(bodies, chunk)):
        stages.feed(portion)
        if n == len(bodies) // chunk // 4:  # people have a past when it counts
            stages.spent.clear()
            stages.events = stages.records = stages.written = 0
        await asyncio.sleep(0)
    store.close()
    return stages


def run(report: Report, folder: Path, quick: bool) -> None:
    with as_engine():
        stages = asyncio.run(measure(folder / "many", 40 if quick else 800))
        alone = asyncio.run(measure(folder / "alone", 200 if quick else 4_000, size=1, chunk=1))
    us = stages.us
    rows = {
        "decode the call (msgspec and checks)": us("decode"),
        "JSON Schema by event name": us("schema"),
        "step": us("step"),
        "the chunk around it (record, effects, caches)": us("chunk") - us("step") - us("schema"),
        "encode changed states, once a chunk": us("encode"),
        "commit: build and write one synced WriteBatch (another thread)": us("commit"),
    }
    for name, cost in rows.items():
        report.add("stages", name, cost, "us an event", processes=1)
    report.add(
        "stages", "all of it, one thread", sum(rows.values()), "us an event", processes=1,
        note=f"{stages.records / stages.events:.2f} records and {stages.written / stages.events:.2f} states an event",
    )  # fmt: skip
    report.add(
        "stages", "the same commit when a chunk holds one event", alone.us("commit"), "us an event", processes=1,
        note=f"and {alone.us('chunk') + alone.us('encode'):.0f} us around step: why few events a second cost more each",
    )  # fmt: skip
