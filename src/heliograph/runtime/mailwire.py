"""The words between the engine and its mailer processes, over a local socket.

Frames: u32 big-endian length, then msgpack of one of the structs below.  The engine offers jobs within the credit a
mailer announced; the mailer renders, opens a connection, asks to pass the commit point, and only after ``Go`` writes
DATA.  The socket is the lease: when it closes, every job not yet past its commit point is offered elsewhere, and every
``sending`` without an outcome becomes ``unknown``.  ``epoch`` numbers the connection, so a late answer is ignored.

::

    mailer                          engine
      Hello(pid, credit)  ------->
      <------- Setup(settings, templates)          again after every publish: Templates
      <------- Reaches(receivers)                   when our part of what receivers allow is another
      <------- Offer([Job, ...])                    at most `credit` unanswered
      AskCommit([id, ...])  ----->                  what is waiting, at most 50, never waits for more
      <------- Verdicts(go=[id], stop=[(id, why)])  one synced commit behind it
      Report([Done, ...])  ------>                  an outcome; returns the credit
      <------- Drain()                              finish what is open, then close
"""

from typing import Any, TypeAlias

import msgspec

from heliograph.deliver.routes import Reach, Routes


class Job(msgspec.Struct, array_like=True, frozen=True):
    """A message to render and send.  ``context`` is what Liquid sees.  ``attempt`` counts from 1."""

    message_id: str
    template: str
    template_version: str
    address: str
    context: dict[str, Any]
    created_at: int
    not_after: int
    attempt: int = 1
    topic: str | None = None
    key: str = ""
    """The person's key, for the links in the mail."""
    campaign: str = ""
    """The journey or broadcast, for Feedback-ID."""
    route: str = "default"
    receiver: str = ""
    """Which way it goes, and who takes it in the end (:mod:`heliograph.deliver.routes`)."""


class DkimKey(msgspec.Struct, frozen=True):
    """``pem``: the private key itself, PEM, unencrypted."""

    domain: str
    selector: str
    pem: str


class MailerSender(msgspec.Struct, frozen=True, rename={"from_": "from"}):
    """A sender as ``[sender.NAME]`` has it, its keys read.  ``from_`` is header text: ``Shop <hello@shop.example>``;
    ``return_path`` the bare address bounces go to, before its token is put in, "" for that of ``from_``."""

    from_: str
    reply_to: str | None = None
    postal_address: str = ""
    dkim: tuple[DkimKey, ...] = ()
    return_path: str = ""


class MailerSettings(msgspec.Struct, frozen=True):
    """What a mailer needs to know; the engine fills it.

    ``link_keys``: key id (a number as text) -> secret for links in mail; the greatest signs.  ``timezone``: the
    project's, for people without one.
    ``drain_s``: how long it finishes what is past its commit point.  ``project``: its name, for Feedback-ID.
    """

    routes: Routes
    senders: dict[str, MailerSender]
    base_url: str
    link_keys: dict[str, bytes]
    drain_s: float = 30.0
    timezone: str = "UTC"
    project: str = ""


class Hello(msgspec.Struct, array_like=True, frozen=True, tag="hello"):
    pid: int
    credit: int


class Setup(msgspec.Struct, array_like=True, frozen=True, tag="setup"):
    """``settings``: see :class:`MailerSettings`.  ``templates``: compiled templates by
    (name, version); older versions stay while messages wait for them.  ``leased``: the engine has its people for a time
    only, and so has its leave to send (:class:`Verdicts`)."""

    epoch: int
    settings: MailerSettings
    templates: list[dict[str, Any]]
    leased: bool = False


class Templates(msgspec.Struct, array_like=True, frozen=True, tag="templates"):
    templates: list[dict[str, Any]]


class Reaches(msgspec.Struct, array_like=True, frozen=True, tag="reaches"):
    """``receivers``: take the place of those of the :class:`Setup`, because there are more machines now, or fewer."""

    receivers: dict[str, Reach]


class Offer(msgspec.Struct, array_like=True, frozen=True, tag="offer"):
    jobs: list[Job]


class AskCommit(msgspec.Struct, array_like=True, frozen=True, tag="ask"):
    epoch: int
    message_ids: list[str]


class Verdicts(msgspec.Struct, array_like=True, frozen=True, tag="verdicts"):
    """``valid_ms``: where the engine is leased, so long after they were **asked for**, by the mailer's own clock, may
    DATA be begun: whoever was paused for longer writes nothing."""

    go: list[str]
    stop: list[tuple[str, str]]
    valid_ms: int = 0


class Done(msgspec.Struct, array_like=True, frozen=True):
    """``kind``: sent, retry (4xx or broken before the dot), bounced, unknown, skipped (render said no), missed (past
    its ``not_after``), stopped (the verdict was stop).  ``reason``: the reply line, or ``missing: PATH``.  ``at``: the
    mailer's clock."""

    message_id: str
    kind: str
    reason: str
    at: int
    size: int = 0
    suppress: bool = False
    """The reply says that the address itself is dead: write ``!bounce`` for it."""
    code: int = 0
    stage: str = ""
    """What the reply was, and to what (:class:`heliograph.ports.Verdict`)."""


class Report(msgspec.Struct, array_like=True, frozen=True, tag="report"):
    epoch: int
    done: list[Done]


class Drain(msgspec.Struct, array_like=True, frozen=True, tag="drain"):
    pass


FromMailer: TypeAlias = Hello | AskCommit | Report
FromEngine: TypeAlias = Setup | Templates | Reaches | Offer | Verdicts | Drain

MAX_FRAME = 64 * 1024 * 1024
"""Bytes; a longer frame means a broken peer: close the socket."""
MAX_COMMIT = 50
"""Messages that pass one commit point together (design, section 2)."""

encoder = msgspec.msgpack.Encoder()
from_mailer = msgspec.msgpack.Decoder(FromMailer)
from_engine = msgspec.msgpack.Decoder(FromEngine)


def frame(message: FromMailer | FromEngine) -> bytes:
    body = encoder.encode(message)
    return len(body).to_bytes(4, "big") + body


class BrokenPeer(Exception):
    """The other side of the socket sent what is no frame: close it."""


class Unframer:
    """Cuts a stream of bytes into the bodies of frames."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """The bodies that are complete now, in order; :class:`BrokenPeer` on a length beyond :data:`MAX_FRAME`."""
        self._buffer += data
        bodies, at = [], 0
        while len(self._buffer) - at >= 4:
            size = int.from_bytes(self._buffer[at : at + 4], "big")
            if size > MAX_FRAME:
                raise BrokenPeer(f"a frame of {size:,} bytes")
            if len(self._buffer) - at - 4 < size:
                break
            bodies.append(bytes(self._buffer[at + 4 : at + 4 + size]))
            at += 4 + size
        del self._buffer[:at]
        return bodies
