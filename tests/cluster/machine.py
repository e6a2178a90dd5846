"""A process of a deployment as its operator starts it, and how tests talk to it."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from deploy.local.cluster import Cluster

from heliograph.config.settings import KafkaSetting, RedisSetting
from tests.integration.test_kill9 import KEY, TOKEN

HELIOGRAPH = str(Path(sys.executable).parent / "heliograph")
BRAIN = """
import asyncio, os, sys, time
from heliograph.adapters.kafka import KafkaStream
from heliograph.adapters.sql import PostgresStore
from heliograph.config.settings import KafkaSetting
from heliograph.ports import StoreAway, StreamAway
from heliograph.runtime.near_brain import NearBrain, plans_of

async def main():
    setting = KafkaSetting(brokers=sys.argv[1], prefix=sys.argv[2], partitions=4, replication=1)
    store = PostgresStore(sys.argv[3])
    brain = NearBrain(KafkaStream(setting), plans_of(store.plan))
    while True:
        try:
            await brain.portion()
            await brain.wake(time.time_ns() // 1_000_000)
        except (StoreAway, StreamAway):
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
        return self.process.wait(120)


def environment(kafka: KafkaSetting, postgres: str, redis: RedisSetting, lease: str, **more: str) -> dict[str, str]:
    """What every process of a deployment is told; ``postgres``: where that is; ``lease``: of a worker."""
    return {
        "HELIOGRAPH_KAFKA_BROKERS": kafka.brokers,
        "HELIOGRAPH_KAFKA_PREFIX": kafka.prefix,
        "HELIOGRAPH_KAFKA_PARTITIONS": str(kafka.partitions),
        "HELIOGRAPH_KAFKA_REPLICATION": "1",
        "HELIOGRAPH_POSTGRES_URL": postgres,
        "HELIOGRAPH_POSTGRES_LEASE": lease,
        "HELIOGRAPH_REDIS_URL": redis.url,
        "HELIOGRAPH_REDIS_PREFIX": redis.prefix,
        "NO_COLOR": "1",
        **more,
    }


def serving(project: Path, data: Path, role: str, port: int = 0) -> list[str]:
    """The command of a server; ``port`` 0: any."""
    return [HELIOGRAPH, "serve", "--project", str(project), "--data", str(data), "--port", str(port), "--role", role]


def near_brain(kafka: KafkaSetting, postgres: str) -> list[str]:
    """The command of a brain that is no Flink."""
    return [sys.executable, "-c", BRAIN, kafka.brokers, kafka.prefix, postgres]


def ready(machine: Machine) -> str:
    """Its url, once it takes work."""
    eventually(lambda: bool(machine.url) or machine.process.poll() is not None)
    assert machine.process.poll() is None, machine.said()
    eventually(lambda: call(machine.url + "/readyz")[0] == 200)
    return machine.url


def call(url: str, body: Any = None) -> tuple[int, dict[str, str], Any]:
    data = None if body is None else json.dumps(body).encode()
    headers = {"authorization": f"Bearer {TOKEN}", "content-type": "application/json"}
    try:
        with urllib.request.urlopen(urllib.request.Request(url, data, headers), timeout=60) as answer:
            return answer.status, {k.lower(): v for k, v in answer.headers.items()}, json.loads(answer.read() or b"{}")
    except urllib.error.HTTPError as error:
        return error.code, {k.lower(): v for k, v in error.headers.items()}, error.read()
    except OSError as error:
        return 0, {}, str(error)


def put(url: str) -> int:
    headers = {"authorization": f"Bearer {TOKEN}", "content-type": "application/json"}
    with urllib.request.urlopen(urllib.request.Request(url, b"{}", headers, method="PUT"), timeout=15) as answer:
        return int(answer.status)


def eventually(fact: Callable[[], bool], patience_s: float = 300) -> None:
    until = time.monotonic() + patience_s
    while not fact():
        assert time.monotonic() < until, "it did not come"
        time.sleep(0.05)


def supervised(cluster: Cluster) -> bool:
    """A TaskManager that ended is started again, as operators have it.  One ends itself when a task fails that has
    something in hand for Kafka (another TaskManager was lost): the sink's close raises in the clean-up."""
    if "down" in [status for name, status in cluster.status().items() if name.startswith("flink-")]:
        cluster.start("flink")
    return True


def order(name: str, event: str = "Order Completed") -> dict[str, Any]:
    return {"writeKey": KEY, "batch": [{"type": "track", "event": event, "userId": name, "messageId": f"{event}-{name}",
            "properties": {"order_id": name}, "context": {"traits": {"email": f"{name}@x.test"}}}]}  # fmt: skip
