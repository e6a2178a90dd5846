"""The brain on Flink, fed through a real Kafka: what one slot decides in a second, what two do, and what it costs.

Kafka and Flink come from ``deploy/local`` and run on this machine, like all that measures: CPU time is told apart by
process, and inside the TaskManager by thread.
"""

import asyncio
import itertools
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any
from unittest import mock

import msgspec
from deploy.local.cluster import Cluster

from bench import traffic
from bench.processes import TICKS, cpu_s
from bench.server import SHOP
from bench.stages import Stopwatch
from heliograph import decide
from heliograph.adapters.flink.cluster import Flink, FlinkError
from heliograph.adapters.kafka import KafkaStream, ensure_topics
from heliograph.bootstrap import document_of
from heliograph.config.settings import FlinkSetting, KafkaSetting
from heliograph.decide import keyed
from heliograph.decide.decided import decode_decided
from heliograph.events.decode import decode_batch, open_batch
from heliograph.events.identity import key_of
from heliograph.events.partitions import partition_key
from heliograph.events.record import EventBody, Record, decode_record, encode_record, record_head
from heliograph.ports import Appender, PlanRow, Reader
from heliograph.ports.stream import EFFECTS, RECORDS, Post
from heliograph.runtime.plan_watch import plan_post

PARTITIONS = 4
AHEAD = 2_000
"""Records of one append."""
LOOK_S = 0.25
PATIENCE_S = 600
BEGUN, NEARLY = 0.25, 0.95
"""Shares of all decisions between which is measured: people have a past, and every slot is at work."""
PARTS = ("decode_record", "decode_state", "step", "encode_state", "encode_decided", "_tell")
THREADS = {
    "brain": "the operator's own thread: Python (pemja), keyed state, timers",
    "Source": "Kafka's consumer, and the exchange by key",
    "kafka": "Kafka's clients", "GC": "garbage collector", "G1": "garbage collector", "C1": "compiler",
    "C2": "compiler", "rocksdb": "RocksDB in the background",
}  # fmt: skip


class Speed(msgspec.Struct, frozen=True):
    """``records``: decided a second; ``events``: of them from outside.  CPU us are for each record.  ``state_mb``,
    ``checkpoint_ms``: size of all state at the last checkpoint, and how long that took; 0 without one."""

    events: float
    records: float
    managers_us: float
    kafka_us: float
    threads_us: dict[str, float]
    state_mb: float = 0.0
    checkpoint_ms: float = 0.0


class World:
    """Kafka and Flink, and a prefix of topics for each measurement."""

    def __init__(self, folder: Path) -> None:
        folder.chmod(0o755)
        self.cluster = Cluster(folder / "cluster")
        self._numbers = itertools.count()

    def kafka(self, prefix: str = "") -> KafkaSetting:
        brokers = str(self.cluster.addresses["kafka"]["brokers"])
        name = prefix or f"bench{next(self._numbers)}"
        setting = KafkaSetting(brokers=brokers, prefix=name, partitions=PARTITIONS, replication=1)
        ensure_topics(setting)
        return setting

    def flink(self, kafka: KafkaSetting) -> Flink:
        known = {name: str(value) for name, value in self.cluster.addresses["flink"].items()}
        return Flink(FlinkSetting(**known), kafka)

    @asynccontextmanager
    async def job(self, kafka: KafkaSetting, slots: int, *options: str, facts: bool = False) -> AsyncIterator[Flink]:
        flink = self.flink(kafka)
        await asyncio.to_thread(flink.submit, slots, "", [*([] if facts else ["--no-facts"]), *options])
        try:
            yield flink
        finally:
            if (job := flink.job()) is not None:
                with suppress(FlinkError):  # it does not run yet: what went wrong is told by who raised it
                    await asyncio.to_thread(flink.stop, job["jid"])
                    await asyncio.to_thread(flink.await_slots, slots)

    @property
    def managers(self) -> list[int]:
        names = [name for name in self.cluster.names("flink") if name != "flink-jobmanager"]
        return [pid for name in names for pid in self.cluster.pids(name)]

    @property
    def brokers(self) -> list[int]:
        return [pid for name in self.cluster.names("kafka") for pid in self.cluster.pids(name)]


