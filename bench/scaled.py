"""Several machines, all of them this one: real Kafka, Flink and PostgreSQL from ``deploy/local``.

Not part of ``make bench``, which needs no servers: ``python -m bench scaled``.  Only CPU time means much where brokers,
JobManager, load and measurements share two cores with what is measured.
"""

import asyncio
import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

from bench import quota
from bench.figures import Report, amount
from bench.flink import PARTITIONS, World, at_rest, latencies, portions, shop_records, throughput
from bench.latency import Trial, percentile
from bench.load import Plan, known
from bench.processes import cpu_s
from bench.server import Server, serving
from bench.sink import receiver
from heliograph.adapters.sql import migrating

ONE_SLOT, TWO_SLOTS, SOON = "40k/s", "1.8 x", "500 ms (p99)"
"""Design, section 10."""
RECORDS, QUICK_RECORDS = 200_000, 10_000
SECONDS, QUICK_SECONDS = 20.0, 3.0
SHARE = 0.35
"""Of a core, a TaskManager: with twice that, Kafka's and the load's, two cores are not all busy."""
RATES = (100, 1_000)
CHECKPOINTS_MS = (100, 250, 500)
"""Between two, where what is said is to be read once only."""
SENDS = ((100.0, 1_000.0),)
"""Sends and other events a second."""


def run(report: Report, folder: Path, quick: bool) -> None:
    world = World(folder)
    world.cluster.start("kafka", "flink", "postgres")
    try:
        asyncio.run(decided(report, world, quick))
        mailed(report, world, folder, quick)
    finally:
        world.cluster.stop()


