"""DKIM signatures (RFC 6376, 8463): relaxed/relaxed, RSA-SHA256 and Ed25519-SHA256.

From, To, Subject, Date and Reply-To are signed once more than they occur, so that nobody can add a second one; every
``List-*`` field is signed (RFC 8058 demands it).  The body is hashed once for all signatures.
"""

import re
from base64 import b64encode
from collections.abc import Sequence
from functools import lru_cache
from hashlib import sha256

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from heliograph.events.domains import a_label
from heliograph.render.headers import clean

Header = tuple[str, bytes]
"""Name, and the raw value as it stands behind the colon (folds included, without the last CRLF)."""

MIN_RSA_BITS = 1024
"""RFC 8301: shorter keys are not verified by anyone."""
OVERSIGNED = ("from", "to", "subject", "date", "reply-to")
SIGNED = frozenset((*OVERSIGNED, "message-id", "mime-version", "content-type", "content-transfer-encoding"))
_LINE = 72


class DkimKeyError(ValueError):
    """This key cannot sign mail; the sentence says why.  Whoever configured it has to act."""


def canonical_body(body: bytes) -> bytes:
    """RFC 6376, section 3.4.4, of a body with CRLF line ends."""
    # Plain replacements: a regular expression over 10 KB costs ten times as much (decision 0012).
    body = body.replace(b"\t", b" ")
    while b"  " in body:
        body = body.replace(b"  ", b" ")
    body = body.replace(b" \r\n", b"\r\n").rstrip(b"\r\n ")
    return body + b"\r\n" if body else b""


def canonical_header(name: str, value: bytes) -> bytes:
    """RFC 6376, section 3.4.2, with its CRLF."""
    return name.lower().encode() + b":" + b" ".join(value.split()) + b"\r\n"


def body_hash(body: bytes) -> bytes:
    return b64encode(sha256(canonical_body(body)).digest())


class SignedHeaders:
    """The header fields that signatures cover: ``names`` for ``h=``, folded, and their canonical form, made once."""

    __slots__ = ("canonical", "names")

    def __init__(self, headers: Sequence[Header]) -> None:
        # Our fields occur once each, so the bottom-up rule (section 5.4.2) leaves their order free.
        covered = [(name.lower(), value) for name, value in headers if _is_signed(name.lower())]
        self.names = _fold_names([*(name for name, _ in covered), *OVERSIGNED])
        self.canonical = b"".join(canonical_header(name, value) for name, value in covered)


def _is_signed(name: str) -> bool:
    return name in SIGNED or name.startswith("list-")


@lru_cache(64)
def _fold_cached(names: tuple[str, ...]) -> bytes:
    lines, line = [], ""
    for name in names:
        if line and len(line) + len(name) > _LINE:
            lines.append(line)
            line = ""
        line += name + ":"
    lines.append(line)
    return "\r\n  ".join(lines)[:-1].encode()


def _fold_names(names: list[str]) -> bytes:
    return _fold_cached(tuple(names))


class Signer:
    """One signature: a domain, its selector and a private key; the algorithm follows from the key."""

    __slots__ = ("_key", "_prefix", "algorithm", "domain", "selector")

    def __init__(self, domain: str, selector: str, private_key: bytes | str) -> None:
        """``private_key`` is PEM (PKCS#8 or PKCS#1), without a passphrase.  Raises :class:`DkimKeyError`."""
        pem = private_key.encode() if isinstance(private_key, str) else private_key
        try:
            key = load_pem_private_key(pem, password=None)
        except (ValueError, TypeError) as error:
            raise DkimKeyError(f"the DKIM key of {selector}._domainkey.{domain} is no readable PEM key") from error
        self._key: RSAPrivateKey | Ed25519PrivateKey
        if isinstance(key, RSAPrivateKey) and key.key_size >= MIN_RSA_BITS:
            self._key, self.algorithm = key, "rsa-sha256"
        elif isinstance(key, Ed25519PrivateKey):
            self._key, self.algorithm = key, "ed25519-sha256"
        else:
            raise DkimKeyError(f"the DKIM key of {selector}._domainkey.{domain} must be RSA (2048 bits) or Ed25519")
        self.domain = _label(domain)
        self.selector = _label(selector)
        self._prefix = f" v=1; a={self.algorithm}; c=relaxed/relaxed; d={self.domain};\r\n s={self.selector}; t="

    def sign(self, headers: Sequence[Header], body: bytes, at_ms: int = 0) -> bytes:
        """The ``DKIM-Signature`` field with its CRLF, for a body with CRLF line ends."""
        return self.sign_hashed(SignedHeaders(headers), body_hash(body), at_ms)

    def sign_hashed(self, headers: SignedHeaders, hashed: bytes, at_ms: int) -> bytes:
        opening = f"{self._prefix}{at_ms // 1000};\r\n h=".encode()
        value = opening + headers.names + b";\r\n bh=" + hashed + b";\r\n b="
        # The field itself is signed last, with b= empty and without its CRLF (section 3.7).
        signature = b64encode(self._sign(headers.canonical + canonical_header("dkim-signature", value)[:-2]))
        lines = [signature[at : at + _LINE] for at in range(0, len(signature), _LINE)]
        return b"DKIM-Signature:" + value + b"\r\n  ".join(lines) + b"\r\n"

    def _sign(self, data: bytes) -> bytes:
        if isinstance(self._key, RSAPrivateKey):
            return self._key.sign(data, PKCS1v15(), hashes.SHA256())
        return self._key.sign(sha256(data).digest())  # RFC 8463, section 3: over the hash


def _label(name: str) -> str:
    """A domain or selector that may stand in a tag: cleaned, as A-label."""
    text = clean(name)
    try:
        text = text if text.isascii() else a_label(text)
    except UnicodeError as error:
        raise DkimKeyError(f"{name!r} is no domain name") from error
    if not re.fullmatch(r"[A-Za-z0-9._-]+", text):
        raise DkimKeyError(f"{name!r} is no domain name")
    return text


def sign_all(signers: Sequence[Signer], headers: Sequence[Header], body: bytes, at_ms: int) -> bytes:
    """The ``DKIM-Signature`` fields of all signers, to stand before the other header fields."""
    if not signers:
        return b""
    covered, hashed = SignedHeaders(headers), body_hash(body)
    return b"".join(signer.sign_hashed(covered, hashed, at_ms) for signer in signers)
