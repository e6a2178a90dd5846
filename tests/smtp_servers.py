"""SMTP receivers for tests: recording, slow, hostile.  They listen on a free port of 127.0.0.1 in the test's own loop.

A :class:`Receiver` speaks proper SMTP except where its ``rules`` say otherwise.  A rule belongs to a step: greeting,
ehlo, starttls, auth, mail, rcpt, data (the command), body (the first bytes behind 354), dot (the whole message is
here), rset, quit.  It is the bytes to answer with, or :data:`DROP`, :data:`STALL`, or a function of the count of that
step so far (from 0) that gives one of these or ``None`` for proper behaviour.
"""

import asyncio
import contextlib
import ssl
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum

from heliograph.ports import Parcel, Transport, Verdict


class Mischief(Enum):
    """What a receiver can do instead of answering."""

    DROP = "close the connection"
    STALL = "never answer"


DROP, STALL = Mischief.DROP, Mischief.STALL
Rule = bytes | Mischief
Rules = dict[str, Rule | Callable[[int], Rule | None]]

PROPER = {
    "greeting": b"220 receiver ESMTP\r\n",
    "mail": b"250 2.1.0 Ok\r\n",
    "rcpt": b"250 2.1.5 Ok\r\n",
    "data": b"354 End data with <CR><LF>.<CR><LF>\r\n",
    "dot": b"250 2.0.0 Ok: queued\r\n",
    "rset": b"250 2.0.0 Ok\r\n",
    "noop": b"250 2.0.0 Ok\r\n",
    "quit": b"221 2.0.0 Bye\r\n",
}


class _Gone(Exception):
    """This connection is over."""


@dataclass
class Mail:
    """A whole message, as it came over the wire with its dots unstuffed; ``accepted``: was it answered with 2yz?"""

    sender: str
    recipients: list[str]
    data: bytes
    accepted: bool


