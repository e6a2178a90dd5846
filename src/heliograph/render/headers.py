"""Header fields as bytes: cleaned, encoded (RFC 2047), folded (RFC 5322), never more than what was meant.

Nothing that comes from a person's data may end a line, begin a field, or smuggle an encoded word: every value passes
:func:`clean`, and ASCII that looks like an encoded word is itself encoded.
"""

import re
from binascii import b2a_base64
from datetime import UTC, datetime
from functools import lru_cache

from heliograph.events.domains import a_label
from heliograph.render.errors import BadAddress

SOFT = 78
"""Characters a line should not exceed (RFC 5322, section 2.1.1)."""
HARD = 998
"""Characters a line must not exceed."""
MAX_ADDRESS = 320
"""Octets: 64 of a local part, 255 of a domain (RFC 5321, section 4.5.3.1), the @."""
_WORD_BYTES = 42
"""UTF-8 bytes per encoded word: 56 characters of base64 and 12 of dressing, 77 behind ``Subject: ``."""

# C0, DEL, C1 (with NEL), line and paragraph separator, byte order mark, lone surrogates, noncharacters.
_UNFIT = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ufeff\ud800-\udfff\ufffe\uffff]+")
_SPACES = re.compile(" {2,}")
_ATOMS = re.compile(r"[A-Za-z0-9!#$%&'*+\-/=?^_`{|}~ ]*")
_MAILBOX = re.compile(r"\s*(?P<name>.*?)\s*<\s*(?P<address>[^<>]*?)\s*>\s*", re.DOTALL)
_ADDRESS = re.compile(r"[^\s<>,;:\"()\[\]\\@\x00-\x20\x7f-\x9f]+@[A-Za-z0-9](?:[A-Za-z0-9.\-]*[A-Za-z0-9])?")
_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def clean(text: str) -> str:
    """One line of text: what could end a line or is no character becomes a space, runs of spaces become one."""
    if not (text.isascii() and text.isprintable()):
        text = _UNFIT.sub(" ", text)
    if "  " in text:
        text = _SPACES.sub(" ", text)
    return text.strip(" ")


def unstructured(name: str, text: str) -> bytes:
    """``name: text`` with its CRLF, folded, as encoded words where it must be."""
    return unstructured_clean(name, clean(text))


def unstructured_clean(name: str, value: str) -> bytes:
    """The same for a value that :func:`clean` made."""
    if value.isascii() and "=?" not in value and (folded := _fold(name, value)) is not None:
        return folded
    return f"{name}: ".encode() + b"\r\n ".join(_encoded_words(value)) + b"\r\n"


def _fold(name: str, value: str) -> bytes | None:
    """Folded at spaces; None when a word is too long for a line."""
    line = f"{name}: {value}"
    if len(line) <= SOFT:
        return line.encode() + b"\r\n"
    line = f"{name}:"
    lines: list[str] = []
    for word in value.split(" "):
        if len(line) + 1 + len(word) > SOFT and line != f"{name}:":
            lines.append(line)
            line = ""
        line += " " + word
        if len(line) > HARD:
            return None
    lines.append(line)
    return "\r\n".join(lines).encode() + b"\r\n"


def _encoded_words(value: str) -> list[bytes]:
    """RFC 2047 words of at most 75 characters, each of whole UTF-8 characters."""
    words: list[bytes] = []
    chunk = b""
    for character in value:
        raw = character.encode()
        if len(chunk) + len(raw) > _WORD_BYTES:
            words.append(chunk)
            chunk = b""
        chunk += raw
    words.append(chunk)
    return [b"=?utf-8?b?" + b2a_base64(word, newline=False) + b"?=" for word in words]


@lru_cache(4096)
def split_mailbox(text: str) -> tuple[str, str]:
    """``Name <local@domain>`` or ``local@domain`` as (name, address); the domain as A-label.  Raises
    :class:`BadAddress`."""
    match = _MAILBOX.fullmatch(text)
    name, address = (match["name"], match["address"]) if match else ("", text.strip())
    if len(name) >= 2 and name[0] == name[-1] == '"':
        name = re.sub(r"\\(.)", r"\1", name[1:-1])
    local, at, domain = address.rpartition("@")
    if not domain.isascii():
        try:
            domain = a_label(domain)
        except UnicodeError as error:
            raise BadAddress(f"{text!r} has no valid domain") from error
    address = local + at + domain
    if not _ADDRESS.fullmatch(address) or len(address) > MAX_ADDRESS or _UNFIT.search(address):
        raise BadAddress(f"{text!r} is no email address")
    return clean(name), address


def bare(text: str) -> str:
    """An address alone, as the envelope has it; raises :class:`BadAddress`.  Kept by nobody: each is mailed once."""
    if _ADDRESS.fullmatch(text) and text.isascii() and len(text) <= MAX_ADDRESS:
        return text
    name, address = split_mailbox(text)
    if name:
        raise BadAddress(f"{text!r} is more than an email address")
    return address


def _phrase(name: str) -> bytes:
    if not name.isascii() or "=?" in name or len(name) > SOFT - 14:
        return b"\r\n ".join(_encoded_words(name))
    if _ATOMS.fullmatch(name):
        return name.encode()
    return b'"' + name.replace("\\", "\\\\").replace('"', '\\"').encode() + b'"'


@lru_cache(4096)
def mailbox(name: str, text: str) -> bytes:
    """An address field with its CRLF; raises :class:`BadAddress`.  A non-ASCII local part stays as UTF-8 (RFC 6532),
    and then the transport needs SMTPUTF8."""
    display, address = split_mailbox(text)
    raw = address.encode()
    if not display:
        return f"{name}: ".encode() + raw + b"\r\n"
    phrase = _phrase(display)
    last_line = len(phrase.rpartition(b"\r\n")[2]) + len(name) + 2
    glue = b" <" if last_line + len(raw) + 3 <= SOFT else b"\r\n <"
    return f"{name}: ".encode() + phrase + glue + raw + b">\r\n"


def unbroken(name: str, value: str) -> bytes:
    """A field whose value holds addresses of the web: on one line, never encoded, never folded (RFC 8058 readers
    take the URL as it stands)."""
    line = f"{name}: {value}"
    if len(line) > HARD or not (line.isascii() and line.isprintable()):
        raise ValueError(f"{name} does not fit on one line of {HARD} ASCII characters")
    return line.encode() + b"\r\n"


@lru_cache(64)
def _date_text(seconds: int) -> str:
    at = datetime.fromtimestamp(seconds, UTC)
    clock = f"{at.hour:02}:{at.minute:02}:{at.second:02}"
    return f"{_DAYS[at.weekday()]}, {at.day:02} {_MONTHS[at.month - 1]} {at.year:04} {clock} +0000"


def date(at_ms: int) -> bytes:
    """The Date field (RFC 5322, section 3.3), UTC."""
    return f"Date: {_date_text(at_ms // 1000)}\r\n".encode()
