"""Straight to many receivers at once: nobody waits for another, and limits are those of each."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from msgspec.structs import replace

from heliograph.deliver.routes import DIRECT, Reach
from tests.mail_world import QUICK, World, parcel, send, world
from tests.smtp_servers import STALL, Ledger, Receiver


@pytest_asyncio.fixture
async def net(tmp_path: Path) -> AsyncIterator[World]:
    async with world(tmp_path) as made:
        yield made


async def test_slow_dns_of_one_domain_holds_up_no_other(net: World) -> None:
    await net.server("mx.example", Receiver())
    net.mx("shop.example", "10 mx.example.")
    net.zone.silent.add("silent.example")
    ledger = Ledger()
    mail = ledger.transport = net.direct(ledger)
    for number in range(10):
        mail.post(parcel(number, "silent.example"))
    mail.post(parcel(99))
    await ledger.settled(1)
    assert list(ledger.verdicts) == ["m99"]
    await mail.close(1)


async def test_a_receiver_that_stalls_keeps_no_other_from_its_connections(net: World) -> None:
    """It may take as many as there are for those that have one already; the rest is for those that have none."""
    stalled = await net.server("mx.stalled.example", Receiver(rules={"dot": STALL}))
    await net.server("mx.example", Receiver())
    net.mx("stalled.example", "10 mx.stalled.example.")
    ledger = Ledger()
    mail = ledger.transport = net.direct(ledger, connections=8, limits=replace(QUICK, dot_s=60))
    for number in range(50):
        mail.post(parcel(number, "stalled.example"))
    await stalled.until(lambda: len(stalled.mails) == 6)
    for number in range(100, 130):
        net.mx(f"d{number}.example", "10 mx.example.")
        mail.post(parcel(number, f"d{number}.example"))
    await ledger.settled(30)
    assert all(number.startswith("m1") for number in ledger.verdicts)
    assert mail.connections <= 8
    await mail.close(0)


async def test_domains_with_the_same_servers_share_connections(net: World) -> None:
    receiver = await net.server("mx.example", Receiver())
    ledger = Ledger()
    mail = ledger.transport = net.direct(ledger, {"big": Reach(connection_limit=2)})
    for number in range(40):
        net.mx(f"d{number}.example", "10 mx.example.")
        mail.post(parcel(number, f"d{number}.example", "big"))
    await ledger.settled(40)
    assert (receiver.connections, mail.sites) == (2, 1)
    await mail.close(1)


async def test_limits_hold_over_all_sites_of_a_receiver(net: World) -> None:
    """Three sites, two connections: they take turns, also while each has a backlog."""
    receivers = [await net.server(f"mx{n}.example", Receiver(dot_s=0.005)) for n in range(3)]
    for n in range(3):
        net.mx(f"d{n}.example", f"10 mx{n}.example.")
    most = 0

    class Watching(Ledger):
        def ask(self, message_ids: object) -> None:
            nonlocal most
            most = max(most, mail.connections)
            super().ask(message_ids)  # type: ignore[arg-type]

    ledger = Watching()
    mail = ledger.transport = net.direct(ledger, {"big": Reach(connection_limit=2)})
    for number in range(60):
        mail.post(parcel(number, f"d{number % 3}.example", "big"))
    await ledger.settled(60, timeout_s=20)
    assert {verdict.kind for verdict in ledger.verdicts.values()} == {"sent"}
    assert most <= 2
    assert all(receiver.connections < 20 for receiver in receivers), "no connection for each message"
    await mail.close(1)


async def test_other_machines_come_and_go_and_connections_follow(net: World) -> None:
    """Told less, it closes what is idle now and what is busy behind its message; told more, it opens more."""
    receiver = await net.server("mx.example", Receiver(dot_s=0.005))
    net.mx("shop.example", "10 mx.example.")
    most, told = dict[int, int](), 4

    class Watching(Ledger):
        def ask(self, message_ids: object) -> None:
            most[told] = max(most.get(told, 0), mail.connections)
            super().ask(message_ids)  # type: ignore[arg-type]

    ledger = Watching()
    mail = ledger.transport = net.direct(ledger, {"shop.example": Reach(connection_limit=4)})

    async def busy(limit: int, first: int) -> None:
        nonlocal told
        mail.reach({"shop.example": Reach(connection_limit=limit)})
        await receiver.until(lambda: mail.connections <= max(limit, 0))
        told = limit
        for number in range(first, first + 40):
            mail.post(parcel(number, "shop.example"))

    for number in range(40):
        mail.post(parcel(number, "shop.example"))
    await ledger.settled(20)
    await busy(2, 40)
    await ledger.settled(80, timeout_s=20)
    await busy(1, 80)
    await ledger.settled(120, timeout_s=20)
    await asyncio.sleep(0.05)  # it rests by now: nothing but the word itself wakes it
    mail.reach({"shop.example": Reach(connection_limit=-1)})
    await receiver.until(lambda: not mail.connections)
    assert mail.room(DIRECT, "shop.example") == 0
    await busy(3, 120)
    await ledger.settled(160, timeout_s=20)
    assert most == {4: 4, 2: 2, 1: 1, 3: 3}
    await mail.close(1)


async def test_an_idle_connection_is_closed_for_one_that_is_needed(net: World) -> None:
    first, second = await net.server("mx1.example", Receiver()), await net.server("mx2.example", Receiver())
    net.mx("one.example", "10 mx1.example.")
    net.mx("two.example", "10 mx2.example.")
    ledger = Ledger()
    mail = ledger.transport = net.direct(ledger, connections=1)
    mail.post(parcel(0, "one.example"))
    await ledger.settled(1)
    mail.post(parcel(1, "two.example"))
    await ledger.settled(2)
    assert ledger.verdicts["m1"].kind == "sent"
    assert mail.connections == 1
    await first.until(lambda: "QUIT" in first.commands)
    assert len(second.accepted) == 1
    await mail.close(1)


async def test_a_connection_carries_no_more_than_its_receiver_allows(net: World) -> None:
    receiver = await net.server("mx.example", Receiver())
    net.mx("shop.example", "10 mx.example.")
    ledger = Ledger()
    reach = Reach(connection_limit=1, deliveries_per_connection=5)
    verdicts = await send(net.direct(ledger, {"default": reach}), ledger, *map(parcel, range(20)))
    assert {verdict.kind for verdict in verdicts} == {"sent"}
    assert receiver.connections == 4


async def test_new_connections_keep_to_their_rate(net: World) -> None:
    """Five a second: five at once, and then one each fifth of a second."""
    receiver = await net.server("mx.example", Receiver())
    net.mx("shop.example", "10 mx.example.")
    ledger = Ledger()
    reach = Reach(connection_limit=10, connections_per_s=5, deliveries_per_connection=1)
    mail = ledger.transport = net.direct(ledger, {"default": reach})
    loop = asyncio.get_running_loop()
    started = loop.time()
    for number in range(10):
        mail.post(parcel(number))
    await ledger.settled(10)
    assert loop.time() - started >= 0.99, "the sixth to tenth come 0.2 s apart"
    assert receiver.connections == 10
    await mail.close(1)


async def test_room_is_of_each_receiver(net: World) -> None:
    net.port = 25
    net.zone.silent.add("silent.example")
    ledger = Ledger()
    mail = net.direct(ledger, {"slow": Reach(connection_limit=3)})
    assert mail.room(DIRECT, "slow") == QUICK.ahead * 3
    for number in range(10):
        mail.post(parcel(number, "silent.example", "slow"))
    assert mail.room(DIRECT, "slow") < 0
    assert mail.room(DIRECT, "other") > 0
    await mail.close(0)


async def test_what_rests_is_dropped(net: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pools that carried mail, pools that found nobody, receivers that led nowhere: in the end there is nothing."""
    monkeypatch.setattr("heliograph.adapters.smtp.direct.SWEEP_S", 0.02)
    await net.server("mx.example", Receiver())
    net.zone.set("down.example", "A", net.address())
    ledger = Ledger()
    mail = ledger.transport = net.direct(ledger, limits=replace(QUICK, idle_s=0.05))
    for number in range(60):
        host = ["10 mx.example.", "10 down.example.", "0 ."][number % 3]
        net.mx(f"d{number}.example", host)
        mail.post(parcel(number, f"d{number}.example"))
    verdicts = await ledger.settled(60)
    assert {verdict.kind for verdict in verdicts.values()} == {"sent", "retry", "bounced"}
    async with asyncio.timeout(30):
        while mail.sites or mail._towards:  # noqa: ASYNC110 (a sweep tells nobody)
            await asyncio.sleep(0.01)
    assert mail.connections == 0
    assert not mail._capacity.seats and not mail._capacity.wanting
    mail.post(parcel(100, "d0.example"))
    assert (await ledger.settled(61))["m100"].kind == "sent"
    await mail.close(1)