@dataclass
class Receiver:
    """``dot_s``: seconds between the final dot and its reply.  ``split``: bytes per packet of our replies, 0 for all
    that is there."""

    rules: Rules = field(default_factory=dict)
    offers: Sequence[str] = ("PIPELINING", "SIZE 10000000", "8BITMIME", "ENHANCEDSTATUSCODES")
    dot_s: float = 0.0
    split: int = 0
    tls: ssl.SSLContext | None = None
    mails: list[Mail] = field(default_factory=list)
    commands: list[str] = field(default_factory=list)
    connections: int = 0
    open_datas: int = 0
    port: int = 0
    counts: Counter[str] = field(default_factory=Counter)

    @property
    def url(self) -> str:
        return f"smtp://127.0.0.1:{self.port}"

    @property
    def accepted(self) -> list[Mail]:
        return [mail for mail in self.mails if mail.accepted]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        with contextlib.suppress(_Gone, ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            await _Talk(self, reader, writer).run()
        writer.transport.abort()

    async def until(self, happened: Callable[[], object], timeout_s: float = 30.0) -> None:
        """Wait for something here to be so."""
        async with asyncio.timeout(timeout_s):
            while not happened():  # noqa: ASYNC110 (many places change it)
                await asyncio.sleep(0.005)

    def rule(self, step: str) -> Rule | None:
        count, rule = self.counts[step], self.rules.get(step)
        self.counts[step] += 1
        return rule(count) if callable(rule) else rule


class _Talk:
    """One connection."""

    def __init__(self, receiver: Receiver, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.receiver, self.reader, self.writer = receiver, reader, writer
        self.sender = ""
        self.recipients: list[str] = []

    async def run(self) -> None:
        await self.step("greeting")
        while line := await self.reader.readuntil(b"\r\n"):
            self.receiver.commands.append(line.decode("utf-8", "replace").strip())
            verb, _, rest = line.decode("utf-8", "replace").strip().partition(" ")
            await getattr(self, f"do_{verb.lower()}", self.unknown)(rest)

    async def step(self, name: str, proper: bytes = b"") -> bytes:
        """Answer, or misbehave; the reply that was given."""
        rule = self.receiver.rule(name)
        if rule is DROP:
            raise _Gone
        if rule is STALL:
            await asyncio.Event().wait()
        reply = rule if isinstance(rule, bytes) else proper or PROPER[name]
        await self.say(reply)
        return reply

    async def say(self, reply: bytes) -> None:
        size = self.receiver.split or len(reply) or 1
        for at in range(0, len(reply), size):
            self.writer.write(reply[at : at + size])
            if self.receiver.split:
                await self.writer.drain()
                await asyncio.sleep(0)
        await self.writer.drain()

    async def unknown(self, rest: str) -> None:
        await self.say(b"502 5.5.2 what?\r\n")

    async def do_ehlo(self, rest: str) -> None:
        lines = ["receiver", *self.receiver.offers]
        if self.receiver.tls and self.writer.get_extra_info("ssl_object") is None:
            lines.append("STARTTLS")
        last = len(lines) - 1
        await self.step("ehlo", b"".join(b"250%s%s\r\n" % (b" -"[i < last : (i < last) + 1], line.encode())
                                         for i, line in enumerate(lines)))  # fmt: skip

    async def do_helo(self, rest: str) -> None:
        await self.say(b"250 receiver\r\n")

    async def do_starttls(self, rest: str) -> None:
        assert self.receiver.tls is not None, "STARTTLS was not offered"
        await self.step("starttls", b"220 2.0.0 go\r\n")
        await self.writer.start_tls(self.receiver.tls)

    async def do_mail(self, rest: str) -> None:
        if (await self.step("mail")).startswith(b"2"):
            self.sender, self.recipients = _address(rest), []

    async def do_rcpt(self, rest: str) -> None:
        proper = PROPER["rcpt"] if self.sender else b"503 5.5.1 MAIL first\r\n"
        if (await self.step("rcpt", proper)).startswith(b"2"):
            self.recipients.append(_address(rest))

    async def do_data(self, rest: str) -> None:
        proper = PROPER["data"] if self.recipients else b"554 5.5.1 no valid recipients\r\n"
        if not (await self.step("data", proper)).startswith(b"354"):
            return
        self.receiver.open_datas += 1
        try:
            await self.body()
        finally:
            self.receiver.open_datas -= 1

    async def body(self) -> None:
        lines: list[bytes] = []
        while (line := await self.reader.readuntil(b"\r\n")) != b".\r\n":
            if not lines and (rule := self.receiver.rule("body")) is not None:
                await self._spoil(rule)
            lines.append(line[1:] if line.startswith(b".") else line)
        mail = Mail(self.sender, self.recipients, b"".join(lines), accepted=False)
        self.receiver.mails.append(mail)
        self.sender, self.recipients = "", []
        await asyncio.sleep(self.receiver.dot_s)
        mail.accepted = (await self.step("dot")).startswith(b"2")

    async def _spoil(self, rule: Rule) -> None:
        if rule is STALL:
            self.writer.transport.pause_reading()  # type: ignore[attr-defined]
            await asyncio.Event().wait()
        if isinstance(rule, bytes):
            await self.say(rule)
        raise _Gone

    async def do_rset(self, rest: str) -> None:
        self.sender, self.recipients = "", []
        await self.step("rset")

    async def do_noop(self, rest: str) -> None:
        await self.step("noop")

    async def do_quit(self, rest: str) -> None:
        await self.step("quit")
        raise _Gone


def _address(rest: str) -> str:
    return rest.partition("<")[2].partition(">")[0]


@contextlib.asynccontextmanager
async def listening(
    receiver: Receiver, *, implicit_tls: ssl.SSLContext | None = None, host: str = "127.0.0.1", port: int = 0
) -> AsyncIterator[Receiver]:
    """The receiver, on a free port unless one is named; every connection is cut at the end."""
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await receiver.serve(reader, writer)
        except asyncio.CancelledError:
            writer.transport.abort()
        finally:
            tasks.discard(task)

    server = await asyncio.start_server(serve, host, port, ssl=implicit_tls, limit=1 << 20)
    receiver.port = server.sockets[0].getsockname()[1]
    try:
        yield receiver
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0)


class Ledger:
    """A courier for tests: decides every commit point at once (or with ``stop``, or after ``later_s``), and keeps
    asks and verdicts."""

    def __init__(self, *, stop: Sequence[str] = (), later_s: float | None = None) -> None:
        self.transport: Transport | None = None
        self.asked: list[list[str]] = []
        self.verdicts: dict[str, Verdict] = {}
        self.stop = frozenset(stop)
        self._later_s = later_s
        self._news = asyncio.Event()

    def ask(self, message_ids: Sequence[str]) -> None:
        self.asked.append(list(message_ids))
        if self._later_s is None:
            self._answer(message_ids)
        else:
            asyncio.get_running_loop().call_later(self._later_s, self._answer, message_ids)

    def _answer(self, message_ids: Sequence[str]) -> None:
        assert self.transport is not None
        go = [one for one in message_ids if one not in self.stop]
        self.transport.decided(go, [one for one in message_ids if one in self.stop])

    def delivered(self, parcel: Parcel, verdict: Verdict) -> None:
        assert parcel.message_id not in self.verdicts, "one verdict for each message"
        self.verdicts[parcel.message_id] = verdict
        self._news.set()

    async def settled(self, count: int, timeout_s: float = 30.0) -> dict[str, Verdict]:
        """The verdicts, once there are so many."""
        async with asyncio.timeout(timeout_s):
            while len(self.verdicts) < count:
                self._news.clear()
                await self._news.wait()
        return self.verdicts
