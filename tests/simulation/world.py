"""The world of the simulator: a clock that is sometimes set, a disk that fills and dies, mailers that die, people.

Everything that decides is production code, turned by hand (:class:`heliograph.runtime.crank.Crank`); the store is the
memory twin, where each commit may be refused (a full disk) or be the last thing that happened, or did not happen,
before a crash.  One random generator, seeded: the same seed is the same world.
"""

import random
from collections import Counter
from typing import Any

from heliograph.adapters.memory import MemoryStore
from heliograph.adapters.schema import JsonSchema
from heliograph.events.event import API_ENTRY, Event
from heliograph.events.ids import make_id
from heliograph.events.record import Answer, LedgerRow, ListChange, Outcome
from heliograph.ports import Commit, RequestRow, StoreFull
from heliograph.runtime.clock import ManualClock
from heliograph.runtime.crank import Crank
from heliograph.runtime.retention import idle_keys
from heliograph.runtime.work import Expiries
from tests.simulation import letters, plans
from tests.simulation.mailer import SimMailer
from tests.simulation.people import COUNT, People
from tests.simulation.watch import Watch

MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000
SEASONS = ((1_772_668_800_000, 35 * DAY), (1_788_393_600_000, 63 * DAY))
"""From 5 March and from 3 September 2026: in either, all five zones change their clocks."""
FEEDBACK = ("opened", "clicked", "clicked", "delivered", "unsubscribed", "complained", "bounced")
WAITS = 18
"""Records for each passing of time."""


class Crash(Exception):
    """The process is gone."""


class Disk(MemoryStore):
    """``crash``: the chance that the process dies at a commit, half of the time before it has happened."""

    def __init__(self, chance: random.Random, watch: Watch, crash: float) -> None:
        super().__init__()
        self._chance, self._watch, self.crash = chance, watch, crash
        self.quiet = False

    def commit(self, commit: Commit, *, sync: bool = True) -> None:
        if self._dies():
            raise Crash("before the commit")
        super().commit(commit, sync=sync)
        self._watch.committed(commit)
        if self._dies():
            raise Crash("after the commit")

    def _dies(self) -> bool:
        return not self.quiet and self._chance.random() < self.crash / 2


