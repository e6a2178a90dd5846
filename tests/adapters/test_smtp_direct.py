"""Straight to the receivers' servers, against DNS, an authority and policy hosts of our own."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from msgspec.structs import replace

from heliograph.adapters.smtp import Direct
from heliograph.deliver.replies import condemns_address, parse
from heliograph.deliver.routes import DIRECT, Reach
from heliograph.ports import Parcel, Verdict
from tests.certificates import Authority
from tests.mail_world import QUICK, World, world
from tests.smtp_servers import DROP, STALL, Ledger, Receiver

BODY = b"Subject: hello\r\n\r\nHello\r\n"


@pytest_asyncio.fixture
async def net(tmp_path: Path) -> AsyncIterator[World]:
    async with world(tmp_path) as made:
        yield made


def parcel(number: int, domain: str = "shop.example", receiver: str = "") -> Parcel:
    return Parcel(f"m{number}", "hello@sender.example", f"p{number}@{domain}", BODY, DIRECT, receiver)


async def send(mail: Direct, ledger: Ledger, *parcels: Parcel) -> list[Verdict]:
    """Their verdicts, in that order; the transport is closed then."""
    ledger.transport = mail
    try:
        for one in parcels:
            mail.post(one)
        await ledger.settled(len(parcels), timeout_s=10)
        return [ledger.verdicts[one.message_id] for one in parcels]
    finally:
        await mail.close(1)


async def one(net: World, domain: str = "shop.example", **settings: object) -> Verdict:
    ledger = Ledger()
    return (await send(net.direct(ledger, **settings), ledger, parcel(0, domain)))[0]  # type: ignore[arg-type]


# -- which server --


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
    verdict = await one(net, limits=replace(QUICK, greeting_s=0.2))
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
    mail = net.direct(ledger, {"default": reach}, replace(QUICK, greeting_s=0.2))
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


# -- TLS and policies --

CERTIFICATES = ("right", "wrong name", "untrusted")
OFFERS = ("offered", "refused", "none")


def certificate(net: World, kind: str, tmp_path: Path) -> ssl.SSLContext:
    if kind == "untrusted":
        return Authority(tmp_path, "Somebody").serving("mx.shop.example")
    return net.certified("mx.shop.example" if kind == "right" else "other.example")


@pytest.mark.parametrize("offer", OFFERS)
@pytest.mark.parametrize("kind", CERTIFICATES)
@pytest.mark.parametrize("mode", ["", "none", "testing", "enforce"])
async def test_the_matrix_of_policy_certificate_and_starttls(
    net: World, tmp_path: Path, mode: str, kind: str, offer: str
) -> None:
    """``enforce`` delivers only to a server that the policy names, under TLS, with a certificate that is right; every
    other mode delivers whatever the certificate, encrypted where that is offered."""
    rules = {"starttls": b"454 4.7.0 not now\r\n"} if offer == "refused" else {}
    tls = None if offer == "none" else certificate(net, kind, tmp_path)
    receiver = await net.server("mx.shop.example", Receiver(rules=dict(rules), tls=tls))
    net.mx("shop.example", "10 mx.shop.example.")
    if mode:
        net.policy("shop.example", mode, "*.shop.example")
    verdict = await one(net)
    if mode != "enforce" or (kind, offer) == ("right", "offered"):
        assert verdict.kind == "sent"
        assert ("TLSv1" in verdict.via) == (offer == "offered")
        assert ("certificate verified" in verdict.via) == (mode == "enforce")
    else:
        assert (verdict.kind, verdict.stage) == ("retry", "connect")
        assert verdict.enhanced.startswith("4.7.")
        assert "MTA-STS policy of shop.example is enforced" in verdict.reply
        assert not receiver.mails and not any(command.startswith("MAIL") for command in receiver.commands)


@pytest.mark.parametrize("offer", OFFERS)
async def test_required_tls_asks_not_whose_certificate_it_is(net: World, tmp_path: Path, offer: str) -> None:
    rules = {"starttls": b"454 4.7.0 not now\r\n"} if offer == "refused" else {}
    tls = None if offer == "none" else certificate(net, "untrusted", tmp_path)
    receiver = await net.server("mx.shop.example", Receiver(rules=dict(rules), tls=tls))
    net.mx("shop.example", "10 mx.shop.example.")
    verdict = await one(net, starttls="required")
    assert verdict.kind == ("sent" if offer == "offered" else "retry")
    assert len(receiver.accepted) == (offer == "offered")


async def test_an_enforced_policy_skips_servers_that_it_does_not_name(net: World) -> None:
    stranger = await net.server("mx.stranger.example", Receiver())
    named = await net.server("mx.shop.example", Receiver(tls=net.certified("mx.shop.example")))
    net.mx("shop.example", "10 mx.stranger.example.", "20 mx.shop.example.")
    net.policy("shop.example", "enforce", "mx.shop.example")
    assert (await one(net)).kind == "sent"
    assert (stranger.connections, len(named.accepted)) == (0, 1)


async def test_a_policy_that_names_none_of_the_servers_defers(net: World) -> None:
    stranger = await net.server("mx.stranger.example", Receiver())
    net.mx("shop.example", "10 mx.stranger.example.")
    net.policy("shop.example", "enforce", "mx.shop.example")
    verdict = await one(net)
    assert (verdict.kind, verdict.enhanced, stranger.connections) == ("retry", "4.7.5", 0)
    assert "MTA-STS policy" in verdict.reply


async def test_a_wrong_certificate_leads_to_the_next_server(net: World) -> None:
    wrong = await net.server("a.shop.example", Receiver(tls=net.certified("other.example")))
    right = await net.server("b.shop.example", Receiver(tls=net.certified("b.shop.example")))
    net.mx("shop.example", "10 a.shop.example.", "20 b.shop.example.")
    net.policy("shop.example", "enforce", "*.shop.example")
    assert (await one(net)).kind == "sent"
    assert (len(wrong.mails), len(right.accepted)) == (0, 1)


async def test_a_policy_host_that_does_not_answer_holds_up_its_own_domain_only(net: World) -> None:
    await net.server("mx.example", Receiver())
    net.mx("shop.example", "10 mx.example.")
    net.mx("slow.example", "10 mx.example.")
    net.policy("slow.example", "enforce", "mx.example")
    net.policies["mta-sts.slow.example"] = b""
    ledger = Ledger()
    mail = ledger.transport = net.direct(ledger)
    mail.post(parcel(0, "slow.example"))
    mail.post(parcel(1))
    await ledger.settled(1)
    assert "m1" in ledger.verdicts
    await ledger.settled(2)
    assert ledger.verdicts["m0"].kind == "sent", "a policy that cannot be had is none (RFC 8461, 3.3)"
    await mail.close(1)


# -- nobody waits for another --


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
    with socket.create_server(("127.0.0.1", 0)) as taken:
        net.port = taken.getsockname()[1]
    net.zone.set("shop.example", "A", "127.0.0.1")
    verdict = await one(net)
    assert (verdict.kind, verdict.stage) == ("retry", "connect")
    assert "nothing listens there" in verdict.reply
