"""Replies as data: handlers return a :class:`Reply`, one place writes it.  Errors are RFC 9457 problems."""

from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any, TypeAlias

import msgspec

Scope: TypeAlias = dict[str, Any]
Message: TypeAlias = dict[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
App: TypeAlias = Callable[[Any, Any, Any], Awaitable[None]]
"""Any ASGI application; frameworks type its three arguments each in their own way."""
Headers: TypeAlias = tuple[tuple[bytes, bytes], ...]

CORS: Headers = ((b"access-control-allow-origin", b"*"),)
"""Any page may send events; nothing here rests on cookies, so credentials are never allowed."""
NO_STORE: Headers = ((b"cache-control", b"no-store"),)
JSON: Headers = ((b"content-type", b"application/json"),)


class Reply(msgspec.Struct, frozen=True, gc=False):
    """A whole answer."""

    status: int
    body: bytes = b""
    headers: Headers = JSON


class Problem(Exception):
    """A request that ends here, as the :class:`Reply` to give."""

    def __init__(self, status: int, detail: str, *, headers: Headers = ()) -> None:
        super().__init__(detail)
        self.reply = problem(status, detail, headers=headers)

    def plus(self, headers: Headers) -> Reply:
        """The reply with more headers."""
        return Reply(self.reply.status, self.reply.body, self.reply.headers + headers)


def problem(status: int, detail: str, *, headers: Headers = ()) -> Reply:
    """RFC 9457, with ``code`` and ``message`` beside it because Segment's libraries print those two."""
    title = HTTPStatus(status).phrase
    body = {
        "type": "about:blank",
        "title": title,
        "status": status,
        "detail": detail,
        "success": False,
        "code": title.lower().replace(" ", "_"),
        "message": detail,
    }
    return Reply(status, msgspec.json.encode(body), ((b"content-type", b"application/problem+json"), *headers))


def retry_after(seconds: int) -> Headers:
    return ((b"retry-after", str(max(1, seconds)).encode()),)


def not_allowed(*methods: str) -> Reply:
    allow = ", ".join(methods)
    return problem(405, f"use {' or '.join(methods)} here", headers=((b"allow", allow.encode()),))


async def write(send: Send, reply: Reply, *, head: bool = False) -> None:
    """Send it; for HEAD without the body."""
    await send({"type": "http.response.start", "status": reply.status, "headers": reply.headers})
    await send({"type": "http.response.body", "body": b"" if head else reply.body})
