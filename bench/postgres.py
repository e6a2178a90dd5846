"""The store in PostgreSQL: events and commits a second, the time of a commit and of reads, CPU on both sides.

``python bench/postgres.py [--seconds 3]``, on a private cluster of its own (synced).  *core*: for each event a state of
300 B, history and a wake-up that moves.  *full*: a journal row for each besides, a message for every tenth, an entry
for the log and an offset: what a worker commits.  *sending*: messages past their commit point, with base, guard, fence.
"""

import argparse
import os
import statistics
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
os.environ.setdefault("PYTHONDONTWRITEBYTECODE", "1")

from tests import postgres
from tests.contracts.samples import arrival, fact, message

from heliograph.adapters.sql import PostgresStore
from heliograph.ports import Commit, Fence, Relayed

BLOB = os.urandom(300)


def core(n: int, size: int, who: int = 0) -> Commit:
    keys = [f"u:{who}-{(n * size + i) % 50_000}" for i in range(size)]
    return Commit(
        log=[
            (n * size + i + 1, arrival(key, f"e{who}-{n}-{i}", n, price=9.5, sku="x" * 40))
            for i, key in enumerate(keys)
        ],
        states=dict.fromkeys(keys, BLOB),
        wakeups=dict.fromkeys(keys, (n, n + 1)),
    )


def full(n: int, size: int, who: int = 0) -> Commit:
    commit = core(n, size, who)
    commit.journal = [(record.key, fact(n, "run_started", journey="cart")) for _, record in commit.log]
    ids = [f"m{who}-{n}-{i}" for i in range(0, size, 10)]
    commit.messages = {id: message(id, n, commit.log[0][1].key) for id in ids}
    commit.bases = dict.fromkeys(ids, -1)
    commit.relay = [Relayed(f"r{who}-{n}", "records", b"\x00\x01", BLOB)]
    commit.offsets = {("effects", who): n}
    return commit


def server_cpu() -> float:
    """Seconds that the cluster's processes have used so far."""
    ticks = os.sysconf("SC_CLK_TCK")
    return sum(sum(map(int, _stat(pid)[11:15])) for pid in postgres.cluster().processes()) / ticks


def _stat(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def timed(work: Callable[[int], None], seconds: float) -> tuple[int, list[float], float, float]:
    """Turns, the time of each (s), CPU of this process and of the server (s)."""
    taken, cpu, theirs, until = [], time.process_time(), server_cpu(), time.perf_counter() + seconds
    while time.perf_counter() < until:
        begun = time.perf_counter()
        work(len(taken))
        taken.append(time.perf_counter() - begun)
    return len(taken), taken, time.process_time() - cpu, server_cpu() - theirs


def say(name: str, turns: int, taken: list[float], ours: float, theirs: float, size: int = 1) -> None:
    ranked = sorted(taken)
    p99 = ranked[min(len(ranked) - 1, int(len(ranked) * 0.99))]
    total, each, median = sum(taken), 1e6 / turns / size, statistics.median(taken) * 1e3
    print(
        f"{name:28} {turns / total:7.0f}/s {turns * size / total:8.0f} rows/s  median {median:7.2f}"
        f"  p99 {p99 * 1e3:7.2f} ms  CPU: ours {ours * each:6.1f} us, server {theirs * each:6.1f} us"
    )


def writing(store: PostgresStore, seconds: float) -> None:
    begun = [0]
    for name, make in (("core", core), ("full", full)):
        for size in (1, 50, 200, 2_000):

            def work(_: int, make: Callable[[int, int], Commit] = make, size: int = size) -> None:
                begun[0] += 1
                store.commit(make(begun[0], size))

            for turn in range(8):
                work(turn)
            say(f"{name}, {size} events a commit", *timed(work, seconds), size)


def sending(store: PostgresStore, seconds: float) -> None:
    (claim,) = store.claim("bench", [0], 10**6)
    fence = Fence("bench", {0: claim.epoch})
    for size in (1, 50):
        ids = [f"s{size}-{n}" for n in range(20_000)]
        store.commit(Commit(messages={id: message(id, 1) for id in ids}))

        def work(n: int, size: int = size, ids: list[str] = ids) -> None:
            mine = [ids[(n * size + i) % len(ids)] for i in range(size)]
            rev = n * size // len(ids)
            rows = {id: message(id, 1, status="sending", rev=rev + 1) for id in mine}
            store.commit(
                Commit(
                    messages=rows, bases=dict.fromkeys(mine, rev), guards={f"{id}@x": {} for id in mine}, fence=fence
                )
            )

        say(f"sending, {size} a commit", *timed(work, seconds), size)


def reading(store: PostgresStore, seconds: float) -> None:
    asks: dict[str, Callable[[int], object]] = {
        "a state": lambda n: store.states([f"u:0-{n % 50_000}"]),
        "500 states": lambda n: store.states([f"u:0-{i}" for i in range(500)]),
        "words of an address": lambda n: store.ledger(f"{n}@x"),
        "a message": lambda n: store.message(f"s1-{n % 20_000}"),
        "a page of 50 messages": lambda n: store.messages(limit=50),
        "events of a person": lambda n: list(store.history(f"u:0-{n % 50_000}")),
    }
    for name, ask in asks.items():
        ask(0)
        say("read: " + name, *timed(lambda n, ask=ask: (ask(n), None)[1], seconds / 2))


def together(url: str, seconds: float, writers: int) -> None:
    """Several workers, each with its own people."""
    stores, done = [PostgresStore(url) for _ in range(writers)], [0] * writers
    until = time.perf_counter() + seconds

    def work(who: int) -> None:
        n = 0
        while time.perf_counter() < until:
            n += 1
            stores[who].commit(full(n, 200, who + 1))
            done[who] += 200

    threads = [threading.Thread(target=work, args=(who,)) for who in range(writers)]
    begun = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    rate = sum(done) / (time.perf_counter() - begun)
    print(f"{writers} writers in one process, full, 200 a commit: {rate:.0f} events/s")
    for store in stores:
        store.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=3)
    options = parser.parse_args()
    url = postgres.emptied()
    store = PostgresStore(url)
    writing(store, options.seconds)
    sending(store, options.seconds)
    reading(store, options.seconds)
    store.close()
    together(url, options.seconds, 3)


if __name__ == "__main__":
    main()
