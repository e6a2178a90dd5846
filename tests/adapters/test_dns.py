"""Who takes mail for a domain, from a DNS server of our own."""

import asyncio
from collections.abc import AsyncIterator
from typing import NamedTuple

import pytest
import pytest_asyncio

from heliograph.adapters.dns import BadNameserver, Resolver
from heliograph.ports import MxAnswer, Records
from heliograph.ports.mail import NO_DOMAIN, NO_RECORD, NULL_MX, UNSURE
from tests.dns_servers import Zone, serving_dns


class Dns(NamedTuple):
    zone: Zone
    resolver: Resolver


@pytest_asyncio.fixture
async def dns() -> AsyncIterator[Dns]:
    async with serving_dns(Zone()) as zone:
        resolver = Resolver([zone.nameserver], patience_s=1.0)
        yield Dns(zone, resolver)
        await resolver.close()


async def test_hosts_come_by_preference_in_lower_case(dns: Dns) -> None:
    dns.zone.set("shop.example", "MX", "20 B.mx.example.", "10 a.mx.example.", "20 c.mx.example.")
    answer = await dns.resolver.mx("Shop.Example.")
    assert answer == MxAnswer(((10, "a.mx.example"), (20, "b.mx.example"), (20, "c.mx.example")))


async def test_without_mx_records_a_domain_is_its_own_host(dns: Dns) -> None:
    dns.zone.set("plain.example", "A", "192.0.2.1")
    assert await dns.resolver.mx("plain.example") == MxAnswer(((0, "plain.example"),), implicit=True)


@pytest.mark.parametrize(
    ("domain", "fault"),
    [("null.example", NULL_MX), ("nowhere.example", NO_DOMAIN), ("broken.example", UNSURE), ("silent.example", UNSURE),
     ("a..b", NO_DOMAIN), ("x" * 64 + ".example", NO_DOMAIN), ("", NO_DOMAIN), ("bad\u200djoin.example", NO_DOMAIN)],
)  # fmt: skip
async def test_a_domain_without_hosts_says_why(dns: Dns, domain: str, fault: str) -> None:
    """Only a name that does not exist and a null MX are answers; silence and SERVFAIL are none."""
    dns.zone.set("null.example", "MX", "0 .")
    dns.zone.broken.add("broken.example")
    dns.zone.silent.add("silent.example")
    assert await dns.resolver.mx(domain) == MxAnswer(fault=fault)


async def test_a_domain_beyond_ascii_is_asked_for_by_its_a_label(dns: Dns) -> None:
    dns.zone.set("xn--strae-oqa.example", "MX", "0 mx.example.")
    assert (await dns.resolver.mx("straße.example")).hosts == ((0, "mx.example"),)


async def test_aliases_are_followed(dns: Dns) -> None:
    dns.zone.set("alias.example", "CNAME", "real.example.")
    dns.zone.set("real.example", "MX", "5 mx.example.")
    dns.zone.set("mx.example", "CNAME", "host.example.")
    dns.zone.set("host.example", "A", "192.0.2.7")
    assert (await dns.resolver.mx("alias.example")).hosts == ((5, "mx.example"),)
    assert (await dns.resolver.addresses("mx.example")).found == ("192.0.2.7",)


async def test_addresses_of_both_kinds_and_none(dns: Dns) -> None:
    dns.zone.set("both.example", "A", "192.0.2.1", "192.0.2.2")
    dns.zone.set("both.example", "AAAA", "2001:db8::1")
    dns.zone.set("text.example", "TXT", '"only"')
    dns.zone.broken.add("broken.example")
    assert set((await dns.resolver.addresses("both.example")).found) == {"2001:db8::1", "192.0.2.1", "192.0.2.2"}
    assert (await dns.resolver.addresses("both.example")).found[0] == "2001:db8::1"
    assert await dns.resolver.addresses("text.example") == Records(fault=NO_RECORD)
    assert await dns.resolver.addresses("no.example") == Records(fault=NO_DOMAIN)
    assert await dns.resolver.addresses("broken.example") == Records(fault=UNSURE)


async def test_texts_of_several_strings_are_one(dns: Dns) -> None:
    dns.zone.set("_mta-sts.example", "TXT", '"v=STSv1; " "id=1;"', '"other"')
    assert set((await dns.resolver.texts("_mta-sts.example")).found) == {"v=STSv1; id=1;", "other"}


async def test_an_answer_too_long_for_udp_comes_by_tcp(dns: Dns) -> None:
    dns.zone.set("many.example", "MX", *(f"{n} a-long-name-of-a-mail-exchanger-{n}.example." for n in range(60)))
    assert len((await dns.resolver.mx("many.example")).hosts) == 60


async def test_a_question_is_asked_once_at_a_time_and_its_answer_is_kept(dns: Dns) -> None:
    dns.zone.set("shop.example", "MX", "10 mx.example.")
    await asyncio.gather(*(dns.resolver.mx("shop.example") for _ in range(50)))
    await dns.resolver.mx("shop.example")
    assert dns.zone.asked["shop.example", "MX"] == 1
    for _ in range(3):
        await dns.resolver.mx("nowhere.example")
    assert dns.zone.asked["nowhere.example", "MX"] == 1, "a no is kept as well"


async def test_who_stops_waiting_takes_nothing_away_from_others(dns: Dns) -> None:
    dns.zone.silent.add("silent.example")
    first = asyncio.create_task(dns.resolver.mx("silent.example"))
    second = asyncio.create_task(dns.resolver.mx("silent.example"))
    await asyncio.sleep(0)
    first.cancel()
    assert (await second).fault == UNSURE


async def test_a_silent_domain_holds_up_no_other(dns: Dns) -> None:
    dns.zone.silent.add("silent.example")
    dns.zone.set("shop.example", "MX", "10 mx.example.")
    slow = [asyncio.create_task(dns.resolver.mx("silent.example")) for _ in range(20)]
    await asyncio.sleep(0)
    assert (await dns.resolver.mx("shop.example")).hosts
    assert not any(task.done() for task in slow)
    await asyncio.gather(*slow)


async def test_the_next_nameserver_is_asked_when_one_is_silent() -> None:
    async with serving_dns(Zone()) as dead, serving_dns(Zone()) as alive:
        dead.silent.add("shop.example")
        alive.set("shop.example", "MX", "10 mx.example.")
        resolver = Resolver([dead.nameserver, alive.nameserver], patience_s=3, try_s=0.1)
        assert (await resolver.mx("shop.example")).hosts == ((10, "mx.example"),)


@pytest.mark.parametrize("text", ["dns.example", "127.0.0.1:x", "1.2.3", "[::1]:x", ""])
async def test_a_nameserver_is_an_address(text: str) -> None:
    with pytest.raises(BadNameserver):
        Resolver([text])


@pytest.mark.parametrize("text", ["127.0.0.1", "127.0.0.1:5353", "::1", "[::1]:5353"])
async def test_a_nameserver_may_have_a_port(text: str) -> None:
    Resolver([text])
