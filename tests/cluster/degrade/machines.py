"""One deployment for all rows: collector, worker, brain, loader of facts, and the servers; each can be taken away.

The brain is a process of our own around :class:`~heliograph.runtime.near_brain.NearBrain`, which a crash makes read the
log anew, as Flink does from its last checkpoint.
"""

import contextlib
import json
import os
import re
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Final

from deploy.local.cluster import Cluster

from heliograph.adapters.clickhouse import ClickhouseSink, place_of
from heliograph.adapters.kafka import ensure_topics
from heliograph.adapters.sql import PostgresStore, migrating
from heliograph.config.settings import KafkaSetting
from heliograph.ports import StoreAway
from tests.clickhouse_servers import ChdbServer
from tests.cluster.test_scaled_end_to_end import BRAIN, Machine, call, eventually
from tests.integration.test_kill9 import KEY, TOKEN

TOML: Final = f"""
[project]
name = "degrade"
base_url = "http://127.0.0.1:1"
[collect]
write_key = "{KEY}"
rate_limit = "1000000/s"
[api]
token = "{TOKEN}"
[sender.default]
from = "Shop <shop@shop.test>"
postal_address = "1 Quay Street, Bristol"
max_message_rate = "100/s"
"""
FILES: Final = {
    "heliograph.toml": TOML,
    "journeys/order.yaml": "entry: {event: Order Completed, key: properties.order_id}\nsteps:\n  - send: note\n",
    "templates/note/message.yaml": 'subject: "Order {{ event.properties.order_id }}"\nsender: default\n',
    "templates/note/body.html": "<p>Order {{ event.properties.order_id }} of {{ profile.email }}</p>\n",
}
STOPPED_S, RUNNING_S = 1.2, 0.4


class Part:
    """Something that can be taken away.  ``start`` returns when it answers again."""

    def __init__(self, *, kill: Callable[[], object], start: Callable[[], object], pause: Callable[[], object],
                 resume: Callable[[], object]) -> None:  # fmt: skip
        self.kill, self.start, self.pause, self.resume = kill, start, pause, resume


class Slowly:
    """It stands still most of the time, as long as the ``with`` lasts."""

    def __init__(self, part: Part) -> None:
        self._part, self._end = part, threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        while not self._end.is_set():
            self._part.pause()
            time.sleep(STOPPED_S)
            self._part.resume()
            self._end.wait(RUNNING_S)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()


