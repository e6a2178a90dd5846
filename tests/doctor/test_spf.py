"""SPF is evaluated as RFC 7208 says, over a real DNS server."""

from collections.abc import AsyncIterator

import pytest

from heliograph.adapters.dns import Resolver
from heliograph.doctor import spf
from tests.dns_servers import Zone, serving_dns

US = "192.0.2.129"


@pytest.fixture
async def zone() -> AsyncIterator[Zone]:
    """The zone of RFC 7208, appendix A."""
    zone = Zone()
    zone.set("example.com", "MX", "10 mail-a.example.com.", "20 mail-b.example.com.")
    zone.set("example.com", "A", "192.0.2.10", "192.0.2.11")
    zone.set("mail-a.example.com", "A", "192.0.2.129")
    zone.set("mail-b.example.com", "A", "192.0.2.130")
    zone.set("example.org", "MX", "10 mail-c.example.org.")
    zone.set("mail-c.example.org", "A", "192.0.2.140")
    async with serving_dns(zone):
        yield zone


@pytest.fixture
async def dns(zone: Zone) -> AsyncIterator[Resolver]:
    resolver = Resolver([zone.nameserver])
    yield resolver
    await resolver.close()


@pytest.mark.parametrize(
    ("record", "address", "result"),
    [  # appendix A.1
        ("v=spf1 +all", "198.51.100.1", "pass"),
        ("v=spf1 a -all", "192.0.2.10", "pass"),
        ("v=spf1 a -all", "192.0.2.12", "fail"),
        ("v=spf1 a:example.org -all", "192.0.2.10", "fail"),
        ("v=spf1 mx -all", "192.0.2.129", "pass"),
        ("v=spf1 mx -all", "192.0.2.140", "fail"),
        ("v=spf1 mx:example.org -all", "192.0.2.140", "pass"),
        ("v=spf1 mx mx:example.org -all", "192.0.2.140", "pass"),
        ("v=spf1 mx/30 mx:example.org/30 -all", "192.0.2.131", "pass"),
        ("v=spf1 mx/30 mx:example.org/30 -all", "192.0.2.143", "pass"),
        ("v=spf1 mx/30 mx:example.org/30 -all", "192.0.2.144", "fail"),
        ("v=spf1 ip4:192.0.2.128/28 -all", "192.0.2.143", "pass"),
        ("v=spf1 ip4:192.0.2.128/28 -all", "192.0.2.65", "fail"),
        ("v=spf1 ip6:2001:db8::/32 ~all", "2001:db8::25", "pass"),
        ("v=spf1 ip6:2001:db8::/32 ~all", "192.0.2.1", "softfail"),
        ("v=spf1 a//64 ?all", "192.0.2.1", "neutral"),
        ("v=spf1 -ip4:192.0.2.129 +all", US, "fail"),
        ("v=spf1", US, "neutral"),
        ("v=spf1 redirect=%{d}.example.org exp=why.example.com", US, "permerror"),
        ("v=spf1 some-modifier=1 mx -all", US, "pass"),
        ("v=spf1 ptr -all", US, "fail"),
        ("V=SPF1 mx -all", US, "none"),
        ("v=spf10 mx -all", US, "none"),
        ("v=spf1 mxx -all", US, "permerror"),
        ("v=spf1 ip4:192.0.2.0/33 -all", US, "permerror"),
        ("v=spf1 ip4:2001:db8::1 -all", US, "permerror"),
        ("v=spf1 include: -all", US, "permerror"),
        ("v=spf1 a:%{x}.example.com -all", US, "permerror"),
    ],
)
async def test_what_a_record_says_of_an_address(
    zone: Zone, dns: Resolver, record: str, address: str, result: str
) -> None:
    zone.set("example.com", "TXT", f'"{record}"')
    assert (await spf.evaluate(dns, address, "strong-bad@example.com")).result == result


async def test_an_include_passes_on_nothing_but_a_pass(zone: Zone, dns: Resolver) -> None:
    zone.set("example.com", "TXT", '"v=spf1 include:x.example.net ?all"')
    zone.set("x.example.net", "TXT", '"v=spf1 ip4:192.0.2.129 -all"')
    assert (await spf.evaluate(dns, US, "a@example.com")).result == "pass"
    assert (await spf.evaluate(dns, "192.0.2.1", "a@example.com")).result == "neutral"


async def test_an_include_of_nothing_breaks_the_record(zone: Zone, dns: Resolver) -> None:
    zone.set("example.com", "TXT", '"v=spf1 include:gone.example.net -all"')
    said = await spf.evaluate(dns, US, "a@example.com")
    assert said.result == "permerror"
    assert "gone.example.net" in said.why


