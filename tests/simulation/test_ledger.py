"""Random lives of messages: mailers that lose replies and die, receivers that lie, feedback of every kind, people who
settle, hold and let go, and crashes between any two writes.  No copy leaves that nobody can explain, none after it is
known that one arrived, none while its journey is held; and in the end nothing is lost.
"""

import random
from collections import Counter
from typing import Any

import pytest

from heliograph.adapters.memory import MemoryStore
from heliograph.adapters.schema import JsonSchema
from heliograph.deliver.lifecycle import RESENT
from heliograph.events.record import Outcome
from heliograph.ports import Commit, MessageRow
from heliograph.runtime import mailwire
from heliograph.runtime.clock import ManualClock
from heliograph.runtime.crank import Crank, HandMailer
from tests.runtime.harness import DAY, T0, call, identify, shop, template
from tests.seeds import seeds

SEEDS = seeds(12)
STEPS = 1_500
JOURNEYS = ("welcome", "confirmation")
ARRIVES = {"sent": 1.0, "retry": 0.1, "unknown": 0.5, "bounced": 0.0}
"""How likely it is that a copy arrived when its mailer says this: some receivers say 451 and deliver."""
ENDS = {"sent", "delivered", "bounced", "unknown", "expired", "cancelled", "skipped"}
PEOPLE = 100
SHOWS = ("opened", "clicked", "delivered", "complained")


class Crash(Exception):
    """The process is gone."""


class Disk(MemoryStore):
    """Dies at a commit now and then, half of the time before it has happened."""

    def __init__(self, chance: random.Random) -> None:
        super().__init__()
        self._chance, self.quiet = chance, True

    def commit(self, commit: Commit, *, sync: bool = True) -> None:
        if not self.quiet and self._chance.random() < 0.005:
            raise Crash
        super().commit(commit, sync=sync)
        if not self.quiet and self._chance.random() < 0.005:
            raise Crash


