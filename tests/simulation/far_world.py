"""Several workers over one shared store and one shared log, a brain in between, and all the trouble there is.

Everything but the servers is production code: the twins in memory stand for PostgreSQL and Kafka, one
:class:`~heliograph.runtime.near_brain.NearBrain` for Flink.  A worker that is killed says nothing more to anybody.
"""

import asyncio
import random
from collections import Counter
from typing import Any

from heliograph.adapters.memory.shared import SharedMemoryStore
from heliograph.adapters.memory.stream import MemoryBroker, MemoryStream
from heliograph.adapters.schema import JsonSchema
from heliograph.deliver.routes import Routes
from heliograph.events.event import Event
from heliograph.events.identity import email_of, key_of
from heliograph.events.record import EventBody, LedgerRow, Outcome, Record
from heliograph.ports import Commit, Fenced, MessageRow, StoreAway, StoreStale
from heliograph.ports.stream import RECORDS, Post
from heliograph.runtime import mailwire
from heliograph.runtime.clock import ManualClock
from heliograph.runtime.crank import HandMailer
from heliograph.runtime.delivery import Delivery
from heliograph.runtime.dispatcher import Dispatcher
from heliograph.runtime.far_chunk import FarChunk
from heliograph.runtime.far_desk import FarDesk
from heliograph.runtime.meter import Meter
from heliograph.runtime.near_brain import NearBrain, as_post, plans_of
from heliograph.runtime.owned import owned
from heliograph.runtime.past import survivor
from heliograph.runtime.processor import Processor
from heliograph.runtime.relay import Relay
from heliograph.runtime.work import ChangeWords, Work

LEASE_MS = 1_000


class Dead(Exception):
    """Of a process that is no more."""


class Handle(SharedMemoryStore):
    """One process's way to the store.  ``away``: the chance that a commit is not answered; half of these happened."""

    chance: random.Random
    happened: Counter[str]
    trouble = 0.0
    dead = False

    def commit(self, commit: Commit, *, sync: bool = True) -> None:
        if self.dead:
            raise Dead
        lost = self.chance.random() < self.trouble
        if lost and self.chance.random() < 0.5:
            self.happened["away before"] += 1
            raise StoreAway("before the commit")
        try:
            super().commit(commit, sync=sync)
        except (StoreStale, Fenced) as error:
            self.happened[type(error).__name__] += 1
            raise
        if lost:
            self.happened["away after"] += 1
            raise StoreAway("after the commit")


class Worker:
    """What bootstrap makes of the parts, as far as decisions and mail go."""

    def __init__(self, name: str, store: Handle, broker: MemoryBroker, clock: ManualClock, books: "Books") -> None:
        self.name, self.store, self.clock, self.books = name, store, clock, books
        self.meter, self.stream = Meter(), MemoryStream(broker)
        self.failure: Exception | None = None
        self.desk = FarDesk(store, JsonSchema)
        self.processor = Processor(
            store, self.desk, clock, self.meter, chunk=FarChunk, settled=self._settled, fatal=self._fatal,
            undone=lambda: self.dispatcher.resync(), full_pause_s=0.005,  # noqa: PLW0108  # it is not there yet
        )  # fmt: skip
        self.dispatcher = Dispatcher(
            owned(store, self._mine),
            clock,
            self.meter,
            put=self.put,
            current=self.desk.present,
            render_context=lambda row: {} if survivor(row.key, self.desk.state) else None,
            templates=lambda: self.desk.plan.document.get("templates", {}),
            settings=mailwire.MailerSettings(routes=Routes(), senders={}, base_url="", link_keys={}),
            held=self.desk.held,
            mine=self._mine,
            until=lambda: self.delivery.leases.until,
        )
        self.relay = Relay(store, self.stream.appender(), self.meter, self.put)
        self.delivery = Delivery(
            store, self.stream, self.processor, self.desk, self.dispatcher, owner=name, lease_ms=LEASE_MS,
            meter=self.meter, clock=clock,
        )  # fmt: skip
        self.mailers: list[FarMailer] = []
        self.dead = False

    def put(self, work: Work) -> None:
        if not self.dead:
            self.processor.put(work)

    def _mine(self, row: MessageRow) -> bool:
        """However old what is carried out is: the clock here goes as it likes."""
        return self.desk.is_mine(row.key)

    async def start(self) -> None:
        self.processor.start()
        self.relay.start()
        await self.delivery.start()
        self.mailers = [FarMailer(self), FarMailer(self)]
        self._offering = asyncio.create_task(self.dispatcher.run())

    def _settled(self, chunk: Any) -> None:
        if chunk.offers:
            self.dispatcher.offer(chunk.offers)
        if chunk.commit.relay:
            self.relay.stir()

    def _fatal(self, error: Exception) -> None:
        if not self.dead:
            self.failure = error

    async def stop(self) -> None:
        """As a service manager asks it to."""
        await self.delivery.stop(1)
        await self.relay.stop()
        await self.processor.stop()
        self._offering.cancel()
        for mailer in self.mailers:
            mailer.die()

    def kill(self) -> None:
        """kill -9: the group hears of it by its silence."""
        self.dead = self.store.dead = self.delivery._ending = True
        for mailer in self.mailers:
            mailer.die()
        reader = self.stream._readers[-1]
        broker = self.stream.broker
        broker.groups["deliver"].remove(reader)
        for place in [place for place, owner in broker.owners.items() if owner is reader]:
            del broker.owners[place]
        reader._closed = True
        tasks = [*self.delivery._tasks, *self.delivery._burials, self.relay._task, self.processor._task, self._offering]
        for task in tasks:
            if task is not None:
                task.cancel()


