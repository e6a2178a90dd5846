"""An application on another thread: the same answers, and whoever blocks there blocks nobody here."""

import asyncio
import threading
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from heliograph.adapters.http import Aside, Front
from tests.adapters.http_harness import BASIC, KEY, call, serving
from tests.fakes import FakeEngine

BLOCKED, GO_ON = threading.Event(), threading.Event()


@pytest.fixture
def elsewhere() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    yield loop
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


async def echo(scope: Any, receive: Any, send: Any) -> None:
    """Says on which thread it is and what it was sent; ``/slow`` blocks its loop until it may go on."""
    body = (await receive())["body"]
    if scope["path"] == "/slow":
        BLOCKED.set()
        assert GO_ON.wait(60)
    headers = [(b"x-thread", str(threading.get_ident()).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": True})
    await send({"type": "http.response.body", "body": b"!"})


def front(loop: asyncio.AbstractEventLoop) -> Front:
    return Front(FakeEngine(), write_keys=(KEY,), events_per_second=1e9, fallback=Aside(echo, loop))


async def test_an_application_answers_from_its_own_thread(elsewhere: asyncio.AbstractEventLoop) -> None:
    answer = await call(front(elsewhere), "/api/x", b"hello")
    assert (answer.status, answer.body) == (200, b"hello!")
    assert answer.headers["x-thread"] != str(threading.get_ident())


async def test_events_are_taken_while_it_blocks(elsewhere: asyncio.AbstractEventLoop) -> None:
    """Over real sockets."""
    async with serving(front(elsewhere)) as server:
        url = f"http://127.0.0.1:{server.port}"
        slow = asyncio.create_task(asyncio.to_thread(lambda: urllib.request.urlopen(url + "/slow", b"x").read()))
        assert await asyncio.to_thread(BLOCKED.wait, 60)
        body = b'{"event": "A", "userId": "u"}'
        request = urllib.request.Request(url + "/v1/track", body, {"authorization": BASIC.decode()})
        assert (await asyncio.to_thread(lambda: urllib.request.urlopen(request).status)) == 200
        assert not slow.done()
        GO_ON.set()
        assert await slow == b"x!"
