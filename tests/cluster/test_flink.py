"""The brain on a real cluster of two TaskManagers: what it says is what ``step`` says at home, whatever falls over.

Each test submits a job of its own and stops it; repeats are taken out as a worker does, by the key's own number.
"""

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import msgspec
import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from deploy.local.cluster import HERE, Cluster
from msgspec.structs import replace
from typer.testing import CliRunner

from heliograph import decide
from heliograph.adapters.flink.cluster import Flink
from heliograph.adapters.kafka.topics import ensure_topics
from heliograph.cli.app import app
from heliograph.config.settings import FlinkSetting, KafkaSetting
from heliograph.decide.decided import Decided, decode_decided
from heliograph.decide.effects import DecideMessage, Hop
from heliograph.events.event import Event
from heliograph.events.ids import bucket
from heliograph.events.partitions import partition_key, partition_of
from heliograph.events.record import EventBody, Record, Wake, decode_record, encode_record
from tests.cli.test_flink import SETTINGS
from tests.cluster.machine import supervised
from tests.replays import histories

PATIENCE_S = 480
"""For a job to come up and read its records, on a busy machine."""
OFTEN = ("--checkpoint", "1000")


class Bench:
    """One test's topics, and the job on them."""

    def __init__(self, flink: FlinkSetting, kafka: KafkaSetting) -> None:
        self.flink, self.kafka = Flink(flink, kafka), kafka
        self.aside = replace(kafka, prefix=f"{kafka.prefix}.aside")
        for setting in (kafka, self.aside):
            ensure_topics(setting)
        self.said_in = kafka.prefix
        self._producer = Producer({"bootstrap.servers": kafka.brokers, "enable.idempotence": True})

    def replay(self) -> tuple[str, ...]:
        """Options of a job that decides a history: it has its own hops and wake-ups, so those that are made now (its
        deadlines are all over by the wall clock) go elsewhere, with everything that is said."""
        self.said_in = self.aside.prefix
        return (*OFTEN, "--into", self.said_in)

    def publish(self, version: int, document: bytes) -> None:
        value = msgspec.msgpack.encode((version, document, 0))
        self._produce("plan", version.to_bytes(4, "big"), value)

    def feed(self, records: Sequence[bytes]) -> None:
        for data in records:
            place = bucket(decode_record(data).key)
            self._produce("records", partition_key(place), data, partition_of(place, self.kafka.partitions))

    def _produce(self, topic: str, key: bytes, value: bytes, partition: int = 0) -> None:
        self._producer.produce(f"{self.kafka.prefix}.{topic}", value, key, partition)
        self._producer.flush()

    def read(self, topic: str) -> list[bytes]:
        """Everything in the topic by now, by partition and offset."""
        return [value for _, _, value in self.entries(topic)]

    def entries(self, topic: str) -> list[tuple[int, bytes, bytes]]:
        """(partition, key, value)."""
        name = f"{self.said_in}.{topic}"
        consumer = Consumer({"bootstrap.servers": self.kafka.brokers, "group.id": "test", "enable.auto.commit": False})
        parts = [TopicPartition(name, number) for number in consumer.list_topics(name).topics[name].partitions]
        ends = {part.partition: consumer.get_watermark_offsets(part)[1] for part in parts}
        consumer.assign([TopicPartition(name, part.partition, 0) for part in parts if ends[part.partition]])
        left, found = sum(ends.values()), []
        while left > 0:
            message = consumer.poll(60)
            assert message is not None, f"{left} entries of {name} are missing"
            if message.offset() < ends[message.partition()]:
                found.append((message.partition(), message.key(), message.value()))
                left -= 1
        consumer.close()
        return sorted(found, key=lambda entry: entry[0])

    def said(self) -> list[Decided]:
        """What was decided, without what was said again."""
        last: dict[str, int] = {}
        found = []
        for data in self.read("effects"):
            one = decode_decided(data)
            if one.number > last.get(one.record.key, 0):
                last[one.record.key] = one.number
                found.append(one)
        return found

    def await_said(self, log: Sequence[bytes], meanwhile: Callable[[], object] = lambda: None) -> list[Decided]:
        """Until each of these records was decided."""
        wanted = {(record.key, record.id) for record in map(decode_record, log)}

        def all_said() -> list[Decided] | None:
            meanwhile()
            said = self.said()
            return said if wanted <= {(one.record.key, one.record.id) for one in said} else None

        return until(all_said)


