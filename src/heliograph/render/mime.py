"""Bytes of a message: MIME parts, CRLF, no line over 998 octets, the cheapest encoding that is safe.

Our own assembler, because this is the hot path (stdlib ``EmailMessage`` takes 1.5 ms a message and, on Python 3.11,
breaks long List-Unsubscribe URLs): decision 0011.  What surrounds the two bodies never changes and is written out
below; files that travel along are encoded when their template is published (:mod:`heliograph.render.enclosures`)::

    multipart/mixed                    when there are attachments
      multipart/related                when the HTML shows images that come along
        multipart/alternative
          text/plain, text/html
        image/..., inline, Content-ID
      application/..., attachment
"""

import re
from binascii import b2a_base64, b2a_qp
from collections.abc import Sequence
from typing import Final, NamedTuple

from heliograph.events.ids import make_id
from heliograph.render.headers import HARD

_CONTROLS: Final = bytes((*range(9), 11, 12, *range(14, 32), 127))
"""C0 but tab, LF and CR, and DEL: no mail body needs them, and NUL is forbidden (RFC 5322, section 2.1)."""
_RISKY: Final = re.compile(rb"\n(?:\.|From |--=_|(?<=[ \t]\n))")
_RISKY_START: Final = (b".", b"From ", b"--=_")
"""What relays and mail boxes have been seen to change in 7bit bodies, though they should not (dots and ``From `` at the
start of a line, blanks at its end), and what could be one of our boundaries: ``=_`` cannot stand in quoted-printable or
base64 (RFC 2045, section 6.7)."""
_BASE64_LINE: Final = 76
_FIT_FOR_BOUNDARY: Final = re.compile("[A-Za-z0-9]{1,40}")
_HEADS: Final = {
    (subtype, encoding): b"\r\nContent-Type: text/%b; charset=utf-8\r\nContent-Transfer-Encoding: %b\r\n\r\n"
    % (subtype, encoding)
    for subtype in (b"plain", b"html")
    for encoding in (b"7bit", b"quoted-printable", b"base64")
}
_TYPES: Final = {
    b"alternative": b'multipart/alternative;\r\n boundary="',
    b"related": b'multipart/related; type="multipart/alternative";\r\n boundary="',
    b"mixed": b'multipart/mixed;\r\n boundary="',
}


class Body(NamedTuple):
    """The value of Content-Type, and what it describes, ending with CRLF.  ``words``: octets of ``data`` up to the end
    of the texts; behind them are only files, whose lines are canonical as they stand (RFC 6376, section 3.4.4)."""

    content_type: bytes
    data: bytes
    words: int


def normalise(text: str) -> bytes:
    """A body as UTF-8 whose lines end with LF, also the last, without control characters; lone surrogates become
    U+FFFD."""
    try:
        data = text.encode()
    except UnicodeEncodeError:
        data = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").encode()
    if b"\r" in data:
        data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    data = data.translate(None, _CONTROLS)
    return data if data.endswith(b"\n") else data + b"\n"


def encode_body(data: bytes) -> tuple[bytes, bytes]:
    """(Content-Transfer-Encoding, encoded with CRLF) of normalised bytes: 7bit when it fits as it is, else the shorter
    of quoted-printable and base64."""
    if data.isascii() and _fits(data):
        return b"7bit", data.replace(b"\n", b"\r\n")
    extra = len(data) - len(data.decode())  # quoted, a character of n + 1 octets grows by at least 8/3 n
    data = data.replace(b"\n", b"\r\n")
    if extra * 8 <= len(data) + 100:
        quoted = b2a_qp(data, istext=True)
        if len(quoted) * 3 <= len(data) * 4 + 100:
            return b"quoted-printable", _without_from(quoted)
    return b"base64", base64_lines(data)


def _fits(data: bytes) -> bool:
    if data.startswith(_RISKY_START) or _RISKY.search(data):
        return False
    at = 0
    while len(data) - at > HARD + 1:  # from line end to line end, the last one within a line's length
        at = data.rfind(b"\n", at, at + HARD + 1) + 1
        if not at:
            return False
    return True


def _without_from(quoted: bytes) -> bytes:
    """``From `` at the start of a line gets a ``>`` in mbox files, and breaks the signature.  The soft line break
    keeps what follows within 76 characters."""
    quoted = b"\n" + quoted
    return quoted.replace(b"\nFrom ", b"\n=46rom =\r\n")[1:] if b"\nFrom " in quoted else quoted[1:]


def base64_lines(data: bytes) -> bytes:
    """RFC 2045, section 6.8: lines of 76 characters, each with its CRLF."""
    encoded = b2a_base64(data, newline=False)
    lines = [encoded[at : at + _BASE64_LINE] for at in range(0, len(encoded), _BASE64_LINE)]
    return b"\r\n".join(lines) + b"\r\n"


def assemble(
    text: str, html: str, message_id: str, images: Sequence[bytes] = (), attachments: Sequence[bytes] = ()
) -> Body:
    """A message that says the same in plain text and in HTML, with the files that travel along: whole parts, header
    and base64 lines, as :mod:`heliograph.render.enclosures` makes them.

    No line of the body ends with a blank.  The same arguments give the same bytes: boundaries are the message's id.
    """
    plain_encoding, plain = encode_body(normalise(text))
    html_encoding, rich = encode_body(normalise(html))
    stem = (message_id if _FIT_FOR_BOUNDARY.fullmatch(message_id) else make_id("boundary", message_id)).encode()
    edge = b"--=_a" + stem
    head, html_head = _HEADS[b"plain", plain_encoding], _HEADS[b"html", html_encoding]
    pieces = (edge, head, plain, b"\r\n", edge, html_head, rich, b"\r\n", edge, b"--\r\n")
    data = b"".join(pieces)
    body = Body(_TYPES[b"alternative"] + b"=_a" + stem + b'"', data, len(data))
    if images:
        body = _wrapped(b"related", body, images, b"=_r" + stem)
    if attachments:
        body = _wrapped(b"mixed", body, attachments, b"=_m" + stem)
    return body


def _wrapped(subtype: bytes, first: Body, parts: Sequence[bytes], boundary: bytes) -> Body:
    """``first``, then the parts, in one multipart.  Each ends with a CRLF, which is the next delimiter's (RFC 2046,
    section 5.1.1)."""
    edge = b"--" + boundary
    head = b"".join((edge, b"\r\nContent-Type: ", first.content_type, b"\r\n\r\n"))
    rest = [piece for part in parts for piece in (edge, b"\r\n", part)]
    data = b"".join((head, first.data, *rest, edge, b"--\r\n"))
    return Body(_TYPES[subtype] + boundary + b'"', data, len(head) + first.words)
