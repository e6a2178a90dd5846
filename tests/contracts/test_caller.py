"""What an :class:`~heliograph.ports.HttpCaller` promises, on the real one and on its twin."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from heliograph.adapters.memory import MemoryCaller
from heliograph.adapters.webhook import AiohttpCaller
from heliograph.ports import HttpCaller, HttpFailed, HttpReply, HttpRequest
from tests.http_servers import Asked, reply, site

LIMIT = 1_000
Behaviour = Callable[[Asked], Awaitable[HttpReply]]


class World:
    """A caller, and servers for it."""

    def __init__(self, caller: HttpCaller, stack: contextlib.AsyncExitStack) -> None:
        self.caller = caller
        self._stack = stack

    async def serve(self, behave: Behaviour) -> str:
        """The url of a server that behaves so."""
        if isinstance(self.caller, MemoryCaller):
            url = f"http://server-{len(self.caller.servers)}.test/hook"
            self.caller.servers[url] = lambda request: behave(
                Asked(request.method, "/hook", dict(request.headers), request.body)
            )
            return url

        async def answer(asked: Asked, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            found = await behave(asked)
            writer.write(reply(found.status, found.body, **found.headers))

        return (await self._stack.enter_async_context(site(answer))).url

    async def call(self, url: str, body: bytes = b"{}", timeout_s: float = 5.0, **headers: str) -> HttpReply:
        return await self.caller.call(HttpRequest("POST", url, headers, body, timeout_s), LIMIT)


@pytest.fixture(params=["memory", "aiohttp"])
async def world(request: pytest.FixtureRequest) -> AsyncIterator[World]:
    caller = MemoryCaller() if request.param == "memory" else AiohttpCaller()
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(caller.close)
        yield World(caller, stack)


def saying(status: int, body: bytes = b"", **headers: str) -> Behaviour:
    async def behave(_asked: Asked) -> HttpReply:
        return HttpReply(status, headers, body)

    return behave


async def test_the_server_hears_exactly_the_bytes_and_headers(world: World) -> None:
    heard: list[Asked] = []

    async def behave(asked: Asked) -> HttpReply:
        heard.append(asked)
        return HttpReply(200, {}, b"")

    url, body = await world.serve(behave), b'{"a": "\xc3\xa4\\u0000"}\r\n'
    await world.call(url, body, **{"webhook-id": "m-1"})
    await world.caller.call(HttpRequest("GET", url, {}, b"", 5), LIMIT)
    assert [(one.method, one.body) for one in heard] == [("POST", body), ("GET", b"")]
    assert heard[0].headers["webhook-id"] == "m-1"


@pytest.mark.parametrize("status", [200, 202, 204, 301, 302, 307, 400, 404, 410, 429, 500, 503])
async def test_every_status_is_handed_back_with_headers_and_body(world: World, status: int) -> None:
    body = b"" if status == 204 else b'{"name": "Ann"}'
    url = await world.serve(saying(status, body, location="http://127.0.0.1:1/elsewhere", x="1"))
    found = await world.call(url)
    assert (found.status, found.body, found.headers["x"]) == (status, body, "1")


async def test_a_body_may_have_the_limit_and_not_a_byte_more(world: World) -> None:
    assert len((await world.call(await world.serve(saying(200, b"x" * LIMIT)))).body) == LIMIT
    with pytest.raises(HttpFailed) as failed:
        await world.call(await world.serve(saying(200, b"x" * (LIMIT + 1))))
    assert failed.value.final and "more than" in failed.value.reason


async def test_an_answer_that_does_not_come_in_time_is_none(world: World) -> None:
    async def sleep(_asked: Asked) -> HttpReply:
        await asyncio.sleep(30)
        return HttpReply(200, {}, b"")

    url, began = await world.serve(sleep), time.monotonic()
    with pytest.raises(HttpFailed) as failed:
        await world.call(url, timeout_s=0.2)
    assert not failed.value.final and failed.value.reason == "no answer within 0.2 s"
    assert time.monotonic() - began < 5


async def test_a_server_that_breaks_off_has_not_answered(world: World) -> None:
    async def break_off(_asked: Asked) -> HttpReply:
        raise ConnectionResetError("gone")

    with pytest.raises(HttpFailed) as failed:
        await world.call(await world.serve(break_off))
    assert not failed.value.final


async def test_nobody_there_is_a_failure_that_may_pass(world: World) -> None:
    with pytest.raises(HttpFailed) as failed:
        await world.call("http://127.0.0.1:1/hook")
    assert not failed.value.final


async def test_calls_at_once_do_not_mix_their_answers(world: World) -> None:
    async def echo(asked: Asked) -> HttpReply:
        await asyncio.sleep(0.001 * (len(asked.body) % 7))
        return HttpReply(200, {}, asked.body)

    url = await world.serve(echo)
    bodies = [b"%d" % n * (n % 13 + 1) for n in range(100)]
    found = await asyncio.gather(*(world.call(url, body) for body in bodies))
    assert [one.body for one in found] == bodies
