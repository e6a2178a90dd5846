"""What an event and a message cost each stage of several machines, all of them this one: ``python -m bench pipeline``.

Collector, Kafka, Flink, PostgreSQL, worker, mailer and receiver are processes of their own, so CPU time tells them
apart.  What each takes while nothing happens is measured first and taken off.
"""

import asyncio
import contextlib
import functools
import itertools
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import asyncpg
import msgspec

from bench import traffic
from bench.broadcast import BROADCAST, ENDED, PATIENCE_S, Api, bring_in, project
from bench.figures import Report, amount
from bench.flink import World, at_rest
from bench.load import known
from bench.processes import cpu_s, missing, smtp_sink
from bench.scaled import deployed, load
from bench.server import SHOP, WRITE_KEY, Server, serving
from heliograph.adapters.sql import migrating
from heliograph.config.settings import KafkaSetting
from heliograph.ports.stream import EFFECTS, RECORDS
from heliograph.simulate.client import Job, Pool
from heliograph.simulate.shop import Shop

EVENTS, ORDERS, PEOPLE = 60_000, 4_000, 20_000
QUICK = 20
"""So many times fewer."""
EVENTS_PER_S, ORDERS_PER_S = 1_000.0, 60.0
PROFILES, BUYERS = 6_000, 1_000
IDLE_S = 5.0
AT_ONCE = 1e9

Spent = dict[str, float]


class Cost(msgspec.Struct):
    """``cpu``: us of each stage; ``disk``: bytes that each wrote to its log, one copy."""

    cpu: Spent
    disk: Spent


class Stages:
    """The processes of a deployment, by what they do."""

    def __init__(self, world: World, kafka: KafkaSetting, collector: Server, worker: Server) -> None:
        self.kafka, self.collector = kafka, collector
        self._logs, self._database = world.cluster.run, str(world.cluster.addresses["postgres"]["url"])
        self._pids: dict[str, Callable[[], list[int]]] = {
            "collector": lambda: collector.family,
            "Kafka, one broker": lambda: world.brokers,
            "Flink, TaskManagers": lambda: world.managers,
            "PostgreSQL": lambda: world.cluster.pids("postgres"),
            "worker": lambda: worker.family[:1],
            "mailer": lambda: worker.family[1:],
        }
        time.sleep(IDLE_S)
        self.idle = self._since(self._spent(), time.monotonic(), IDLE_S)

    def cost(self, of: int, work: Callable[[], object]) -> Cost:
        """Of one of so many, beyond what is spent while nothing happens."""
        before, disk, began = self._spent(), self._written(), time.monotonic()
        work()
        asyncio.run(at_rest(self.kafka))
        after, took = self._spent(), time.monotonic() - began
        cpu = {name: (after[name] - before[name] - self.idle[name] * took) / of * 1e6 for name in after}
        return Cost(cpu, {name: (end - disk[name]) / of for name, end in self._written().items()})

    def _written(self) -> Spent:
        topics = {name: f"kafka*/data/heliograph.{name}-*/*.log" for name in (RECORDS, EFFECTS, "facts", "outcomes")}
        found = {
            f"Kafka, topic {name}": sum(file.stat().st_size for file in self._logs.glob(pattern))
            for name, pattern in topics.items()
        }
        return {**found, "PostgreSQL, write-ahead log": asyncio.run(_wal(self._database))}

    def _since(self, before: Spent, began: float, rest_s: float) -> Spent:
        time.sleep(rest_s)
        after, took = self._spent(), time.monotonic() - began
        return {name: (after[name] - before[name]) / took for name in after}

    def _spent(self) -> Spent:
        return {name: cpu_s(pids()) for name, pids in self._pids.items()}


