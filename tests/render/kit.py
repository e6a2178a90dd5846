"""Given: a small template, a person, an envelope, and keys that never leave the tests."""

from email import message_from_bytes, policy
from email.message import EmailMessage
from functools import lru_cache
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from heliograph.render import Envelope, LinkKeys, Rendered, Signer, compile_template, load, render_message

NOW = 1_790_000_000_000  # 2026-09-21T14:13:20Z
KEYS = LinkKeys({1: b"an old secret of 24 byte", 2: b"the secret that signs now"})
POSTAL = "1 Quay Street, Bristol BS1 4DJ, UK"
PERSON: dict[str, Any] = {"id": "u1", "email": "ana@example.com", "firstName": "Ana"}


def compiled(
    body: str = "<p>Hello {{ profile.firstName }}</p>",
    kind: str = "html",
    text: str | None = None,
    files: dict[str, bytes] | None = None,
    **message: Any,
):
    fields = {"subject": "Hello {{ profile.firstName }}", **message}
    return compile_template("greeting", fields, body, kind, text, files)


def envelope(**changes: Any) -> Envelope:
    fields: dict[str, Any] = {
        "message_id": "abcdefghijklmnopqrstuvwxya",
        "to": "ana@example.com",
        "from_": "Gift Shop <hello@shop.example>",
        "reply_to": "care@shop.example",
        "date_ms": NOW,
        "base_url": "https://mail.shop.example",
        "link_keys": KEYS,
        "key": "u:u1",
        "topic": "offers",
        "postal_address": POSTAL,
    }
    return Envelope(**{**fields, **changes})


def rendered(template: dict[str, Any] | None = None, context: dict[str, Any] | None = None, **changes: Any) -> Rendered:
    return render_message(load(template or compiled()), context or {"profile": PERSON}, envelope(**changes))


def parsed(data: bytes) -> EmailMessage:
    message = message_from_bytes(data, policy=policy.default)
    assert isinstance(message, EmailMessage)
    return message


def part(data: bytes, subtype: str) -> str:
    found = parsed(data).get_body((subtype,))
    assert found is not None
    return found.get_content().replace("\r\n", "\n")


def field_names(data: bytes) -> list[str]:
    """Names of the header fields as they stand in the bytes, in order."""
    head = data.split(b"\r\n\r\n", 1)[0]
    return [line.split(b":", 1)[0].decode() for line in head.split(b"\r\n") if line[:1] not in (b" ", b"\t")]


def assert_lawful(data: bytes) -> None:
    """CRLF only, no NUL, no line over 998 octets."""
    assert b"\0" not in data
    assert data.replace(b"\r\n", b"").count(b"\r") == 0
    assert data.replace(b"\r\n", b"").count(b"\n") == 0
    assert max(map(len, data.split(b"\r\n"))) <= 998
    assert data.endswith(b"\r\n")


@lru_cache
def keys() -> tuple[tuple[Signer, ...], dict[bytes, bytes]]:
    """An RSA and an Ed25519 signer, and the DNS that knows their public halves."""
    rsa, edwards = generate_private_key(65537, 2048), Ed25519PrivateKey.generate()
    pems = [key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()) for key in (rsa, edwards)]
    spki = rsa.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    raw = edwards.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    dns = {
        b"s1._domainkey.shop.example.": b"v=DKIM1; k=rsa; p=" + _base64(spki),
        b"s2._domainkey.shop.example.": b"v=DKIM1; k=ed25519; p=" + _base64(raw),
    }
    return (Signer("shop.example", "s1", pems[0]), Signer("shop.example", "s2", pems[1])), dns


def _base64(data: bytes) -> bytes:
    from base64 import b64encode

    return b64encode(data)
