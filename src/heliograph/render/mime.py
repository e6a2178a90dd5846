"""Bytes of a message: multipart/alternative, CRLF, no line over 998 octets, the cheapest encoding that is safe.

Our own assembler, because this is the hot path (stdlib ``EmailMessage`` takes 1.5 ms a message and, on Python 3.11,
breaks long List-Unsubscribe URLs): decision 0011.
"""

from binascii import b2a_base64, b2a_qp

from heliograph.events.ids import make_id
from heliograph.render.headers import HARD

_CONTROLS = bytes((*range(9), 11, 12, *range(14, 32), 127))
"""C0 but tab, LF and CR, and DEL: no mail body needs them, and NUL is forbidden (RFC 5322, section 2.1)."""
_RISKY = (b"\nFrom ", b"\n.", b" \r\n", b"\t\r\n")
"""What relays and mail boxes have been seen to change in 7bit bodies, though they should not."""
_BASE64_LINE = 76


def normalise(text: str) -> bytes:
    """A body as UTF-8 with CRLF line ends and a last one, without control characters; lone surrogates become U+FFFD."""
    try:
        data = text.encode()
    except UnicodeEncodeError:
        data = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").encode()
    data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n").translate(None, _CONTROLS).replace(b"\n", b"\r\n")
    return data if data.endswith(b"\r\n") else data + b"\r\n"


def encode_body(data: bytes) -> tuple[bytes, bytes]:
    """(Content-Transfer-Encoding, encoded) of normalised bytes: 7bit when it fits as it is, else the shorter of
    quoted-printable and base64."""
    if data.isascii() and _fits(data):
        return b"7bit", data
    quoted = b2a_qp(data, istext=True)
    if len(quoted) * 3 <= len(data) * 4 + 100:
        return b"quoted-printable", _without_from(quoted)
    return b"base64", _base64(data)


def _fits(data: bytes) -> bool:
    if data.startswith((b"From ", b".")) or any(sequence in data for sequence in _RISKY):
        return False
    at = 0
    while len(data) - at > HARD + 2:  # from line end to line end, the last one within a line's length
        at = data.rfind(b"\n", at, at + HARD + 2) + 1
        if not at:
            return False
    return True


def _without_from(quoted: bytes) -> bytes:
    """``From `` at the start of a line gets a ``>`` in mbox files, and breaks the signature.  The soft line break
    keeps what follows within 76 characters."""
    quoted = b"\n" + quoted
    return quoted.replace(b"\nFrom ", b"\n=46rom =\r\n")[1:] if b"\nFrom " in quoted else quoted[1:]


def _base64(data: bytes) -> bytes:
    encoded = b2a_base64(data, newline=False)
    lines = [encoded[at : at + _BASE64_LINE] for at in range(0, len(encoded), _BASE64_LINE)]
    return b"\r\n".join(lines) + b"\r\n"


def alternative(text: str, html: str, message_id: str) -> tuple[bytes, bytes]:
    """The Content-Type value and the body of a message that says the same in plain text and in HTML.

    The boundary is derived from the message's id; ``=_`` cannot stand in quoted-printable or base64, and a 7bit part
    that holds it by design of an attacker is wrapped in another one.
    """
    plain_encoding, plain = encode_body(normalise(text))
    html_encoding, rich = encode_body(normalise(html))
    boundary = _boundary(message_id, plain, rich)
    edge = b"--" + boundary
    body = b"".join(
        (
            edge,
            b"\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: ",
            plain_encoding,
            b"\r\n\r\n",
            plain,
            b"\r\n",
            edge,
            b"\r\nContent-Type: text/html; charset=utf-8\r\nContent-Transfer-Encoding: ",
            html_encoding,
            b"\r\n\r\n",
            rich,
            b"\r\n",
            edge,
            b"--\r\n",
        )
    )
    return b'multipart/alternative;\r\n boundary="' + boundary + b'"', body


def _boundary(message_id: str, *parts: bytes) -> bytes:
    boundary = b"=_" + make_id("boundary", message_id).encode()
    attempt = 0
    while any(boundary in part for part in parts):
        attempt += 1
        boundary = b"=_" + make_id("boundary", message_id, attempt).encode()
    return boundary
