"""From nothing to a connection that takes mail: connect, greeting, EHLO, STARTTLS, AUTH.

What each ``tls`` setting means: *implicit* and *required* verify the certificate and never go on without; *encrypted*
never goes on without TLS either, but asks not whose certificate it is; *optional* encrypts when the server offers it,
as relays do among themselves, without asking either, and without a login to protect it goes on in clear text where TLS
fails; *off* never tries.  TLS is 1.2 at least.
"""

import asyncio
import socket
import ssl
from base64 import b64encode
from typing import Final

import msgspec

from heliograph.adapters.smtp.dialogue import Broken, Dialogue
from heliograph.adapters.smtp.limits import Limits
from heliograph.adapters.smtp.trust import Trust
from heliograph.adapters.smtp.url import Relay
from heliograph.adapters.smtp.wire import Offer, Reply, read_offer

VERIFIED: Final = ("implicit", "required")
"""Settings that ask whose certificate it is."""
NO_STARTTLS: Final = "4.7.4"
"""Security features not supported (RFC 3463)."""
BAD_TLS: Final = "4.7.5"
"""Cryptographic failure (RFC 3463)."""


class CannotOpen(Exception):
    """No mail goes this way now.  ``kind``: unreachable, tls, login or refused; the sentence is for the operator.
    ``reply`` is what the server answered, if that is the reason; ``enhanced`` an RFC 3463 code where it gave none."""

    def __init__(self, kind: str, sentence: str, reply: Reply | None = None, enhanced: str = "") -> None:
        super().__init__(sentence)
        self.kind = kind
        self.reply = reply
        self.enhanced = reply.enhanced if reply and reply.enhanced else enhanced


class Session(msgspec.Struct, frozen=True):
    """An open connection, greeted, encrypted and logged in as far as the settings ask.  ``via``: whom it leads to, and
    how: ``mx.example:25 (TLSv1.3, certificate verified)``."""

    transport: asyncio.Transport
    offer: Offer
    encrypted: bool
    via: str = ""


class Origin(msgspec.Struct, frozen=True):
    """Who we are.  ``ehlo``: our name, empty for our address as a literal, which is always at hand and never a lie
    (RFC 5321, 4.1.3).  ``address``: to connect from, empty for what the system chooses."""

    ehlo: str = ""
    address: str = ""


