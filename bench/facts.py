"""The loader of facts: rows a second, CPU a row, size, and the lag beside a server's folder that grows.

    .venv/bin/python -m bench.facts [--records N] [--rate N] [--seconds N]

The folder is written by the store itself: carts, every tenth of which comes to a mail, an outcome and now and then a
goal.  Loading is the process that runs beside a server.
"""

import argparse
import json
import random
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import msgspec

from heliograph.adapters.clickhouse import ask
from heliograph.adapters.rocksdb import RocksStore
from heliograph.bootstrap import link_keys
from heliograph.bootstrap.facts import Job
from heliograph.events.event import Event
from heliograph.events.ids import make_id
from heliograph.events.record import EventBody, Outcome, Record
from heliograph.ports import Commit, JournalRow

PEOPLE = 50_000
NAMES = {"journey": "cart-recovery", "version": "3f9a1c", "step_id": "reminder", "template": "cart-reminder"}


class Shop:
    """Appends to a store what a shop's day would."""

    def __init__(self, store: RocksStore, seed: int = 1) -> None:
        self._store, self._chance, self.position, self.facts = store, random.Random(seed), 0, 0

    def write(self, records: int) -> None:
        commit, at = Commit(log=[], journal=[]), time.time_ns() // 1_000_000
        for _ in range(records):
            self.position += 1
            key = f"u:customer-{self._chance.randrange(PEOPLE)}"
            record, facts = self._record(key, at)
            commit.log.append((self.position, record))
            commit.journal += [(key, JournalRow(at, kind, data, self.position)) for kind, data in facts]
        self.facts += len(commit.journal)
        self._store.commit(commit, sync=False)

    def _record(self, key: str, at: int) -> tuple[Record, list[tuple[str, dict]]]:
        n, run, message = self.position, make_id("run", self.position), make_id("message", self.position)
        about = {**NAMES, "run_id": run, "message_id": message}
        if n % 10 == 1:
            kind = self._chance.choice(("sent", "sent", "opened", "clicked"))
            body = Outcome(message, kind, at, "", False, {})
            return Record(key, make_id("o", n), at, 1, body), [
                ("message_outcome", {**about, "kind": kind, "reason": ""})
            ]
        product = {
            "product_id": f"sku-{n % 5000}",
            "name": "Enamel mug",
            "price": 14.5,
            "currency": "EUR",
            "quantity": 1,
        }
        event = Event(make_id("e", n), "track", "Product Added", at, key[2:], None, properties=product)
        facts: list[tuple[str, dict]] = [("segment_entered", {"segment": "lookers"})] if n % 3 else []
        if not n % 10:
            facts += [
                ("run_started", {**NAMES, "run_id": run, "entry_key": "", "cause": event.event_id, "arm": "treated"}),
                ("run_step", {"journey": "cart-recovery", "run_id": run, "step_id": "wait", "what": "waiting"}),
                ("message_decided", about),
                ("goal", {"journey": "cart-recovery", "run_id": run, "value": 14.5, "held_out": False}),
            ]
        return Record(key, event.event_id, at, 1, EventBody(event)), facts


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


def rss_mb(pid: int) -> int:
    return next(int(line.split()[1]) // 1024 for line in Path(f"/proc/{pid}/status").open() if line.startswith("VmRSS"))


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--records", type=int, default=500_000)
    options.add_argument("--rate", type=int, default=1_000)
    options.add_argument("--seconds", type=int, default=40)
    given = options.parse_args()
    with tempfile.TemporaryDirectory(prefix="heliograph-bench-") as at:
        folder, facts = Path(at) / "data", Path(at) / "facts"
        store = RocksStore(folder)
        link_keys(store)
        shop = Shop(store)
        while shop.position < given.records:
            shop.write(2_000)
        with subprocess.Popen(
            [sys.executable, "-m", "heliograph.bootstrap.facts"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as loader:
            assert loader.stdin is not None and loader.stdout is not None
            loader.stdin.write(msgspec.json.encode(Job(f"chdb://{facts}", str(folder))) + b"\n")
            loader.stdin.flush()
            records = rows = 0
            began, cpu, first = time.monotonic(), 0.0, 0.0
            while records < given.records:
                told = json.loads(loader.stdout.readline())
                if not first and told["records"]:
                    first, cpu, began = 1.0, cpu_s(loader.pid), time.monotonic()
                    continue_from = (told["records"], told["rows"])
                records, rows = records + told["records"], rows + told["rows"]
            took, spent = time.monotonic() - began, cpu_s(loader.pid) - cpu
            done = (records - continue_from[0], rows - continue_from[1])
            print(f"in: {done[0] / took:,.0f} records/s, {done[1] / took:,.0f} rows/s, "
                  f"{spent / done[1] * 1e6:.1f} us CPU a row ({spent / done[0] * 1e6:.1f} a record)")  # fmt: skip
            sql = ("SELECT table, sum(rows), sum(bytes_on_disk) FROM system.parts WHERE active AND "
                   "database = currentDatabase() GROUP BY table ORDER BY table")  # fmt: skip
            for table, count, size in ask(facts, sql, 99).rows:
                print(f"  {table}: {int(count):,} rows, {int(size) / 1e6:.1f} MB, "
                      f"{int(size) / max(int(count), 1):.0f} bytes a row")  # fmt: skip
            began = time.monotonic()
            found = ask(facts, "SELECT kind, count() FROM facts GROUP BY kind ORDER BY kind", 99)
            print(f"facts by kind over {sum(int(r[1]) for r in found.rows):,}: {time.monotonic() - began:.3f} s")
            _lag(shop, loader, given.rate, given.seconds)
            print(f"memory of the loader: {rss_mb(loader.pid)} MB")
            loader.stdin.close()
        store.close()


def _lag(shop: Shop, loader: "subprocess.Popen[bytes]", rate: int, seconds: int) -> None:
    lags: list[int] = []
    assert loader.stdout is not None
    ended = threading.Event()

    def hear() -> None:
        for line in loader.stdout or ():
            told = json.loads(line)
            if told["records"]:
                lags.append(told["lag_ms"])
            if ended.is_set():
                return

    listener = threading.Thread(target=hear)
    listener.start()
    began, cpu = time.monotonic(), cpu_s(loader.pid)
    for turn in range(seconds * 20):
        shop.write(rate // 20)
        time.sleep(max(0.0, began + (turn + 1) / 20 - time.monotonic()))
    spent = (cpu_s(loader.pid) - cpu) / (time.monotonic() - began)
    ended.set()
    listener.join(10)
    lags.sort()
    print(f"lag at {rate:,} events/s: p50 {lags[len(lags) // 2]} ms, max {lags[-1]} ms; {spent:.1%} of a core")


if __name__ == "__main__":
    main()
