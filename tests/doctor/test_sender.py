"""What DNS says of our domains is told with its mend, over a real DNS server."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from heliograph.doctor import dkim
from heliograph.doctor.sender import domains
from heliograph.doctor.sources import greeting
from tests.dns_servers import Zone, serving_dns
from tests.doctor.clinic import patient, said

OURS = "198.51.100.7"
DIRECT = '[direct]\nehlo = "mail.shop.example"\nsource_addresses = ["198.51.100.7"]\nnameservers = ["{}"]\n'
SIGNED = 'dkim = [{ domain = "shop.example", selector = "s1", key_file = "key.pem" }]\n'


@pytest.fixture
def record(tmp_path: Path) -> str:
    """Of a key that lies in the project."""
    key = Ed25519PrivateKey.generate()
    (tmp_path / "key.pem").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return dkim.public_of(tmp_path / "key.pem").record


@pytest.fixture
async def zone(record: str) -> AsyncIterator[Zone]:
    """Everything as it should be."""
    zone = Zone()
    zone.set("shop.example", "TXT", '"v=spf1 include:_spf.shop.example -all"', '"something-else=1"')
    zone.set("_spf.shop.example", "TXT", f'"v=spf1 ip4:{OURS} -all"')
    zone.set("shop.example", "MX", "10 mx.shop.example.")
    zone.set("mx.shop.example", "A", "198.51.100.8")
    zone.set("s1._domainkey.shop.example", "TXT", f'"{record}"')
    zone.set("_dmarc.shop.example", "TXT", '"v=DMARC1; p=quarantine; rua=mailto:d@shop.example"')
    zone.set("_mta-sts.shop.example", "TXT", '"v=STSv1; id=20260101"')
    zone.set("_smtp._tls.shop.example", "TXT", '"v=TLSRPTv1; rua=mailto:t@shop.example"')
    zone.set("mail.shop.example", "A", OURS)
    zone.set("7.100.51.198.in-addr.arpa", "PTR", "mail.shop.example.")
    async with serving_dns(zone):
        yield zone


async def look(folder: Path, zone: Zone, sender: str = SIGNED) -> dict[str, tuple[str, str, str]]:
    one = patient(folder, smtp="mx:", more=DIRECT.format(zone.nameserver), nameserver=zone.nameserver, sender=sender)
    found = await said(one, domains, greeting)
    assert one.dns is not None
    await one.dns.close()
    return {name: (finding.status, finding.seen, finding.mend) for name, finding in found.items()}


async def test_a_domain_that_is_well_is_well(tmp_path: Path, zone: Zone) -> None:
    found = await look(tmp_path, zone)
    del found["clock.skew"]
    assert {name: status for name, (status, _, _) in found.items()} == dict.fromkeys(
        ("spf.shop.example.198.51.100.7", "dkim.s1.shop.example", "dmarc.shop.example", "dmarc.shop.example.alignment",
         "mx.shop.example", "mta_sts.shop.example", "tlsrpt.shop.example", "direct.ehlo", "ptr.198.51.100.7"), "ok",
    )  # fmt: skip
    assert "1 look-ups" in found["spf.shop.example.198.51.100.7"][1]


@pytest.mark.parametrize(
    ("name", "kind", "records", "finding", "status", "word"),
    [
        ("shop.example", "TXT", [], "spf.shop.example", "fail", "v=spf1 ip4:198.51.100.7 -all"),
        ("shop.example", "TXT", ['"v=spf1 +all"'], "spf.shop.example", "fail", "everybody"),
        ("shop.example", "TXT", ['"v=spf1 -all"', '"v=spf1 a -all"'], "spf.shop.example", "fail", "2 SPF records"),
        ("shop.example", "TXT", ['"v=spf1 ip4:192.0.2.1 -all"'], "spf.shop.example.198.51.100.7", "fail", OURS),
        ("shop.example", "TXT", ['"v=spf1 ip4:192.0.2.1 ~all"'], "spf.shop.example.198.51.100.7", "warn", OURS),
        ("s1._domainkey.shop.example", "TXT", [], "dkim.s1.shop.example", "fail", "s1._domainkey.shop.example TXT"),
        ("s1._domainkey.shop.example", "TXT", ['"v=DKIM1; p="'], "dkim.s1.shop.example", "fail", "revoked"),
        ("_dmarc.shop.example", "TXT", [], "dmarc.shop.example", "fail", "_dmarc.shop.example TXT"),
        ("_dmarc.shop.example", "TXT", ['"v=DMARC1; p=none"'], "dmarc.shop.example", "warn", "rua"),
        ("shop.example", "MX", ["0 ."], "mx.shop.example", "fail", "null_mx"),
        ("shop.example", "MX", [], "mx.shop.example", "fail", "no MX record"),
        ("7.100.51.198.in-addr.arpa", "PTR", [], "ptr.198.51.100.7", "fail", "mail.shop.example"),
        ("7.100.51.198.in-addr.arpa", "PTR", ["mx.shop.example."], "ptr.198.51.100.7", "fail", "leads elsewhere"),
        ("mail.shop.example", "A", ["198.51.100.8"], "direct.ehlo", "warn", OURS),
        ("mail.shop.example", "A", [], "direct.ehlo", "fail", "no address"),
    ],
)
async def test_what_is_wrong_is_named_with_its_mend(
    tmp_path: Path, zone: Zone, name: str, kind: str, records: list[str], finding: str, status: str, word: str
) -> None:
    zone.zone.pop((name, kind))
    if records:
        zone.set(name, kind, *records)
    said_status, seen, mend = (await look(tmp_path, zone))[finding]
    assert said_status == status
    assert mend
    assert word in f"{seen} {mend}"


async def test_unsigned_mail_fails_and_a_signature_of_another_domain_is_not_aligned(tmp_path: Path, zone: Zone) -> None:
    assert (await look(tmp_path, zone, ""))["dkim.shop.example"][0] == "fail"
    zone.set("_dmarc.other.example", "TXT", '"v=DMARC1; p=none; rua=mailto:x@other.example"')
    sender = SIGNED.replace('"shop.example"', '"other.example"') + 'return_path = "bounce@other.example"\n'
    found = await look(tmp_path, zone, sender)
    assert found["dmarc.shop.example.alignment"][0] == "fail"
    sender = SIGNED.replace('"shop.example"', '"news.shop.example"') + 'return_path = "bounce@other.example"\n'
    assert (await look(tmp_path, zone, sender))["dmarc.shop.example.alignment"][0] == "ok"


async def test_silence_of_dns_condemns_nothing(tmp_path: Path, zone: Zone) -> None:
    for name in ("shop.example", "s1._domainkey.shop.example"):
        zone.broken.add(name)
    found = await look(tmp_path, zone)
    assert [found[name][0] for name in ("spf.shop.example", "dkim.s1.shop.example", "mx.shop.example")] == ["warn"] * 3


async def test_a_relay_may_send_from_elsewhere(tmp_path: Path, zone: Zone) -> None:
    """Its address in no SPF record is a warning, and a relay on this machine says nothing at all."""
    zone.set("relay.example", "A", "8.8.4.4")
    one = patient(tmp_path, smtp="smtp://relay.example", nameserver=zone.nameserver, sender=SIGNED)
    found = await said(one, domains, greeting)
    assert found["spf.shop.example.8.8.4.4"].status == "warn"
    assert found["direct.names"].status == "skipped"
    one = patient(tmp_path, smtp="smtp://127.0.0.1", nameserver=zone.nameserver, sender=SIGNED)
    assert (await said(one, domains))["spf.shop.example"].status == "skipped"


@pytest.mark.parametrize(
    ("records", "status", "word"),
    [
        (['"v=DMARC1; p=none; rua=mailto:d@x"', '"v=DMARC1; p=reject; rua=mailto:d@x"'], "fail", "keep one"),
        (['"v=DMARC1; p=qurantine; rua=mailto:d@x"'], "warn", "p=qurantine"),
        (['"v=DMARC1; rua=mailto:d@x"'], "warn", "no p="),
        (['"v=DMARC1; p=reject; t=y; rua=mailto:d@x"'], "warn", "t=y"),
        (['"v=DMARC1; p=reject; rua=mailto:d@x"'], "ok", "p=reject"),
    ],
)
async def test_a_dmarc_record_is_judged_as_receivers_read_it(
    tmp_path: Path, zone: Zone, records: list[str], status: str, word: str
) -> None:
    zone.zone.pop(("_dmarc.shop.example", "TXT"))
    zone.set("_dmarc.shop.example", "TXT", *records)
    found = (await look(tmp_path, zone))["dmarc.shop.example"]
    assert found[0] == status
    assert word in " ".join(found)


@pytest.mark.parametrize(("strict", "status"), [("", "ok"), ("aspf=s; ", "ok"), ("adkim=s; ", "fail"), ("adkim=S; aspf=s; ", "fail")])  # fmt: skip  # noqa: E501
async def test_each_of_spf_and_dkim_is_as_strict_as_its_own_word_says(
    tmp_path: Path, zone: Zone, strict: str, status: str
) -> None:
    """The signature is of a domain below, the envelope of another organisation."""
    zone.zone.pop(("_dmarc.shop.example", "TXT"))
    zone.set("_dmarc.shop.example", "TXT", f'"v=DMARC1; p=none; {strict}rua=mailto:d@x"')
    zone.set("_dmarc.other.example", "TXT", '"v=DMARC1; p=none; rua=mailto:x@other.example"')
    sender = SIGNED.replace('"shop.example"', '"news.shop.example"') + 'return_path = "bounce@other.example"\n'
    assert (await look(tmp_path, zone, sender))["dmarc.shop.example.alignment"][0] == status


async def test_silence_of_dns_about_dmarc_is_no_missing_record(tmp_path: Path, zone: Zone) -> None:
    zone.broken.add("_dmarc.shop.example")
    found = await look(tmp_path, zone)
    assert found["dmarc.shop.example"][0] == "warn" and "DNS gives no answer" in found["dmarc.shop.example"][1]
    assert "dmarc.shop.example.alignment" not in found
