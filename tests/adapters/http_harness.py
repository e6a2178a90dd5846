"""Talks to a door without a socket (fast, for fuzzing), or to a real server on port 0."""

import base64
import json
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

from heliograph.adapters.http import Door, HttpServer
from heliograph.adapters.http.body import BodyReader
from heliograph.render.links import LinkKeys
from tests.fakes import FakeEngine

KEY = "test-key"
BASIC = b"Basic " + base64.b64encode(f"{KEY}:".encode())
LINK_KEYS = LinkKeys({1: b"0123456789abcdef"})


def door(engine: FakeEngine, rate: float = 1e9, reader: BodyReader | None = None) -> Door:
    return Door(
        engine, write_keys=(KEY,), events_per_second=rate, link_keys=LINK_KEYS, brand="Shop & Co", reader=reader
    )


class Answer:
    def __init__(self, status: int, headers: Iterable[tuple[bytes, bytes]], body: bytes) -> None:
        self.status = status
        self.headers = {name.decode(): value.decode() for name, value in headers}
        self.body = body

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def text(self) -> str:
        return self.body.decode()


async def call(
    app: Any,
    path: str,
    body: bytes | list[bytes] = b"",
    *,
    method: str = "POST",
    headers: dict[str, str] | None = None,
    auth: bytes | None = BASIC,
) -> Answer:
    """One request; a list of bytes arrives in pieces, without a content-length."""
    lines = [(name.lower().encode(), value.encode()) for name, value in (headers or {}).items()]
    if auth is not None:
        lines.append((b"authorization", auth))
    parts = list(body) if isinstance(body, list) else [body]
    if not isinstance(body, list):
        lines.append((b"content-length", str(len(body)).encode()))
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        if not parts:
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": parts.pop(0), "more_body": bool(parts)}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    scope = {"type": "http", "method": method, "path": path, "headers": lines, "query_string": b"", "scheme": "http"}
    await app(scope, receive, send)
    start, *rest = sent
    return Answer(start["status"], start["headers"], b"".join(part.get("body", b"") for part in rest))


@asynccontextmanager
async def serving(app: Any) -> AsyncIterator[HttpServer]:
    server = HttpServer(app)
    await server.start()
    try:
        yield server
    finally:
        await server.stop()
