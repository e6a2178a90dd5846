"""Everything there is of a deployment, each in a process of its own: collector, two workers with a mailer each, the
brain on Flink, over real Kafka, PostgreSQL and Redis; and what may befall them."""

import contextlib
import os
import signal
import subprocess
import time
from pathlib import Path

from deploy.local.cluster import Cluster, _family

from heliograph.adapters.flink.cluster import Flink
from heliograph.adapters.kafka import ensure_topics
from heliograph.adapters.kafka.client import Way
from heliograph.adapters.kafka.offsets import BRAIN, noted
from heliograph.adapters.sql import PostgresStore, migrating
from heliograph.config.settings import FlinkSetting, KafkaSetting, PostgresSetting, RedisSetting
from heliograph.ports.stream import EFFECTS, RECORDS
from tests.cluster.drill_oracle import ends
from tests.cluster.drill_post import Load, Post
from tests.cluster.machine import HELIOGRAPH, Machine, environment, eventually, serving, supervised
from tests.integration.test_kill9 import KEY, TOKEN, TOML
from tests.ports import free_port

PROBES = 40
"""Orders behind a blow; when all of them are mailed it is over."""
PATIENCE_S = 600
"""Only a machine that is busy with other things needs it."""
SENT = "entry: {{event: {event}, key: properties.order_id}}\nsteps:\n{wait}  - send: note\n"
BASKET = """
entry: {event: Product Added}
exit: [{event: Order Completed}]
steps:
  - send: offer
  - wait: PT15S
  - {send: offer, id: second}
"""
MESSAGE = 'subject: "{subject}"\nsender: default\nclass: {kind}\n'
FILES = {
    "journeys/order.yaml": SENT.format(event="Order Completed", wait=""),
    "journeys/timer.yaml": SENT.format(event="Timer Set", wait="  - wait: PT20S\n"),
    "journeys/basket.yaml": BASKET,
    "templates/note/message.yaml": MESSAGE.format(
        subject="Order {{ event.properties.order_id }}", kind="transactional"
    ),
    "templates/note/body.html": "<p>Order {{ event.properties.order_id }}</p>\n",
    "templates/offer/message.yaml": MESSAGE.format(subject="Your basket", kind="marketing"),
    "templates/offer/body.html": '<p>It waits. <a href="{{ urls.unsubscribe }}">No more</a></p>\n',
}
LATER = {
    "journeys/thanks.yaml": SENT.format(event="Order Completed", wait="  - wait: PT5S\n"),
    "journeys/timer.yaml": SENT.format(event="Timer Set", wait="  - wait: PT10S\n"),
}
"""What the second plan changes."""


def write(project: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).write_text(text)


class Deployment:
    def __init__(
        self, folder: Path, post: Post, cluster: Cluster, kafka: KafkaSetting, postgres: PostgresSetting,
        redis: RedisSetting, flink: FlinkSetting,
    ) -> None:  # fmt: skip
        self.cluster, self.kafka, self.postgres, self.post = cluster, kafka, postgres, post
        self.project, self._folder = folder / "project", folder
        write(self.project, {"heliograph.toml": TOML.format(key=KEY, token=TOKEN, smtp=post.port), **FILES})
        self.environment = environment(
            kafka, postgres.url, redis, "PT5S", HELIOGRAPH_FLINK_URL=flink.url, HELIOGRAPH_FLINK_HOME=flink.home,
            HELIOGRAPH_FLINK_SAVEPOINTS=flink.savepoints, HELIOGRAPH_FLINK_CHECKPOINTS=flink.checkpoints,
            HELIOGRAPH_FLINK_CHECKPOINT="PT2S",
        )  # fmt: skip
        self.flink = Flink(flink, kafka)
        self.machines: list[Machine] = []
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"

    def prepare(self, slots: int) -> None:
        """Topics, tables, and so many slots: as `heliograph doctor --mend` and `db upgrade` do it."""
        ensure_topics(self.kafka)
        migrating.upgrade(self.postgres.url)
        self.flink.await_slots(slots)

    # -- as its operator runs it --

    def heliograph(self, *words: str, patience_s: float = PATIENCE_S) -> str:
        """A command, in the project folder."""
        done = subprocess.run(
            [HELIOGRAPH, *words], cwd=self.project, env={**os.environ, **self.environment}, capture_output=True,
            text=True, timeout=patience_s, check=False,
        )  # fmt: skip
        assert done.returncode == 0, (words, done.stdout + done.stderr)
        return done.stdout

    def serve(self, role: str, name: str) -> Machine:
        port = self.port if role == "collect" else 0
        command = serving(self.project, self._folder / f"data-{name}", role, port)
        self.machines.append(Machine(command, self.environment, self._folder / f"{name}.log"))
        return self.machines[-1]

    def end(self) -> None:
        for machine in self.machines:
            machine.kill()
        self.cluster.start("kafka", "flink")
        if self.flink.job() is not None:
            # one that is stopped while its interpreters begin spoils their TaskManager
            eventually(lambda: supervised(self.cluster) and self.decides())
            self.heliograph("flink", "stop")

    def decides(self) -> bool:
        job = self.flink.job()
        return job is not None and job["state"] == "RUNNING" and job["tasks"]["running"] == job["tasks"]["total"]

    # -- what befalls it --

    def kill_mailer(self, machine: Machine) -> None:
        """Alone; its worker starts another one."""
        eventually(lambda: bool(_mailers(machine)), PATIENCE_S)
        for pid in _mailers(machine):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def recovered(self, load: Load, since: float) -> float:
        """Seconds from ``since`` until the orders that were acknowledged behind it are mailed."""
        eventually(lambda: len(self._behind(load, since)) >= PROBES, PATIENCE_S)
        waiting = self._behind(load, since)[:PROBES]
        eventually(lambda: supervised(self.cluster) and all(name in self.post.first for name in waiting), PATIENCE_S)
        return max(self.post.first[name] for name in waiting) - since

    def _behind(self, load: Load, since: float) -> list[str]:
        found = sorted(
            (at, name) for name, at in load.acknowledged.copy().items() if name[:7] == "o-order" and at > since
        )
        return [f"{name[2:]}@x.test" for _, name in found]

    # -- the end --

    def quiet(self, store: PostgresStore, still_s: float) -> None:
        """Until nothing was appended for ``still_s``, all is decided and carried out, and no mail is under way."""
        seen: list[tuple[float, dict[int, int]]] = []

        def still() -> bool:
            now = ends(self.kafka, RECORDS)
            if not seen or seen[-1][1] != now:
                seen.append((time.monotonic(), now))
            stands_still = time.monotonic() - seen[-1][0] > still_s
            return supervised(self.cluster) and stands_still and self._carried_out(store)

        eventually(still, PATIENCE_S)

    def _carried_out(self, store: PostgresStore) -> bool:
        decided = noted(Way(self.kafka), RECORDS, BRAIN)
        undecided = any(decided.get(number, 0) < end for number, end in ends(self.kafka, RECORDS).items())
        applied = {claim.partition: max(claim.offset, 0) for claim in store.claims()}
        under_way = any(store.messages(status=status, limit=1)[0] for status in ("queued", "sending"))
        return applied == ends(self.kafka, EFFECTS) and not under_way and not undecided


def _mailers(machine: Machine) -> list[int]:
    """Those that run; a worker that has just begun has none yet."""
    found = []
    for pid in _family(machine.process.pid):
        with contextlib.suppress(OSError):
            if b"heliograph.runtime.mailer" in Path(f"/proc/{pid}/cmdline").read_bytes():
                found.append(pid)
    return found
