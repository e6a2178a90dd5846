"""Random trouble with a printed seed: full disks, lost mailers, abrupt ends, publishes, all in one afternoon.

What must hold whatever happens: an acknowledged event is in the log, the log has no gap, no message is put on the wire
twice, and in the end every message has an end.
"""

import asyncio
import contextlib
import random
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from heliograph.adapters.memory import MemoryStore
from heliograph.events.record import LedgerRow
from heliograph.ports import Busy
from heliograph.runtime import mailwire
from heliograph.runtime.clock import ManualClock
from heliograph.runtime.engine import EmbeddedEngine
from tests.runtime.harness import MINUTE, T0, PuppetMailer, call, identify, new_engine, shop

PEOPLE = [f"p{n}" for n in range(12)]
ENDS = {"sent", "unknown", "cancelled", "skipped", "expired", "bounced"}


class World:
    """One store over many lives of the engine; ``wire`` counts how often each message was put on it."""

    def __init__(self, seed: int, socket: Path) -> None:
        self.chance = random.Random(seed)
        self.store = MemoryStore()
        self.clock = ManualClock(T0)
        self.wire: Counter[str] = Counter()
        self.acknowledged: set[str] = set()
        self.calls = 0
        self._socket = socket
        self._mailers: set[asyncio.Task[None]] = set()
        self.engine: EmbeddedEngine

    async def begin(self) -> None:
        self.engine = new_engine(self.store, self.clock, full_pause_s=0.002)
        await self.engine.start(shop(), socket=self._socket)
        self.add_mailer()

    async def end(self) -> None:
        for task in self._mailers:
            task.cancel()
        await asyncio.gather(*self._mailers, return_exceptions=True)
        self._mailers.clear()
        await self.engine.stop(0.1)

    # -- what may happen --

    async def traffic(self) -> None:
        who = self.chance.choice(PEOPLE)
        self.calls += 1
        name, id = self.chance.choice(["Product Added", "Order Completed", "Signed Up", "X"]), f"call-{self.calls}"
        calls = [identify(who, email=f"{who}@x.test"), call(name, who, id=id, cart_id=str(self.chance.randrange(3)))]
        with contextlib.suppress(Busy):
            await self.engine.collect(calls)
            self.acknowledged.add(id)

    async def many(self) -> None:
        await asyncio.gather(*(self.traffic() for _ in range(20)))

    async def pass_time(self) -> None:
        self.clock.advance(self.chance.randrange(40) * MINUTE)
        self.engine.wakeups.stir()

    def to_next_timer(self) -> None:
        """No further than that: the log is kept for seven days, and every record of it is looked at in the end."""
        self.clock.at = max(self.clock.at, self.store.next_due() or 0)
        self.engine.wakeups.stir()

    async def fill_disk(self) -> None:
        self.store.full = not self.store.full

    async def withdraw(self) -> None:
        row = LedgerRow(f"{self.chance.choice(PEOPLE)}@x.test", "offers", self.chance.random() < 0.5, self.clock.now())
        with contextlib.suppress(Busy):
            await self.engine.change_ledger([row])

    async def publish(self) -> None:
        document = shop()
        document["journeys"]["cart"]["priority"] = self.chance.randrange(5)
        with contextlib.suppress(Busy):
            await self.engine.publish(document)

    async def restart(self) -> None:
        self.store.full = False
        await self.end()
        await self.begin()

    async def lose_mailer(self) -> None:
        if self._mailers:
            self.chance.choice(sorted(self._mailers, key=id)).cancel()
        self.add_mailer()

    # -- mailers --

    def add_mailer(self) -> None:
        task = asyncio.create_task(self._mail())
        self._mailers.add(task)
        task.add_done_callback(self._mailers.discard)

    async def _mail(self) -> None:
        """Answers offers like a mailer; now and then it dies after the dot."""
        mailer = await PuppetMailer.connect(self._socket, credit=4)
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError, TimeoutError):
            try:
                while True:
                    offer: mailwire.Offer = await mailer.hear(mailwire.Offer)
                    verdicts = await mailer.ask(*(job.message_id for job in offer.jobs))
                    self.wire.update(verdicts.go)
                    if self.chance.random() < 0.05:
                        return
                    for message_id, reason in verdicts.stop:
                        mailer.report(message_id, "stopped", reason)
                    for message_id in verdicts.go:
                        mailer.report(message_id, "sent", "250 ok", self.clock.now())
            finally:
                await mailer.close()

    def statuses(self) -> Counter[str]:
        return Counter(row.status for row in self.store.messages(limit=10_000)[0])


EVENTS: list[tuple[int, Any]] = [
    (30, World.traffic), (10, World.many), (10, World.pass_time), (4, World.fill_disk), (4, World.withdraw),
    (2, World.publish), (2, World.restart), (4, World.lose_mailer),
]  # fmt: skip
"""How often what happens."""

KEPT = 6 * 24 * 60 * MINUTE
"""A story ends before the log, which is looked at as a whole, loses its beginning after seven days."""


@pytest.mark.parametrize("round", range(6))
async def test_whatever_happens_nothing_is_lost_and_nothing_mailed_twice(
    round: int, pytestconfig: pytest.Config
) -> None:
    seed = random.randrange(10**6)
    print(f"seed {seed}")  # noqa: T201
    with tempfile.TemporaryDirectory() as folder:
        world = World(seed, Path(folder) / "s")
        await world.begin()
        weights, happenings = zip(*EVENTS, strict=True)
        begun = world.clock.now()
        for _ in range(5000 if pytestconfig.getoption("--soak") else 120):
            await world.chance.choices(happenings, weights)[0](world)
            if world.clock.now() - begun > KEPT:
                break
        world.store.full = False
        world.clock.advance(60 * MINUTE)
        await world.restart()
        async with asyncio.timeout(60):
            while world.store.next_due() or not set(world.statuses()) <= ENDS:
                await asyncio.sleep(0.01)
                world.to_next_timer()
                if not world._mailers:
                    world.add_mailer()
        await world.end()
    check(world, seed)


def check(world: World, seed: int) -> None:
    log = world.store.log(limit=10**6)
    assert [position for position, _ in log] == list(range(1, len(log) + 1)), seed
    assert world.acknowledged <= {record.id for _, record in log}, seed
    instants = [record.received_at for _, record in log]
    assert instants == sorted(instants), seed
    twice = {message_id: count for message_id, count in world.wire.items() if count > 1}
    assert world.wire and not twice, (seed, twice)
    rows = {row.message_id: row for row in world.store.messages(limit=10**6)[0]}
    assert all(rows[message_id].status in ("sent", "unknown") for message_id in world.wire), seed
    assert all(world.wire[name] == 1 for name, row in rows.items() if row.status == "sent"), seed