class World:
    """``features`` of :mod:`tests.simulation.plans`; ``seed`` names everything that happens; ``records``: about how
    many there are to be."""

    def __init__(self, seed: int, features: list[plans.Feature], records: int, *, crash: float = 0.002) -> None:
        self.chance = random.Random(seed)
        self.features = features
        self.true, length = self.chance.choice(SEASONS)
        self.end_at = self.true + length
        self.pace = length * WAITS // records
        self.clock = ManualClock(self.true)
        self.watch = Watch(quiet=plans.quiet_hours in features)
        self.store = Disk(self.chance, self.watch, crash)
        self.people = People(self.chance)
        self.happened: Counter[str] = Counter()
        self.mailers: list[SimMailer] = []
        self.skew = 0
        self.last_asked = "u:p0", Event("ask", "track", API_ENTRY, self.true)
        self.store.quiet = True
        self.crank = self._crank()
        self.crank.publish(plans.document(features, self.chance))
        self.store.quiet = False

    def _crank(self) -> Crank:
        return Crank(self.store, self.clock, compile_schema=JsonSchema, load_template=lambda _: None)

    # -- life --

    def step(self) -> None:
        """One thing happens; a crash of the process is one of them."""
        try:
            self.chance.choices(_ACTS, _WEIGHTS)[0](self)
        except StoreFull:
            self.happened["full"] += 1
            self.store.full = self.chance.random() < 0.5
        except Crash as crash:
            self.happened[f"crash {crash}"] += 1
            self.restart()

    def restart(self) -> None:
        """As a service manager does, until it stays up.  Mailers died with the socket; some mail is in between."""
        for mailer in self.mailers:
            mailer.die(self.watch, self.chance)
        self.mailers.clear()
        self.store.full = False
        while True:
            try:
                self.crank = self._crank()
                self.crank.recover()
                return
            except Crash:
                self.happened["crash while starting"] += 1

    # -- what may happen --

    def traffic(self) -> None:
        """Calls arrive, alone or in a batch; who got no answer calls again."""
        calls, since = self.people.calls(self.clock.now()), self.watch.position
        results = self.crank.collect([call.arrival for call in calls])
        self.watch.answered(calls, results, since)
        self.people.answered(calls)

    def pass_time(self) -> None:
        """Timers fire on time, unless the machine slept."""
        until = min(self.true + int(self.chance.expovariate(1 / self.pace)), self.end_at)
        while self.chance.random() < 0.95 and (at := self.crank.next_at()) is not None and at - self.skew <= until:
            self._set(max(self.true, at - self.skew))
            self.crank.wake()
            self._mail_some()
        self._set(until)
        self.crank.wake()

    def _set(self, true: int) -> None:
        self.true = true
        self.clock.at = true + self.skew

    def step_clock(self) -> None:
        """Somebody sets the machine's clock, or sets it right again."""
        self.skew = 0 if self.skew else self.chance.choice((-2 * HOUR, -5 * MINUTE, 5 * MINUTE, 2 * HOUR))
        self._set(self.true)

    def fill_disk(self) -> None:
        self.store.full = not self.store.full

    def change_words(self) -> None:
        """Links, preference pages, addresses that somebody puts right: straight into the ledger."""
        topic = self.chance.choice(("offers", "news", "!manual", "!bounce", "!complaint"))
        given = topic in ("!bounce", "!complaint") or self.chance.random() < 0.6
        row = LedgerRow(self.people.address(), topic, given, self.clock.now(), "page")
        self.crank.change_ledger([row])
        self.watch.said(row)

    def publish(self) -> None:
        self.crank.publish(plans.document(self.features, self.chance))

    def sweep(self) -> None:
        """What a publish began goes on behind live traffic, a few people at a time."""
        self.crank.sweep(self.chance.choice((1, 5, 20)))

    def feedback(self) -> None:
        """Something comes back about a mail that went."""
        sent = self.watch.recently_sent
        if not sent:
            return
        kind = self.chance.choice(FEEDBACK)
        if kind in ("complained", "bounced") and self.chance.random() < 0.8:
            return
        machine = self.chance.random() < 0.2
        self.crank.feedback([Outcome(self.chance.choice(sent), kind, self.clock.now(), machine=machine)])

    def forget(self) -> None:
        """Visitors who did not come back."""
        keys = self.store.keys(limit=10_000)
        if idle := idle_keys(self.store, keys, self.clock.now()):
            self.happened["forgotten"] += len(idle)
            self.crank.do(Expiries(idle[:20]))

    def change_list(self) -> None:
        """An import puts people on a list, or takes them off."""
        key = f"u:p{self.chance.randrange(COUNT)}"
        change = ListChange("friends", self.chance.random() < 0.6, self.clock.now())
        self.crank.change_lists([(key, change)])

    def ask(self) -> None:
        """Somebody's backend asks a person in, now and then twice."""
        if self.chance.random() < 0.9:
            self.happened["asked"] += 1
            event = Event(make_id("ask", self.happened["asked"]), "track", API_ENTRY, self.clock.now())
            self.last_asked = f"u:p{self.chance.randrange(COUNT)}", event
        if "asked" in self.crank.plan.journeys:
            key, event = self.last_asked
            self.crank.enter(key, "asked", event)

    def answer(self) -> None:
        """A server that was asked by a ``webhook`` step answers, or does not."""
        for row in self.crank.requests():
            if self.chance.random() < 0.3:
                self.crank.answer(row, self._said(row))

    def _said(self, row: RequestRow) -> Answer:
        ok = self.chance.random() < 0.7
        return Answer(row.request_id, ok, 200 if ok else 404, {"score": 7} if ok else None, "" if ok else "404")

    def crash(self) -> None:
        raise Crash("between two commits")

    # -- mail --

    def mail(self) -> None:
        if not self.mailers or (len(self.mailers) < 3 and self.chance.random() < 0.1):
            self.mailers.append(SimMailer(self.crank.mailer(self.chance.choice((1, 4, 16)))))
        for _ in range(self.chance.randrange(1, 6)):
            self._mail_some()

    def _mail_some(self) -> None:
        self.crank.offer()
        if self.mailers:
            self.chance.choice(self.mailers).act(self.crank, self.clock, self.watch, self.chance)

    def lose_mailer(self) -> None:
        if self.mailers:
            mailer = self.mailers.pop(self.chance.randrange(len(self.mailers)))
            mailer.die(self.watch, self.chance)
            self.crank.dispatcher.lost(mailer.hand)

    # -- the end --

    def settle(self) -> None:
        """No more trouble: everything that was begun comes to its end, or waits for a timer."""
        self.store.full, self.store.quiet, self.skew = False, True, 0
        self._set(max(self.true, self.store.last_received_at()))
        self.restart()
        self.mailers.append(SimMailer(self.crank.mailer(64), careful=True))
        self._deliver_all()
        letters.resume_all(self)
        while self.crank.wake() or self.crank.sweep() or self.crank.broadcast():
            self._deliver_all()
        while (at := self.crank.next_at()) is not None and at <= self.end_at + 10 * DAY:
            self._set(max(at, self.true))
            while self.crank.wake() or self.crank.broadcast():
                self._deliver_all()
            self._deliver_all()

    def _deliver_all(self) -> None:
        (mailer,) = self.mailers
        while self.crank.offer() or mailer.busy or self._answer_all():
            mailer.act(self.crank, self.clock, self.watch, self.chance)

    def _answer_all(self) -> bool:
        rows = self.crank.requests()
        for row in rows:
            self.crank.answer(row, self._said(row))
        return bool(rows)


_CHANCES: dict[Any, float] = {
    World.traffic: 40,
    World.mail: 25,
    World.pass_time: 15,
    World.sweep: 5,
    World.feedback: 3,
    World.answer: 3,
    World.ask: 1,
    World.change_list: 0.5,
    World.forget: 0.4,
    World.change_words: 2.5,
    World.lose_mailer: 0.5,
    World.step_clock: 0.3,
    World.fill_disk: 0.2,
    letters.begin: 0.5,
    letters.move: 0.5,
    letters.walk: 5,
    World.crash: 0.2,
    World.publish: 0.1,
}
"""How often what happens."""
_ACTS, _WEIGHTS = list(_CHANCES), list(_CHANCES.values())
