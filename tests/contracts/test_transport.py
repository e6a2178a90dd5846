"""The contract of a transport, on the memory twin and on SMTP (one relay, several, straight to receivers): whatever
carries mail keeps these laws."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest
from msgspec.structs import replace

from heliograph.adapters.dns import Resolver
from heliograph.adapters.memory import MemoryTransport
from heliograph.adapters.smtp import transport as smtp_transport
from heliograph.deliver.routes import DEFAULT, DIRECT, DirectRoute, RelayRoute, Routes, single
from heliograph.ports import Courier, Parcel, Transport
from tests.dns_servers import Zone, serving_dns
from tests.smtp_servers import Ledger, Receiver, listening

Open = Callable[[Ledger], AbstractAsyncContextManager["World"]]


class World:
    """A transport and what its receivers have taken: ``taken()`` gives recipients.  Parcels take ``routes`` in turn."""

    def __init__(
        self, transport: Transport, ledger: Ledger, taken: Callable[[], list[str]], routes: Sequence[str] = (DEFAULT,)
    ) -> None:
        self.transport, self.ledger, self.taken, self.routes = transport, ledger, taken, routes
        ledger.transport = transport

    def post(self, number: int) -> None:
        route = self.routes[number % len(self.routes)]
        self.transport.post(replace(parcel(number), route=route, receiver="receiver"))


def parcel(number: int) -> Parcel:
    data = b"Subject: %d\r\n\r\n.a dot\r\n" % number
    return Parcel(f"m{number}", "from@sender.example", f"to-{number}@receiver.example", data)


def recipients(*receivers: Receiver) -> list[str]:
    return [one for receiver in receivers for mail in receiver.accepted for one in mail.recipients]


@asynccontextmanager
async def in_memory(ledger: Ledger) -> AsyncIterator[World]:
    transport = MemoryTransport(ledger)
    yield World(transport, ledger, lambda: [one.recipient for one in transport.parcels])


@asynccontextmanager
async def over_smtp(ledger: Ledger) -> AsyncIterator[World]:
    receiver = Receiver()
    async with listening(receiver):
        courier: Courier = ledger
        transport = smtp_transport(single(receiver.url, 3), courier)
        try:
            yield World(transport, ledger, lambda: recipients(receiver))
        finally:
            await transport.close(1.0)


@asynccontextmanager
async def over_relays(ledger: Ledger) -> AsyncIterator[World]:
    first, second = Receiver(), Receiver()
    async with listening(first), listening(second):
        routes = Routes((RelayRoute("a", first.url, 3), RelayRoute("b", second.url, 3)))
        transport = smtp_transport(routes, ledger)
        try:
            yield World(transport, ledger, lambda: recipients(first, second), ("a", "b"))
        finally:
            await transport.close(1.0)


@asynccontextmanager
async def straight(ledger: Ledger) -> AsyncIterator[World]:
    receiver, zone = Receiver(), Zone()
    zone.set("receiver.example", "MX", "10 mx.receiver.example.")
    zone.set("mx.receiver.example", "A", "127.0.0.1")
    async with listening(receiver), serving_dns(zone):
        way = DirectRoute(port=receiver.port, nameservers=(zone.nameserver,), private_networks=("127.0.0.0/8",))
        transport = smtp_transport(Routes((), way), ledger, Resolver)
        try:
            yield World(transport, ledger, lambda: recipients(receiver), (DIRECT,))
        finally:
            await transport.close(1.0)


@pytest.fixture(
    params=[in_memory, over_smtp, over_relays, straight], ids=["memory", "one relay", "two relays", "straight"]
)
def opened(request: pytest.FixtureRequest) -> Open:
    return request.param  # type: ignore[no-any-return]


async def test_every_parcel_gets_exactly_one_verdict_and_is_taken_once(opened: Open) -> None:
    ledger = Ledger()
    async with opened(ledger) as world:
        for number in range(120):
            world.post(number)
        verdicts = await ledger.settled(120)
        assert {verdict.kind for verdict in verdicts.values()} == {"sent"}
        assert sorted(world.taken()) == sorted(parcel(number).recipient for number in range(120))


async def test_nothing_travels_that_was_not_decided_to_go(opened: Open) -> None:
    ledger = Ledger(stop=["m1", "m3"])
    async with opened(ledger) as world:
        for number in range(6):
            world.post(number)
        await ledger.settled(4)
        assert "to-1@receiver.example" not in world.taken()
        assert "to-3@receiver.example" not in world.taken()


async def test_the_commit_point_is_asked_for_what_is_waiting_at_most_fifty(opened: Open) -> None:
    ledger = Ledger(later_s=0.01)
    async with opened(ledger) as world:
        for number in range(130):
            world.post(number)
        await ledger.settled(130, timeout_s=20)
        assert max(map(len, ledger.asked)) <= 50
        asked = [message_id for ids in ledger.asked for message_id in ids]
        assert len(asked) == len(set(asked)) == 130


async def test_an_id_in_neither_answer_is_forgotten(opened: Open) -> None:
    class Forgetful(Ledger):
        def _answer(self, message_ids: object) -> None:
            assert self.transport is not None
            self.transport.decided([one for one in self.asked[-1] if one != "m0"], [])

    ledger = Forgetful()
    async with opened(ledger) as world:
        for number in range(3):
            world.post(number)
        await ledger.settled(2)
        await asyncio.sleep(0.05)
        assert "m0" not in ledger.verdicts


async def test_an_empty_answer_forgets_everything_that_was_asked(opened: Open) -> None:
    """Nobody is there any more: a close need not wait for an answer."""

    class Mute(Ledger):
        def _answer(self, message_ids: object) -> None: ...

    ledger = Mute()
    async with opened(ledger) as world:
        for number in range(3):
            world.post(number)
        async with asyncio.timeout(5):
            while sum(map(len, ledger.asked)) < len(world.routes):  # noqa: ASYNC110 (the ledger has no event for this)
                await asyncio.sleep(0.005)
        world.transport.decided((), ())
        await world.transport.close(30.0)
        assert not ledger.verdicts and not world.taken()


async def test_there_is_room_while_little_waits(opened: Open) -> None:
    ledger = Ledger()
    async with opened(ledger) as world:
        route = world.routes[0]
        assert world.transport.room(route, "receiver") > 0
        for number in range(0, 200, len(world.routes)):
            world.post(number)
        waiting = [world.transport.room(route, "receiver")]
        await ledger.settled(200 // len(world.routes))
        assert world.transport.room(route, "receiver") > 0
        assert waiting[0] <= 0 or isinstance(world.transport, MemoryTransport)


async def test_after_a_close_nothing_is_asked_for(opened: Open) -> None:
    ledger = Ledger()
    async with opened(ledger) as world:
        world.post(0)
        await ledger.settled(1)
        await world.transport.close(1.0)
        asked = len(ledger.asked)
        world.post(1)
        await asyncio.sleep(0.05)
        assert len(ledger.asked) == asked
        assert "m1" not in ledger.verdicts
