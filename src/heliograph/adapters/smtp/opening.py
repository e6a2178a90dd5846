"""From nothing to a connection that takes mail: connect, greeting, EHLO, STARTTLS, AUTH.

What each ``tls`` setting means: *implicit* and *required* verify the certificate and never go on without; *optional*
encrypts when the server offers it, as relays do among themselves, without asking whose certificate it is, and without
a login to protect it goes on in clear text where TLS fails; *off* never tries.
"""

import asyncio
import socket
import ssl
from base64 import b64encode

import msgspec

from heliograph.adapters.smtp.dialogue import Broken, Dialogue
from heliograph.adapters.smtp.limits import Limits
from heliograph.adapters.smtp.url import Relay
from heliograph.adapters.smtp.wire import Offer, Reply, read_offer


class CannotOpen(Exception):
    """No mail goes this way now.  ``kind``: unreachable, tls, login or refused; the sentence is for the operator.
    ``reply`` is what the server answered, if that is the reason."""

    def __init__(self, kind: str, sentence: str, reply: Reply | None = None) -> None:
        super().__init__(sentence)
        self.kind = kind
        self.reply = reply


class Session(msgspec.Struct, frozen=True):
    """An open connection, greeted, encrypted and logged in as far as the settings ask."""

    transport: asyncio.Transport
    offer: Offer
    encrypted: bool


def verifying() -> ssl.SSLContext:
    """Trusts what the system trusts (``SSL_CERT_FILE`` is heeded)."""
    return ssl.create_default_context()


def unverifying() -> ssl.SSLContext:
    """For ``optional``: a listener is shut out, an impostor is not."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


class Opener:
    """Opens connections to one relay.  ``trust`` replaces the system's certificates (tests, private authorities)."""

    def __init__(self, relay: Relay, limits: Limits, trust: ssl.SSLContext | None = None) -> None:
        self.relay = relay
        self._limits = limits
        self._optional = relay.tls == "optional"
        self._context = None if self._optional else trust

    async def open(self) -> Session:
        """A session, or :class:`CannotOpen`."""
        try:
            return await self._open(self.relay.tls)
        except CannotOpen as error:
            if error.kind != "tls" or not self._optional or self.relay.user is not None:
                raise
        return await self._open("off")

    async def _open(self, tls: str) -> Session:
        dialogue = await self._connect(tls)
        try:
            return await self._introduce(dialogue, tls)
        except BaseException as error:
            dialogue.transport.abort()
            if isinstance(error, Broken):
                raise CannotOpen("unreachable", f"{self.relay}: {error}") from error
            raise

    async def _connect(self, tls: str) -> Dialogue:
        relay, implicit = self.relay, tls == "implicit"
        try:
            async with asyncio.timeout(self._limits.connect_s):
                _, dialogue = await asyncio.get_running_loop().create_connection(
                    Dialogue,
                    relay.host,
                    relay.port,
                    ssl=self._tls_context() if implicit else None,
                    server_hostname=relay.host if implicit else None,
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
        if tls == "required" and not offer.starttls:
            raise CannotOpen("tls", f"{self.relay} offers no STARTTLS, and the url says starttls=required")
        if tls in ("required", "optional") and offer.starttls:
            await self._starttls(dialogue)
            offer, encrypted = await self._ehlo(dialogue), True
        if self.relay.user is not None:
            await self._login(dialogue, offer, self.relay.user)
        if not dialogue.silent:
            raise CannotOpen("refused", f"{self.relay} said something that nobody asked for")
        # No await may stand between here and the carrier's taking over: what arrives must not fall between the two.
        return Session(dialogue.transport, offer, encrypted)

    async def _ehlo(self, dialogue: Dialogue) -> Offer:
        """The local address as a literal: it is always at hand and never a lie (RFC 5321, 4.1.3)."""
        name = _address_literal(dialogue.transport.get_extra_info("sockname"))
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
            raise CannotOpen("tls", f"{self.relay} refused STARTTLS: {reply}", reply)
        loop = asyncio.get_running_loop()
        try:
            encrypted = await loop.start_tls(
                dialogue.transport,
                dialogue,
                self._tls_context(),
                server_hostname=self.relay.host,
                ssl_handshake_timeout=self._limits.connect_s,
            )
        except OSError as error:  # ssl.SSLError is one
            raise self._tls_failed(error) from error
        if encrypted is None:
            raise CannotOpen("tls", f"TLS with {self.relay} failed: the server closed the connection")
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

    def _tls_context(self) -> ssl.SSLContext:
        if self._context is None:
            self._context = unverifying() if self._optional else verifying()
        return self._context

    def _tls_failed(self, error: OSError) -> CannotOpen:
        return CannotOpen("tls", f"TLS with {self.relay} failed: {_tls_reason(error)}")


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