class Alone:
    """A reader of all partitions."""

    async def assigned(self, partitions: Sequence[tuple[str, int]]) -> dict[tuple[str, int], int]:
        return dict.fromkeys(partitions, -1)

    async def revoked(self, partitions: Sequence[tuple[str, int]], lost: bool) -> None:
        """Never."""


def shop_records(count: int, seed: int = 5, profiles: int = 20_000) -> list[bytes]:
    """Shop traffic as it stands in the log, all of it under plan 1."""
    now = time.time_ns() // 1_000_000
    names = map("made-{}-{}".format, itertools.repeat(seed), itertools.count())
    bodies = traffic.shop_batches(count // traffic.BATCH, seed, profiles)
    arrivals = [one for body in bodies for one in decode_batch(open_batch(body), now, lambda: next(names))]
    return [
        encode_record(Record(key, one.event.event_id, now, 1, EventBody(one.event)))
        for one in arrivals if one.event is not None and (key := key_of(one.event))
    ]  # fmt: skip


def post(record: bytes) -> Post:
    return Post(RECORDS, partition_key(record_head(record).bucket), record)


def published() -> Post:
    return plan_post(PlanRow(1, msgspec.json.encode(document_of(SHOP)), 0))


# -- how many --


async def throughput(world: World, slots: int, count: int) -> Speed:
    """All records lie in the log before the job begins."""
    kafka = world.kafka()
    stream = KafkaStream(kafka)
    records = shop_records(count)
    appender = stream.appender()
    await appender.append([published()])
    for at in range(0, len(records), AHEAD):
        await appender.append([post(one) for one in records[at : at + AHEAD]])
    async with world.job(kafka, slots) as flink:
        samples = [one async for one in _watch(world, stream, flink, len(records))]
        last = _last_checkpoint(flink)
    await stream.close()
    return msgspec.structs.replace(
        _speed(samples, len(records)), state_mb=last.get("full_size", last.get("state_size", 0)) / 1e6,
        checkpoint_ms=last.get("end_to_end_duration", 0),
    )  # fmt: skip


def _last_checkpoint(flink: Flink) -> dict[str, Any]:
    job = flink.job()
    return {} if job is None else (flink.checkpoints(job["jid"]).get("latest") or {}).get("completed") or {}


Sample = tuple[float, int, float, float, dict[str, float]]
"""Instant (s), decisions, CPU seconds of the TaskManagers, of Kafka, of the TaskManagers by thread."""


async def _watch(world: World, stream: KafkaStream, flink: Flink, records: int) -> AsyncIterator[Sample]:
    """Until nothing more is decided."""
    reader = stream.reader([EFFECTS], Alone(), group=None)
    managers, brokers = world.managers, world.brokers
    begun = changed = time.monotonic()
    last = -1
    while time.monotonic() - changed < (2.0 if last >= records else PATIENCE_S):
        done = sum(end for _, end in (await reader.ends(EFFECTS)).values())
        now = time.monotonic()
        if done != last:
            last, changed = done, now
            yield now, done, cpu_s(managers), cpu_s(brokers), by_thread(managers)
        if not done and now - begun > 60 and flink.job() is None:
            raise RuntimeError("the job ended before it decided anything: see the logs of the TaskManagers")
        await asyncio.sleep(LOOK_S)
    await reader.close()


async def at_rest(kafka: KafkaSetting, still_s: float = 4.0) -> None:
    """Until no record and no decision has come for so long: outcomes of mails are records, so mail is at rest, too."""
    stream = KafkaStream(kafka)
    reader = stream.reader([EFFECTS, RECORDS], Alone(), group=None)
    begun = changed = time.monotonic()
    last: list[int] = []
    while time.monotonic() - changed < still_s and changed - begun < PATIENCE_S:
        now = [sum(end for _, end in (await reader.ends(topic)).values()) for topic in (RECORDS, EFFECTS)]
        if now != last:
            last, changed = now, time.monotonic()
        await asyncio.sleep(LOOK_S)
    await stream.close()


def _speed(samples: list[Sample], events: int) -> Speed:
    total = samples[-1][1]
    first = next(one for one in samples if one[1] >= total * BEGUN)
    last = next(one for one in samples if one[1] >= total * NEARLY)
    done, seconds = last[1] - first[1], last[0] - first[0]
    if not done:
        raise RuntimeError(f"{total} decisions came all at once: measure with more records")
    us = 1e6 / done
    threads = {name: (spent - first[4].get(name, 0.0)) * us for name, spent in last[4].items()}
    rate = done / seconds
    return Speed(rate * events / total, rate, (last[2] - first[2]) * us, (last[3] - first[3]) * us, threads)


def by_thread(pids: Sequence[int]) -> dict[str, float]:
    """CPU seconds of these processes by what their threads are called."""
    spent: dict[str, float] = defaultdict(float)
    for task in (task for pid in pids for task in Path(f"/proc/{pid}/task").glob("*")):
        with suppress(OSError):
            head, _, tail = (task / "stat").read_text().rpartition(")")
            fields = tail.split()
            name = head.partition("(")[2]
            known = next((what for word, what in THREADS.items() if word in name), "the rest")
            spent[known] += (int(fields[11]) + int(fields[12])) / TICKS
    return dict(spent)


# -- how soon --


class Ear:
    """Hears what is decided.  ``due``: by record id, when it was due (s); ``found``: ms from then to when its effects
    were read; ``over``: no more will be due."""

    def __init__(self) -> None:
        self.due: dict[str, float] = {}
        self.found: list[float] = []
        self.over = False

    async def listen(self, reader: Reader) -> None:
        while self.due or not self.over:
            for entry in await reader.read(1_000, 0.1):
                now = time.monotonic()
                if (at := self.due.pop(decode_decided(entry.value).record.id, None)) is not None:
                    self.found.append((now - at) * 1000)


async def latencies(world: World, rate: float, seconds: float, *options: str) -> list[float]:
    """From when a record was due to when its effects were read, ms, sorted; a Poisson process, open loop.  ``options``:
    of the job."""
    kafka = world.kafka()
    stream = KafkaStream(kafka)
    records = shop_records(traffic.BATCH * int(rate * seconds * 1.5 / traffic.BATCH + 3), seed=7)
    warm, records = records[: traffic.BATCH], records[traffic.BATCH :]
    appender, reader = stream.appender(), stream.reader([EFFECTS], Alone(), group=None)
    await appender.append([published(), *map(post, warm)])
    ear = Ear()
    async with world.job(kafka, 1, *options):
        ear.due, ear.over = dict.fromkeys(map(name_of, warm), 0.0), True
        async with asyncio.timeout(PATIENCE_S):
            await ear.listen(reader)
        ear.found, ear.over = [], False
        listening = asyncio.create_task(ear.listen(reader))
        await _append(appender, iter(records), traffic.poisson(rate, seconds, 3), ear)
        async with asyncio.timeout(PATIENCE_S):
            await listening
    await stream.close()
    return sorted(ear.found)


async def _append(appender: Appender, records: Iterator[bytes], instants: Iterator[float], ear: Ear) -> None:
    begun = time.monotonic()
    under_way = []
    for at in instants:
        if (early := begun + at - time.monotonic()) > 0:
            await asyncio.sleep(early)
        record = next(records)
        ear.due[name_of(record)] = begun + at
        under_way.append(asyncio.ensure_future(appender.append([post(record)])))
    await asyncio.gather(*under_way)
    ear.over = True


def name_of(record: bytes) -> str:
    return decode_record(record).id


# -- where it goes --


def portions(records: Sequence[bytes]) -> dict[str, float]:
    """CPU us of the keyed function for each record, in a plain Python process: all of it, and its parts (each with the
    price of a stopwatch, some 0.5 us)."""
    plan = decide.compile_plan(document_of(SHOP), 1)
    whole = _decide_all(records, plan)
    watches = {name: Stopwatch(getattr(keyed, name)) for name in PARTS}
    with mock.patch.multiple(keyed, **watches):
        _decide_all(records, plan)
    return {"all of it": whole, **{name: watch.spent / len(records) * 1e6 for name, watch in watches.items()}}


def _decide_all(records: Sequence[bytes], plan: decide.Plan) -> float:
    blobs: dict[str, bytes | None] = {}
    started = time.process_time()
    for data in records:
        key = record_head(data).key
        held = keyed.load(key, blobs.get(key))
        keyed.take(held, data, lambda _: plan)
        blobs[key] = keyed.dump(held)
    return (time.process_time() - started) / len(records) * 1e6