class Books:
    """How often each message was put on the wire."""

    def __init__(self) -> None:
        self.wire: Counter[str] = Counter()


class FarMailer:
    """Answers offers like a mailer process, out of order, with what receivers say."""

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self.hand = HandMailer(worker.dispatcher.next_epoch(), 8)
        worker.dispatcher.welcome(self.hand, 8)
        self.jobs: list[str] = []
        self.flying: list[str] = []
        self.dead = False

    def act(self, chance: random.Random, *, careful: bool = False) -> None:
        heard, self.hand.heard = self.hand.heard, []
        for message in heard:
            if isinstance(message, mailwire.Offer):
                self.jobs += [job.message_id for job in message.jobs]
            elif isinstance(message, mailwire.Verdicts):
                if message.valid_ms:
                    self.flying += message.go
                    self.worker.books.wire.update(message.go)
                else:
                    self._report(*((name, "retry", "too late") for name in message.go))
                self._report(*((name, "stopped", why) for name, why in message.stop))
        if self.jobs and (careful or chance.random() < 0.7):
            asked, self.jobs = self.jobs[:3], self.jobs[3:]
            self.worker.dispatcher.hear(self.hand, mailwire.AskCommit(self.hand.epoch, asked))
        while self.flying and (careful or chance.random() < 0.7):
            name = self.flying.pop(chance.randrange(len(self.flying)))
            kind = "sent" if careful else chance.choices(("sent", "bounced"), (95, 5))[0]
            self._report((name, kind, kind))

    def _report(self, *done: tuple[str, str, str]) -> None:
        if done:
            now = self.worker.clock.now()
            reports = [mailwire.Done(name, kind, why, now) for name, kind, why in done]
            self.worker.dispatcher.hear(self.hand, mailwire.Report(self.hand.epoch, reports))

    @property
    def busy(self) -> bool:
        return bool(self.jobs or self.flying or self.hand.heard or self.hand.held)

    def die(self) -> None:
        self.dead = True
        self.flying.clear()


