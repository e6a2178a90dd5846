"""One deployment for all rows: collector, worker, brain, loader of facts, and the servers; each can be taken away.

The brain is a process of our own around :class:`~heliograph.runtime.near_brain.NearBrain`, which a crash makes read the
log anew, as Flink does from its last checkpoint; until a row wants a real job (:meth:`Machines.decide_on_flink`): that
one begins with the oldest record, says all of it again, and goes on.
"""

import contextlib
import json
import os
import re
import signal
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Final

from deploy.local.cluster import Cluster

from heliograph.adapters.clickhouse import ClickhouseSink, place_of
from heliograph.adapters.flink.cluster import Flink
from heliograph.adapters.kafka import ensure_topics
from heliograph.adapters.sql import PostgresStore, migrating
from heliograph.config.settings import FlinkSetting, KafkaSetting, RedisSetting
from heliograph.ports import StoreAway
from tests.clickhouse_servers import ChdbServer
from tests.cluster.machine import HELIOGRAPH, Machine, call, environment, eventually, near_brain, serving
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
        self._environment = environment(
            self.kafka, self.postgres, RedisSetting(url=str(at["redis"]["url"]), prefix=name), "PT6S",
            HELIOGRAPH_SMTP_URL=str(at["sink"]["url"]),
        )  # fmt: skip
        self.spool_mb = 1024
        self.chdb.__enter__()
        self.collector, self.worker = self._serve("collect"), self._serve("deliver")
        self.loader = self._loader()
        self.brain = self._brain()
        self.flink: Flink | None = None
        self.parts = self._parts()

    def _command(self, name: str, words: list[str], **more: str) -> Machine:
        return Machine(words, self._environment | more, self.folder / f"{name}.log")

    def _serve(self, role: str, **more: str) -> Machine:
        return self._command(role, serving(self.folder / "project", self.folder / f"data-{role}", role), **more)

    def _loader(self) -> Machine:
        words = [HELIOGRAPH, "facts", "load", "--project", str(self.folder / "project")]
        return self._command("facts", words, HELIOGRAPH_CLICKHOUSE_URL=f"{self.chdb.url}/facts")

    def _brain(self) -> Machine:
        """What could not be appended is said again by the next life."""
        python, option, script, *arguments = near_brain(self.kafka, self.postgres)
        once = script.replace("await asyncio.sleep(0.5)", "os._exit(1)")
        again = f'while true; do \'{python}\' {option} "$0" "$@"; sleep 0.5; done'
        return Machine(["sh", "-c", again, once, *arguments], {}, self.folder / "brain.log")

    def decide_on_flink(self) -> None:
        """From now on a job on a real cluster decides, on one of two TaskManagers; the other one has nothing to do."""
        if self.flink is not None:
            return
        self.brain.kill()
        self.cluster.start("flink")
        setting = FlinkSetting(**{name: str(value) for name, value in self.cluster.addresses["flink"].items()})
        self.flink = Flink(setting, self.kafka)
        self.flink.await_slots(2)
        self.flink.submit(1, options=("--checkpoint", "1000"))
        eventually(self._decides)

    def _decides(self) -> bool:
        assert self.flink is not None
        job = self.flink.job()
        return job is not None and job["state"] == "RUNNING" and job["tasks"]["running"] == job["tasks"]["total"]

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
            "worker": _process(self.worker), "facts": _chdb(self.chdb), "taskmanager": self._taskmanager(),
        }  # fmt: skip

    def _taskmanager(self) -> Part:
        """The one on which the job is when it is taken away."""
        taken: list[str] = []

        def take(act: Callable[[str], object]) -> None:
            taken[:] = [self._busy_taskmanager()]
            act(taken[0])

        return Part(
            kill=lambda: take(self.cluster.kill), start=lambda: self.cluster.start("flink"),
            pause=lambda: take(self.cluster.pause), resume=lambda: self.cluster.resume(taken[0]),
        )  # fmt: skip

    def _busy_taskmanager(self) -> str:
        """A TaskManager says in its log who it is."""
        assert self.flink is not None
        with urllib.request.urlopen(f"{self.flink.url}/taskmanagers", timeout=10) as answer:
            (busy,) = [one["id"] for one in json.load(answer)["taskmanagers"] if not one["freeSlots"]]
        logs = {name: self.cluster.run / name / "log" for name in self.cluster.names("flink")}
        return next(
            name for name, log in logs.items() if f"Starting TaskManager with ResourceID: {busy}" in log.read_text()
        )

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
        if self.flink is not None:
            self._stop_flink()
        with contextlib.suppress(Exception):
            self.chdb.__exit__(None, None, None)

    def _stop_flink(self) -> None:
        """And start its TaskManagers anew: what one of them lived through is nobody else's concern."""
        assert self.flink is not None
        eventually(self._decides)
        job = self.flink.job()
        assert job is not None
        self.flink.stop(job["jid"])
        workers = [name for name in self.cluster.names("flink") if name != "flink-jobmanager"]
        self.cluster.kill(*workers)
        self.cluster.start("flink")


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
