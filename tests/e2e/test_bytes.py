"""What leaves over SMTP, byte by byte: signatures, lines, headers, whatever people put into their traits."""

import base64
import json
import re
from collections.abc import Iterator
from pathlib import Path

import dkim
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa

from tests.e2e.harness import Receiver, Server, shop, until

NASTY = {
    "crlf": "Ada\r\nBcc: victim@elsewhere.example",
    "lf": "Ada\nBcc: victim@elsewhere.example\n\nbody",
    "nul": "Ada\x00Bcc: victim@elsewhere.example",
    "u2028": "Ada\u2028Bcc: victim@elsewhere.example\u2029\x85",
    "encoded": "=?utf-8?b?QWRhDQpCY2M6IHZpY3RpbUBlbHNld2hlcmUuZXhhbXBsZQ==?=",
    "smuggle": "Ada\r\n.\r\nMAIL FROM:<x@y.example>\r\n",
    "long": "A" * 10_000,
    "script": "<script>alert(1)</script>",
    "emoji": "👩\u200d💻 Zoë \u202eadA",
    "liquid": "{{ profile.email }}{% raw %}",
}


def keys(folder: Path) -> dict[str, bytes]:
    """An RSA-2048 and an Ed25519 key as PEM files; DNS name -> TXT record."""
    rsa_key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    ed_key = ed25519.Ed25519PrivateKey.generate()
    for name, key in (("rsa", rsa_key), ("ed", ed_key)):
        pem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        (folder / f"{name}.pem").write_bytes(pem)
    spki = rsa_key.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    raw = ed_key.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    return {
        "s1._domainkey.shop.example.": b"v=DKIM1; k=rsa; p=" + base64.b64encode(spki),
        "s2._domainkey.shop.example.": b"v=DKIM1; k=ed25519; p=" + base64.b64encode(raw),
    }


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Receiver, Server, dict[str, bytes]]]:
    folder = tmp_path_factory.mktemp("bytes")
    records = keys(folder)
    signers = [
        {"domain": "shop.example", "selector": "s1", "key_file": str(folder / "rsa.pem")},
        {"domain": "shop.example", "selector": "s2", "key_file": str(folder / "ed.pem")},
    ]
    with Receiver() as receiver, shop(folder, receiver, HELIOGRAPH_SENDER_DEFAULT_DKIM=json.dumps(signers)) as server:
        for name, value in NASTY.items():
            consent = {"categoryPreferences": {"news": True}}
            traits = {"email": f"{name}@nasty.example", "firstName": value}
            server.send(
                {"type": "identify", "userId": f"{name}", "traits": traits, "context": {"consent": consent}},
                {"type": "track", "userId": f"{name}", "event": "Signed Up", "properties": {"method": "form"}},
            )
        until(lambda: len(receiver.raw) >= len(NASTY), "a welcome for everybody")
        yield receiver, server, records


def test_every_signature_of_every_message_verifies(world: tuple[Receiver, Server, dict[str, bytes]]) -> None:
    receiver, _, records = world
    for raw in receiver.raw:
        signatures = len(re.findall(rb"^DKIM-Signature:", raw, re.M | re.I))
        assert signatures == 2
        for index in range(signatures):
            verifier = dkim.DKIM(raw)
            assert verifier.verify(idx=index, dnsfunc=lambda name, timeout=5: records[name.decode()])
            assert {b"from", b"list-unsubscribe", b"list-unsubscribe-post"} <= {
                name.lower() for name in verifier.include_headers
            }


def test_lines_are_short_and_end_in_crlf(world: tuple[Receiver, Server, dict[str, bytes]]) -> None:
    receiver, _, _ = world
    for raw in receiver.raw:
        assert b"\n" not in raw.replace(b"\r\n", b"")
        assert b"\r" not in raw.replace(b"\r\n", b"")
        assert b"\x00" not in raw
        assert max(map(len, raw.split(b"\r\n"))) <= 998


def test_no_trait_adds_or_changes_a_header(world: tuple[Receiver, Server, dict[str, bytes]]) -> None:
    receiver, _, _ = world
    expected = None
    for mail in receiver.mails():
        names = [name.lower() for name in mail]
        expected = expected or names
        assert names == expected
        assert "bcc" not in names
        assert str(mail["to"]).endswith("@nasty.example")


def test_one_message_in_is_one_message_out(world: tuple[Receiver, Server, dict[str, bytes]]) -> None:
    receiver, server, _ = world
    until(server.settled, "nothing is on its way any more")
    assert sorted(receiver.recipients) == sorted(f"{name}@nasty.example" for name in NASTY)


def test_one_click_headers_are_whole(world: tuple[Receiver, Server, dict[str, bytes]]) -> None:
    receiver, server, _ = world
    for raw in receiver.raw:
        head = raw.split(b"\r\n\r\n", 1)[0]
        unfolded = re.sub(rb"\r\n[ \t]+", b" ", head)
        assert b"List-Unsubscribe-Post: List-Unsubscribe=One-Click" in unfolded.split(b"\r\n")
        (url,) = re.findall(rb"List-Unsubscribe:\s*<(\S+)>", unfolded)
        assert url.startswith(server.url.encode() + b"/u/")
