"""Domains beyond ASCII, beside the ``idna`` package (UTS 46, non-transitional)."""

import random

import idna
import pytest

from heliograph.events.domains import a_label
from heliograph.events.identity import normalise_address
from heliograph.render import split_mailbox

SCRIPTS = [
    range(0xDF, 0x250), range(0x370, 0x400), range(0x400, 0x500), range(0x5D0, 0x5EB), range(0x620, 0x64B),
    range(0x900, 0x970), range(0xE01, 0xE30), range(0x10A0, 0x1100), range(0x13A0, 0x13F6), range(0x1E00, 0x2000),
    range(0x3041, 0x3097), range(0x4E00, 0x4F00), range(0xAC00, 0xAC80),
]  # fmt: skip


@pytest.mark.parametrize(
    ("domain", "expected"),
    [
        ("Straße.de", "xn--strae-oqa.de"),  # IDNA 2003: strasse.de, another owner's
        ("STRAẞE.de", "xn--strae-oqa.de"),
        ("βόλος.com", "xn--nxasmm1c.com"),
        ("ΒΌΛΟΣ.com", "xn--nxasmq6b.com"),
        ("Bücher.Example", "xn--bcher-kva.example"),
        ("o\u0308bb.at", "xn--bb-eka.at"),
        ("日本語。ＪＰ", "xn--wgv71a119e.jp"),
        ("Shop.Example", "shop.example"),
        ("xn--strae-oqa.de", "xn--strae-oqa.de"),
    ],
)
def test_a_domain_is_the_one_that_browsers_open(domain: str, expected: str) -> None:
    assert a_label(domain) == expected


def test_a_label_is_that_of_the_idna_package_or_refused() -> None:
    seed = 20_261_122
    chance, agreed = random.Random(seed), 0
    for _ in range(20_000):
        script = chance.choice(SCRIPTS)
        label = "".join(chr(chance.choice(script)) for _ in range(chance.randint(1, 6)))
        try:
            expected = idna.encode(label, uts46=True, transitional=False).decode()
            got = a_label(label)
        except UnicodeError:
            continue
        assert got == expected, f"seed {seed}: {label!r}"
        agreed += 1
    assert agreed > 10_000


@pytest.mark.parametrize("domain", ["نامه\u200cای.com", "a..ü", "ü" * 64, ".ü", "ü.", "ü.a\u2100b", "ü.a…b"])
def test_what_is_no_domain_is_refused(domain: str) -> None:
    with pytest.raises(UnicodeError):
        a_label(domain)


@pytest.mark.parametrize(
    "address", ["Ana@Straße.de", "ana@ΒΌΛΟΣ.com", "ana@bücher.example", "jörg@例え.jp", "Jörg@EXAMPLE.com"]
)
def test_the_address_that_is_compared_is_the_one_that_is_mailed(address: str) -> None:
    """A suppression of the one would not stop the other."""
    normal = normalise_address(address)
    assert normal is not None
    assert split_mailbox(normal) == ("", normal)
    assert split_mailbox(address)[1].rpartition("@")[2].lower() == normal.rpartition("@")[2]