class FarWorld:
    """``seed`` names what is tried; what wins a race is the machine's."""

    def __init__(self, seed: int, document: dict[str, Any], prepared: Commit, *, people: int = 12) -> None:
        self.chance = random.Random(seed)
        self.clock = ManualClock(1_750_000_000_000)
        self.broker = MemoryBroker(4)
        self.root = Handle()
        self.root.chance, self.root.happened = self.chance, Counter()
        self.root.commit(prepared)
        self.people = [f"p{n}" for n in range(people)]
        self.books = Books()
        self.happened = self.root.happened
        self.workers: list[Worker] = []
        self.brain = self._brain()
        self.log = MemoryStream(self.broker).appender()
        self._names = 0

    def _brain(self) -> NearBrain:
        return NearBrain(MemoryStream(self.broker), plans_of(self.root.plan))

    async def add_worker(self) -> None:
        self._names += 1
        handle = self.root.beside()
        handle.trouble = 0.03
        worker = Worker(f"w{self._names}", handle, self.broker, self.clock, self.books)  # type: ignore[arg-type]
        await worker.start()
        self.workers.append(worker)

    # -- what may happen --

    async def traffic(self) -> None:
        for _ in range(self.chance.randrange(1, 6)):
            await self._event()

    async def _event(self) -> None:
        who = self.chance.choice(self.people)
        self.happened["events"] += 1
        name = self.chance.choice(["Product Added", "Order Completed", "Signed Up", "Product Viewed", "Identified"])
        id, at = f"call-{self.happened['events']}", self.clock.now()
        about: dict[str, Any] = {"properties": {"cart_id": str(self.chance.randrange(3))}}
        if name == "Identified":
            about = {"traits": {"email": f"{self.chance.choice(self.people)}@x.test"}}
            if self.chance.random() < 0.3:
                about["anonymous_id"] = f"d{self.chance.randrange(6)}"
        kind = "identify" if name == "Identified" else "track"
        user = None if self.chance.random() < 0.15 and kind == "track" else who
        event = Event(
            id, kind, name, at, user_id=user, **({"anonymous_id": f"d{who[1:]}"} if user is None else {}), **about
        )
        await self._append(event)

    async def _append(self, event: Event) -> None:
        """As a collector does: with the words of the address, when it could read them."""
        key, address = key_of(event), email_of(event)
        assert key is not None
        rows = self.root.ledger(address) if address and self.chance.random() < 0.7 else []
        record = Record(key, event.event_id, self.clock.now(), 1, EventBody(event, rows))
        post = as_post(record)
        await self.log.append([post] * (2 if self.chance.random() < 0.05 else 1))

    async def repeat(self) -> None:
        """A producer that did not hear of its acknowledgement."""
        part = self.chance.choice(self.broker.topics[RECORDS])
        if part:
            entry = part[max(len(part) - 1 - self.chance.randrange(20), 0)]
            await self.log.append([Post(RECORDS, entry.key, entry.value)])
            self.happened["repeated"] += 1

    async def withdraw(self) -> None:
        word = LedgerRow(
            f"{self.chance.choice(self.people)}@x.test", "offers", self.chance.random() < 0.5, self.clock.now(), "page"
        )
        live = [worker for worker in self.workers if not worker.processor.full]
        if live:
            self.chance.choice(live).put(_Words([word]))
            self.happened["words"] += 1

    async def feedback(self) -> None:
        """From a link in a mail: straight into the log."""
        sent = list(self.root.messages(status="sent", limit=50)[0])
        if sent:
            row, kind = self.chance.choice(sent), self.chance.choice(("opened", "clicked", "delivered", "complained"))
            body = Outcome(row.message_id, kind, self.clock.now())
            self.happened[kind] += 1
            name = f"link-{sum(self.happened.values())}"
            await self.log.append([as_post(Record(row.key, name, self.clock.now(), 1, body))])

    async def pass_time(self) -> None:
        self.clock.advance(self.chance.randrange(20) * 60_000)
        await self.brain.wake(self.clock.now())

    async def mail(self) -> None:
        for worker in self.workers:
            for mailer in worker.mailers:
                mailer.act(self.chance)

    async def lose_mailer(self) -> None:
        if not self.workers:
            return
        worker = self.chance.choice(self.workers)
        mailer = worker.mailers.pop()
        mailer.die()
        worker.dispatcher.lost(mailer.hand)
        worker.mailers.insert(0, FarMailer(worker))
        self.happened["mailer lost"] += 1

    async def restart_brain(self) -> None:
        """From its oldest checkpoint: all of it is said again."""
        await self.brain.stop()
        self.brain = self._brain()
        self.brain.start()
        self.happened["brain restarted"] += 1

    async def kill_worker(self) -> None:
        if len(self.workers) > 1:
            worker = self.workers.pop(self.chance.randrange(len(self.workers)))
            worker.kill()
            self.happened["worker killed"] += 1

    async def stop_worker(self) -> None:
        if len(self.workers) > 1:
            worker = self.workers.pop(self.chance.randrange(len(self.workers)))
            stopping = asyncio.create_task(worker.stop())
            while not stopping.done():
                for mailer in worker.mailers:
                    mailer.act(self.chance, careful=True)
                await asyncio.sleep(0.005)
            await stopping
            self.happened["worker stopped"] += 1

    async def another_worker(self) -> None:
        if len(self.workers) < 3:
            await self.add_worker()

    async def steal(self) -> None:
        """A worker that was thought dead is fenced off; the group gives the partition to somebody anew."""
        if len(self.workers) > 1:
            victim = self.chance.choice(self.workers)
            if victim.delivery.leases.epochs:
                self.root.claim("thief", list(victim.delivery.leases.epochs), 1)
                self.happened["fenced"] += 1
                await asyncio.sleep(0.02)
                self.workers.remove(victim)
                victim.kill()
                await self.add_worker()

    def _reap(self) -> None:
        """The group gives away what its dead members had, also what they were just taking over."""
        members = self.broker.groups["deliver"]
        for place in [place for place, owner in self.broker.owners.items() if owner not in members]:
            del self.broker.owners[place]

    async def step(self) -> None:
        self._reap()
        await self.chance.choices(_ACTS, _WEIGHTS)[0](self)
        await asyncio.sleep(self.chance.choice((0, 0, 0.002)))
        for worker in self.workers:
            assert worker.failure is None, worker.failure

    # -- the end --

    async def settle(self) -> None:
        """No more trouble: everything that was begun comes to its end."""
        for worker in self.workers:
            worker.store.trouble = 0.0
        async with asyncio.timeout(60):
            quiet = 0
            while quiet < 30:
                self._reap()
                await self.brain.wake(self.clock.now())
                for worker in self.workers:
                    assert worker.failure is None, worker.failure
                    for mailer in worker.mailers:
                        mailer.act(self.chance, careful=True)
                await asyncio.sleep(0.01)
                self._skip_to_retries()
                quiet = 0 if self._busy() else quiet + 1
                due = self.brain.next_due()
                if quiet and due is not None and not self._behind():
                    self.clock.at = max(self.clock.at, due)
                    quiet = 0

    def _skip_to_retries(self) -> None:
        later = max((row.next_at for row in self.root.unfinished_messages() if row.status == "queued"), default=0)
        if later > self.clock.at:
            self.clock.at = later
            for worker in self.workers:
                worker.dispatcher.offer(())

    def _behind(self) -> bool:
        said = {n: len(part) for n, part in enumerate(self.broker.topics["effects"])}
        done = {claim.partition: max(claim.offset, 0) for claim in self.root.claims()}
        return any(done.get(n, 0) < end for n, end in said.items()) or bool(self.root._relay)

    def _busy(self) -> bool:
        open_rows = list(self.root.unfinished_messages())
        late = [row for row in open_rows if row.status != "deferred"]
        return self._behind() or bool(late) or any(one.busy for worker in self.workers for one in worker.mailers)

    async def end(self) -> None:
        for worker in self.workers:
            await worker.stop()
        await self.brain.stop()


class _Words(ChangeWords):
    """Nobody waits for these."""

    def failed(self, error: Exception) -> None:
        pass


_CHANCES: dict[Any, float] = {
    FarWorld.traffic: 40,
    FarWorld.mail: 30,
    FarWorld.pass_time: 12,
    FarWorld.withdraw: 4,
    FarWorld.feedback: 4,
    FarWorld.repeat: 3,
    FarWorld.lose_mailer: 1,
    FarWorld.restart_brain: 0.5,
    FarWorld.kill_worker: 0.7,
    FarWorld.stop_worker: 0.4,
    FarWorld.steal: 0.4,
    FarWorld.another_worker: 1.5,
}
_ACTS, _WEIGHTS = list(_CHANCES), list(_CHANCES.values())