def until(found: Callable[[], Any]) -> Any:
    end = time.monotonic() + PATIENCE_S
    while (value := found()) is None:
        assert time.monotonic() < end, "it did not come in time"
        time.sleep(1)
    return value


@pytest.fixture
def bench(flink: FlinkSetting, kafka: KafkaSetting) -> Iterator[Bench]:
    bench = Bench(flink, kafka)
    bench.flink.await_slots(2)
    yield bench
    for one in (bench.flink, Flink(flink, bench.aside)):
        if one.job() is not None:
            until(lambda one=one: True if running(one) else None)  # cancelled while pemja begins it spoils its JVM
            one.stop(one.job()["jid"])  # type: ignore[index]


def running(flink: Flink) -> bool:
    job = flink.job()
    return job is not None and job["state"] == "RUNNING" and job["tasks"]["running"] == job["tasks"]["total"]


class Home:
    """What ``step`` says of the records of a history, key by key."""

    def __init__(self, name: str) -> None:
        history = histories.load(histories.FOLDER / f"{name}.bin")
        self.plans, self.log = history.plans, history.log
        compiled = {version: decide.compile_plan(msgspec.json.decode(one), version) for version, one in history.plans}
        states: dict[str, decide.State] = {}
        self.effects: dict[tuple[str, str], list[list[Any]]] = {}
        for data in self.log:
            record = decode_record(data)
            state = states.get(record.key) or decide.new_state(record.key)
            plan = compiled[max(record.plan_version, state.plan_version)]
            states[record.key], effects = decide.step(state, record, plan)
            told = [effect for effect in effects if not isinstance(effect, Hop)]
            self.effects.setdefault((record.key, record.id), []).append(told)

    def judge(self, said: Sequence[Decided]) -> None:
        """Every record of the history was decided as at home, as often as at home."""
        found: dict[tuple[str, str], list[list[Any]]] = {}
        for one in said:
            found.setdefault((one.record.key, one.record.id), []).append(list(one.effects))
        assert {name: found.get(name) for name in self.effects} == self.effects


def test_the_same_log_says_the_same_on_two_slots_after_kill_9(bench: Bench, cluster: Cluster) -> None:
    """And a plan that arrives behind the records that name it is waited for."""
    home = Home("features")
    middle = len(home.log) // 2
    bench.publish(*home.plans[0])
    bench.flink.submit(2, options=bench.replay())
    bench.feed(home.log[:middle])
    bench.await_said([data for data in home.log[:100] if decode_record(data).plan_version == 1])
    cluster.kill("flink-1")
    bench.feed(home.log[middle:])
    for version, document in home.plans[1:]:
        bench.publish(version, document)
    cluster.start("flink")
    home.judge(bench.await_said(home.log, lambda: supervised(cluster)))


WAITING: dict[str, Any] = {
    "format": 1,
    "project": {"timezone": "UTC"},
    "journeys": {
        "nudge": {"name": "nudge", "entry": {"event": "Seen"}, "steps": [{"wait": "PT2S"}, {"send": "nudge"}]},
    },
    "templates": {"nudge": {"name": "nudge", "version": "1", "class": "transactional", "last": []}},
}


def test_a_deadline_comes_back_through_the_log(bench: Bench) -> None:
    """At its own instant, whenever that was noticed; and each entry lies where its key belongs."""
    bench.publish(1, msgspec.json.encode(WAITING))
    bench.flink.submit(1, options=OFTEN)
    now = int(time.time() * 1000)
    event = Event("e1", "track", "Seen", now, user_id="p", traits={}, context={"traits": {"email": "p@x.test"}})
    bench.feed([encode_record(Record("u:p", "e1", now, 1, EventBody(event)))])

    def woken() -> Decided | None:
        return next((one for one in bench.said() if isinstance(one.record.body, Wake)), None)

    one: Decided = until(woken)
    assert one.record.received_at == now + 2_000
    assert [effect.template for effect in one.effects if isinstance(effect, DecideMessage)] == ["nudge"]
    partitions = bench.kafka.partitions
    for partition, key, value in bench.entries("records"):
        place = bucket(decode_record(value).key)
        assert (partition, key) == (partition_of(place, partitions), partition_key(place))
    for partition, key, value in bench.entries("effects"):
        place = bucket(decode_decided(value).record.key)
        assert (partition, key) == (partition_of(place, partitions), partition_key(place))
    until(lambda: True if "run_started" in facts(bench) else None)


def facts(bench: Bench) -> set[str]:
    """Kinds of those that are told by now."""
    return {msgspec.json.decode(line)["kind"] for value in bench.read("facts") for line in value.splitlines()}


