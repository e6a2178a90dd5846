"""A hostile SMTP receiver: what it does is data, and it keeps an exact account of every message.

A *script* says at which :class:`Point` of the dialogue which *trick* is played, and how often
(:mod:`tests.hostile_scripts`).  A trick is a row of acts: bytes to say, the proper reply or a piece of it, and perhaps
an end (FIN, RST, or silence for ever).  Whatever it says, the receiver itself is consistent, and as unkind as real ones
are: a message whose final dot it has read it **keeps**, unless it has said a whole 4yz or 5yz reply to it; that
nobody heard its 250 is not its worry (RFC 1047).

So the account (:class:`Entry`) knows what the client can only guess, and laws can be told from it
(:mod:`tests.hostile_laws`).
"""

import asyncio
import contextlib
import socket
import ssl
import struct
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from tests.hostile_scripts import NOBODY, Act, End, Flood, Piece, Point, Script, Trick, first_code


@dataclass
class Entry:
    """What became of the mail to one recipient.

    ``kept``: copies that the receiver has.  ``asked``: how often DATA was asked for.  ``heard``: whether the client can
    be seen to have read the 250 (it went on to what only follows that).  ``said``: everything, with its point.
    """

    kept: int = 0
    asked: int = 0
    heard: bool = False
    said: list[tuple[Point, bytes]] = field(default_factory=list)

    @property
    def begun(self) -> bool:
        """A client could take something for a 354."""
        return self.asked > 0 and any(b"354" in said for _, said in self.said)

    @property
    def early(self) -> bool:
        """It was accepted before its end was there, which no honest receiver does."""
        return any(point in (Point.DATA, Point.BODY) and b"\n2" in b"\n" + said for point, said in self.said)

    @property
    def refusals(self) -> list[bytes]:
        """Whole 4yz and 5yz replies."""
        return [said for _, said in self.said if first_code(said) >= 400]


PROPER: Mapping[Point, bytes] = {
    Point.CONNECT: b"",
    Point.BANNER: b"220 receiver ESMTP\r\n",
    Point.STARTTLS: b"220 2.0.0 go\r\n",
    Point.MAIL: b"250 2.1.0 Ok\r\n",
    Point.RCPT: b"250 2.1.5 Ok\r\n",
    Point.DATA: b"354 End data with <CR><LF>.<CR><LF>\r\n",
    Point.BODY: b"",
    Point.DOT: b"250 2.0.0 Ok: queued\r\n",
    Point.RSET: b"250 2.0.0 Ok\r\n",
    Point.QUIT: b"221 2.0.0 Bye\r\n",
}

Note = Callable[[bytes], None]


class _Over(Exception):
    """This connection is."""


@dataclass
class Hostile:
    """``strangers``: recipients that do not exist (they are refused, and so bring about RSET).  ``body_at``: after how
    many bytes of the message BODY is.  ``dot_s``: seconds between a final dot and its reply.  ``misheard``: what came
    as a command and is none."""

    script: Script
    pipelining: bool = True
    tls: ssl.SSLContext | None = None
    strangers: frozenset[str] = frozenset()
    body_at: int = 0
    dot_s: float = 0.0
    entries: defaultdict[str, Entry] = field(default_factory=lambda: defaultdict(Entry))
    counts: Counter[Point] = field(default_factory=Counter)
    refused_senders: list[bytes] = field(default_factory=list)
    misheard: list[bytes] = field(default_factory=list)
    connections: int = 0
    port: int = 0

    @property
    def url(self) -> str:
        return f"smtp://127.0.0.1:{self.port}"

    def trick(self, point: Point) -> Trick | None:
        """What is played here this time."""
        count, turn = self.counts[point], self.script.get(point)
        self.counts[point] += 1
        if turn is None or not turn.now(count):
            return None
        return turn.trick


