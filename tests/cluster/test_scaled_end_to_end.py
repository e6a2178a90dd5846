"""`heliograph serve --role collect` and `--role deliver` over real Kafka, PostgreSQL and Redis, with real mail."""

import asyncio
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from deploy.local.cluster import Cluster

from heliograph.adapters.kafka import ensure_topics
from heliograph.adapters.sql import PostgresStore, migrating
from heliograph.config.settings import KafkaSetting, PostgresSetting, RedisSetting
from tests.integration.test_kill9 import KEY, TOKEN, Receiver, write_project

BRAIN = """
import asyncio, os, sys, time
from heliograph.adapters.kafka import KafkaStream
from heliograph.adapters.sql import PostgresStore
from heliograph.config.settings import KafkaSetting
from heliograph.ports import StreamAway
from heliograph.runtime.near_brain import NearBrain, plans_of

async def main():
    setting = KafkaSetting(brokers=sys.argv[1], prefix=sys.argv[2], partitions=4, replication=1)
    store = PostgresStore(sys.argv[3])
    brain = NearBrain(KafkaStream(setting), plans_of(store.plan))
    while True:
        try:
            await brain.portion()
            await brain.wake(time.time_ns() // 1_000_000)
        except StreamAway:
            await asyncio.sleep(0.5)

asyncio.run(main())
"""


class Machine:
    """One process, and what it says."""

    def __init__(self, command: list[str], environment: dict[str, str], said: Path) -> None:
        self._command, self._environment, self._said = command, environment, said
        self.start()

    def start(self) -> None:
        with self._said.open("ab") as out:
            self.process = subprocess.Popen(
                self._command, env={**os.environ, **self._environment}, stdout=out, stderr=out, start_new_session=True
            )

    def said(self) -> str:
        return self._said.read_text()

    @property
    def url(self) -> str:
        """Where it serves; logs that go to no terminal are JSON."""
        found = re.findall(r'"url": "(http://[^"]+)", "role"', self.said())
        return str(found[-1]) if found else ""

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30)


class Machines:
    def __init__(
        self, folder: Path, receiver: Receiver, kafka: KafkaSetting, postgres: PostgresSetting, redis: RedisSetting
    ) -> None:
        self.folder, self.kafka, self.postgres = folder, kafka, postgres
        self.project = write_project(folder / "project", receiver.port)
        self.environment = {
            "HELIOGRAPH_KAFKA_BROKERS": kafka.brokers,
            "HELIOGRAPH_KAFKA_PREFIX": kafka.prefix,
            "HELIOGRAPH_KAFKA_PARTITIONS": str(kafka.partitions),
            "HELIOGRAPH_KAFKA_REPLICATION": "1",
            "HELIOGRAPH_POSTGRES_URL": postgres.url,
            "HELIOGRAPH_POSTGRES_LEASE": "PT3S",
            "HELIOGRAPH_REDIS_URL": redis.url,
            "HELIOGRAPH_REDIS_PREFIX": redis.prefix,
            "NO_COLOR": "1",
        }
        self.all: list[Machine] = []

    def serve(self, role: str, name: str = "") -> Machine:
        name = name or role
        command = [
            str(Path(sys.executable).parent / "heliograph"), "serve", "--project", str(self.project),
            "--data", str(self.folder / f"data-{name}"), "--port", "0", "--role", role,
        ]  # fmt: skip
        self.all.append(Machine(command, self.environment, self.folder / f"{name}.log"))
        return self.all[-1]

    def brain(self) -> Machine:
        command = [sys.executable, "-c", BRAIN, self.kafka.brokers, self.kafka.prefix, self.postgres.url]
        self.all.append(Machine(command, {}, self.folder / "brain.log"))
        return self.all[-1]

    def ready(self, machine: Machine) -> str:
        """Its url, once it takes work."""
        eventually(lambda: bool(machine.url) or machine.process.poll() is not None)
        assert machine.process.poll() is None, machine.said()
        eventually(lambda: call(machine.url + "/readyz")[0] == 200)
        return machine.url


@pytest.fixture
def machines(
    tmp_path: Path, kafka: KafkaSetting, postgres: PostgresSetting, redis: RedisSetting
) -> Iterator[tuple[Machines, Receiver]]:
    ensure_topics(kafka)
    migrating.upgrade(postgres.url)
    receiver, loop = Receiver(), asyncio.new_event_loop()
    listening = threading.Event()

    def listen() -> None:
        asyncio.set_event_loop(loop)
        server = loop.run_until_complete(receiver.listen())
        listening.set()
        loop.run_forever()
        server.close()

    thread = threading.Thread(target=listen, daemon=True)
    thread.start()
    listening.wait()
    world = Machines(tmp_path, receiver, kafka, postgres, redis)
    yield world, receiver
    for machine in world.all:
        machine.kill()
    loop.call_soon_threadsafe(loop.stop)
    thread.join()


