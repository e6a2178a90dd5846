"""The open-loop load of ``latency`` and ``kill``, a process of its own: ``python -m bench.load JSON``.

It prints ``ready`` when every request is made, begins when it reads a line, and prints what happened as JSON.  Requests
go out when they are due, whether or not earlier ones were answered.
"""

import asyncio
import contextlib
import gc
import subprocess
import sys
import time
from collections.abc import Iterator

import msgspec

from bench import traffic
from bench.processes import end
from bench.server import WRITE_KEY
from heliograph.simulate.client import Job, Pool

ANSWER_S = 10.0


class Plan(msgspec.Struct, frozen=True):
    """``sends`` and ``others``: events a second."""

    url: str
    sends: float
    others: float
    seconds: float
    seed: int = 1
    buyers: int = 10_000
    connections: int = 64


class Outcome(msgspec.Struct, frozen=True):
    """``due_ns``: when each order was due (CLOCK_MONOTONIC), in order; ``orders``: their ids.  ``late_ms``: by how much
    requests left late because this process was busy (p99).  ``answered_ms``: due to 200, sorted, of all requests."""

    due_ns: list[int]
    orders: list[str]
    statuses: dict[str, int]
    late_ms: float
    answered_ms: list[float]
    cpu_s: float


def known(url: str, buyers: int) -> None:
    """Make the buyers known, before the load."""

    async def tell() -> None:
        pool = Pool(url, WRITE_KEY, 4)
        await pool.open()
        for body in traffic.batches(traffic.identify(n) for n in range(buyers)):
            pool.submit(Job(asyncio.get_running_loop().time(), traffic.BATCH, b"/v1/batch", body))
        await pool.drain(60)
        pool.close()
        if set(pool.statuses) != {200}:
            raise RuntimeError(f"buyers were refused: {pool.statuses}")

    asyncio.run(tell())


async def run(plan: Plan) -> Outcome:
    jobs = traffic.mixed(plan.sends, plan.others, plan.seconds, plan.seed, plan.buyers)
    gc.collect()
    gc.freeze()
    gc.disable()
    pool = Pool(plan.url, WRITE_KEY, plan.connections)
    await pool.open()
    loop = asyncio.get_running_loop()
    print("ready", flush=True)
    await loop.run_in_executor(None, sys.stdin.readline)
    cpu, started = time.process_time(), loop.time() + 0.05
    late: list[float] = []
    for job in jobs:
        job.due += started
        if (ahead := job.due - loop.time()) > 0:
            await asyncio.sleep(ahead)
        late.append(loop.time() - job.due)
        pool.submit(job)
    await pool.drain(ANSWER_S)
    pool.close()
    late.sort()
    return Outcome(
        due_ns=[int(job.due * 1e9) for job in jobs if job.events == 1],
        orders=[order_id(job.body) for job in jobs if job.events == 1],
        statuses={str(status): count for status, count in pool.statuses.items()},
        late_ms=max(late[int(len(late) * 0.99)], 0.0) * 1e3 if late else 0.0,
        answered_ms=sorted(latency * 1e3 for latency in pool.latencies),
        cpu_s=time.process_time() - cpu,
    )


def order_id(body: bytes) -> str:
    at = body.index(b'"order_id":"') + 12
    return body[at : body.index(b'"', at)].decode()


class Load:
    """A load process that is ready to begin."""

    def __init__(self, plan: Plan) -> None:
        command = [sys.executable, "-m", "bench.load", msgspec.json.encode(plan).decode()]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, start_new_session=True)
        assert self.process.stdout is not None and self.process.stdin is not None
        if self.process.stdout.readline() != b"ready\n":
            raise RuntimeError("the load generator did not start")

    def begin(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(b"go\n")
        self.process.stdin.flush()

    def outcome(self) -> Outcome:
        out, _ = self.process.communicate()
        return msgspec.json.decode(out, type=Outcome)


@contextlib.contextmanager
def loading(plan: Plan) -> Iterator[Load]:
    load = Load(plan)
    try:
        yield load
    finally:
        end(load.process)


def main() -> None:
    outcome = asyncio.run(run(msgspec.json.decode(sys.argv[1], type=Plan)))
    sys.stdout.buffer.write(msgspec.json.encode(outcome))


if __name__ == "__main__":
    main()