def run(report: Report, folder: Path, quick: bool) -> None:
    if note := missing("smtp-sink"):
        report.add("pipeline", "CPU us of each stage", None, "us", note=note)
        return
    folder.chmod(0o755)
    less = QUICK if quick else 1
    with working(folder / "shop", SHOP) as stages:
        triggered(report, stages, EVENTS // less, ORDERS // less)
    with working(folder / "broadcast", project(folder, "rsa")) as stages:
        broadcast(report, stages, PEOPLE // less)


def triggered(report: Report, stages: Stages, events: int, orders: int) -> None:
    known(stages.collector.url, BUYERS)
    per_s = EVENTS_PER_S / traffic.BATCH
    post(stages, views(events // 3, seed=9), per_s)
    asyncio.run(at_rest(stages.kafka))
    for what, count, requests, pace in (
        ("an event, in batches of 100, a queue before each stage", events, views(events, seed=10), AT_ONCE),
        ("the same, 1,000/s", events // 2, views(events // 2, seed=12), per_s),
        ("an event, one a request, a queue before each stage", events // 10, alone(events // 10), AT_ONCE),
        ("a triggered message with its event, 60/s", orders, ordered(orders), ORDERS_PER_S),
    ):
        say(report, what, count, stages.cost(count, functools.partial(post, stages, requests, pace)))


def broadcast(report: Report, stages: Stages, people: int) -> None:
    say(report, "a person imported with consent", people,
        stages.cost(people, lambda: bring_in(stages.collector, people)))  # fmt: skip
    spent = stages.cost(people, lambda: sent(Api(stages.collector.port), people))
    say(report, "a message of a broadcast, 10 KB, RSA-2048", people, spent)


def sent(api: Api, people: int) -> None:
    api.call("POST", "/api/broadcasts", BROADCAST)
    until = time.monotonic() + PATIENCE_S
    while (state := api.call("GET", f"/api/broadcasts/{BROADCAST['id']}"))["status"] not in ENDED:
        if time.monotonic() > until:
            raise RuntimeError(f"the broadcast is not finished after {PATIENCE_S:g} s: {state}")
        time.sleep(1)
    if state["progress"]["messages"] != {"sent": people}:
        raise RuntimeError(f"a mail for each of {people} people was due: {state['progress']}")


@contextlib.contextmanager
def working(folder: Path, what: Path) -> Iterator[Stages]:
    """A whole deployment of the project ``what``, at rest."""
    for name in ("collect", "deliver"):
        (folder / name).mkdir(parents=True)
    folder.chmod(0o755)
    world = World(folder)
    world.cluster.start("kafka", "flink", "postgres")
    try:
        migrating.upgrade(str(world.cluster.addresses["postgres"]["url"]))
        kafka = world.kafka("heliograph")
        with smtp_sink() as port, deployed(world), asyncio.Runner() as runner, contextlib.ExitStack() as stack:
            relay, job = f"smtp://127.0.0.1:{port}?starttls=off", world.job(kafka, 1, facts=True)
            collector = stack.enter_context(serving(folder / "collect", relay, what, "collect"))
            runner.run(job.__aenter__())
            stack.callback(lambda: runner.run(job.__aexit__(None, None, None)))
            worker = stack.enter_context(serving(folder / "deliver", relay, what, "deliver"))
            asyncio.run(at_rest(kafka))
            yield Stages(world, kafka, collector, worker)
    finally:
        world.cluster.stop()


def views(count: int, seed: int) -> Iterator[tuple[bytes, bytes]]:
    """Path and body: what the shop's visitors look at, of whom nothing else is known."""
    for body in traffic.batches(_looks(count, seed)):
        yield b"/v1/batch", body


def alone(count: int) -> Iterator[tuple[bytes, bytes]]:
    for call in _looks(count, seed=11):
        yield b"/v1/track", traffic.encode(call)


def _looks(count: int, seed: int) -> Iterator[dict[str, Any]]:
    looks = (call for call in iter(Shop(seed, PROFILES)) if call.get("event") == "Product Viewed")
    return itertools.islice(looks, count)


def ordered(count: int) -> Iterator[tuple[bytes, bytes]]:
    for number in range(count):
        yield b"/v1/track", traffic.encode(traffic.order(number % BUYERS, number // BUYERS, 1))


def post(stages: Stages, requests: Iterator[tuple[bytes, bytes]], per_s: float) -> None:
    asyncio.run(_post(stages.collector.url, list(requests), per_s))


async def _post(url: str, requests: list[tuple[bytes, bytes]], per_s: float) -> None:
    pool = Pool(url, WRITE_KEY, 16)
    await pool.open()
    loop = asyncio.get_running_loop()
    began = loop.time()
    for number, (path, body) in enumerate(requests):
        due = began + number / per_s
        if (ahead := due - loop.time()) > 0:
            await asyncio.sleep(ahead)
        pool.submit(Job(due, 1, path, body))
    await pool.drain(60)
    pool.close()
    if set(pool.statuses) != {200}:
        raise RuntimeError(f"refused: {pool.statuses}")


async def _wal(url: str) -> float:
    connection = await asyncpg.connect(url)
    found = await connection.fetchval("select pg_current_wal_lsn() - '0/0'::pg_lsn")
    await connection.close()
    return float(found)


def say(report: Report, what: str, count: int, cost: Cost) -> None:
    for name, us in cost.cpu.items():
        report.add("pipeline", f"{what}: {name}", us, "us")
    note = f"{amount(count)} of them; {load()}"
    report.add("pipeline", f"{what}: all of it", sum(cost.cpu.values()), "us", note=note)
    for name, size in cost.disk.items():
        report.add("pipeline", f"{what}: {name}", size, "bytes")
