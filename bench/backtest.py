"""A draft over recorded shop traffic, beside the brain deciding the same events with nothing around it."""

import itertools
import time
from pathlib import Path
from typing import Any

import msgspec

from bench.figures import Report
from bench.traffic import encode
from heliograph import decide
from heliograph.adapters.rocksdb import RocksStore, RocksView
from heliograph.adapters.schema import JsonSchema
from heliograph.backtest.job import Job, run_job
from heliograph.bootstrap import document_of
from heliograph.events.decode import decode_call
from heliograph.ports import Arrival
from heliograph.runtime.clock import ManualClock
from heliograph.runtime.crank import Crank
from heliograph.simulate.shop import Shop

SHOP = Path(__file__).parents[1] / "examples" / "shop"
T0 = 1_790_000_000_000
DAYS_MS = 7 * 86_400_000
CHUNK = 100
TARGET = "1M events in 60 s: 16,700/s"


def run(report: Report, data: Path, quick: bool) -> None:
    count = 5_000 if quick else 200_000
    folder = data / "recorded"
    fill(folder, count)
    alone = limit(folder)
    journeys = document_of(SHOP)["journeys"]
    cart, browse = journeys["cart-recovery"], journeys["browse-abandonment"]
    longer = {**cart, "steps": [{"wait": "PT45M"}, *cart["steps"][1:]]}
    measure(report, folder, "a draft that 2.5 % of events can start", "cart-recovery", longer, count, alone)
    new = {**browse, "name": "again"}
    measure(report, folder, "a new journey that nearly every event may start", "again", new, count, alone)
    longer = {**browse, "steps": [{"wait": "PT45M"}, *browse["steps"][1:]]}
    measure(report, folder, "the same beside its published version", "browse-abandonment", longer, count, alone)


def measure(report: Report, folder: Path, name: str, journey: str, draft: Any, count: int, alone: str) -> None:
    """In this process, at its usual priority; ``cpu_us`` is that of an event of the window."""
    job = Job(str(folder), journey, draft, T0 - 1, T0 + DAYS_MS)
    cpu, began = time.process_time(), time.perf_counter()
    found = run_job(job, lambda _parts, _told: [], lambda _word: None)
    seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
    report.add(
        "backtest", name, count / seconds, "events/s", target=TARGET, beside=alone,
        cpu_us=cpu / count * 1e6, processes=1, note=f"{found.draft.started:,} runs, {found.draft.mails:,} mails",
    )  # fmt: skip


def limit(folder: Path) -> str:
    """What it costs to decide the records in memory, in log order, for one plan and with nothing around it."""
    view = RocksView(folder)
    row = view.plan()
    assert row is not None
    plan = decide.compile_plan(msgspec.json.decode(row.document), row.version)
    records = [record for _, record in view.log(limit=20_000)]
    view.close()
    states: dict[str, decide.State] = {}
    cpu, began = time.process_time(), time.perf_counter()
    for record in records:
        state = states.get(record.key) or decide.new_state(record.key)
        states[record.key], _ = decide.step(state, record, plan)
    seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
    return f"decide alone {len(records) / seconds:,.0f}/s, {cpu / len(records) * 1e6:.0f} us of CPU"


def fill(folder: Path, count: int) -> None:
    """A week of the shop, decided as a server would: wake-ups in their order, nobody to send the mail."""
    store, clock = RocksStore(folder), ManualClock(T0)
    crank = Crank(store, clock, compile_schema=JsonSchema, load_template=lambda _: None)
    crank.publish(document_of(SHOP))
    calls = enumerate(itertools.islice(Shop(1, max(count // 20, 50)), count))
    while portion := list(itertools.islice(calls, CHUNK)):
        clock.at = T0 + portion[-1][0] * DAYS_MS // count
        while crank.wake():
            pass
        crank.collect([arrival(number, call, clock.at) for number, call in portion])
    store.close()


def arrival(number: int, call: dict[str, Any], at: int) -> Arrival:
    return decode_call(call["type"], encode(call), at, lambda: f"call-{number}")
