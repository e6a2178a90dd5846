"""DMARC's policy is found by walking up the tree (RFC 9989, 4.10)."""

import pytest

from heliograph.doctor import dmarc


async def walked(domain: str, **records: str) -> tuple[dmarc.Walk, list[str]]:
    asked: list[str] = []

    async def texts(name: str) -> list[str]:
        asked.append(name)
        return [text for text in [records.get(name.removeprefix("_dmarc.").replace(".", "_"), "")] if text]

    return await dmarc.walk(domain, texts), asked


def test_a_long_name_is_asked_about_eight_times() -> None:
    """The example of section 4.10: the labels in the middle are left out."""
    assert dmarc.names("a.b.c.d.e.f.g.h.i.j.mail.example.com") == [
        "a.b.c.d.e.f.g.h.i.j.mail.example.com", "g.h.i.j.mail.example.com", "h.i.j.mail.example.com",
        "i.j.mail.example.com", "j.mail.example.com", "mail.example.com", "example.com", "com",
    ]  # fmt: skip


async def test_its_own_record_holds_and_the_highest_one_names_the_organisation() -> None:
    walk, asked = await walked(
        "a.mail.example.com", mail_example_com="v=DMARC1; p=none", example_com="v=DMARC1; p=reject"
    )
    assert asked == ["_dmarc.a.mail.example.com", "_dmarc.mail.example.com", "_dmarc.example.com", "_dmarc.com"]
    assert walk.organisation == "example.com"
    assert walk.record is not None
    assert walk.record.policy_of(walk.domain) == "reject"


async def test_the_domain_speaks_for_itself_before_its_organisation() -> None:
    walk, _ = await walked("mail.example.com", mail_example_com="v=DMARC1; p=none", example_com="v=DMARC1; p=reject")
    assert walk.record is not None
    assert (walk.record.domain, walk.organisation) == ("mail.example.com", "example.com")


async def test_psd_n_ends_the_walk_there() -> None:
    walk, asked = await walked(
        "a.shop.example.com", shop_example_com="v=DMARC1; p=none; psd=n", example_com="v=DMARC1; p=reject"
    )
    assert walk.organisation == "shop.example.com"
    assert asked[-1] == "_dmarc.shop.example.com"


async def test_below_a_public_suffix_the_organisation_is_one_label_longer() -> None:
    walk, _ = await walked("a.b.shop.co_uk".replace("_", "."), co_uk="v=DMARC1; p=reject; psd=y")
    assert walk.organisation == "shop.co.uk"
    assert walk.record is not None
    assert walk.record.domain == "co.uk"


@pytest.mark.parametrize("text", ["v=DMARC2; p=none", "p=none; v=DMARC1", "v=dmarc1", "V=DMARC1; p=none", "hello", ""])
def test_what_does_not_begin_with_its_version_is_none(text: str) -> None:
    assert dmarc.parse(text) is None


async def test_without_a_record_the_domain_is_its_own_organisation() -> None:
    walk, asked = await walked("a.example.com")
    assert (walk.organisation, walk.record, len(asked)) == ("a.example.com", None, 3)


async def test_a_subdomain_heeds_sp_and_a_policy_that_is_none_is_none() -> None:
    walk, _ = await walked("a.example.com", example_com="v=DMARC1; p=reject; sp=quarantine")
    assert walk.record is not None
    assert walk.record.policy_of("a.example.com") == "quarantine"
    assert walk.record.policy_of("example.com") == "reject"
    odd, _ = await walked("example.com", example_com="v=DMARC1; p=burn; rua=mailto:x@example.com")
    assert odd.record is not None
    assert odd.record.policy == "none"
