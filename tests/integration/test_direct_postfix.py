"""Straight to Debian's Postfix, found by DNS, under an enforced MTA-STS policy."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from heliograph.deliver.routes import DIRECT
from heliograph.ports import Parcel, Verdict
from tests.certificates import Authority
from tests.mail_world import World, world
from tests.postfix import Postfix, postfix, why_not
from tests.smtp_servers import Ledger

pytestmark = pytest.mark.skipif(bool(why_not()), reason=why_not())


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def server(authority: Authority) -> Iterator[Postfix]:
    """Two doors: one with the certificate of its name, one with another's."""
    names = {"right": "mx.people.example", "wrong": "other.example"}
    shown = {"smtpd_tls_security_level": "may", "smtpd_tls_received_header": "yes"}
    doors = {door: {"smtpd_tls_chain_files": str(authority.issue(name)), **shown} for door, name in names.items()}
    with postfix(doors) as running:
        yield running


@pytest_asyncio.fixture
async def net(tmp_path: Path, authority: Authority) -> AsyncIterator[World]:
    async with world(tmp_path) as made:
        made.authority = authority
        made.mx("people.example", "10 mx.people.example.")
        made.zone.set("mx.people.example", "A", "127.0.0.1")
        made.policy("people.example", "enforce", "mx.people.example")
        yield made


async def send(net: World, port: int, person: str) -> Verdict:
    net.port, ledger = port, Ledger()
    mail = ledger.transport = net.direct(ledger)
    mail.post(Parcel("m1", "shop@bounces.shop.example", f"{person}@people.example", b"Subject: x\r\n\r\n.\r\n", DIRECT))
    try:
        return (await ledger.settled(1, timeout_s=20))["m1"]
    finally:
        await mail.close(1)


async def test_the_right_certificate_takes_the_mail_under_tls(net: World, server: Postfix) -> None:
    verdict = await send(net, server.ports["right"], "person-1")
    assert verdict.kind == "sent", verdict
    assert "certificate verified" in verdict.via
    async with asyncio.timeout(20):
        while not (mails := server.mails("person-1")):  # noqa: ASYNC110 (another program writes it)
            await asyncio.sleep(0.02)
    assert b"using TLSv1.3" in mails[0] and len(mails) == 1


async def test_a_wrong_certificate_defers_and_nothing_is_delivered(net: World, server: Postfix) -> None:
    verdict = await send(net, server.ports["wrong"], "person-2")
    assert (verdict.kind, verdict.stage, verdict.enhanced) == ("retry", "connect", "4.7.5")
    assert "the MTA-STS policy of people.example is enforced" in verdict.reply
    assert "from=<shop@bounces.shop.example>, to=<person-2@" not in server.log
    assert not server.mails("person-2")