async def decided(report: Report, world: World, quick: bool) -> None:
    count, seconds = (QUICK_RECORDS, QUICK_SECONDS) if quick else (RECORDS, SECONDS)
    where(report, count)
    speeds = []
    for slots in (1, 2):
        one = await throughput(world, slots, count)
        speeds.append(one)
        report.add(
            "scaled", f"decided on Flink, {slots} slot{'s' * (slots > 1)}", one.events, "events/s",
            target=ONE_SLOT if slots == 1 else "", cpu_us=one.managers_us, processes=slots,
            note=f"{amount(one.records)} records/s with hops and wakes; CPU us of the TaskManagers for each record, "
            f"Kafka's {amount(one.kafka_us)} beside; state {one.state_mb:.1f} MB, its last checkpoint "
            f"{amount(one.checkpoint_ms)} ms; {load()}",
        )  # fmt: skip
        for name, us in sorted(one.threads_us.items(), key=lambda item: -item[1]):
            report.add("scaled", f"of a TaskManager's, {slots}: {name}", us, "us a record")
    report.add("scaled", "2 slots beside 1, on all cores", speeds[1].records / speeds[0].records, "ratio",
               note=f"CPU a record {speeds[1].managers_us / speeds[0].managers_us:.2f} x; {load()}")  # fmt: skip
    await shared_out(report, world, max(count // 4, 5_000))
    for rate in RATES:
        found = await latencies(world, rate, seconds)
        for share in (0.5, 0.99):
            report.add("scaled", f"record to its effects, {rate}/s, p{share * 100:g}", percentile(found, share), "ms",
                       note=f"{len(found)} records; {load()}")  # fmt: skip
    for interval in CHECKPOINTS_MS:
        once = "--exactly-once", "--checkpoint", str(interval)
        found = await latencies(world, RATES[0], seconds, *once)
        for share in (0.5, 0.99):
            name = f"the same exactly once, checkpoints of {interval} ms, {RATES[0]}/s, p{share * 100:g}"
            report.add("scaled", name, percentile(found, share), "ms", note=f"{len(found)} records; {load()}")


async def shared_out(report: Report, world: World, count: int) -> None:
    """The same with a share of a core for each TaskManager, so that two do not want more cores than there are."""
    name = f"2 slots beside 1, {SHARE:g} of a core each"
    try:
        with quota.held(world.managers, SHARE):
            one, two = [await throughput(world, slots, count) for slots in (1, 2)]
    except quota.NoQuota as error:
        report.add("scaled", name, None, "ratio", target=TWO_SLOTS, note=f"not measured: {error}")
        return
    report.add("scaled", name, two.records / one.records, "ratio", target=TWO_SLOTS,
               note=f"{amount(one.records)} and {amount(two.records)} records/s, CPU us a record "
               f"{amount(one.managers_us)} and {amount(two.managers_us)}; {load()}")  # fmt: skip


def where(report: Report, count: int) -> None:
    """What the function costs without Flink, where people have ten records each, as in the long run."""
    count = min(count, 20_000)
    for name, us in portions(shop_records(count, profiles=count // 10)).items():
        report.add("scaled", f"of the keyed function, no Flink: {name}", us, "us a record", processes=1)
    hottest = portions(shop_records(count, profiles=1))["all of it"]
    report.add("scaled", "the keyed function on one person alone, whose records wait for one another", hottest,
               "us a record", processes=1)  # fmt: skip


def mailed(report: Report, world: World, folder: Path, quick: bool) -> None:
    """From an event at the collector, by Kafka, Flink, Kafka, PostgreSQL and a mailer, to the receiver's 250."""
    migrating.upgrade(str(world.cluster.addresses["postgres"]["url"]))
    for sends, others in SENDS:
        one, more = asyncio.run(trial(world, folder, sends, others, QUICK_SECONDS if quick else SECONDS))
        for share, target in ((0.5, ""), (0.99, SOON)):
            report.add(
                "scaled", f"event to 250, {one.name}, p{share * 100:g}", percentile(one.latencies, share), "ms",
                target=target, cpu_us=one.cpu_us, processes=one.processes,
                note=f"{len(one.latencies)} mails, {one.lost} missing; CPU us of the collector and worker an event; "
                f"TaskManagers {amount(more)} us; {load()}",
            )  # fmt: skip


async def trial(world: World, folder: Path, sends: float, others: float, seconds: float) -> tuple[Trial, float]:
    """The trial, and CPU us of the TaskManagers for each of its events."""
    kafka, buyers = world.kafka("heliograph"), int(sends * 10)
    with receiver(folder) as sink:
        async with world.job(kafka, 1):
            with deployed(world), serving(folder, sink.url) as server:
                warm = Plan(server.url, min(sends, 50), min(others, 500), min(seconds, 5), seed=99, buyers=buyers)
                await asyncio.to_thread(ready, server)
                await asyncio.to_thread(known, server.url, buyers)
                await asyncio.to_thread(Trial, server, warm)
                await at_rest(kafka)
                before = cpu_s(world.managers)
                one = await asyncio.to_thread(Trial, server, Plan(server.url, sends, others, seconds, 1, buyers))
                more = (cpu_s(world.managers) - before) / (seconds * (sends + others)) * 1e6
                await at_rest(kafka)
        sink.stop()
        one.match(sink.mails)
    return one, more


def ready(server: Server, patience_s: float = 120.0) -> None:
    """Until it takes events: it has a plan, and its brokers answer."""
    until = time.monotonic() + patience_s
    while True:
        try:
            server.get("/readyz")
        except OSError:
            if time.monotonic() > until:
                raise
            time.sleep(0.1)
        else:
            return


@contextlib.contextmanager
def deployed(world: World) -> Iterator[None]:
    """What a server of several machines is told, in the environment."""
    url = str(world.cluster.addresses["postgres"]["url"])
    told = {
        "HELIOGRAPH_KAFKA_BROKERS": str(world.cluster.addresses["kafka"]["brokers"]),
        "HELIOGRAPH_KAFKA_PARTITIONS": str(PARTITIONS), "HELIOGRAPH_KAFKA_REPLICATION": "1",
        "HELIOGRAPH_POSTGRES_URL": url,
    }  # fmt: skip
    os.environ.update(told)
    try:
        yield
    finally:
        for name in told:
            del os.environ[name]


def load() -> str:
    return f"load {Path('/proc/loadavg').read_text().split()[0]}"