async def test_two_records_are_none(zone: Zone, dns: Resolver) -> None:
    zone.set("example.com", "TXT", '"v=spf1 mx -all"', '"v=spf1 a -all"', '"some other text"')
    assert (await spf.evaluate(dns, US, "a@example.com")).result == "permerror"


@pytest.mark.parametrize(("chain", "result"), [(10, "pass"), (11, "permerror")])
async def test_ten_look_ups_are_enough_and_eleven_too_many(zone: Zone, dns: Resolver, chain: int, result: str) -> None:
    zone.set("example.com", "TXT", '"v=spf1 include:i1.example.net -all"')
    for number in range(1, chain):
        zone.set(f"i{number}.example.net", "TXT", f'"v=spf1 include:i{number + 1}.example.net -all"')
    zone.set(f"i{chain}.example.net", "TXT", '"v=spf1 ip4:192.0.2.129 -all"')
    said = await spf.evaluate(dns, US, "a@example.com")
    assert (said.result, said.lookups) == (result, chain)


async def test_a_record_that_includes_itself_ends(zone: Zone, dns: Resolver) -> None:
    zone.set("example.com", "TXT", '"v=spf1 include:example.com -all"')
    assert (await spf.evaluate(dns, US, "a@example.com")).result == "permerror"


async def test_three_look_ups_for_nothing_are_too_many(zone: Zone, dns: Resolver) -> None:
    zone.set("example.com", "TXT", '"v=spf1 a:n1.example.com a:n2.example.com a:n3.example.com ip4:192.0.2.129 -all"')
    assert (await spf.evaluate(dns, US, "a@example.com")).result == "permerror"


async def test_silence_of_dns_is_no_verdict(zone: Zone, dns: Resolver) -> None:
    zone.set("example.com", "TXT", '"v=spf1 include:broken.example.net -all"')
    zone.broken.add("broken.example.net")
    assert (await spf.evaluate(dns, US, "a@example.com")).result == "temperror"


@pytest.mark.parametrize(
    ("macro", "address", "expanded"),
    [  # section 7.4
        ("%{s}", "192.0.2.3", "strong-bad@email.example.com"),
        ("%{o}", "192.0.2.3", "email.example.com"),
        ("%{d}", "192.0.2.3", "email.example.com"),
        ("%{d4}", "192.0.2.3", "email.example.com"),
        ("%{d3}", "192.0.2.3", "email.example.com"),
        ("%{d2}", "192.0.2.3", "example.com"),
        ("%{d1}", "192.0.2.3", "com"),
        ("%{dr}", "192.0.2.3", "com.example.email"),
        ("%{d2r}", "192.0.2.3", "example.email"),
        ("%{l}", "192.0.2.3", "strong-bad"),
        ("%{l-}", "192.0.2.3", "strong.bad"),
        ("%{lr}", "192.0.2.3", "strong-bad"),
        ("%{lr-}", "192.0.2.3", "bad.strong"),
        ("%{l1r-}", "192.0.2.3", "strong"),
        ("%{ir}.%{v}._spf.%{d2}", "192.0.2.3", "3.2.0.192.in-addr._spf.example.com"),
        ("%{lr-}.lp._spf.%{d2}", "192.0.2.3", "bad.strong.lp._spf.example.com"),
        ("%{ir}.%{v}.%{l1r-}.lp._spf.%{d2}", "192.0.2.3", "3.2.0.192.in-addr.strong.lp._spf.example.com"),
        ("%{d2}.trusted-domains.example.net", "192.0.2.3", "example.com.trusted-domains.example.net"),
        (
            "%{ir}.%{v}._spf.%{d2}",
            "2001:db8::cb01",
            "1.0.b.c.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6._spf.example.com",
        ),
        ("%%%_%-", "192.0.2.3", "% %20"),
    ],
)
def test_macros_are_those_of_the_examples(macro: str, address: str, expanded: str) -> None:
    evaluation = spf.Evaluation(None, spf.ipaddress.ip_address(address), "strong-bad@email.example.com")  # type: ignore[arg-type]
    assert evaluation._expand(macro, "email.example.com") == expanded


async def test_exists_asks_for_what_the_macro_says(zone: Zone, dns: Resolver) -> None:
    zone.set("example.com", "TXT", '"v=spf1 exists:%{ir}.%{l1r+-}._spf.%{d} -all"')
    zone.set("129.2.0.192.strong._spf.example.com", "A", "127.0.0.2")
    assert (await spf.evaluate(dns, US, "strong-bad@example.com")).result == "pass"
    assert (await spf.evaluate(dns, US, "weak-bad@example.com")).result == "fail"
