"""A small SMTP receiver that knows when it answered 250 to what: ``python -m bench.sink JSON``.

It prints its port, keeps (subject, CLOCK_MONOTONIC in ns) of every message, and writes them to a file (msgpack) when it
is told to end.  CLOCK_MONOTONIC is one clock for all processes of a machine.  It may be slow, and refuse some messages.
"""

import asyncio
import contextlib
import functools
import itertools
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import uvloop

from bench.processes import end

END = b"\r\n.\r\n"
HELLO = b"250-sink\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 SMTPUTF8\r\n"
ANSWERS = {b"EHLO": HELLO, b"HELO": HELLO, b"DATA": b"354 go\r\n", b"QUIT": b"221 bye\r\n"}


class Manner(msgspec.Struct, frozen=True):
    """``out``: file for what was kept.  ``delay_s``: before each reply.  ``refused``: one message in so many for now,
    0: none."""

    out: str
    host: str = "127.0.0.1"
    port: int = 0
    delay_s: float = 0.0
    refused: int = 0


class Sink(asyncio.Protocol):
    def __init__(self, kept: list[tuple[str, int]], manner: Manner, count: Iterator[int]) -> None:
        self._kept, self._manner, self._count = kept, manner, count
        self._buffer = b""
        self._in_data = False
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]
        self._transport.write(b"220 sink\r\n")

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        out = []
        while self._buffer:
            if self._in_data:
                at = self._buffer.find(END)
                if at < 0:
                    break
                subject = self._buffer.find(b"\r\nSubject: ") + 11
                words = self._buffer[subject : self._buffer.find(b"\r\n", subject)].decode()
                self._buffer = self._buffer[at + len(END) :]
                self._in_data = False
                out.append(self._keep(words))
            else:
                line, found, rest = self._buffer.partition(b"\r\n")
                if not found:
                    break
                self._buffer = rest
                out.append(self._answer(line))
        if out and self._manner.delay_s:
            asyncio.get_running_loop().call_later(self._manner.delay_s, self._transport.write, b"".join(out))
        elif out:
            self._transport.write(b"".join(out))

    def _keep(self, words: str) -> bytes:
        if self._manner.refused and next(self._count) % self._manner.refused == 0:
            return b"451 4.3.0 later\r\n"
        self._kept.append((words, time.monotonic_ns() + int(self._manner.delay_s * 1e9)))
        return b"250 2.0.0 kept\r\n"

    def _answer(self, line: bytes) -> bytes:
        verb = line[:4].upper()
        if verb == b"DATA":
            self._in_data = True
        return ANSWERS.get(verb, b"250 2.1.0 ok\r\n")


async def receive(manner: Manner) -> bytes:
    kept: list[tuple[str, int]] = []
    loop, stop, count = asyncio.get_running_loop(), asyncio.Event(), itertools.count(1)
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    make = functools.partial(Sink, kept, manner, count)
    server = await loop.create_server(make, manner.host, manner.port, backlog=512)
    print(server.sockets[0].getsockname()[1], flush=True)
    await stop.wait()
    return msgspec.msgpack.encode(kept)


class Receiver:
    """A running sink.  ``mails`` are there when it has ended."""

    def __init__(self, manner: Manner) -> None:
        self._out = Path(manner.out)
        self.mails: list[tuple[str, int]] = []
        command = [sys.executable, "-m", "bench.sink", msgspec.json.encode(manner).decode()]
        self._process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, start_new_session=True
        )
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())

    @property
    def url(self) -> str:
        return f"smtp://127.0.0.1:{self.port}?starttls=off"

    def stop(self) -> None:
        end(self._process)
        if self._process.stdout is not None:
            self._process.stdout.close()
        with contextlib.suppress(FileNotFoundError):
            self.mails = msgspec.msgpack.decode(self._out.read_bytes(), type=list[tuple[str, int]])


@contextlib.contextmanager
def receiver(folder: Path, name: str = "sink", **manner: Any) -> Iterator[Receiver]:
    """``manner``: see :class:`Manner`."""
    one = Receiver(Manner(str(folder / f"{name}.msgpack"), **manner))
    try:
        yield one
    finally:
        one.stop()


def main() -> None:
    manner = msgspec.json.decode(sys.argv[1], type=Manner)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        Path(manner.out).write_bytes(runner.run(receive(manner)))


if __name__ == "__main__":
    main()
