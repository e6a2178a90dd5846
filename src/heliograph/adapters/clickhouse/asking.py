"""Whoever holds a chDB folder answers for it: the engine lets one process in.

A socket beside the folder takes one question a connection, as a line of JSON, and gives one line back.
"""

import contextlib
import hashlib
import os
import socket
import socketserver
import tempfile
import threading
from pathlib import Path
from typing import Final

import msgspec

from heliograph.ports.facts import Answer, FactsAway, FactSink, FactsRefused

ANSWER_S: Final = 90
MAX_QUESTION: Final = 1 << 20
MAX_PATH: Final = 100
"""Bytes of a socket's path that every system takes."""


class Question(msgspec.Struct, frozen=True):
    sql: str
    limit: int


class Reply(msgspec.Struct, frozen=True):
    answer: Answer | None = None
    refused: str = ""
    away: str = ""


def socket_of(path: Path) -> Path:
    """The socket of this folder: beside it, or, where that path is too long, in the folder of temporary files."""
    near = path.resolve().with_name(path.name + ".sock")
    if len(os.fsencode(near)) < MAX_PATH:
        return near
    name = hashlib.blake2b(os.fsencode(near), digest_size=12).hexdigest()
    return Path(tempfile.gettempdir()) / f"heliograph-facts-{name}.sock"


def ask(path: Path, sql: str, limit: int) -> Answer | None:
    """Put the question to the process that holds the folder; None when no process does.  Raises
    :class:`FactsRefused` and :class:`FactsAway`."""
    with socket.socket(socket.AF_UNIX) as line:
        line.settimeout(ANSWER_S)
        try:
            line.connect(str(socket_of(path)))
        except (FileNotFoundError, ConnectionRefusedError):
            return None
        try:
            line.sendall(msgspec.json.encode(Question(sql, limit)) + b"\n")
            with line.makefile("rb") as words:
                reply = msgspec.json.decode(words.readline(), type=Reply)
        except (OSError, msgspec.DecodeError) as error:
            raise FactsAway(f"the process that holds {path} did not answer: {error}") from error
    if reply.answer is None:
        raise FactsAway(reply.away) if reply.away else FactsRefused(reply.refused)
    return reply.answer


class QueryDesk:
    """Answers from threads of its own until it is closed.  Only this user may ask."""

    def __init__(self, sink: FactSink, path: Path) -> None:
        self._at = socket_of(path)
        self._at.unlink(missing_ok=True)
        desk = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                line = self.rfile.readline(MAX_QUESTION)
                with contextlib.suppress(OSError):
                    self.wfile.write(msgspec.json.encode(desk._reply(line), enc_hook=str) + b"\n")

        before = os.umask(0o177)
        try:
            self._server = socketserver.ThreadingUnixStreamServer(str(self._at), Handler)
        finally:
            os.umask(before)
        self._server.daemon_threads = True
        self._sink = sink
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.2}, daemon=True).start()

    def _reply(self, line: bytes) -> Reply:
        try:
            question = msgspec.json.decode(line, type=Question)
            return Reply(self._sink.query(question.sql, question.limit))
        except (FactsRefused, msgspec.MsgspecError) as error:
            return Reply(refused=str(error))
        except FactsAway as error:
            return Reply(away=str(error))

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._at.unlink(missing_ok=True)
