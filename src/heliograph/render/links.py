"""Signed links: what the recipient carries back to us, and how we know that it was ours.

A token is base64url (no padding) of::

    u8 key id | 16 bytes of HMAC-SHA256(secret, kind | key id | claims) | claims as a msgpack array

The kind (``u`` unsubscribe, ``p`` preferences, ``c`` click, ``o`` open) is in the path, ``base_url/u/TOKEN``, and under
the signature, so a token of one kind is worth nothing as another.  Claims are self-contained: a link works as long as
its key is kept, whatever became of the message and its template.  Keys of unsubscribe links are therefore never
retired (design, section 7).  A click carries its destination under the signature: there is no open redirect.
"""

import hashlib
import hmac
import re
from base64 import b32encode, urlsafe_b64decode
from binascii import b2a_base64
from collections.abc import Mapping
from functools import lru_cache
from hashlib import sha256
from typing import Literal

import msgspec

Kind = Literal["u", "p", "c", "o"]

MAC_BYTES = 16
MAX_TOKEN = 6_000
"""Characters; longer ones are not looked at."""
MAX_URL = 2_000
"""Characters of a destination; a longer link goes into the mail as it is, untracked."""
WEB = ("https://", "http://")
"""The only schemes a click leads to."""
MIN_SECRET = 16
"""Bytes (RFC 2104 wants the hash's length; 128 bits is what the truncated MAC is worth)."""


class Claims(msgspec.Struct, frozen=True):
    """What a token says.  ``key`` is the person's key, ``topic`` None for transactional mail, ``url`` the destination
    of a click, else empty.  Every token of a message carries the same four, so each alone can be acted on."""

    message_id: str
    key: str
    address: str
    topic: str | None = None
    url: str = ""


class LinkKeys(msgspec.Struct, frozen=True):
    """Secrets by id (0..255).  The one with the greatest id signs; all verify."""

    secrets: Mapping[int, bytes]

    def __post_init__(self) -> None:
        if not self.secrets:
            raise ValueError("no link key: links cannot be signed")
        for number, secret in self.secrets.items():
            if not 0 <= number <= 255 or len(secret) < MIN_SECRET:
                raise ValueError(f"link key {number}: ids are 0..255, secrets at least {MIN_SECRET} bytes")

    @property
    def current(self) -> int:
        return max(self.secrets)


_Packed = tuple[bytes, str, str, str | None, str]
_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(_Packed)
_URL_SAFE = bytes.maketrans(b"+/", b"-_")
_EMPTY = _encoder.encode("")
_BLOCK = 64
_INNER, _OUTER = (bytes(octet ^ pad for octet in range(256)) for pad in (0x36, 0x5C))


_ID = re.compile("[a-z2-7]{26}")
_DIGITS = str.maketrans("abcdefghijklmnopqrstuvwxyz234567", "0123456789abcdefghijklmnopqrstuv")


def pack_id(message_id: str) -> bytes:
    """A message id for a token.  Ours are 128 bits in 26 base32 characters: 16 bytes behind a 1 here.  Anything else is
    text behind a 0."""
    if _ID.fullmatch(message_id):
        # Eight times as fast as the library's base32, which is no C code; two bits are left over, always 0.
        bits = int(message_id.translate(_DIGITS), 32)
        if not bits & 3:
            return b"\1" + (bits >> 2).to_bytes(16, "big")
    return b"\0" + message_id.encode()


def unpack_id(packed: bytes) -> str:
    if packed[:1] == b"\1":
        return b32encode(packed[1:]).rstrip(b"=").decode().lower()
    return packed[1:].decode()


@lru_cache(256)
def _keyed(secret: bytes) -> "tuple[hashlib._Hash, hashlib._Hash]":
    """HMAC's two hashes (RFC 2104, section 2), fed with the key.  A copy of each makes a MAC in 1.2 us; the library's
    ``hmac.digest`` begins anew and takes 2.2, six times a message."""
    block = (secret if len(secret) <= _BLOCK else sha256(secret).digest()).ljust(_BLOCK, b"\0")
    return sha256(block.translate(_INNER)), sha256(block.translate(_OUTER))