class Opener:
    """Opens connections to one relay, or with ``at`` to that address of it."""

    def __init__(self, relay: Relay, limits: Limits, trust: Trust, origin: Origin | None = None, at: str = "") -> None:
        self.relay = relay
        self._limits = limits
        self._trust = trust
        self._origin = origin or Origin()
        self._at = at

    def __str__(self) -> str:
        return str(self.relay)

    async def open(self) -> Session:
        """A session, or :class:`CannotOpen`."""
        try:
            return await self._open(self.relay.tls)
        except CannotOpen as error:
            if error.kind != "tls" or self.relay.tls != "optional" or self.relay.user is not None:
                raise
        return await self._open("off")

    async def _open(self, tls: str) -> Session:
        dialogue = await self._connect(tls)
        try:
            return await self._introduce(dialogue, tls)
        except BaseException as error:
            dialogue.transport.abort()
            if isinstance(error, Broken):
                raise CannotOpen("unreachable", f"{self.relay}: {error}{self._hint(error, tls)}") from error
            raise

    async def _connect(self, tls: str) -> Dialogue:
        relay, implicit = self.relay, tls == "implicit"
        try:
            async with asyncio.timeout(self._limits.connect_s):
                _, dialogue = await asyncio.get_running_loop().create_connection(
                    Dialogue,
                    self._at or relay.host,
                    relay.port,
                    ssl=self._trust.verifying if implicit else None,
                    server_hostname=relay.host if implicit else None,
                    local_addr=(self._origin.address, 0) if self._origin.address else None,
                )
        except TimeoutError:
            raise CannotOpen("unreachable", f"{relay}: no answer within {self._limits.connect_s:g} s") from None
        except ssl.SSLError as error:
            raise self._tls_failed(error) from error
        except UnicodeError as error:
            raise CannotOpen("unreachable", f"{relay.host!r} is not a host name") from error
        except OSError as error:
            if implicit and isinstance(error, ConnectionResetError | ConnectionAbortedError):
                raise self._tls_failed(error) from error
            raise CannotOpen("unreachable", f"{relay}: {_os_reason(error, relay.host)}") from error
        return dialogue

    async def _introduce(self, dialogue: Dialogue, tls: str) -> Session:
        greeting = await dialogue.reply(self._limits.greeting_s)
        if greeting.code != 220:
            raise CannotOpen("refused", f"{self.relay} takes no mail: {greeting}", greeting)
        offer, encrypted = await self._ehlo(dialogue), tls == "implicit"
        if tls in ("required", "encrypted") and not offer.starttls:
            why = ", and the url says starttls=required" if tls == "required" and not self._at else ""
            raise CannotOpen("tls", f"{self.relay} offers no STARTTLS{why}", enhanced=NO_STARTTLS)
        if tls != "off" and offer.starttls and not encrypted:
            await self._starttls(dialogue)
            offer, encrypted = await self._ehlo(dialogue), True
        if self.relay.user is not None:
            await self._login(dialogue, offer, self.relay.user)
        if not dialogue.silent:
            raise CannotOpen("refused", f"{self.relay} said something that nobody asked for")
        # No await may stand between here and the carrier's taking over: what arrives must not fall between the two.
        return Session(dialogue.transport, offer, encrypted, f"{self.relay} ({self._protection(dialogue, tls)})")

    def _protection(self, dialogue: Dialogue, tls: str) -> str:
        secure = dialogue.transport.get_extra_info("ssl_object")
        if secure is None:
            return "no TLS"
        return f"{secure.version()}, certificate {'verified' if tls in VERIFIED else 'not verified'}"

    async def _ehlo(self, dialogue: Dialogue) -> Offer:
        name = self._origin.ehlo.encode() or _address_literal(dialogue.transport.get_extra_info("sockname"))
        reply = await dialogue.ask(b"EHLO " + name, self._limits.command_s)
        if reply.code == 250:
            return read_offer(reply)
        if 500 <= reply.code < 600:
            reply = await dialogue.ask(b"HELO " + name, self._limits.command_s)
        if reply.code != 250:
            raise CannotOpen("refused", f"{self.relay} takes no mail: {reply}", reply)
        return Offer()

    async def _starttls(self, dialogue: Dialogue) -> None:
        reply = await dialogue.ask(b"STARTTLS", self._limits.command_s)
        if reply.code != 220:
            raise CannotOpen("tls", f"{self.relay} refused STARTTLS: {reply}", reply, BAD_TLS)
        loop = asyncio.get_running_loop()
        verify = self.relay.tls in VERIFIED
        try:
            encrypted = await loop.start_tls(
                dialogue.transport,
                dialogue,
                self._trust.verifying if verify else self._trust.unverifying,
                server_hostname=self.relay.host,
                ssl_handshake_timeout=self._limits.connect_s,
            )
        except OSError as error:  # ssl.SSLError is one
            raise self._tls_failed(error) from error
        if encrypted is None:
            raise CannotOpen("tls", f"TLS with {self.relay} failed: the server closed the connection", None, BAD_TLS)
        dialogue.forget()
        dialogue.transport = encrypted

    async def _login(self, dialogue: Dialogue, offer: Offer, user: str) -> None:
        limit = self._limits.command_s
        if "PLAIN" in offer.auth:
            secret = _b64(f"\0{user}\0{self.relay.password}")
            reply = await dialogue.ask(b"AUTH PLAIN " + secret, limit)
            if reply.code == 334:
                reply = await dialogue.ask(secret, limit)
        elif "LOGIN" in offer.auth:
            reply = await dialogue.ask(b"AUTH LOGIN", limit)
            for answer in (user, self.relay.password):
                if reply.code == 334:
                    reply = await dialogue.ask(_b64(answer), limit)
        else:
            offers = f"only {', '.join(sorted(offer.auth))}" if offer.auth else "no login here"
            hint = "" if offer.auth or self.relay.tls != "off" else " (perhaps only under TLS: starttls=required)"
            raise CannotOpen("login", f"{self.relay} offers {offers}, the url has a user{hint}")
        if reply.code != 235:
            raise CannotOpen("login", f"{self.relay} refused the login of {user}: {reply}", reply)

    def _tls_failed(self, error: OSError) -> CannotOpen:
        return CannotOpen("tls", f"TLS with {self.relay} failed: {_tls_reason(error)}", enhanced=BAD_TLS)

    def _hint(self, error: Broken, tls: str) -> str:
        """A port that expects TLS from the first byte says nothing, or an alert that is no SMTP."""
        mute = error.silent and tls != "implicit" and not self._at
        return " (does this port expect TLS from the first byte? then the url begins with smtps://)" if mute else ""


def _tls_reason(error: OSError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the certificate is not trusted: {error.verify_message}"
    if isinstance(error, ssl.SSLError) and error.reason:
        return error.reason.lower().replace("_", " ")
    return "the server broke off the handshake" if isinstance(error, ConnectionError) else str(error)


def _os_reason(error: OSError, host: str) -> str:
    if isinstance(error, socket.gaierror):
        return f"the host name {host} is not known ({error.strerror})"
    if isinstance(error, ConnectionRefusedError) or "refused" in str(error):
        return "nothing listens there (connection refused)"
    return error.strerror or str(error)


def _address_literal(sockname: tuple[str, int] | str | None) -> bytes:
    host = sockname[0] if isinstance(sockname, tuple) else "127.0.0.1"
    host = host.partition("%")[0]
    return f"[IPv6:{host}]".encode() if ":" in host else f"[{host}]".encode()


def _b64(text: str) -> bytes:
    return b64encode(text.encode())
