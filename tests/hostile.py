"""A hostile SMTP receiver: what it does is data, and it keeps an exact account of every message.

A *script* says at which :class:`Point` of the dialogue which *trick* is played, and how often.  A trick is a row of
acts: bytes to say, the proper reply or a piece of it, and perhaps an end (FIN, RST, or silence for ever).  Whatever it
says, the receiver itself is consistent, and as unkind as a real one may be: a message whose final dot it has read it
**keeps**, unless it has said a whole 4yz or 5yz reply to it; that nobody heard its 250 is not its worry (RFC 1047).

So the account (:class:`Entry`) knows what the client can only guess, and laws can be told from it:
:func:`check`.
"""

import asyncio
import contextlib
import itertools
import re
import socket
import ssl
import struct
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, StrEnum
from typing import NamedTuple

from heliograph.deliver.replies import SESSION_FAULTS


class Point(StrEnum):
    """Where in the dialogue.  BODY: in the message, at :attr:`Hostile.body_at`; DOT: behind its final dot."""

    CONNECT = "connect"
    BANNER = "banner"
    EHLO = "ehlo"
    STARTTLS = "starttls"
    MAIL = "mail"
    RCPT = "rcpt"
    DATA = "data"
    BODY = "body"
    DOT = "dot"
    RSET = "rset"
    QUIT = "quit"


class End(Enum):
    """How a connection can end."""

    FIN = "closes"
    RST = "resets"
    STALL = "falls silent"


class Piece(Enum):
    """Something made of the reply that would be proper here."""

    WHOLE = "the whole reply"
    HALF = "its first half"
    LINE = "the first line of a longer one"
    SPLIT = "in packets of one byte"


@dataclass(frozen=True)
class Flood:
    """These bytes, without end."""

    data: bytes


Act = bytes | Piece | End | Flood
Trick = tuple[Act, ...]

ENDS: Mapping[str, Trick] = {
    f"{end.value} {when}".strip(): (*said, end)
    for end in End
    for when, said in {
        "": (),
        "within the reply": (Piece.HALF,),
        "between two lines": (Piece.LINE,),
        "behind the reply": (Piece.WHOLE,),
    }.items()
}
"""The connection ends, before, within or behind what would be proper."""

LINES = {
    "421 closing": b"421 4.3.2 closing down\r\n",
    "421 rate": b"421 4.7.0 too many messages, slow down\r\n",
    "450 greylisted": b"450 4.7.1 greylisted, come back later\r\n",
    "450 full": b"450 4.2.2 the mailbox is full\r\n",
    "451": b"451 4.3.0 later\r\n",
    "452": b"452 4.3.1 no space\r\n",
    "452 bare": b"452\r\n",
    "550 unknown": b"550 5.1.1 no such user\r\n",
    "550 about the sender": b"550 5.1.1 <shop@shop.example>: Sender address rejected: User unknown\r\n",
    "550 policy": b"550 5.7.26 this mail is not authenticated\r\n",
    "550 bare": b"550 no\r\n",
    "552 too big": b"552 5.3.4 the message is too big\r\n",
    "552 full": b"552 5.2.2 the mailbox is full\r\n",
    "554 blocked": b"554 5.7.1 blocked by our policy\r\n",
    "554 long": b"554-5.7.1 this is\r\n554-5.7.1 a long\r\n554 5.7.1 story\r\n",
}
ANSWERS: Mapping[str, Trick] = {
    **{name: (line,) for name, line in LINES.items()},
    "421 and closes": (LINES["421 closing"], End.FIN),
    "421 and resets": (LINES["421 closing"], End.RST),
    "450 and closes": (LINES["450 greylisted"], End.FIN),
    "550 and closes": (LINES["550 unknown"], End.FIN),
    "550 and resets": (LINES["550 unknown"], End.RST),
    "554 and falls silent": (LINES["554 blocked"], End.STALL),
}
"""It says no, and goes on or not."""

NONSENSE: Mapping[str, Trick] = {
    "two codes in one reply": (b"250-fine\r\n550 5.1.1 no such user\r\n",),
    "refuses and takes in one reply": (b"550-5.1.1 no such user\r\n250 fine\r\n",),
    "garbage": (b"\x00\xff\xfe hello\r\n",),
    "HTTP": (b"HTTP/1.1 400 Bad Request\r\n\r\n",),
    "no number": (b"ok\r\n",),
    "a number too great": (b"999 9.9.9 no\r\n",),
    "a number too small": (b"150 wait\r\n",),
    "334": (b"334 VXNlcm5hbWU6\r\n",),
    "354": (b"354 go on\r\n",),
    "250": (b"250 2.0.0 fine\r\n",),
    "220": (b"220 hello\r\n",),
    "251": (b"251 2.1.5 will forward\r\n",),
    "503": (b"503 5.5.1 bad sequence of commands\r\n",),
    "530": (b"530 5.7.0 authenticate first\r\n",),
    "535": (b"535 5.7.8 authentication failed\r\n",),
    "NUL in the words": (b"250 2.0.0 o\x00k\r\n",),
    "8-bit words": (b"250 2.0.0 \xff\xfe\x80 ok\r\n",),
    "bare LF": (b"250 2.0.0 ok\n",),
    "bare CR": (b"250 2.0.0 ok\r", b"250 2.0.0 ok\r\n"),
    "an empty line": (b"\r\n",),
    "byte by byte": (Piece.SPLIT,),
    "two replies at once": (Piece.WHOLE, Piece.WHOLE),
    "a 250 too many": (Piece.WHOLE, b"250 2.0.0 fine\r\n"),
    "a 354 too many": (Piece.WHOLE, b"354 go on\r\n"),
    "a 421 behind": (Piece.WHOLE, b"421 4.3.2 closing down\r\n"),
    "a line without end": (Flood(b"x" * 1024),),
    "a reply without end": (Flood(b"250-more\r\n"),),
    "a refusal without end": (Flood(b"550-5.1.1 no such user\r\n"),),
}
"""It does not speak SMTP, or not in turn."""

