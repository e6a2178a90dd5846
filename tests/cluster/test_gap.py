"""Effects that Kafka has removed before any worker came: what its operator sees and types."""

import asyncio
import json
import os
import subprocess
from pathlib import Path

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient

from heliograph.adapters.kafka import KafkaStream, ensure_topics
from heliograph.adapters.sql import migrating
from heliograph.config.settings import KafkaSetting, PostgresSetting, RedisSetting
from heliograph.decide.decided import Decided, encode_decided
from heliograph.events.record import Record, Wake
from heliograph.ports import Post
from heliograph.ports.stream import EFFECTS, RECORDS
from tests.cluster.machine import HELIOGRAPH, environment, serving
from tests.integration.test_kill9 import write_project

T0 = 1_750_000_000_000


class Operator:
    """At a terminal, with the deployment's environment."""

    def __init__(self, folder: Path, kafka: KafkaSetting, postgres: PostgresSetting, redis: RedisSetting) -> None:
        self.folder, self.kafka = folder, kafka
        self.project = write_project(folder / "project", 1)
        self.environment = {**os.environ, **environment(kafka, postgres.url, redis, "PT2S")}

    def types(self, *words: str, patience_s: float = 60) -> tuple[int, str]:
        done = subprocess.run(
            list(words), env=self.environment, capture_output=True, text=True, check=False, timeout=patience_s
        )
        return done.returncode, done.stdout + done.stderr

    def gap(self, *words: str) -> tuple[int, str]:
        return self.types(HELIOGRAPH, "gap", "--project", str(self.project), *words)

    def doctor(self) -> dict[str, tuple[str, str]]:
        _, said = self.types(HELIOGRAPH, "doctor", str(self.project), "--only", "offsets", "--json")
        return {one["name"]: (one["status"], f"{one['seen']} {one['mend']}") for one in json.loads(said)["checks"]}

    def removes(self, topic: str, before: int) -> None:
        """As retention does."""
        admin = AdminClient({"bootstrap.servers": self.kafka.brokers})
        for deleted in admin.delete_records([TopicPartition(f"{self.kafka.prefix}.{topic}", 0, before)]).values():
            deleted.result()


@pytest.fixture
def operator(tmp_path: Path, kafka: KafkaSetting, postgres: PostgresSetting, redis: RedisSetting) -> Operator:
    migrating.upgrade(postgres.url)
    ensure_topics(kafka)
    return Operator(tmp_path, kafka, postgres, redis)


async def say(kafka: KafkaSetting, count: int) -> None:
    records = [Record("u:ann", f"w{number}", T0, 1, Wake()) for number in range(count)]
    stream = KafkaStream(kafka)
    decisions = [encode_decided(Decided(record, [], None, None, 0)) for record in records]
    await stream.appender().append([Post(EFFECTS, b"", decision, 0) for decision in decisions])
    await stream.close()


async def test_a_gap_stops_workers_is_told_and_is_passed_only_when_somebody_says_so(operator: Operator) -> None:
    await say(operator.kafka, 9)
    assert (await asyncio.to_thread(operator.gap))[0] == 0
    await asyncio.to_thread(operator.removes, EFFECTS, 4)
    command = serving(operator.project, operator.folder / "data", "deliver")
    code, said = await asyncio.to_thread(lambda: operator.types(*command, patience_s=120))
    assert code == 1 and "heliograph gap" in said.splitlines()[-1], said
    code, said = await asyncio.to_thread(operator.gap)
    assert code == 1 and "--skip" in said and "--again" in said
    finding = (await asyncio.to_thread(operator.doctor))[f"kafka.offsets.{operator.kafka.prefix}.effects"]
    assert finding[0] == "fail" and "heliograph gap" in finding[1]
    code, said = await asyncio.to_thread(operator.gap, "--skip", "--json")
    assert code == 0, said
    (dealt,) = json.loads(said[said.index("{\n") :])["dealt_with"]
    assert (dealt["partition"], dealt["wanted"], dealt["goes_on"], dealt["lost"]) == (0, 0, 4, 4)
    assert (await asyncio.to_thread(operator.gap))[0] == 0
    finding = (await asyncio.to_thread(operator.doctor))["kafka.offsets"]
    assert finding[0] == "ok" and "4 decisions given up" in finding[1]


async def test_who_is_far_behind_in_what_is_kept_is_told_while_it_can_be_mended(operator: Operator) -> None:
    """The doctor's clock is ahead: what is said now is five days old, of seven."""
    from heliograph.adapters.kafka import check_offsets

    await say(operator.kafka, 3)
    later = (await asyncio.to_thread(_now)) + 5 * 86_400_000
    (fault,) = await asyncio.to_thread(check_offsets, operator.kafka, {0: 1}, later)
    assert (fault.grave, "workers are more than 3.5 days behind in partition 0" in fault.what) == (False, True)
    assert await asyncio.to_thread(check_offsets, operator.kafka, {0: 3, 1: 0}, later) == []
    assert await asyncio.to_thread(check_offsets, operator.kafka, {0: 1}, later - 5 * 86_400_000) == []


async def test_a_brain_whose_records_are_gone_is_told(operator: Operator) -> None:
    """As Flink notes how far it is: under its group, in Kafka."""
    from heliograph.adapters.kafka import check_offsets

    kafka, stream = operator.kafka, KafkaStream(operator.kafka)
    await stream.appender().append([Post(RECORDS, b"", b"%d" % number, 0) for number in range(9)])
    await stream.close()
    await asyncio.to_thread(_note, kafka, 2)
    assert await asyncio.to_thread(check_offsets, kafka, {}, await asyncio.to_thread(_now)) == []
    await asyncio.to_thread(operator.removes, RECORDS, 5)
    (fault,) = await asyncio.to_thread(check_offsets, kafka, {}, await asyncio.to_thread(_now))
    assert (fault.topic, fault.grave) == (f"{kafka.prefix}.records", True)
    assert "the brain" in fault.what


def _now() -> int:
    import time

    return time.time_ns() // 1_000_000


def _note(kafka: KafkaSetting, offset: int) -> None:
    from confluent_kafka import Consumer

    consumer = Consumer({"bootstrap.servers": kafka.brokers, "group.id": f"{kafka.prefix}.brain"})
    consumer.commit(offsets=[TopicPartition(f"{kafka.prefix}.records", 0, offset)], asynchronous=False)
    consumer.close()
