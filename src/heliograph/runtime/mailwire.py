"""The words between the engine and its mailer processes, over a local socket.

Frames: u32 big-endian length, then msgpack of one of the structs below.  The engine offers jobs within the credit a
mailer announced; the mailer renders, opens a connection, asks to pass the commit point, and only after ``Go`` writes
DATA.  The socket is the lease: when it closes, every job not yet past its commit point is offered elsewhere, and every
``sending`` without an outcome becomes ``unknown``.  ``epoch`` numbers the connection, so a late answer is ignored.

::

    mailer                          engine
      Hello(pid, credit)  ------->
      <------- Setup(settings, templates)          again after every publish: Templates
      <------- Offer([Job, ...])                    at most `credit` unanswered
      AskCommit([id, ...])  ----->                  what is waiting, at most 50, never waits for more
      <------- Verdicts(go=[id], stop=[(id, why)])  one synced commit behind it
      Report([Done, ...])  ------>                  an outcome; returns the credit
      <------- Drain()                              finish what is open, then close
"""

from typing import Any, TypeAlias

import msgspec


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


class Hello(msgspec.Struct, array_like=True, frozen=True, tag="hello"):
    pid: int
    credit: int


class Setup(msgspec.Struct, array_like=True, frozen=True, tag="setup"):
    """``settings``: smtp url, senders with DKIM keys (PEM), base_url, link keys.  ``templates``: compiled templates by
    (name, version); older versions stay while messages wait for them."""

    epoch: int
    settings: dict[str, Any]
    templates: list[dict[str, Any]]


class Templates(msgspec.Struct, array_like=True, frozen=True, tag="templates"):
    templates: list[dict[str, Any]]


class Offer(msgspec.Struct, array_like=True, frozen=True, tag="offer"):
    jobs: list[Job]


class AskCommit(msgspec.Struct, array_like=True, frozen=True, tag="ask"):
    epoch: int
    message_ids: list[str]


class Verdicts(msgspec.Struct, array_like=True, frozen=True, tag="verdicts"):
    go: list[str]
    stop: list[tuple[str, str]]


class Done(msgspec.Struct, array_like=True, frozen=True):
    """``kind``: sent, retry (4xx or broken before the dot), bounced, unknown, skipped (render said no), expired,
    stopped (the verdict was stop).  ``reason``: the reply line, or ``missing: PATH``.  ``at``: the mailer's clock."""

    message_id: str
    kind: str
    reason: str
    at: int
    size: int = 0


class Report(msgspec.Struct, array_like=True, frozen=True, tag="report"):
    epoch: int
    done: list[Done]


class Drain(msgspec.Struct, array_like=True, frozen=True, tag="drain"):
    pass


FromMailer: TypeAlias = Hello | AskCommit | Report
FromEngine: TypeAlias = Setup | Templates | Offer | Verdicts | Drain

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