class World:
    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.clock, self.store = ManualClock(T0), Disk(self.chance)
        self.orders = 0
        self.copies: Counter[str] = Counter()
        self.retries: Counter[str] = Counter()
        self.held: set[str] = set()
        self.arrived: set[str] = set()
        self.known: set[str] = set()
        """Of these somebody told the engine that they arrived, and it answered."""
        document = shop()
        document["templates"]["welcome"] = template("welcome", on_unknown="resend")
        document["templates"]["confirmation"] = template("confirmation", freshness_ms=DAY)
        self._start()
        self.crank.publish(document)
        self.store.quiet = False

    def _start(self) -> None:
        self.crank = Crank(self.store, self.clock, compile_schema=JsonSchema, load_template=lambda _: None)
        self.flying: list[str] = []
        self.offered: list[str] = []

    def _connect(self) -> None:
        self.mailer: HandMailer = self.crank.mailer(8)

    def run(self) -> None:
        self._connect()
        for _ in range(STEPS):
            try:
                self.chance.choices(_ACTS, _WEIGHTS)[0](self)
            except Crash:
                self.restart()

    def restart(self) -> None:
        """Of what was past its commit point, some arrived."""
        for message_id in self.flying:
            self._fate(message_id, "unknown")
        while True:
            try:
                self._start()
                self.crank.recover()
                self._connect()
                return
            except Crash:
                continue

    def _fate(self, message_id: str, said: str) -> None:
        if self.chance.random() < ARRIVES[said]:
            self.arrived.add(message_id)

    # -- what may happen --

    def order(self) -> None:
        user = f"p{self.chance.randrange(PEOPLE)}"
        arrivals = [identify(user, email=f"{user}@example.com"), call("Order Completed", user), call("Signed Up", user)]
        self.crank.collect(arrivals)

    def offer(self) -> bool:
        more = self.crank.offer()
        for message in self.mailer.heard:
            if isinstance(message, mailwire.Offer):
                self.offered += [job.message_id for job in message.jobs]
        self.mailer.heard.clear()
        return more

    def ask(self) -> None:
        asked, self.offered = self.offered[:3], self.offered[3:]
        if not asked:
            return
        self.crank.dispatcher.hear(self.mailer, mailwire.AskCommit(self.mailer.epoch, asked))
        verdicts = [one for one in self.mailer.heard if isinstance(one, mailwire.Verdicts)]
        self.mailer.heard.clear()
        for verdict in verdicts:
            for message_id in verdict.go:
                self._go(message_id)
            self._say([mailwire.Done(one, "stopped", why, self.clock.now()) for one, why in verdict.stop])

    def _go(self, message_id: str) -> None:
        row = self.row(message_id)
        assert row.journey not in self.held, "held mail goes nowhere"
        assert message_id not in self.known, "nobody sends what is known to have arrived"
        self.copies[message_id] += 1
        resent = sum(kind == RESENT for kind, _, _ in row.outcomes)
        assert self.copies[message_id] <= 1 + self.retries[message_id] + resent, "each copy has its reason"
        self.flying.append(message_id)

    def report(self) -> None:
        if not self.flying:
            return
        message_id = self.flying.pop(self.chance.randrange(len(self.flying)))
        kind = self.chance.choices(("sent", "retry", "bounced", "unknown"), (50, 20, 5, 25))[0]
        self._fate(message_id, kind)
        self.retries[message_id] += kind == "retry"
        self._say([mailwire.Done(message_id, kind, kind, self.clock.now())])

    def _say(self, done: list[mailwire.Done]) -> None:
        if done:
            self.crank.dispatcher.hear(self.mailer, mailwire.Report(self.mailer.epoch, done))

    def lose_mailer(self) -> None:
        for message_id in self.flying:
            self._fate(message_id, "unknown")
        self.flying, self.offered = [], []
        self.crank.dispatcher.lost(self.mailer)
        self._connect()

    def feedback(self) -> None:
        """True to what arrived; machines look at anything that was sent."""
        if self.copies and self.chance.random() < 0.3:
            message_id = self.chance.choice(sorted(self.copies))
            self.crank.feedback([Outcome(message_id, "opened", self.clock.now(), machine=True)])
        elif self.arrived:
            message_id = self.chance.choice(sorted(self.arrived))
            self.crank.feedback([Outcome(message_id, self.chance.choice(SHOWS), self.clock.now())])
            self.known.add(message_id)

    def settle(self) -> None:
        rows = self.store.messages(status="unknown", limit=100)[0]
        if rows:
            row = self.chance.choice(rows)
            action = self.chance.choice(("sent", "resend", "resend", "drop"))
            self.crank.settle_unknown([row.message_id], action, "x")

    def hold(self) -> None:
        journey = self.chance.choice(JOURNEYS)
        self.crank.hold(journey, "x")
        self.held.add(journey)

    def lift(self) -> None:
        """Whoever heard nothing because of a crash does not know."""
        journey = self.chance.choice(JOURNEYS)
        self.held.discard(journey)
        self.crank.lift(journey)

    def pass_time(self) -> None:
        self.clock.advance(int(self.chance.expovariate(1 / 60_000)))
        self.crank.wake()

    def crash(self) -> None:
        raise Crash

    # -- the end --

    def row(self, message_id: str) -> MessageRow:
        row = self.store.message(message_id)
        assert row is not None
        return row

    def finish(self) -> None:
        """No more trouble; everything is let go and delivered."""
        self.store.quiet = True
        self.restart()
        for journey in JOURNEYS:
            self.crank.lift(journey)
        self.held.clear()
        while True:
            while self._deliver_all():
                pass
            if (at := self.crank.next_at()) is None:
                return
            self.clock.at = at
            self.crank.wake()

    def _deliver_all(self) -> bool:
        """False when nothing can go now."""
        more = self.offer()
        while self.offered:
            self.ask()
        for message_id in self.flying:
            self.arrived.add(message_id)
            self._say([mailwire.Done(message_id, "sent", "250 Ok", self.clock.now())])
        self.flying, flew = [], bool(self.flying)
        return more or flew


_ACTS: list[Any] = [
    World.order, World.offer, World.ask, World.report, World.feedback, World.settle, World.hold, World.lift,
    World.pass_time, World.lose_mailer, World.crash,
]  # fmt: skip
_WEIGHTS = [6, 20, 20, 20, 8, 6, 1, 2, 10, 0.5, 0.5]


@pytest.mark.parametrize("seed", SEEDS)
def test_no_copy_without_a_reason_and_nothing_is_lost(seed: int) -> None:
    world = World(seed)
    world.run()
    world.finish()
    rows = world.store.messages(limit=100_000)[0]
    assert len(rows) > 50 and sum(world.copies.values()) > 50, "something happened"
    assert {row.status for row in rows} <= ENDS, seed
    for row in rows:
        if row.status == "unknown":
            assert world.copies[row.message_id] or row.outcomes, "a riddle has a cause"
        if row.message_id in world.known:
            assert row.status != "unknown", f"seed {seed}: it arrived, and that was told: {row}"
        if row.status in ("sent", "delivered") and not any(kind == "released" for kind, _, _ in row.outcomes):
            assert row.message_id in world.arrived, f"seed {seed}: nobody got it: {row}"
    facts = [fact for n in range(PEOPLE) for fact in world.store.journal(f"u:p{n}", limit=100_000)]
    outcomes = Counter((one.data["message_id"], one.data["kind"]) for one in facts if one.kind == "message_outcome")
    twice = [told for told, count in outcomes.items() if count > 1 and told[1] in ("sent", "delivered", "bounced")]
    assert not twice, f"seed {seed}: told twice: {twice}"
    runs = Counter(one.kind for one in facts)
    assert runs["run_started"] == runs["run_ended"], f"seed {seed}: somebody waits for ever"
