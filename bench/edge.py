"""What the engine is compared with: the same embedded Granian with less behind it.  ``python -m bench.edge KIND``.

``echo``: a bare handler that reads the body, decodes the call and answers.  ``door``: ours, before an engine that
keeps nothing.
"""

import asyncio
import contextlib
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import msgspec
import uvloop

from bench.processes import end
from bench.server import WRITE_KEY
from heliograph.adapters.http import Door, HttpServer
from heliograph.ports import Arrival, Result
from heliograph.render.links import LinkKeys
from heliograph.runtime.clock import SystemClock


class Call(msgspec.Struct, rename="camel"):
    type: str
    message_id: str
    event: str
    user_id: str
    properties: dict[str, Any]


class Answer(msgspec.Struct):
    success: bool
    results: list[Result]


DECODER, ENCODER = msgspec.json.Decoder(Call), msgspec.json.Encoder()
START = {"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]}

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


async def echo(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    if scope["type"] != "http":
        return
    call = DECODER.decode((await receive())["body"])
    await send(START)
    body = ENCODER.encode(Answer(True, [Result(call.message_id, "accepted")]))
    await send({"type": "http.response.body", "body": body})


class Accepting:
    """An engine that says yes."""

    def __init__(self) -> None:
        self.clock = SystemClock()
        self.ready = True
        self.plan = SimpleNamespace(document={"policies": {"topics": {}}})

    async def collect(self, arrivals: Sequence[Arrival]) -> list[Result]:
        return [Result(arrival.message_id, "accepted") for arrival in arrivals]


def door() -> Door:
    engine: Any = Accepting()
    keys = LinkKeys({1: bytes(32)})
    return Door(engine, write_keys=(WRITE_KEY,), events_per_second=1e7, link_keys=keys, brand="bench")


async def serve(kind: str) -> None:
    app: Any = echo if kind == "echo" else door()
    http = HttpServer(app, "127.0.0.1", 0)
    await http.start()
    print(http.port, flush=True)
    await asyncio.Event().wait()


@contextlib.contextmanager
def echoing(kind: str) -> Iterator[tuple[str, int]]:
    """(url, pid) of a process that serves ``kind``."""
    command = [sys.executable, "-m", "bench.edge", kind]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, start_new_session=True)
    assert process.stdout is not None
    try:
        yield f"http://127.0.0.1:{int(process.stdout.readline())}", process.pid
    finally:
        end(process)
        process.stdout.close()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(sys.argv[1]))
