"""Where the relay is: ``smtp://user:pass%40word@host:port?starttls=optional``, taken apart."""

from typing import Final
from urllib.parse import parse_qsl, unquote_to_bytes, urlsplit

import msgspec

PORTS: Final = {"smtp": 25, "smtps": 465}
STARTTLS: Final = ("required", "optional", "off")


class BadUrl(ValueError):
    """The setting ``[smtp] url`` cannot be understood.  The sentence says what to write, never the password."""


class Relay(msgspec.Struct, frozen=True):
    """``tls``: implicit (smtps), required, optional or off.  ``user`` is ``None`` when there is no login."""

    host: str
    port: int
    tls: str = "optional"
    user: str | None = None
    password: str = ""

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_url(url: str) -> Relay:
    """Raises :class:`BadUrl`.  User and password are percent-decoded UTF-8; ``starttls`` is optional by default."""
    try:
        parts = urlsplit(url.strip())
        port = parts.port
    except ValueError as error:
        raise BadUrl(f"the SMTP url is malformed: {_why(error)}") from None
    if parts.scheme not in PORTS:
        raise BadUrl(f"the SMTP url begins with smtp:// or smtps://, not {parts.scheme or 'nothing'!r}")
    if not parts.hostname:
        raise BadUrl("the SMTP url names no host: smtp://HOST:PORT (percent-encode @ / # ? in user and password)")
    if parts.path not in ("", "/") or parts.fragment:
        raise BadUrl("the SMTP url ends after the port; percent-encode / # ? in user and password (%2F %23 %3F)")
    return Relay(
        host=parts.hostname,
        port=PORTS[parts.scheme] if port is None else _port(port),
        tls=_tls(parts.scheme, parts.query),
        user=None if parts.username is None else _decoded(parts.username, "user"),
        password=_decoded(parts.password or "", "password"),
    )


def _why(error: ValueError) -> str:
    """urllib's own sentence, unless it quotes what may be the password."""
    return "the port is a number from 1 to 65535" if "ort" in str(error) else "check brackets and special characters"


def _port(port: int) -> int:
    if port == 0:
        raise BadUrl("the SMTP url is malformed: the port is a number from 1 to 65535")
    return port


def _tls(scheme: str, query: str) -> str:
    options = dict(parse_qsl(query, keep_blank_values=True))
    starttls = options.pop("starttls", None)
    if options:
        raise BadUrl(f"the SMTP url has an unknown option {min(options)!r}; there is only starttls")
    if starttls is not None and starttls not in STARTTLS:
        raise BadUrl(f"starttls is required, optional or off, not {starttls!r}")
    if scheme == "smtps":
        if starttls not in (None, "off"):
            raise BadUrl("smtps:// is TLS from the first byte; starttls goes with smtp://")
        return "implicit"
    return starttls or "optional"


def _decoded(text: str, what: str) -> str:
    try:
        decoded = unquote_to_bytes(text).decode()
    except UnicodeDecodeError:
        raise BadUrl(f"the {what} in the SMTP url is not percent-encoded UTF-8") from None
    if any(c in decoded for c in "\0\r\n"):
        raise BadUrl(f"the {what} in the SMTP url holds a control character")
    return decoded