def call(url: str, body: Any = None) -> tuple[int, dict[str, str], Any]:
    data = None if body is None else json.dumps(body).encode()
    headers = {"authorization": f"Bearer {TOKEN}", "content-type": "application/json"}
    try:
        with urllib.request.urlopen(urllib.request.Request(url, data, headers), timeout=15) as answer:
            return answer.status, {k.lower(): v for k, v in answer.headers.items()}, json.loads(answer.read() or b"{}")
    except urllib.error.HTTPError as error:
        return error.code, {k.lower(): v for k, v in error.headers.items()}, error.read()
    except OSError as error:
        return 0, {}, str(error)


def eventually(fact: Callable[[], bool], patience_s: float = 120) -> None:
    until = time.monotonic() + patience_s
    while not fact():
        assert time.monotonic() < until, "it did not come"
        time.sleep(0.05)


def order(name: str, event: str = "Order Completed") -> dict[str, Any]:
    return {"writeKey": KEY, "batch": [{"type": "track", "event": event, "userId": name, "messageId": f"{event}-{name}",
            "properties": {"order_id": name}, "context": {"traits": {"email": f"{name}@x.test"}}}]}  # fmt: skip


def test_an_event_at_one_machine_is_a_mail_from_another(machines: tuple[Machines, Receiver]) -> None:
    world, receiver = machines
    collector, worker = world.serve("collect"), world.serve("deliver")
    world.brain()
    url = world.ready(collector)
    status, headers, answer = call(url + "/v1/batch", order("ann"))
    assert (status, headers["heliograph-durable"]) == (200, "log")
    eventually(lambda: receiver.got["ann@x.test"] == 1)
    for machine in (collector, worker):
        status, _, profile = call(f"{world.ready(machine)}/api/profiles/ann?after={answer['position']}")
        assert (status, profile["traits"]["email"]) == (200, "ann@x.test")
    eventually(lambda: [one["status"] for one in call(url + "/api/messages")[2]["messages"]] == ["sent"])
    call(url + "/v1/batch", order("bob", "Timer Set"))
    eventually(lambda: receiver.got["bob@x.test"] == 1)
    assert receiver.got["ann@x.test"] == 1
    assert (worker.stop(), collector.stop()) == (0, 0)


def test_a_worker_that_is_killed_is_replaced_by_another_and_nobody_is_mailed_twice(
    machines: tuple[Machines, Receiver],
) -> None:
    world, receiver = machines
    collector, first = world.serve("collect"), world.serve("deliver", "first")
    world.brain()
    url = world.ready(collector)
    world.ready(first)
    for number in range(100):
        assert call(url + "/v1/batch", order(f"p{number}"))[0] == 200
        if number == 50:
            first.kill()
            world.serve("deliver", "second")
    store = PostgresStore(world.postgres.url)
    eventually(lambda: {row.status for row in store.messages(limit=1000)[0]} <= {"sent", "unknown"}
               and len(store.messages(limit=1000)[0]) == 100)  # fmt: skip
    rows = store.messages(limit=1000)[0]
    store.close()
    assert max(receiver.got.values()) == 1
    assert all(receiver.got[row.address] == 1 for row in rows if row.status == "sent")
    assert sum(row.status == "unknown" for row in rows) <= 2 * 10


def test_kafka_away_events_wait_on_disk_also_through_a_kill_and_are_decided_in_order(
    machines: tuple[Machines, Receiver], cluster: Cluster
) -> None:
    world, receiver = machines
    collector = world.serve("collect")
    world.serve("deliver")
    world.brain()
    url = world.ready(collector)
    assert call(url + "/v1/batch", order("before"))[0] == 200
    eventually(lambda: receiver.got["before@x.test"] == 1)
    cluster.pause("kafka")
    answers = [call(url + "/v1/batch", order(f"p{number}")) for number in range(20)]
    assert {(status, headers.get("heliograph-durable")) for status, headers, _ in answers} == {(200, "spool")}
    said = call(url + "/readyz")[2]
    assert said["status"] == "degraded"
    collector.kill()
    cluster.resume("kafka")
    collector.start()
    eventually(lambda: sum(receiver.got.values()) == 21)
    assert set(receiver.got.values()) == {1}


def test_what_is_missing_is_said_at_the_start(machines: tuple[Machines, Receiver], kafka: KafkaSetting) -> None:
    world, _ = machines
    world.environment["HELIOGRAPH_KAFKA_PREFIX"] = kafka.prefix + "-nowhere"
    missing = world.serve("collect", "no-topics")
    assert missing.process.wait(60) == 1
    assert "there is no such topic; heliograph doctor --mend makes it" in missing.said()
    world.environment["HELIOGRAPH_KAFKA_PREFIX"] = kafka.prefix
    world.environment["HELIOGRAPH_POSTGRES_URL"] = ""
    alone = world.serve("all", "no-postgres")
    assert alone.process.wait(60) == 1
    assert "postgres.url" in alone.said()


def test_a_database_without_tables_is_said_with_the_command_that_makes_them(
    machines: tuple[Machines, Receiver], postgres: PostgresSetting
) -> None:
    world, _ = machines
    migrating.downgrade(postgres.url, "base")
    machine = world.serve("deliver")
    assert machine.process.wait(60) == 1
    assert "heliograph db upgrade" in machine.said()
