"""The contract of a transport, on the memory twin and on SMTP: whatever carries mail keeps these laws."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest

from heliograph.adapters.memory import MemoryTransport
from heliograph.adapters.smtp import transport as smtp_transport
from heliograph.deliver.routes import single
from heliograph.ports import Courier, Parcel, Transport
from tests.smtp_servers import Ledger, Receiver, listening

Open = Callable[[Ledger], AbstractAsyncContextManager["World"]]


class World:
    """A transport and what its receiver has taken: ``taken()`` gives recipients."""

    def __init__(self, transport: Transport, ledger: Ledger, taken: Callable[[], list[str]]) -> None:
        self.transport, self.ledger, self.taken = transport, ledger, taken
        ledger.transport = transport


def parcel(number: int, recipient: str = "") -> Parcel:
    to = recipient or f"to-{number}@receiver.example"
    return Parcel(f"m{number}", "from@sender.example", to, b"Subject: %d\r\n\r\n.a dot\r\n" % number)


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
            yield World(transport, ledger, lambda: [one for mail in receiver.accepted for one in mail.recipients])
        finally:
            await transport.close(1.0)


@pytest.fixture(params=[in_memory, over_smtp], ids=["memory", "smtp"])
def opened(request: pytest.FixtureRequest) -> Open:
    return request.param  # type: ignore[no-any-return]


async def test_every_parcel_gets_exactly_one_verdict_and_is_taken_once(opened: Open) -> None:
    ledger = Ledger()
    async with opened(ledger) as world:
        for number in range(120):
            world.transport.post(parcel(number))
        verdicts = await ledger.settled(120)
        assert {verdict.kind for verdict in verdicts.values()} == {"sent"}
        assert sorted(world.taken()) == sorted(parcel(number).recipient for number in range(120))


async def test_nothing_travels_that_was_not_decided_to_go(opened: Open) -> None:
    ledger = Ledger(stop=["m1", "m3"])
    async with opened(ledger) as world:
        for number in range(6):
            world.transport.post(parcel(number))
        await ledger.settled(4)
        assert "to-1@receiver.example" not in world.taken()
        assert "to-3@receiver.example" not in world.taken()


async def test_the_commit_point_is_asked_for_what_is_waiting_at_most_fifty(opened: Open) -> None:
    ledger = Ledger(later_s=0.01)
    async with opened(ledger) as world:
        for number in range(130):
            world.transport.post(parcel(number))
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
            world.transport.post(parcel(number))
        await ledger.settled(2)
        await asyncio.sleep(0.05)
        assert "m0" not in ledger.verdicts


async def test_after_a_close_nothing_is_asked_for(opened: Open) -> None:
    ledger = Ledger()
    async with opened(ledger) as world:
        world.transport.post(parcel(0))
        await ledger.settled(1)
        await world.transport.close(1.0)
        asked = len(ledger.asked)
        world.transport.post(parcel(1))
        await asyncio.sleep(0.05)
        assert len(ledger.asked) == asked
        assert "m1" not in ledger.verdicts
