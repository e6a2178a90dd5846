"""VERP: an envelope sender that says which message a bounce is about (Variable Envelope Return Path).

``bounce@mail.shop.example`` becomes ``bounce+TOKEN@mail.shop.example``; TOKEN is lower-case base32 (no padding) of::

    u8 key id | 10 bytes of HMAC-SHA256(secret, "v" | key id | id) | message id as in links

Base32, because a relay may change the case of a local part.  80 bits of MAC: who guesses makes one mail per try, and
the local part may have 64 octets only (RFC 5321, section 4.5.3.1.1), of which the token takes 45.
"""

import hmac
from base64 import b32decode, b32encode

from heliograph.render.errors import BadAddress
from heliograph.render.headers import MAX_ADDRESS, split_mailbox
from heliograph.render.links import LinkKeys, pack_id, unpack_id

MAC_BYTES = 10
MAX_LOCAL = 64
"""Octets of a local part (RFC 5321, section 4.5.3.1.1)."""
TOKEN = 45
"""Characters of the token of an id of ours: 1 + 10 + 17 octets."""
MAX_OWN = MAX_LOCAL - TOKEN - 1
"""What is left of the local part for the sender's own word."""


class ReturnPath:
    """Where bounces go.  ``text`` is a bare ASCII address whose local part has at most :data:`MAX_OWN` octets."""

    __slots__ = ("_domain", "_local", "plain")

    def __init__(self, text: str) -> None:
        """Raises :class:`BadAddress`."""
        name, address = split_mailbox(text)
        self._local, _, self._domain = address.rpartition("@")
        if name or not address.isascii() or len(self._local) > MAX_OWN or "+" in self._local:
            raise BadAddress(
                f"return_path: {text!r} must be an address like bounce@mail.shop.example; before the @ there may be "
                f"{MAX_OWN} ASCII characters without +, because a token of {TOKEN} joins them"
            )
        self.plain = address

    def to(self, message_id: str, keys: LinkKeys) -> str:
        """The envelope sender of a message; :attr:`plain` when the id is too long for a token (ours are not)."""
        packed = pack_id(message_id)
        number = keys.current
        raw = bytes((number,)) + _mac(keys.secrets[number], number, packed) + packed
        local = f"{self._local}+{b32encode(raw).decode().rstrip('=').lower()}"
        return f"{local}@{self._domain}" if len(local) <= MAX_LOCAL else self.plain


def _mac(secret: bytes, number: int, packed: bytes) -> bytes:
    return hmac.digest(secret, b"v" + bytes((number,)) + packed, "sha256")[:MAC_BYTES]


def read_verp(address: str, keys: LinkKeys) -> str | None:
    """The message id that this recipient of a bounce names, when one of our keys signed it; never raises.  The domain
    is not looked at: bounces may be forwarded."""
    if len(address) > MAX_ADDRESS or not address.isascii():
        return None
    token = address.strip("<> ").rpartition("@")[0].rpartition("+")[2].upper()
    try:
        raw = b32decode(token + "=" * (-len(token) % 8))
        number, mac, packed = raw[0], raw[1 : 1 + MAC_BYTES], raw[1 + MAC_BYTES :]
        secret = keys.secrets.get(number)
        if secret is None or not hmac.compare_digest(mac, _mac(secret, number, packed)):
            return None
        return unpack_id(packed)
    except (ValueError, IndexError):
        return None