class Machines:
    def __init__(self, cluster: Cluster, folder: Path) -> None:
        self.cluster, self.folder = cluster, folder
        cluster.start("kafka", "postgres", "redis", "sink")
        at = cluster.addresses
        name = f"degrade{os.getpid()}"
        self.kafka = KafkaSetting(brokers=str(at["kafka"]["brokers"]), prefix=name, partitions=4, replication=1)
        ensure_topics(self.kafka)
        with contextlib.closing(PostgresStoreUrl(str(at["postgres"]["url"]), name)) as made:
            self.postgres = made.url
        migrating.upgrade(self.postgres)
        self._sink = Path(str(at["sink"]["mail"]))
        for file, text in FILES.items():
            (folder / "project" / file).parent.mkdir(parents=True, exist_ok=True)
            (folder / "project" / file).write_text(text)
        self.chdb = ChdbServer(folder / "chdb")
        self._environment = {
            "HELIOGRAPH_KAFKA_BROKERS": self.kafka.brokers,
            "HELIOGRAPH_KAFKA_PREFIX": name,
            "HELIOGRAPH_KAFKA_PARTITIONS": "4",
            "HELIOGRAPH_KAFKA_REPLICATION": "1",
            "HELIOGRAPH_POSTGRES_URL": self.postgres,
            "HELIOGRAPH_POSTGRES_LEASE": "PT6S",
            "HELIOGRAPH_REDIS_URL": str(at["redis"]["url"]),
            "HELIOGRAPH_REDIS_PREFIX": name,
            "HELIOGRAPH_SMTP_URL": str(at["sink"]["url"]),
            "NO_COLOR": "1",
        }
        self.spool_mb = 1024
        self.chdb.__enter__()
        self.collector, self.worker = self._serve("collect"), self._serve("deliver")
        self.loader = self._command("facts", "facts", "load", HELIOGRAPH_CLICKHOUSE_URL=f"{self.chdb.url}/facts")
        self.brain = self._brain()
        self.parts = self._parts()

    def _command(self, name: str, *words: str, **more: str) -> Machine:
        program = str(Path(sys.executable).parent / "heliograph")
        project = ("--project", str(self.folder / "project"))
        return Machine([program, *words, *project], self._environment | more, self.folder / f"{name}.log")

    def _serve(self, role: str, **more: str) -> Machine:
        data = str(self.folder / f"data-{role}")
        return self._command(role, "serve", "--data", data, "--port", "0", "--role", role, **more)

    def _brain(self) -> Machine:
        """What could not be appended is said again by the next life."""
        once = BRAIN.replace("await asyncio.sleep(0.5)", "os._exit(1)")
        script = f'while true; do \'{sys.executable}\' -c "$0" "$@"; sleep 0.5; done'
        words = ["sh", "-c", script, once, self.kafka.brokers, self.kafka.prefix, self.postgres]
        return Machine(words, {}, self.folder / "brain.log")

    # -- parts --

    def _parts(self) -> dict[str, Part]:
        def server(name: str) -> Part:
            each = lambda act: lambda: act(name)  # noqa: E731
            cluster = self.cluster
            return Part(kill=each(cluster.kill), start=each(cluster.start), pause=each(cluster.pause),
                        resume=each(cluster.resume))  # fmt: skip

        return {
            "kafka": server("kafka"), "postgres": server("postgres"), "redis": server("redis"),
            "relay": server("sink"), "brain": _process(self.brain),
            "worker": _process(self.worker), "facts": _chdb(self.chdb),
        }  # fmt: skip

    def ready(self, spool_mb: int = 1024) -> None:
        """All of it works; the collector's spool holds so much."""
        self._clean()
        if spool_mb != self.spool_mb:
            assert self.collector.stop() == 0
            self.spool_mb = spool_mb
            self.collector = self._serve("collect", HELIOGRAPH_KAFKA_SPOOL_MB=str(spool_mb))
            self._clean()

    def _clean(self) -> None:
        eventually(lambda: all(self.clean(machine) for machine in (self.collector, self.worker)))

    @staticmethod
    def troubles(machine: Machine) -> tuple[int, set[str]]:
        """Its ``/readyz``: the status, and the names of what it says is away."""
        status, _, said = call(machine.url + "/readyz") if machine.url else (0, {}, {})
        if status == 200:
            return status, {one["what"] for one in said.get("troubles", [])}
        detail = json.loads(said)["detail"] if status == 503 else ""
        return status, set(re.findall(r"(?:^|; )(?:not ready: )?(\w+): ", detail))

    def clean(self, machine: Machine) -> bool:
        assert machine.process.poll() is None, machine.said()[-3000:]
        return self.troubles(machine) == (200, set())

    # -- what came of it --

    def mails(self) -> Counter[str]:
        """By recipient, everything that the relay ever took."""
        return Counter(re.findall(r"^X-Rcpt-Args: <([^>]*)>", self._mail(), flags=re.MULTILINE))

    def link(self, address: str) -> str:
        """Out of the head of the mail to this address: where a mailbox provider posts an unsubscribe."""
        mail = next(one for one in re.split(r"^(?=X-Client-Addr: )", self._mail(), flags=re.MULTILINE)
                    if f"X-Rcpt-Args: <{address}>" in one)  # fmt: skip
        found = re.search(r"List-Unsubscribe:\s*<http://127.0.0.1:1(/u/[^>]+)>", mail)
        assert found is not None, mail[:2000]
        return self.collector.url + re.sub(r"\s", "", found[1])

    def _mail(self) -> str:
        found = []
        for file in sorted(self._sink.iterdir()):
            with contextlib.suppress(FileNotFoundError):  # a mail that was being written has its name now
                found.append(file.read_text("latin-1"))
        return "".join(found)

    def rows(self, prefix: str) -> dict[str, list[str]]:
        """By address that begins so: the status of each of its messages.  Nothing while the store is away."""
        found: dict[str, list[str]] = {}
        store, cursor = PostgresStore(self.postgres), None
        with contextlib.closing(store), contextlib.suppress(StoreAway):
            while True:
                rows, cursor = store.messages(limit=1000, cursor=cursor)
                for row in rows:
                    if row.address.startswith(prefix):
                        found.setdefault(row.address, []).append(row.status)
                if cursor is None:
                    return found
        return {}

    def loaded(self, prefix: str) -> tuple[int, int]:
        """Messages that the tables of facts know: how many rows, how many different ones."""
        sink = ClickhouseSink(place_of(f"{self.chdb.url}/facts"))
        sent = f"key LIKE 'u:{prefix}-%' AND sent_at IS NOT NULL"
        sql = f"SELECT count(), uniqExact(message_id) FROM messages WHERE {sent}"
        with contextlib.closing(sink), contextlib.suppress(Exception):
            rows, different = sink.query(sql, 1).rows[0]
            return int(rows), int(different)
        return -1, -1

    def said(self) -> str:
        """The end of each log, and what both processes answer now."""
        ready = {machine.url: self.troubles(machine) for machine in (self.collector, self.worker)}
        ends = [f"{file.name}:\n{file.read_text()[-2000:]}" for file in sorted(self.folder.glob("*.log"))]
        return "\n".join([str(ready), *ends])

    def close(self) -> None:
        for machine in (self.collector, self.worker, self.loader, self.brain):
            machine.kill()
        with contextlib.suppress(Exception):
            self.chdb.__exit__(None, None, None)


class PostgresStoreUrl:
    """A database of this name; where it is."""

    def __init__(self, url: str, name: str) -> None:
        import subprocess

        from deploy.local.services import program

        self.url = f"{url.rpartition('/')[0]}/{name}"
        subprocess.run([program("psql"), "-q", url, "-c", f"create database {name}"], check=True)

    def close(self) -> None:
        pass


def _process(machine: Machine) -> Part:
    def all_of_it(number: signal.Signals) -> Callable[[], object]:
        return lambda: os.killpg(machine.process.pid, number)

    return Part(
        kill=machine.kill, start=machine.start, pause=all_of_it(signal.SIGSTOP), resume=all_of_it(signal.SIGCONT)
    )


def _chdb(server: ChdbServer) -> Part:
    def tell(number: signal.Signals) -> Callable[[], object]:
        return lambda: server._process is not None and os.kill(server._process.pid, number)

    return Part(kill=lambda: server.__exit__(None, None, None), start=server.__enter__, pause=tell(signal.SIGSTOP),
                resume=tell(signal.SIGCONT))  # fmt: skip
