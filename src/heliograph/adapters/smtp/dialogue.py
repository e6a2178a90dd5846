"""A connection in its first phase: one question, one answer, awaited.

Used for greeting, EHLO, STARTTLS and AUTH, a few round trips per connection.  Mail itself goes through
:class:`heliograph.adapters.smtp.carrier.Carrier`, which takes the transport over.
"""

import asyncio
from collections import deque

from heliograph.adapters.smtp.wire import CRLF, ProtocolError, Reply, ReplyReader


class Broken(Exception):
    """The connection ended, fell silent or stopped being SMTP; the sentence says which.  ``silent``: it never said a
    word of SMTP."""

    def __init__(self, sentence: str, *, silent: bool = False) -> None:
        super().__init__(sentence)
        self.silent = silent


class Dialogue(asyncio.Protocol):
    """An ``asyncio`` protocol that hands out replies one by one."""

    def __init__(self) -> None:
        self._reader = ReplyReader()
        self._replies: deque[Reply] = deque()
        self._news = asyncio.Event()
        self._end = ""
        self._heard = False
        self._transport: asyncio.Transport | None = None

    @property
    def transport(self) -> asyncio.Transport:
        assert self._transport is not None, "not connected"
        return self._transport

    @transport.setter
    def transport(self, transport: asyncio.Transport) -> None:
        self._transport = transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport) or hasattr(transport, "write")
        self._transport = transport  # type: ignore[assignment]  # uvloop's transports are not registered

    def data_received(self, data: bytes) -> None:
        try:
            self._replies.extend(self._reader.feed(data))
        except ProtocolError as error:
            self._finish(f"the server does not speak SMTP: {error}")
        self._news.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self._finish("the server closed the connection" if exc is None else f"the connection broke: {exc}")

    def _finish(self, why: str) -> None:
        self._end = self._end or why
        self._news.set()

    @property
    def silent(self) -> bool:
        """Nothing is here that was not asked for."""
        return not self._replies and not self._end

    def forget(self) -> None:
        """Drop every byte read so far: what came in the clear must not be taken for something said under TLS
        (CVE-2011-0411)."""
        self._reader.forget()
        self._replies.clear()

    async def reply(self, timeout_s: float) -> Reply:
        """The next reply, or :class:`Broken`."""
        try:
            async with asyncio.timeout(timeout_s):
                while not self._replies:
                    if self._end:
                        raise Broken(self._end, silent=not self._heard)
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            raise Broken(f"the server did not answer within {timeout_s:g} s", silent=not self._heard) from None
        self._heard = True
        return self._replies.popleft()

    async def ask(self, line: bytes, timeout_s: float) -> Reply:
        """Write one line and await its reply."""
        if self._end:
            raise Broken(self._end)
        self.transport.write(line + CRLF)
        return await self.reply(timeout_s)
