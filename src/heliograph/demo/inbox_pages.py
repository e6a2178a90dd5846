"""`/inbox`: the list, one message rendered, its text, its headers, and how long it took."""

from html import escape
from pathlib import Path
from typing import Any

import msgspec
from litestar import MediaType, Response, Router, get

from heliograph.decide.broadcasts import broadcast_of
from heliograph.demo.inbox import Inbox, Received, part
from heliograph.ports import Store

STATIC = Path(__file__).parent / "static"
PAGE_HEADERS = {
    "content-security-policy": "default-src 'self'; img-src 'self' data: http: https:; style-src 'self'; "
    "frame-src 'self'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "cache-control": "no-cache",
}
MAIL_HEADERS = {
    # A mail never runs a script and never shares our origin; its links open in a tab of their own.
    "content-security-policy": "sandbox allow-popups allow-popups-to-escape-sandbox; default-src 'none'; "
    "img-src http: https: data: cid:; style-src 'unsafe-inline'; font-src http: https: data:",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
}


class Line(msgspec.Struct, frozen=True):
    """A row of the list.  ``elapsed_ms``: from the event (or timer) that decided the mail to its arrival here."""

    id: str
    at: int
    sender: str
    to: str
    subject: str
    elapsed_ms: int | None


class Mail(msgspec.Struct, frozen=True):
    """One message opened.  ``origin``: the journey or broadcast that sent it, in words."""

    id: str
    at: int
    subject: str
    elapsed_ms: int | None
    headers: list[tuple[str, str]]
    text: str
    source: str
    has_html: bool
    template: str
    origin: str


class Lines(msgspec.Struct, frozen=True):
    messages: list[Line]
    total: int


def elapsed(store: Store, received: Received) -> int | None:
    row = store.message(received.message_id)
    return received.at - row.cause_received_at if row and row.cause_received_at else None


def line(store: Store, received: Received) -> Line:
    message = received.parse()
    return Line(
        id=received.id,
        at=received.at,
        sender=str(message["from"] or ""),
        to=str(message["to"] or ""),
        subject=str(message["subject"] or "(no subject)"),
        elapsed_ms=elapsed(store, received),
    )


def opened(store: Store, received: Received) -> Mail:
    message, row = received.parse(), store.message(received.message_id)
    return Mail(
        id=received.id,
        at=received.at,
        subject=str(message["subject"] or "(no subject)"),
        elapsed_ms=elapsed(store, received),
        headers=[(name, str(value)) for name, value in message.items()],
        text=part(message, "plain"),
        source=received.raw.decode("utf-8", "replace"),
        has_html=bool(part(message, "html")),
        template=row.template if row else "",
        origin=origin(row.journey) if row else "",
    )


def origin(journey: str) -> str:
    broadcast = broadcast_of(journey)
    return f"broadcast {broadcast}" if broadcast else f"journey {journey}"


def rendered(received: Received) -> str:
    """The HTML part, its links made to open in a new tab."""
    html = part(received.parse(), "html") or f"<pre>{escape(part(received.parse(), 'plain'))}</pre>"
    base = '<base target="_blank">'
    head = html.lower().find("<head>")
    return html[: head + 6] + base + html[head + 6 :] if head >= 0 else base + html


def router(inbox: Inbox, store: Store) -> Router:
    not_found = Response({"detail": "no such message; the inbox keeps the latest 500"}, status_code=404)

    @get("/", include_in_schema=False)
    async def page() -> Response[bytes]:
        return Response((STATIC / "inbox.html").read_bytes(), media_type=MediaType.HTML, headers=PAGE_HEADERS)

    @get("/static/{name:str}", include_in_schema=False)
    async def asset(name: str) -> Response[Any]:
        kinds = {"inbox.js": "text/javascript", "inbox.css": "text/css"}
        if name not in kinds:
            return not_found
        return Response((STATIC / name).read_bytes(), media_type=kinds[name], headers=PAGE_HEADERS)

    @get("/messages", include_in_schema=False)
    async def messages() -> Lines:
        return Lines([line(store, received) for received in inbox.newest()], inbox.total)

    @get("/messages/{id:str}", include_in_schema=False)
    async def message(id: str) -> Mail | Response[Any]:
        received = inbox.get(id)
        return opened(store, received) if received else not_found

    @get("/messages/{id:str}/html", include_in_schema=False)
    async def html(id: str) -> Response[Any]:
        received = inbox.get(id)
        if received is None:
            return not_found
        return Response(rendered(received), media_type=MediaType.HTML, headers=MAIL_HEADERS)

    return Router("/inbox", route_handlers=[page, asset, messages, message, html])
