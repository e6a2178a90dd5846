"""Several engines of one deployment in one process: the twins in memory, a brain beside them, mailers by hand."""

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from types import SimpleNamespace
from typing import Any
from unittest import mock

from heliograph.adapters.memory.shared import SharedMemoryStore
from heliograph.adapters.memory.stream import MemoryBroker, MemoryStream
from heliograph.adapters.schema import JsonSchema
from heliograph.events.event import Event
from heliograph.events.record import EventBody, Record
from heliograph.ports import MessageRow
from heliograph.runtime import together
from heliograph.runtime.clock import ManualClock
from heliograph.runtime.near_brain import NearBrain, as_post, plans_of
from heliograph.runtime.scaled import ScaledEngine
from heliograph.runtime.work import Stopped
from tests.runtime.harness import T0, shop, until
from tests.simulation.far_world import FarMailer

LEASE_MS = 10_000


class Several:
    """``wire``: how often each message was put on the wire, by whomsoever."""

    def __init__(self, seed: int = 0, partitions: int = 4) -> None:
        self.chance, self.clock = random.Random(seed), ManualClock(T0)
        self.broker, self.store, self.partitions = MemoryBroker(partitions), SharedMemoryStore(), partitions
        self.log = MemoryStream(self.broker).appender()
        self.wire: Counter[str] = Counter()
        self.mailers: dict[str, list[FarMailer]] = {}
        self.engines: dict[str, ScaledEngine] = {}

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator["Several"]:
        """The brain, and mailers that do their work.  Engines tell and hear in :meth:`turn`, not by themselves."""
        brain = NearBrain(MemoryStream(self.broker), plans_of(self.store.plan))
        brain.start()
        mailing = asyncio.create_task(self._mail())
        try:
            with mock.patch.object(together, "BEAT_S", 3600):
                yield self
        finally:
            for name in list(self.engines):
                await self.stop(name)
            mailing.cancel()
            await brain.stop()
        with contextlib.suppress(asyncio.CancelledError):
            await mailing

    async def start(self, name: str, *, mailers: int = 1, delivers: bool = True, **options: Any) -> ScaledEngine:
        engine = self.engines[name] = ScaledEngine(
            self.store.beside(), MemoryStream(self.broker), owner=name, partitions=self.partitions, delivers=delivers,
            lease_ms=LEASE_MS, compile_schema=JsonSchema, load_template=lambda _: None, clock=self.clock, **options,
        )  # fmt: skip
        await engine.start(shop())
        place: Any = SimpleNamespace(
            dispatcher=engine.dispatcher, clock=self.clock, books=SimpleNamespace(wire=self.wire)
        )
        self.mailers[name] = [FarMailer(place) for _ in range(mailers if delivers else 0)]
        return engine

    async def stop(self, name: str) -> None:
        await self.engines.pop(name).stop(5)
        self.mailers.pop(name)

    async def _mail(self) -> None:
        while True:
            for mailer in [one for several in self.mailers.values() for one in several]:
                with contextlib.suppress(Stopped):  # its worker hears nobody any more
                    mailer.act(self.chance, careful=self.chance.random() < 0.5)
            await asyncio.sleep(0.001)

    async def sign_up(self, *people: str) -> None:
        for who in people:
            said = {"traits": {"email": f"{who}@r{sum(who.encode()) % 8}.example"}}
            await self._append(Event(f"i-{who}", "identify", "Identified", T0, user_id=who, **said))  # type: ignore[arg-type]
            await self._append(Event(f"s-{who}", "track", "Signed Up", T0, user_id=who))

    async def _append(self, event: Event) -> None:
        record = Record(f"u:{event.user_id}", event.event_id, self.clock.now(), 1, EventBody(event))
        await self.log.append([as_post(record)])

    def rows(self, *statuses: str) -> list[MessageRow]:
        rows, _ = self.store.messages(limit=1_000)
        return [row for row in rows if not statuses or row.status in statuses]

    async def ended(self, count: int) -> None:
        """So many messages have come to an end, and nothing is under way."""
        await until(lambda: len(self.rows("sent", "bounced", "cancelled")) == count, 60)

    def has(self, name: str) -> set[int]:
        delivery = self.engines[name]._delivery
        assert delivery is not None
        return set(delivery.leases.epochs)

    async def shared_out(self) -> None:
        """Everybody has some of the partitions, and nobody those of another."""

        def fair() -> bool:
            parts = [self.has(name) for name, engine in self.engines.items() if engine._delivery is not None]
            return all(parts) and sum(map(len, parts)) == self.partitions

        await until(fair)

    async def turn(self, rounds: int = 2) -> None:
        """Everybody tells, and everybody hears."""
        for _ in range(rounds):
            for engine in self.engines.values():
                await engine._together.turn()
            await asyncio.sleep(0.01)

    async def turned(self, fact: Callable[[], bool]) -> None:
        """Everybody tells and hears until it is so."""
        async with asyncio.timeout(30):
            while not fact():
                await self.turn(1)


def names(count: int) -> Iterator[str]:
    return (f"p{number}" for number in range(count))
