"""A small SMTP receiver that knows when it answered 250 to what: ``python -m bench.sink OUT``.

It prints its port, keeps (subject, CLOCK_MONOTONIC in ns) of every message, and writes them to OUT (msgpack) when it
is told to end.  CLOCK_MONOTONIC is one clock for all processes of a machine.
"""

import asyncio
import contextlib
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import uvloop

from bench.processes import end

END = b"\r\n.\r\n"
HELLO = b"250-sink\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 SMTPUTF8\r\n"
ANSWERS = {b"EHLO": HELLO, b"HELO": HELLO, b"DATA": b"354 go\r\n", b"QUIT": b"221 bye\r\n"}


class Sink(asyncio.Protocol):
    def __init__(self, kept: list[tuple[str, int]]) -> None:
        self._kept = kept
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
                self._kept.append((words, time.monotonic_ns()))
                out.append(b"250 2.0.0 kept\r\n")
            else:
                line, found, rest = self._buffer.partition(b"\r\n")
                if not found:
                    break
                self._buffer = rest
                out.append(self._answer(line))
        if out:
            self._transport.write(b"".join(out))

    def _answer(self, line: bytes) -> bytes:
        verb = line[:4].upper()
        if verb == b"DATA":
            self._in_data = True
        return ANSWERS.get(verb, b"250 2.1.0 ok\r\n")


async def receive() -> bytes:
    kept: list[tuple[str, int]] = []
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    server = await loop.create_server(lambda: Sink(kept), "127.0.0.1", 0, backlog=512)
    print(server.sockets[0].getsockname()[1], flush=True)
    await stop.wait()
    return msgspec.msgpack.encode(kept)


class Receiver:
    """A running sink.  ``mails`` are there when it has ended."""

    def __init__(self, out: Path) -> None:
        self._out = out
        self.mails: list[tuple[str, int]] = []
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bench.sink", str(out)], stdout=subprocess.PIPE, stdin=subprocess.DEVNULL,
            start_new_session=True,
        )  # fmt: skip
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
def receiver(folder: Path) -> Iterator[Receiver]:
    one = Receiver(folder / "sink.msgpack")
    try:
        yield one
    finally:
        one.stop()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        Path(sys.argv[1]).write_bytes(runner.run(receive()))