TRICKS: Mapping[str, Trick] = {**ENDS, **ANSWERS, **NONSENSE}


@dataclass(frozen=True)
class Turn:
    """A trick, played at those occurrences of its point (counted from 0) that :attr:`at` names; None: always."""

    trick: Trick
    at: frozenset[int] | None = frozenset({1, 2, 4})

    def now(self, count: int) -> bool:
        return self.at is None or count in self.at


Script = Mapping[Point, Turn]

_WHOLE = re.compile(rb"((?:[2-5]\d\d-[^\r\n]*\r?\n)*)([2-5]\d\d)(?: [^\n]*|\r?)\n")


def first_code(said: bytes) -> int:
    """The code of the first whole reply in these bytes, 0 when there is none.  Not the client's reader, on purpose."""
    found = _WHOLE.match(said)
    if found is None or {line[:3] for line in found[1].splitlines()} - {found[2]}:
        return 0
    return int(found[2])


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
NOBODY: bytes = b"550 5.1.1 no such user\r\n"


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


# -- scripts --


def matrix(points: Sequence[Point] = tuple(Point)) -> dict[str, Script]:
    """Every trick at every point where it means anything."""
    return {
        f"{point}: {name}": {point: Turn(trick)}
        for point, (name, trick) in itertools.product(points, TRICKS.items())
        if point not in (Point.CONNECT, Point.BODY) or not set(trick) & set(Piece)
    }


PAIRS: Mapping[str, Script] = {
    "354 behind a refused recipient": {
        Point.RCPT: Turn((LINES["550 unknown"],)), Point.DATA: Turn((b"354 go\r\n",), None),
    },
    "354 behind a refused sender": {Point.MAIL: Turn((LINES["550 policy"],)), Point.DATA: Turn((b"354 go\r\n",), None)},
    "452 recipient, DATA all the same, drop at the dot": {
        Point.RCPT: Turn((LINES["452"],)), Point.DATA: Turn((b"354 go\r\n",), None), Point.DOT: Turn((End.FIN,)),
    },
    "refuses and drops at RSET": {Point.RCPT: Turn((LINES["550 unknown"],)), Point.RSET: Turn((End.RST,))},
    "drops in the body and at the dot": {Point.BODY: Turn((End.RST,)), Point.DOT: Turn((End.FIN,), frozenset({3, 5}))},
}  # fmt: skip
"""What only two points together bring about."""


# -- laws --


class Fate(NamedTuple):
    """What the client says became of a message: sent, retry (it waits), bounced or unknown; and its reason."""

    kind: str
    reply: str
    suppressed: bool = False


def check(receiver: Hostile, fates: Mapping[str, Fate]) -> None:
    """Every law, for every recipient; AssertionError tells which one is broken for whom."""
    assert not receiver.misheard, f"lines of a message were taken for commands: {receiver.misheard[:3]}"
    for address, fate in fates.items():
        entry = receiver.entries[address]
        broken = [law for law, holds in _laws(receiver, entry, fate).items() if not holds]
        assert not broken, f"{address}: {broken}: {fate}, {entry}"


def together(servers: Sequence[Hostile]) -> Hostile:
    """The account of servers that stand behind one address: one receiver, as far as laws go."""
    whole = Hostile({})
    for server in servers:
        whole.refused_senders += server.refused_senders
        whole.misheard += server.misheard
        for address, entry in server.entries.items():
            one = whole.entries[address]
            one.kept += entry.kept
            one.asked += entry.asked
            one.heard = one.heard or entry.heard
            one.said += entry.said
    return whole


def _laws(receiver: Hostile, entry: Entry, fate: Fate) -> dict[str, bool]:
    kept, kind = entry.kept, fate.kind
    for_good = any(map(_for_good, [*entry.refusals, *receiver.refused_senders]))
    return {
        "nobody has two copies": kept <= 1,
        "what is `sent` was accepted": kind != "sent" or kept == 1 or entry.early,
        "an acceptance that was read is `sent`": not entry.heard or kind == "sent",
        "what the receiver has is not tried again, nor given up": not kept or kind in ("sent", "unknown"),
        "`unknown` only where the final dot can have been written": kind != "unknown" or entry.begun,
        "`bounced` only when this message was refused for good": kind != "bounced" or for_good,
        "suppressed only when the address was said to be dead": (
            not fate.suppressed or any(said.startswith(NOBODY) for said in entry.refusals)
        ),
        "what waits says why": kind in ("sent", "bounced", "unknown", "retry") and bool(fate.reply),
    }


def _for_good(said: bytes) -> bool:
    """A 5yz that is about a message and not about the session."""
    return first_code(said) >= 500 and first_code(said) not in SESSION_FAULTS