class _Dialogue:
    """One connection."""

    def __init__(self, receiver: Hostile, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._receiver, self._reader, self._writer = receiver, reader, writer
        self._sender = ""
        self._recipient = ""
        self._unheard: list[Entry] = []

    async def run(self) -> None:
        await self._play(Point.CONNECT)
        await self._play(Point.BANNER)
        while line := await self._reader.readuntil(b"\r\n"):
            verb, _, rest = line.decode("utf-8", "replace").strip().partition(" ")
            command = _COMMANDS.get(verb)
            if command is not None:
                await command(self, rest)
                continue
            self._writer.write(b"502 5.5.2 what?\r\n")
            if verb != ".":  # with a lone dot a client backs out of a DATA that should have been refused
                self._receiver.misheard.append(line)

    # -- tricks --

    async def _play(self, point: Point, proper: bytes | None = None, note: Note = lambda said: None) -> bytes:
        """Act; what was said in all.  ``note`` hears of it even when the connection then ends."""
        proper = PROPER[point] if proper is None else proper
        said, told = b"", False
        for act in self._receiver.trick(point) or (Piece.WHOLE,):
            if isinstance(act, End | Flood):
                note(said)  # nothing comes behind it
                told = True
            said += await self._act(act, point, proper)
        if not told:
            note(said)
        return said

    async def _act(self, act: Act, point: Point, proper: bytes) -> bytes:
        match act:
            case Flood(data):
                while True:
                    self._writer.write(data * 16)
                    await self._writer.drain()
                    await asyncio.sleep(0)
            case End():
                await self._end(act)
            case Piece.SPLIT:
                for at in range(len(proper)):
                    self._writer.write(proper[at : at + 1])
                    await self._writer.drain()
                    await asyncio.sleep(0)
                return proper
        data = act if isinstance(act, bytes) else _piece(act, point, proper)
        self._writer.write(data)
        await self._writer.drain()
        return data

    async def _end(self, how: End) -> None:
        transport = self._writer.transport
        if how is End.STALL:
            transport.pause_reading()  # type: ignore[attr-defined]
            await asyncio.Event().wait()
        if how is End.RST:
            linger = struct.pack("ii", 1, 0)
            self._writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            transport.abort()
        elif transport.can_write_eof():
            # A FIN and no RST: unread bytes in a closed socket would make one.
            self._writer.write_eof()
            while await self._reader.read(65536):
                pass
        raise _Over

    # -- commands --

    async def _ehlo(self, rest: str) -> None:
        words = ["receiver", "SIZE 20000000", "8BITMIME", "ENHANCEDSTATUSCODES"]
        words += ["PIPELINING"] if self._receiver.pipelining else []
        if self._receiver.tls and self._writer.get_extra_info("ssl_object") is None:
            words.append("STARTTLS")
        await self._play(Point.EHLO, b"".join(b"250-%s\r\n" % word.encode() for word in words) + b"250 HELP\r\n")

    async def _helo(self, rest: str) -> None:
        self._writer.write(b"250 receiver\r\n")

    async def _starttls(self, rest: str) -> None:
        assert self._receiver.tls is not None, "STARTTLS was not offered"
        if (await self._play(Point.STARTTLS)).startswith(b"220"):
            await self._writer.start_tls(self._receiver.tls)

    async def _mail(self, rest: str) -> None:
        self._sender, self._recipient = "", ""
        if first_code(await self._play(Point.MAIL, note=self._receiver.refused_senders.append)) // 100 == 2:
            self._sender = rest

    async def _rcpt(self, rest: str) -> None:
        address = rest.partition("<")[2].partition(">")[0]
        proper = NOBODY if address in self._receiver.strangers else PROPER[Point.RCPT]
        proper = proper if self._sender else b"503 5.5.1 MAIL first\r\n"
        said = await self._play(Point.RCPT, proper, self._note(address, Point.RCPT))
        if first_code(said) // 100 == 2 and self._sender:
            self._recipient = address

    async def _data(self, rest: str) -> None:
        proper = PROPER[Point.DATA] if self._recipient else b"554 5.5.1 no valid recipients\r\n"
        entry = self._receiver.entries[self._recipient]
        entry.asked += 1
        said = await self._play(Point.DATA, proper, self._note(self._recipient, Point.DATA))
        if first_code(said) == 354:
            await self._body(entry)

    async def _body(self, entry: Entry) -> None:
        size, said = 0, b""
        while (line := await self._reader.readuntil(b"\r\n")) != b".\r\n":
            self._hear()
            if size <= self._receiver.body_at < size + len(line):
                said = await self._play(Point.BODY, note=self._note(self._recipient, Point.BODY))
            size += len(line)
        await asyncio.sleep(self._receiver.dot_s)
        if first_code(said):
            return  # this was its answer, and the rest is thrown away
        await self._dot(entry)

    async def _dot(self, entry: Entry) -> None:
        proper = PROPER[Point.DOT] if self._recipient else b"554 5.5.1 no valid recipients\r\n"
        entry.kept += 1
        self._sender = ""

        def note(said: bytes) -> None:
            self._note(self._recipient, Point.DOT)(said)
            entry.kept -= first_code(said) >= 400

        if first_code(await self._play(Point.DOT, proper, note)) // 100 == 2:
            self._unheard.append(entry)

    async def _rset(self, rest: str) -> None:
        self._hear()
        self._sender, self._recipient = "", ""
        await self._play(Point.RSET)

    async def _quit(self, rest: str) -> None:
        self._hear()
        await self._play(Point.QUIT)
        raise _Over

    # -- the account --

    def _hear(self) -> None:
        """What comes now is written only by a client that has read everything before it."""
        for entry in self._unheard:
            entry.heard = True
        self._unheard.clear()

    def _note(self, address: str, point: Point) -> Note:
        def note(said: bytes) -> None:
            self._receiver.entries[address].said.append((point, said))

        return note


_COMMANDS: Mapping[str, Callable[[_Dialogue, str], Awaitable[None]]] = {
    "EHLO": _Dialogue._ehlo,
    "HELO": _Dialogue._helo,
    "STARTTLS": _Dialogue._starttls,
    "MAIL": _Dialogue._mail,
    "RCPT": _Dialogue._rcpt,
    "DATA": _Dialogue._data,
    "RSET": _Dialogue._rset,
    "QUIT": _Dialogue._quit,
}


def _piece(piece: Piece, point: Point, proper: bytes) -> bytes:
    if piece is Piece.WHOLE:
        return proper
    if piece is Piece.LINE:
        return proper[:3] + b"-wait\r\n" if proper else b""
    return proper[: len(proper) // 2]


@contextlib.asynccontextmanager
async def hostile(receiver: Hostile, host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[Hostile]:
    """The receiver, on a free port unless one is named; every connection is cut at the end."""
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        receiver.connections += 1
        try:
            with contextlib.suppress(_Over, OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
                await _Dialogue(receiver, reader, writer).run()
        except asyncio.CancelledError:
            pass  # the test is over
        finally:
            writer.transport.abort()
            tasks.discard(task)

    server = await asyncio.start_server(serve, host, port, limit=1 << 20)
    receiver.port = server.sockets[0].getsockname()[1]
    try:
        yield receiver
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0)