def new_managers(cluster: Cluster) -> str:
    """The command that an operator gives for a restart of the TaskManagers."""
    tool = f"{sys.executable} {HERE / 'cluster.py'} --run {cluster.run}"
    return f"sh -c '{tool} stop flink-1 flink-2 && {tool} start flink'"


def two_crowds(log: Sequence[bytes]) -> tuple[list[bytes], list[bytes]]:
    """The records of half of the people, and those of the others: whose records are all over is woken at once (their
    deadlines are over by the wall clock), and that must come behind the last of them."""
    records = [decode_record(data) for data in log]
    crowds = {record.key: {record.key} for record in records}
    for record in records:
        said = str(record.body)
        for other in [key for key in crowds if f"'{key}'" in said]:
            both = crowds[record.key] | crowds[other]
            crowds |= dict.fromkeys(both, both)
    some = crowds["u:p0"] | crowds["u:p1"] | crowds["u:p2"]
    early = [data for data, record in zip(log, records, strict=True) if record.key in some]
    late = [data for data, record in zip(log, records, strict=True) if record.key not in some]
    assert early and late
    return early, late


def test_the_command_line_moves_the_job(bench: Bench, flink: FlinkSetting, cluster: Cluster, tmp_path: Any) -> None:
    home = Home("exact")
    early, late = two_crowds(home.log)
    for version, document in home.plans:
        bench.publish(version, document)
    bench.feed(early)
    (tmp_path / "heliograph.toml").write_text(
        f'{SETTINGS}[kafka]\nbrokers = "{bench.kafka.brokers}"\nprefix = "{bench.kafka.prefix}"\n'
        f'[flink]\nurl = "{flink.url}"\nhome = "{flink.home}"\nsavepoints = "{flink.savepoints}"\n'
        f'checkpoints = "{flink.checkpoints}"\ncheckpoint = "PT1S"\n'
    )

    def run(*words: str, code: int = 0) -> str:
        done = CliRunner().invoke(app, ["flink", *words, "--project", str(tmp_path)])
        assert done.exit_code == code, done.output
        return done.output

    assert "heliograph flink submit" in run("status", code=1)
    assert "on 1 slots" in run("submit")
    bench.await_said(early)
    assert "runs already" in run("submit", code=1)
    assert "start more TaskManagers" in run("rescale", "64", code=1)
    bench.feed(late)
    assert "on 2 slots" in run("rescale", "2")
    until(lambda: True if running(bench.flink) else None)
    assert "RUNNING" in run("status")
    assert run("savepoint").startswith("file:")
    managers = cluster.pids("flink-1") + cluster.pids("flink-2")
    assert "on 2 slots" in run("upgrade", "--restart", new_managers(cluster))
    assert not {*managers} & {*cluster.pids("flink-1"), *cluster.pids("flink-2")}
    until(lambda: True if running(bench.flink) else None)
    place = run("stop").split()[-1]
    assert place.startswith("file:")
    assert "no job" in run("savepoint", code=1)
    home.judge(bench.await_said(home.log))
    passes_a_gap(bench, run, place)


def passes_a_gap(bench: Bench, run: Callable[..., str], place: str) -> None:
    """Of two events that came while no job ran the first is removed, as retention does: the job that goes on says so
    and decides nothing, until it is told to go on without."""
    now = int(time.time() * 1000)
    events = [Event(name, "track", "Seen", now, user_id="late") for name in ("lost", "kept")]
    log = [encode_record(Record("u:late", event.event_id, now, 1, EventBody(event))) for event in events]
    bench.feed(log)
    part = TopicPartition(f"{bench.kafka.prefix}.records", partition_of(bucket("u:late"), bench.kafka.partitions))
    consumer = Consumer({"bootstrap.servers": bench.kafka.brokers, "group.id": "test"})
    part.offset = consumer.get_watermark_offsets(part)[1] - 1
    consumer.close()
    admin = AdminClient({"bootstrap.servers": bench.kafka.brokers})  # while it lives its answers come
    admin.delete_records([part])[part].result()
    run("submit", "--from", place)
    said = until(lambda: said if "--past-gap" in (said := run("status")) else None)
    assert "OffsetOutOfRange" in said
    place = run("stop", "--now").split()[-1]  # the newest: a checkpoint before the first try may be newer than ours
    assert place.startswith("file:")
    run("submit", "--from", place, "--past-gap")
    said = bench.await_said(log[1:])
    assert "lost" not in {one.record.id for one in said}
