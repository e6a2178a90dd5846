"""DKIM's side in DNS (RFC 6376, 3.6.1): the record that belongs to a private key, and whether one says the same."""

import re
from base64 import b64decode, b64encode
from binascii import Error
from pathlib import Path
from typing import Final, NamedTuple

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_der_public_key,
    load_pem_private_key,
)

SHORT_BITS: Final = 2048
"""1,024 bits are still verified, and break."""


class Published(NamedTuple):
    """The public part of a key of ours.  ``kind``: ``k=``; ``bits``: 0 for Ed25519."""

    kind: str
    key: bytes
    bits: int

    @property
    def record(self) -> str:
        """What belongs into DNS."""
        return f"v=DKIM1; k={self.kind}; p={b64encode(self.key).decode()}"


def public_of(file: Path) -> Published:
    """Of a private key in PEM; :class:`ValueError` when it is none that signs mail."""
    key = load_pem_private_key(file.read_bytes(), password=None).public_key()
    if isinstance(key, RSAPublicKey):
        return Published("rsa", key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo), key.key_size)
    if isinstance(key, Ed25519PublicKey):
        return Published("ed25519", key.public_bytes(Encoding.Raw, PublicFormat.Raw), 0)
    raise ValueError("neither RSA nor Ed25519")


def tags(text: str) -> dict[str, str]:
    """The tags of a TXT record, blanks taken out of ``p``."""
    pairs = (part.partition("=") for part in text.split(";") if "=" in part)
    return {name.strip(): value.strip() for name, _, value in pairs}


def complaint(own: Published, text: str) -> str:
    """Why a signature with this key does not verify against this record; empty when it does."""
    said = tags(text)
    if said.get("v", "DKIM1") != "DKIM1":
        return "it does not begin with v=DKIM1"
    if not (published := re.sub(r"\s", "", said.get("p", ""))):
        return "its p= is empty: the key was revoked" if "p" in said else "it has no p="
    if said.get("k", "rsa") != own.kind:
        return f"it says k={said.get('k', 'rsa')}, the key is {own.kind}"
    if "sha256" not in said.get("h", "sha256").split(":"):
        return "its h= leaves sha256 out"
    return "" if _decoded(published, own.kind) == own.key else "its p= is of another key"


def _decoded(text: str, kind: str) -> bytes:
    """As :attr:`Published.key`: an RSA key may be written as PKCS#1, too (RFC 8017, A.1.1)."""
    try:
        raw = b64decode(text, validate=True)
    except (Error, ValueError):
        return b""
    if kind != "rsa":
        return raw
    try:
        return load_der_public_key(raw).public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    except (ValueError, TypeError):
        return raw
