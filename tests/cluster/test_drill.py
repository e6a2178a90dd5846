"""The drill: a deployment under load, and everything that may happen to it, one thing after the other.

.venv/bin/pytest tests/cluster/test_drill.py -s              # figures and seed
make test-cluster ARGS="-k the_drill --soak -s"              # an hour of it, in any order
HELIOGRAPH_TEST_RATE=8 ...                                   # customers a second, for a machine that is busy
"""

import os
import random
import time
from collections import Counter
from collections.abc import Callable

import pytest

from heliograph.adapters.sql import PostgresStore
from heliograph.config.settings import PostgresSetting
from heliograph.ports import MessageRow
from tests.cluster.drill_oracle import Oracle, messages
from tests.cluster.drill_post import Load, Street
from tests.cluster.drill_world import LATER, PATIENCE_S, Deployment, write
from tests.cluster.machine import Machine, eventually, ready
from tests.integration.test_kill9 import CONNECTIONS

RATE = float(os.environ.get("HELIOGRAPH_TEST_RATE", "30"))
"""Customers a second; each is two events and as many mails."""
STILL_S = 12.0
"""Longer than a person waits behind their last event, less what is appended meanwhile."""
SOAK_S = 3_600
ENDS = {"sent", "unknown", "cancelled", "skipped"}


class Drill:
    """One blow after the other; ``took``: seconds until the orders that came behind each were mailed."""

    def __init__(self, there: Deployment, load: Load, workers: list[Machine], chance: random.Random) -> None:
        self._there, self._load, self._workers, self._chance = there, load, workers, chance
        self.kills, self.slots = 0, 1
        self.took: list[tuple[str, float]] = []

    def all(self) -> list[Callable[[], None]]:
        return [self.savepoint, self.publish, self.rescale, self.taskmanager, self.worker, self.mailer, self.broker]

    def blow(self, what: Callable[[], None]) -> None:
        since = time.time()
        what()
        self.took.append((what.__name__, self._there.recovered(self._load, since)))
        print(f"{what.__name__} {self.took[-1][1]:.1f} s")  # noqa: T201

    def start(self) -> None:
        """Nothing befalls it: how long it takes on this machine anyway."""

    def savepoint(self) -> None:
        assert self._there.heliograph("flink", "savepoint").startswith("file:")

    def publish(self) -> None:
        write(self._there.project, LATER)
        assert "is live" in self._there.heliograph("apply", "--url", self._there.url)

    def rescale(self) -> None:
        self.slots = 3 - self.slots
        assert f"on {self.slots} slots" in self._there.heliograph("flink", "rescale", str(self.slots))

    def taskmanager(self) -> None:
        self._there.cluster.kill(self._chance.choice(["flink-1", "flink-2"]))
        self._there.cluster.start("flink")

    def worker(self) -> None:
        """With its mailer; another one comes in its place later."""
        self.kills += 1
        self._workers.pop(0).kill()
        self._workers.append(self._there.serve("deliver", f"deliver-{self.kills}"))

    def mailer(self) -> None:
        self.kills += 1
        self._there.kill_mailer(self._chance.choice(self._workers))

    def broker(self) -> None:
        self._there.cluster.kill("kafka")
        self._there.cluster.start("kafka")


def test_the_drill(there: Deployment, street: Street, postgres: PostgresSetting, pytestconfig: pytest.Config) -> None:
    """Nothing acknowledged is lost, nothing decided or mailed twice, nobody mailed who withdrew before."""
    seed = pytestconfig.getoption("--seed") or random.randrange(10**6)
    print(f"seed {seed}")  # noqa: T201
    chance, soak = random.Random(seed), pytestconfig.getoption("--soak")
    there.prepare(slots=2)
    began = time.monotonic()
    there.heliograph("flink", "submit")
    collector, *workers = [there.serve("collect", "collect"), *(there.serve("deliver", f"deliver{n}") for n in "ab")]
    for machine in (collector, *workers):
        ready(machine)
    eventually(there.decides, PATIENCE_S)
    load, customers = street.open(there.port, RATE, chance)
    drill = Drill(there, load, workers, chance)
    drill.blow(drill.start)
    for what in drill.all():
        drill.blow(what)
    while soak and time.monotonic() - began < SOAK_S:
        drill.blow(chance.choice(drill.all()))
    load.running = False
    customers.result(120)
    store = PostgresStore(postgres.url)
    there.quiet(store, STILL_S)
    judge(there, store, street, load, drill.kills)
    store.close()
    print(f"{time.monotonic() - began:.0f} s; until what came behind it was mailed:",  # noqa: T201
          ", ".join(f"{name} {took:.1f} s" for name, took in drill.took))  # fmt: skip


def judge(there: Deployment, store: PostgresStore, street: Street, load: Load, kills: int) -> None:
    oracle = Oracle(there.kafka, store)
    repeats = oracle.judge_brain()
    oracle.judge_store()
    judge_acknowledged(oracle, load)
    rows = messages(store)
    judge_messages(rows, load)
    judge_mail(rows, street, load, kills)
    print(  # noqa: T201
        f"{len(load.acknowledged)} events acknowledged ({load.again} calls made again), {oracle.records} records, "
        f"{repeats} effects said again, {len(rows)} messages {dict(Counter(row.status for row in rows))}, "
        f"{len(street.post.mails)} mails, {len(load.withdrawn)} withdrawals"
    )


def judge_acknowledged(oracle: Oracle, load: Load) -> None:
    decided, kept = oracle.events(), oracle.kept()
    assert load.acknowledged.keys() <= decided.keys()
    assert load.acknowledged.keys() <= kept


def judge_messages(rows: list[MessageRow], load: Load) -> None:
    """What a customer came for happened once, whatever was decided again in between."""
    of = Counter((row.journey, row.step_id, row.address) for row in rows)
    for kind, step in (("order", "send-note"), ("timer", "send-note"), ("basket", "send-offer")):
        names = load.customers[kind]
        assert names
        found = {name: of[kind, step, f"{name}@x.test"] for name in names}
        assert set(found.values()) == {1}, [name for name, times in found.items() if times != 1][:5]


def judge_mail(rows: list[MessageRow], street: Street, load: Load, kills: int) -> None:
    taken = Counter(mail.message_id for mail in street.post.mails)
    assert max(taken.values()) == 1, [name for name, times in taken.items() if times > 1]
    statuses = Counter(row.status for row in rows)
    assert statuses.keys() <= ENDS, statuses
    assert statuses["unknown"] <= 2 * CONNECTIONS * kills
    of = {row.message_id: row for row in rows}
    assert {row.message_id for row in rows if row.status == "sent"} <= taken.keys()
    assert {of[name].status for name in taken} <= {"sent", "unknown"}
    assert statuses["cancelled"] and load.withdrawn
    late = [row for row in rows if not row.transactional and row.sending_at > load.withdrawn.get(row.address, 2**63)]
    assert not late, late[:3]
