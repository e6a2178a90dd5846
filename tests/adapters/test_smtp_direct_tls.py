"""Straight to the receivers under TLS, with and without MTA-STS, against an authority and policy hosts of our own."""

import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.certificates import Authority
from tests.mail_world import World, one, parcel, world
from tests.smtp_servers import Ledger, Receiver


@pytest_asyncio.fixture
async def net(tmp_path: Path) -> AsyncIterator[World]:
    async with world(tmp_path) as made:
        yield made


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
