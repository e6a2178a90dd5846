"""What the embedded store costs: ``python bench/store.py [--profiles N] [--data DIR]``; prints one line a figure.

A realistic commit: for each event a log row, a history row, a state of 300 bytes and a wake-up that moves; for every
tenth a message and for each event one fact in the journal (``full``), or just the first four (``core``).
"""

import argparse
import os
import random
import resource
import statistics
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

from heliograph.adapters.rocksdb import RocksStore
from heliograph.events.event import Event
from heliograph.events.record import EventBody, Record
from heliograph.ports import Commit, JournalRow, MessageRow

PEOPLE = 100_000
START = 1_700_000_000_000
PROPERTIES = {"product_id": "sku-1042", "name": "Enamel mug, 350 ml", "price": 12.5, "category": "Kitchen",
              "url": "https://shop.example/p/sku-1042", "quantity": 1}  # fmt: skip


class Traffic:
    """Commits as the runtime makes them, from a seeded stream."""

    def __init__(self, seed: int = 1) -> None:
        self._random = random.Random(seed)
        self._position = 0
        self._deadlines: dict[str, int] = {}

    def commit(self, size: int, full: bool) -> Commit:
        commit = Commit()
        for _ in range(size):
            self._position += 1
            self._event(commit, f"u:{self._random.randrange(PEOPLE)}", START + self._position, full)
        return commit

    def _event(self, commit: Commit, key: str, at: int, full: bool) -> None:
        id = f"{self._random.getrandbits(128):032x}"
        event = Event(id, "track", "Product Viewed", at, user_id=key[2:], properties=PROPERTIES)
        commit.log.append((self._position, Record(key, id, at, 1, EventBody(event))))
        commit.states[key] = self._random.randbytes(150) + bytes(150)
        deadline = at + 1_800_000
        old = commit.wakeups[key][0] if key in commit.wakeups else self._deadlines.get(key)
        commit.wakeups[key] = (old, deadline)
        self._deadlines[key] = deadline
        if full:
            commit.journal.append(
                (key, JournalRow(at, "run_step", {"journey": "cart", "what": "waiting", "until": at}))
            )
            if self._position % 10 == 0:
                commit.messages[id] = _message(id, key, at)


def _message(id: str, key: str, at: int) -> MessageRow:
    return MessageRow(
        message_id=id, key=key, journey="cart-recovery", journey_version="abcdefgh", run_id=id, step_id="first",
        template="cart-reminder", template_version="abcdefgh", topic="offers", transactional=False,
        address="someone@shop.example", status="queued", reason="", created_at=at,
    )  # fmt: skip


def say(what: str, figure: float, unit: str) -> None:
    print(f"{what:<52}{figure:>12,.1f} {unit}", flush=True)


def commits(store: RocksStore, traffic: Traffic, size: int, full: bool, seconds: float) -> None:
    name = f"{'full' if full else 'core'}, batch {size:,}"
    done, wall, cpu, waits = 0, 0.0, 0.0, []
    while wall < seconds:
        commit = traffic.commit(size, full)
        began, began_cpu = time.perf_counter(), time.process_time()
        store.commit(commit)
        waits.append(time.perf_counter() - began)
        cpu += time.process_time() - began_cpu
        wall += waits[-1]
        done += size
    say(f"{name}: durable commits", done / wall, "events/s")
    say(f"{name}: process CPU", cpu / done * 1e6, "us/event")
    say(f"{name}: one commit, median", statistics.median(waits) * 1e3, "ms")
    say(f"{name}: one commit, p99", sorted(waits)[int(len(waits) * 0.99)] * 1e3, "ms")


def per_call(what: str, calls: Iterable[object]) -> None:
    began = time.perf_counter()
    count = sum(1 for _ in calls)
    say(what, (time.perf_counter() - began) / count * 1e6, "us")


def reads(store: RocksStore) -> None:
    chosen = random.Random(2)
    there = [f"u:{chosen.randrange(PEOPLE)}" for _ in range(20_000)]
    now = START + 10**9
    per_call("state, one key", (store.states([key]) for key in there))
    began = time.perf_counter()
    for at in range(0, len(there), 500):
        store.states(there[at : at + 500])
    say("state, a key among 500", (time.perf_counter() - began) / len(there) * 1e6, "us")
    per_call("state, a key that is not there", (store.states([f"x:{n}"]) for n in range(20_000)))
    per_call("history of one person", (list(store.history(key)) for key in there[:5_000]))
    per_call("log, a record among 1,000", (record for _ in range(5) for record in store.log(0, 1_000)))
    per_call("messages, a page of 50", (store.messages() for _ in range(500)))
    per_call("next wake-up", (store.next_due() for _ in range(5_000)))
    per_call("due wake-ups, one among 1,000", (row for _ in range(5) for row in store.due(now, 1_000)))


def syncs(store: RocksStore) -> None:
    waits = []
    for n in range(500):
        began = time.perf_counter()
        store.commit(Commit(meta={"n": b"%d" % n}))
        waits.append(time.perf_counter() - began)
    say("smallest synced commit, median", statistics.median(waits) * 1e3, "ms")
    say("smallest synced commit, p99", sorted(waits)[495] * 1e3, "ms")


def idle_profiles(folder: Path, count: int) -> None:
    """Profiles that did something once: state, wake-up, address.  In a store of their own."""
    store = RocksStore(folder)
    began = time.perf_counter()
    for start in range(0, count, 2_000):
        store.commit(_idle(range(start, min(start + 2_000, count))), sync=False)
    say(f"{count:,} idle profiles written", count / (time.perf_counter() - began), "profiles/s")
    store.close()
    began = time.perf_counter()
    store = RocksStore(folder)
    say("open", (time.perf_counter() - began) * 1e3, "ms")
    say("bytes on disk for each (150 of them random)", store.counts()["bytes"] / count, "bytes")
    per_call("state among them, one key", (store.states([f"u:idle{n * 7919 % count}"]) for n in range(20_000)))
    seen, after = 0, None
    began = time.perf_counter()
    while page := store.keys(after, 1_000):
        seen, after = seen + len(page), page[-1]
    say("all keys read", seen / (time.perf_counter() - began), "keys/s")
    store.close()


def _idle(numbers: range) -> Commit:
    commit = Commit()
    for n in numbers:
        commit.states[f"u:idle{n}"] = os.urandom(150) + bytes(150)
        commit.wakeups[f"u:idle{n}"] = (None, START + n)
        commit.emails[(f"person{n}@example.com", f"u:idle{n}")] = True
    return commit


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--profiles", type=int, default=1_000_000)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--data", type=Path, default=None, help="a folder on the disk to measure")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="heliograph-bench-", dir=options.data) as folder:
        live_traffic(Path(folder) / "live", options.seconds)
        if options.profiles:
            idle_profiles(Path(folder) / "idle", options.profiles)
    say("peak memory of the process", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, "MB")


def live_traffic(folder: Path, seconds: float) -> None:
    store, traffic = RocksStore(folder), Traffic()
    syncs(store)
    for full in (False, True):
        for size in (1, 200, 2_000):
            commits(store, traffic, size, full, seconds)
    reads(store)
    store.close()


if __name__ == "__main__":
    main()
