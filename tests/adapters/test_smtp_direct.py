"""Straight to the receivers' servers, against DNS and servers of our own: which one, and what if none."""

import asyncio
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from msgspec.structs import replace

from heliograph.deliver.replies import condemns_address, parse
from heliograph.deliver.routes import Reach
from heliograph.ports import Verdict
from tests.mail_world import QUICK, World, one, parcel, send, world
from tests.ports import free_port
from tests.smtp_servers import DROP, STALL, Ledger, Receiver, listening


@pytest_asyncio.fixture
async def net(tmp_path: Path) -> AsyncIterator[World]:
    async with world(tmp_path) as made:
        yield made


async def test_the_best_server_gets_everything(net: World) -> None:
    best, spare = await net.server("a.example", Receiver()), await net.server("b.example", Receiver())
    net.mx("shop.example", "20 b.example.", "10 a.example.")
    ledger = Ledger()
    verdicts = await send(net.direct(ledger), ledger, *map(parcel, range(20)))
    assert {verdict.kind for verdict in verdicts} == {"sent"}
    assert (len(best.accepted), len(spare.mails)) == (20, 0)
    assert verdicts[0].via == f"a.example:{net.port} (no TLS)"


BROKEN = {
    "refuses connections": None,
    "drops": Receiver(rules={"greeting": DROP}),
    "stalls": Receiver(rules={"greeting": STALL}),
    "421": Receiver(rules={"greeting": b"421 4.3.2 too busy\r\n"}),
    "554": Receiver(rules={"greeting": b"554 5.7.1 go away\r\n"}),
    "refuses EHLO": Receiver(rules={"ehlo": b"421 4.3.2 closing\r\n"}),
}


@pytest.mark.parametrize("trouble", BROKEN)
async def test_the_next_server_is_tried_when_one_cannot_be_used(net: World, trouble: str) -> None:
    spare = await net.server("spare.example", Receiver())
    if (broken := BROKEN[trouble]) is None:
        net.zone.set("down.example", "A", net.address())
    else:
        await net.server("down.example", replaced(broken))
    net.mx("shop.example", "10 down.example.", "20 spare.example.")
    verdict = await one(net, limits=replace(QUICK, greeting_s=1.0))
    assert verdict.kind == "sent"
    assert len(spare.accepted) == 1


def replaced(receiver: Receiver) -> Receiver:
    """A fresh one with the same rules: an event loop has its own."""
    return Receiver(rules=dict(receiver.rules))


async def test_when_no_server_can_be_used_the_most_telling_reason_is_given(net: World) -> None:
    await net.server("a.example", Receiver(rules={"greeting": b"421 4.3.2 too busy\r\n"}))
    net.zone.set("b.example", "A", net.address())
    net.mx("shop.example", "10 a.example.", "20 b.example.", "30 c.example.")
    verdict = await one(net)
    assert verdict == Verdict(
        "retry", 421, "4.3.2", f"a.example:{net.port} takes no mail: 421 4.3.2 too busy", "connect"
    )


async def test_the_next_address_of_a_server_is_tried(net: World) -> None:
    receiver = await net.server("a.example", Receiver())
    net.zone.set("a.example", "A", net.address(), *net.zone.zone["a.example", "A"])
    net.zone.set("a.example", "AAAA", "::1")
    net.mx("shop.example", "10 a.example.")
    assert (await one(net, private=("127.0.0.0/8", "::1/128"))).kind == "sent"
    assert len(receiver.accepted) == 1


async def test_an_address_that_failed_is_tried_last_for_a_while(net: World) -> None:
    """The first connection waits for the silent server, the second does not."""
    silent = await net.server("silent.example", Receiver(rules={"greeting": STALL}))
    await net.server("spare.example", Receiver())
    net.mx("shop.example", "10 silent.example.", "20 spare.example.")
    ledger = Ledger()
    reach = Reach(connection_limit=1, deliveries_per_connection=1)
    mail = net.direct(ledger, {"default": reach}, replace(QUICK, greeting_s=1.0))
    verdicts = await send(mail, ledger, *map(parcel, range(10)))
    assert {verdict.kind for verdict in verdicts} == {"sent"}
    assert silent.connections == 1