def _mac(secret: bytes, kind: Kind, number: int, body: bytes) -> bytes:
    keyed_inner, keyed_outer = _keyed(secret)
    inner, outer = keyed_inner.copy(), keyed_outer.copy()
    inner.update(kind.encode() + bytes((number,)) + body)
    outer.update(inner.digest())
    return outer.digest()[:MAC_BYTES]


def _encode(claims: Claims) -> bytes:
    return _encoder.encode((pack_id(claims.message_id), claims.key, claims.address, claims.topic, claims.url))


def _token(number: int, mac: bytes, body: bytes) -> str:
    return b2a_base64(bytes((number,)) + mac + body, newline=False).translate(_URL_SAFE).rstrip(b"=").decode()


def sign(kind: Kind, claims: Claims, keys: LinkKeys) -> str:
    """The token that says this; about 100 characters plus address, key and url."""
    body, number = _encode(claims), keys.current
    return _token(number, _mac(keys.secrets[number], kind, number, body), body)


def verify(kind: Kind, token: str, keys: LinkKeys) -> Claims | None:
    """The claims of a token that one of our keys signed as this kind, else None.  Compares in constant time; never
    raises, whatever the text.  A click's url is http or https."""
    if not token or len(token) > MAX_TOKEN:
        return None
    try:
        raw = urlsafe_b64decode(token.encode("ascii") + b"=" * (-len(token) % 4))
        number, mac, body = raw[0], raw[1 : 1 + MAC_BYTES], raw[1 + MAC_BYTES :]
        secret = keys.secrets.get(number)
        if secret is None or not hmac.compare_digest(mac, _mac(secret, kind, number, body)):
            return None
        packed, key, address, topic, url = _decoder.decode(body)
        message_id = unpack_id(packed)
    except (ValueError, IndexError, msgspec.MsgspecError):
        return None
    if kind == "c" and not url.startswith(WEB):
        return None
    return Claims(message_id, key, address, topic, url)


class MessageLinks:
    """The links of one message, each made once.  ``claims`` are what all of them say: no url."""

    __slots__ = ("_base", "_keys", "_made", "_mine", "_number", "_prefix", "_secret")

    def __init__(self, base_url: str, claims: Claims, keys: LinkKeys) -> None:
        self._base = base_url.rstrip("/")
        self._mine = _ours(self._base)
        self._number = keys.current
        self._secret = keys.secrets[self._number]
        # All claims but the last, which is empty except in a click: an empty text of msgpack is one octet.
        self._prefix = _encode(claims)[:-1]
        self._made: dict[Kind, str] = {}

    def _url(self, kind: Kind, url: bytes) -> str:
        body = self._prefix + url
        mac = _mac(self._secret, kind, self._number, body)
        return f"{self._base}/{kind}/{_token(self._number, mac, body)}"

    def _of_message(self, kind: Kind) -> str:
        if (made := self._made.get(kind)) is None:
            made = self._made[kind] = self._url(kind, _EMPTY)
        return made

    def unsubscribe(self) -> str:
        return self._of_message("u")

    def preferences(self) -> str:
        return self._of_message("p")

    def open(self) -> str:
        return self._of_message("o")

    def click(self, destination: str) -> str:
        """A link that counts the click and leads to ``destination``; what is no web address, or is longer than
        :data:`MAX_URL`, or is already one of ours, comes back as it is."""
        if not destination.startswith(WEB) or len(destination) > MAX_URL or destination.startswith(self._mine):
            return destination
        if not destination.isascii():
            destination = destination.encode(errors="replace").decode()  # a lone surrogate has no bytes
        return self._url("c", _encoder.encode(destination))


@lru_cache(64)
def _ours(base: str) -> tuple[str, ...]:
    return tuple(f"{base}/{kind}/" for kind in "upcow")
