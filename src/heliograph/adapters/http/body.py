"""Request bodies: bounded in bytes, in time, and against decompression bombs."""

import asyncio
import zlib

from heliograph.adapters.http.reply import Problem, Receive

READ_SECONDS = 20.0
"""A whole body has to arrive within this; phones on bad networks need seconds, attackers want hours."""

DISCARD_BYTES = 2 * 1024 * 1024
"""So much of a body that is too large is still read and thrown away: a client that is cut off while it writes sees a
broken connection instead of our 413."""

_GZIP = b"\x1f\x8b"
_MAX_MEMBERS = 64


class ClientGone(Exception):
    """The client closed the connection; nobody waits for an answer."""


class Patience:
    """Cancels the tasks that have been reading for too long.

    A timer per request costs as much as decoding the event, so readers stand in one dict in order of arrival, and a
    look once a second begins at the oldest.  The look stops when nobody reads.
    """

    def __init__(self, seconds: float = READ_SECONDS) -> None:
        self.seconds = seconds
        self._since: dict[asyncio.Task[object], float] = {}
        self._lost: set[asyncio.Task[object]] = set()
        self._looking = False

    def begin(self) -> "asyncio.Task[object]":
        loop = asyncio.get_running_loop()
        task = asyncio.current_task(loop)
        assert task is not None
        self._since[task] = loop.time()
        if not self._looking:
            self._looking = True
            loop.call_later(min(1.0, self.seconds), self._look)
        return task

    def end(self, task: "asyncio.Task[object]") -> None:
        self._since.pop(task, None)

    def lost(self, task: "asyncio.Task[object]") -> bool:
        """Whether this task was cancelled here (and not by a shutdown); says so once."""
        if task in self._lost:
            self._lost.discard(task)
            task.uncancel()
            return True
        return False

    def _look(self) -> None:
        loop = asyncio.get_running_loop()
        overdue = loop.time() - self.seconds
        for task, since in list(self._since.items()):
            if since > overdue:
                break
            del self._since[task]
            self._lost.add(task)
            task.cancel()
        self._looking = bool(self._since)
        if self._looking:
            loop.call_later(min(1.0, self.seconds), self._look)


class BodyReader:
    """Reads bodies for handlers, all under one :class:`Patience`."""

    def __init__(self, patience: Patience | None = None) -> None:
        self._patience = patience or Patience()

    async def read(self, headers: dict[bytes, bytes], receive: Receive, limit: int) -> bytes:
        """The body, decompressed, at most ``limit`` bytes (before and after).

        :class:`Problem` 413 when larger, 408 when too slow, 400 when damaged, 415 for an unknown encoding;
        :class:`ClientGone`.
        """
        encoding = headers.get(b"content-encoding", b"identity").strip().lower()
        if encoding not in (b"identity", b"gzip", b"x-gzip", b""):
            raise Problem(415, "send the body plain or as gzip", headers=((b"accept-encoding", b"gzip"),))
        length = headers.get(b"content-length", b"")
        task = self._patience.begin()
        try:
            body = await _receive_all(receive, int(length) if length.isdigit() else -1, limit)
        except asyncio.CancelledError:
            if self._patience.lost(task):
                raise Problem(408, "the body took too long to arrive; send it again") from None
            raise
        finally:
            self._patience.end(task)
        # A body may arrive packed without saying so, or unpacked by a proxy that kept the header: the bytes decide.
        return inflate(body, limit) if body.startswith(_GZIP) else body


async def _receive_all(receive: Receive, length: int, limit: int) -> bytes:
    message = await receive()
    body: bytes = message.get("body", b"")
    if len(body) == length and length <= limit:
        return body
    parts, size, most = [body], len(body), max(limit, length if length <= DISCARD_BYTES else 0)
    while message.get("more_body") and size <= most:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        part = message.get("body", b"")
        size += len(part)
        if size <= limit:
            parts.append(part)
    if size > limit:
        raise _too_large(limit)
    if message["type"] == "http.disconnect":
        raise ClientGone
    return b"".join(parts)


def inflate(packed: bytes, limit: int) -> bytes:
    """gunzip to at most ``limit`` bytes, never holding more; several members are one text (RFC 1952)."""
    parts, room = [], limit + 1
    for _ in range(_MAX_MEMBERS):
        member = zlib.decompressobj(wbits=31)
        try:
            part = member.decompress(packed, room)
        except zlib.error:
            raise Problem(400, "the body is not valid gzip; send it plain or compress it again") from None
        parts.append(part)
        room -= len(part)
        if room <= 0:
            raise _too_large(limit)
        if not member.eof:
            raise Problem(400, "the gzip body ends too early; send it again")
        packed = member.unused_data
        if not packed.startswith(_GZIP):
            return b"".join(parts)
    raise Problem(400, f"the gzip body has more than {_MAX_MEMBERS} members; compress it as one")


def _too_large(limit: int) -> Problem:
    return Problem(413, f"the body is larger than {limit:,} bytes; send less at once")