async def test_a_domain_without_mx_is_its_own_server(net: World) -> None:
    receiver = await net.server("plain.example", Receiver())
    assert (await one(net, "plain.example")).kind == "sent"
    assert len(receiver.accepted) == 1


VERDICTS = {
    "null.example": ("bounced", 556, "5.1.10"),
    "nowhere.example": ("bounced", 0, "5.1.2"),
    "broken.example": ("retry", 0, "4.4.3"),
    "silent.example": ("retry", 0, "4.4.3"),
    "text.example": ("bounced", 0, "5.4.4"),
    "loop.example": ("bounced", 0, "5.4.6"),
    "lost.example": ("retry", 0, "4.4.4"),
    "unsure.example": ("retry", 0, "4.4.3"),
    "[127.0.0.1]": ("bounced", 0, "5.1.3"),
    "127.0.0.1": ("bounced", 0, "5.1.3"),
}


@pytest.mark.parametrize("domain", VERDICTS)
async def test_what_dns_says_decides_and_silence_never_gives_a_message_up(net: World, domain: str) -> None:
    net.port = 25
    net.mx("null.example", "0 .")
    net.zone.broken |= {"broken.example", "mx.unsure.example"}
    net.zone.silent.add("silent.example")
    net.zone.set("text.example", "TXT", '"v=spf1 -all"')
    net.mx("loop.example", "10 us.example.", "20 other.example.")
    net.mx("lost.example", "10 gone.example.")
    net.mx("unsure.example", "10 mx.unsure.example.")
    ledger = Ledger()
    verdict = (await send(net.direct(ledger, ehlo="us.example"), ledger, parcel(0, domain)))[0]
    assert (verdict.kind, verdict.code, verdict.enhanced) == VERDICTS[domain]
    assert domain in verdict.reply or verdict.kind == "retry"
    assert not ledger.asked, "nothing passes its commit point that goes nowhere"
    condemned = condemns_address(verdict.stage, verdict.code, verdict.enhanced, parse(verdict.reply).text)
    assert condemned == (domain == "null.example")


async def test_a_private_address_is_not_connected_to_unless_it_was_allowed(net: World) -> None:
    receiver = await net.server("mx.evil.example", Receiver())
    net.mx("evil.example", "10 mx.evil.example.")
    verdict = await one(net, "evil.example", private=())
    assert (verdict.kind, verdict.enhanced) == ("retry", "4.4.4")
    assert "direct.private_networks" in verdict.reply
    assert receiver.connections == 0


async def test_closing_while_looking_up_leaves_nothing_behind(net: World) -> None:
    net.port = 25
    net.zone.silent.add("silent.example")
    ledger = Ledger()
    mail = net.direct(ledger)
    mail.post(parcel(0, "silent.example"))
    await asyncio.sleep(0.01)
    await mail.close(0.1)
    assert not ledger.verdicts and not ledger.asked
    assert not [task for task in asyncio.all_tasks() if task is not asyncio.current_task() and "Direct" in repr(task)]


async def test_a_server_on_a_port_that_nobody_listens_on_is_a_retry(net: World) -> None:
    net.port = free_port()
    net.zone.set("shop.example", "A", "127.0.0.1")
    verdict = await one(net)
    assert (verdict.kind, verdict.stage) == ("retry", "connect")
    assert "nothing listens there" in verdict.reply


def no_ipv6() -> bool:
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return False
    except OSError:
        return True


@pytest.mark.skipif(no_ipv6(), reason="this machine has no IPv6")
async def test_ipv6_is_tried_first_and_named_in_our_greeting(net: World) -> None:
    async with listening(Receiver(), host="::1") as receiver:
        net.port = receiver.port
        net.zone.set("six.example", "AAAA", "::1")
        net.zone.set("six.example", "A", net.address())
        assert (await one(net, "six.example", private=("::1/128", "127.0.0.0/8"))).kind == "sent"
    assert receiver.commands[0] == "EHLO [IPv6:::1]"
