"""An ASGI application on another thread's event loop, so that what waits for a store there holds up nobody here."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from heliograph.adapters.http.reply import App, Message, Receive, Scope, Send

T = TypeVar("T")


def over(loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, T]) -> "asyncio.Future[T]":
    """Run this on that loop; what comes of it, on ours.  Cancelling goes over, too."""
    return asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, loop))


class Aside:
    """``loop``: where ``app`` lives; it has to run as long as requests come."""

    def __init__(self, app: App, loop: asyncio.AbstractEventLoop) -> None:
        self._app, self._loop = app, loop

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        here = asyncio.get_running_loop()
        await over(self._loop, self._answer(scope, _from(here, receive), _to(here, send)))

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(scope, receive, send)


def _from(here: asyncio.AbstractEventLoop, receive: Receive) -> Receive:
    async def called() -> Message:
        return await receive()

    return lambda: over(here, called())


def _to(here: asyncio.AbstractEventLoop, send: Send) -> Callable[[Message], Awaitable[None]]:
    async def called(message: Message) -> None:
        await send(message)

    return lambda message: over(here, called(message))
