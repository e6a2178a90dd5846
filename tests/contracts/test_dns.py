"""The contract of mail's DNS, on the memory twin and on a resolver with a server of our own."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from heliograph.adapters.dns import Resolver
from heliograph.adapters.memory import MemoryDns
from heliograph.ports import MailDns, MxAnswer, Records
from heliograph.ports.mail import NO_DOMAIN, NO_RECORD, NULL_MX, UNSURE
from tests.dns_servers import Zone, serving_dns

MX = {
    "shop.example": ["20 B.example.", "10 a.example."],
    "null.example": ["0 ."],
    "xn--strae-oqa.example": ["5 a.example."],
}
ADDRESSES = {"a.example": ["192.0.2.1", "2001:db8::1"], "plain.example": ["192.0.2.2"]}
TEXTS = {"text.example": ["v=1; words"]}
SILENT = {"silent.example"}


@pytest_asyncio.fixture(params=["memory", "resolver"])
async def dns(request: pytest.FixtureRequest) -> AsyncIterator[MailDns]:
    if request.param == "memory":
        yield MemoryDns(MX, ADDRESSES, TEXTS, SILENT)
        return
    zone = Zone({(name, "MX"): records for name, records in MX.items()}, silent=set(SILENT))
    for name, addresses in ADDRESSES.items():
        for kind, mark in (("AAAA", True), ("A", False)):
            if records := [one for one in addresses if (":" in one) == mark]:
                zone.set(name, kind, *records)
    for name, texts in TEXTS.items():
        zone.set(name, "TXT", *(f'"{text}"' for text in texts))
    async with serving_dns(zone):
        resolver = Resolver([zone.nameserver], patience_s=1.0)
        yield resolver
        await resolver.close()


@pytest.mark.parametrize(
    ("domain", "answer"),
    [
        ("shop.example", MxAnswer(((10, "a.example"), (20, "b.example")))),
        (" Shop.EXAMPLE. ", MxAnswer(((10, "a.example"), (20, "b.example")))),
        ("straße.example", MxAnswer(((5, "a.example"),))),
        ("plain.example", MxAnswer(((0, "plain.example"),), implicit=True)),
        ("text.example", MxAnswer(((0, "text.example"),), implicit=True)),
        ("null.example", MxAnswer(fault=NULL_MX)),
        ("nowhere.example", MxAnswer(fault=NO_DOMAIN)),
        ("silent.example", MxAnswer(fault=UNSURE)),
        ("", MxAnswer(fault=NO_DOMAIN)),
    ],
)
async def test_hosts_by_preference_or_why_there_are_none(dns: MailDns, domain: str, answer: MxAnswer) -> None:
    assert await dns.mx(domain) == answer


@pytest.mark.parametrize(
    ("host", "answer"),
    [
        ("A.example.", Records(("2001:db8::1", "192.0.2.1"))),
        ("text.example", Records(fault=NO_RECORD)),
        ("nowhere.example", Records(fault=NO_DOMAIN)),
        ("silent.example", Records(fault=UNSURE)),
    ],
)
async def test_addresses_ipv6_first_or_why_there_are_none(dns: MailDns, host: str, answer: Records) -> None:
    assert await dns.addresses(host) == answer


async def test_texts_or_why_there_are_none(dns: MailDns) -> None:
    assert await dns.texts("text.example") == Records(("v=1; words",))
    assert await dns.texts("plain.example") == Records(fault=NO_RECORD)
    assert await dns.texts("_mta-sts.nowhere.example") == Records(fault=NO_DOMAIN)
