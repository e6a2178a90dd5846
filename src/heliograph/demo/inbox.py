"""A local inbox: an SMTP server on loopback that keeps what it is given, to be looked at under `/inbox`.

For demos and trials only: it accepts mail for everybody, keeps the latest :data:`KEEP` messages, and never relays.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable
from email import policy
from email.message import EmailMessage
from email.parser import BytesParser
from pathlib import Path

import msgspec
from aiosmtpd.smtp import SMTP, Envelope, Session

KEEP = 500
"""Messages kept in memory and on disk: about 20 MB of 40 KB mails."""
MAX_SIZE = 10 * 1024 * 1024
"""Bytes of one message, as receivers commonly take."""
_PARSER: "BytesParser[EmailMessage]" = BytesParser(policy=policy.default)


class Received(msgspec.Struct, frozen=True):
    """One message as it came over SMTP.  ``at``: ms when its final dot was read."""

    id: str
    at: int
    sender: str
    recipients: list[str]
    raw: bytes

    def parse(self) -> EmailMessage:
        return _PARSER.parsebytes(self.raw)

    @property
    def message_id(self) -> str:
        """Heliograph's id: the local part of the Message-ID header."""
        return str(self.parse()["message-id"] or "").strip().strip("<>").partition("@")[0]


def part(message: EmailMessage, kind: str) -> str:
    """The text of the first part of this kind (``html`` or ``plain``), or ``""``."""
    body = message.get_body((kind,))
    return str(body.get_content()) if body is not None else ""


class Inbox:
    """Keeps messages, newest last.  ``folder``: where they are kept over a restart, or None."""

    def __init__(self, folder: Path | None = None, now: Callable[[], float] = time.time) -> None:
        self._now = now
        self._folder = folder
        self._messages: OrderedDict[str, Received] = OrderedDict()
        self._count = 0
        self._arrived = asyncio.Event()
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
            self._load(folder)

    def _load(self, folder: Path) -> None:
        for file in sorted(folder.glob("*.msg"))[-KEEP:]:
            received = msgspec.msgpack.decode(file.read_bytes(), type=Received)
            self._messages[received.id] = received
            self._count = max(self._count, int(received.id))

    def add(self, sender: str, recipients: list[str], raw: bytes) -> Received:
        self._count += 1
        received = Received(f"{self._count:08d}", int(self._now() * 1000), sender, recipients, raw)
        self._messages[received.id] = received
        if self._folder is not None:
            (self._folder / f"{received.id}.msg").write_bytes(msgspec.msgpack.encode(received))
        while len(self._messages) > KEEP:
            old, _ = self._messages.popitem(last=False)
            if self._folder is not None:
                (self._folder / f"{old}.msg").unlink(missing_ok=True)
        self._arrived.set()
        self._arrived = asyncio.Event()
        return received

    def newest(self, limit: int = 100) -> list[Received]:
        return list(reversed(self._messages.values()))[:limit]

    def get(self, id: str) -> Received | None:
        return self._messages.get(id)

    @property
    def total(self) -> int:
        """Messages that ever arrived here."""
        return self._count

    async def next_arrival(self) -> None:
        await self._arrived.wait()


class _Handler:
    """aiosmtpd calls this at the end of DATA."""

    def __init__(self, inbox: Inbox) -> None:
        self._inbox = inbox

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:
        raw = envelope.original_content or b""
        self._inbox.add(envelope.mail_from or "", list(envelope.rcpt_tos), raw)
        return "250 2.0.0 kept for /inbox"


async def listen(inbox: Inbox, host: str, port: int) -> asyncio.Server:
    """Serve SMTP on this address; ``port`` 0 takes a free one.  OSError when it is taken."""
    loop = asyncio.get_running_loop()
    handler = _Handler(inbox)
    return await loop.create_server(
        lambda: SMTP(
            handler, data_size_limit=MAX_SIZE, enable_SMTPUTF8=True, hostname="inbox.localhost", ident="inbox"
        ),
        host,
        port,
    )
