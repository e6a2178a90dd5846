"""An :class:`~heliograph.ports.HttpCaller` without a network: servers are functions."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeAlias

from heliograph.ports import HttpFailed, HttpReply, HttpRequest

Server: TypeAlias = Callable[[HttpRequest], Awaitable[HttpReply]]


class MemoryCaller:
    """``servers``: url -> who answers there; ``asked``: every request so far."""

    def __init__(self, servers: dict[str, Server] | None = None) -> None:
        self.servers = servers or {}
        self.asked: list[HttpRequest] = []

    async def call(self, request: HttpRequest, max_body: int) -> HttpReply:
        self.asked.append(request)
        server = self.servers.get(request.url)
        if server is None:
            raise HttpFailed("nobody listens there")
        try:
            async with asyncio.timeout(request.timeout_s):
                reply = await server(request)
        except TimeoutError:
            raise HttpFailed(f"no answer within {request.timeout_s:g} s") from None
        except ConnectionError as error:
            raise HttpFailed(f"the connection broke: {error}") from error
        if len(reply.body) > max_body:
            raise HttpFailed(f"{reply.status} with a body of more than {max_body // 1024} KB", final=True)
        return reply

    async def close(self) -> None:
        """Nothing to let go of."""
