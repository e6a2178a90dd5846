"""`heliograph serve --role collect` and `--role deliver` over real Kafka, PostgreSQL and Redis, with real mail."""

import asyncio
import contextlib
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from deploy.local.cluster import Cluster
from deploy.local.services import program

from heliograph.adapters.kafka import ensure_topics
from heliograph.adapters.sql import PostgresStore, migrating
from heliograph.config.settings import KafkaSetting, PostgresSetting, RedisSetting
from tests.cluster.machine import Machine, call, environment, eventually, near_brain, order, ready, serving
from tests.integration.test_kill9 import Receiver, write_project


class Machines:
    def __init__(
        self, folder: Path, receiver: Receiver, kafka: KafkaSetting, postgres: PostgresSetting, redis: RedisSetting
    ) -> None:
        self.folder, self.kafka, self.postgres = folder, kafka, postgres
        self.project = write_project(folder / "project", receiver.port)
        self.environment = environment(kafka, postgres.url, redis, "PT3S")
        self.all: list[Machine] = []

    def serve(self, role: str, name: str = "") -> Machine:
        name = name or role
        command = serving(self.project, self.folder / f"data-{name}", role)
        self.all.append(Machine(command, self.environment, self.folder / f"{name}.log"))
        return self.all[-1]

    def brain(self) -> Machine:
        self.all.append(Machine(near_brain(self.kafka, self.postgres.url), {}, self.folder / "brain.log"))
        return self.all[-1]


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


def test_an_event_at_one_machine_is_a_mail_from_another(machines: tuple[Machines, Receiver]) -> None:
    world, receiver = machines
    collector, worker = world.serve("collect"), world.serve("deliver")
    world.brain()
    url = ready(collector)
    status, headers, answer = call(url + "/v1/batch", order("ann"))
    assert (status, headers["heliograph-durable"]) == (200, "log")
    eventually(lambda: receiver.got["ann@x.test"] == 1)
    for machine in (collector, worker):
        status, _, profile = call(f"{ready(machine)}/api/profiles/ann?after={answer['position']}")
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
    url = ready(collector)
    ready(first)
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
    url = ready(collector)
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


@contextlib.contextmanager
def locked(url: str) -> Iterator[None]:
    """PostgreSQL does not tell who anybody is, and answers everything else."""
    statement = "begin; lock table states in access exclusive mode; select 'locked';\n"
    with subprocess.Popen(
        [program("psql"), "-qtAX", url], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as sql:
        assert sql.stdin is not None and sql.stdout is not None
        sql.stdin.write(statement)
        sql.stdin.flush()
        assert sql.stdout.readline() == "locked\n"
        yield
        sql.stdin.close()


def outcome(url: str, name: str) -> list[dict[str, Any]]:
    """Facts of what became of this person's mail."""
    status, _, said = call(f"{url}/api/profiles/{name}/timeline")
    items = said["timeline"] if status == 200 else []
    return [one["data"] for one in items if one["kind"] == "message_outcome"]


def paused(url: str) -> bool:
    """This process knows it: what another one answered takes a moment to come here."""
    return {one["name"]: one["paused"] for one in call(url + "/api/journeys")[2]["journeys"]}["order"] is not None


def test_postgres_late_at_render_mail_goes_from_what_was_known_last_and_says_so(
    machines: tuple[Machines, Receiver],
) -> None:
    """By a worker that has just begun, from what the one before it put into Redis; its commit point asks PostgreSQL."""
    world, receiver = machines
    collector, first = world.serve("collect"), world.serve("deliver", "first")
    world.brain()
    url = ready(collector)
    worker = ready(first)
    assert call(url + "/api/journeys/order/pause", {})[0] == 200
    eventually(lambda: paused(worker))
    call(url + "/v1/batch", order("ann"))
    eventually(lambda: len(call(url + "/api/messages?status=queued")[2]["messages"]) == 1)
    assert first.stop() == 0
    worker = ready(world.serve("deliver", "second"))
    eventually(lambda: paused(worker))
    with contextlib.closing(PostgresStore(world.postgres.url)) as store:
        eventually(lambda: len([claim for claim in store.claims() if claim.owner]) == world.kafka.partitions)
    with locked(world.postgres.url):
        assert call(url + "/api/journeys/order/resume", {})[0] == 200
        eventually(lambda: receiver.got["ann@x.test"] == 1)
    eventually(lambda: bool(outcome(url, "ann")))
    (ann,) = outcome(url, "ann")
    assert ann["kind"] == "sent"
    assert 0 < ann["stale"]["profile"] < 600
    call(url + "/v1/batch", order("bob"))
    eventually(lambda: bool(outcome(url, "bob")))
    assert "stale" not in outcome(url, "bob")[0]
    assert receiver.got["ann@x.test"] == 1


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
