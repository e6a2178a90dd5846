"""The pages: `/` with what is going on now, the log-in, the live feed, `/metrics`."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import msgspec
from litestar import MediaType, Request, Response, Router, get, post
from litestar.datastructures import Cookie
from litestar.response import Redirect, Stream
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from heliograph.console.access import COOKIE, Access
from heliograph.ports import Engine

STATIC = Path(__file__).parent / "static"
SECURE = {
    "content-security-policy": "default-src 'self'; img-src 'self' data:; style-src 'self'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-cache",
}
ASSETS = {"app.js": "text/javascript", "style.css": "text/css", "icon.svg": "image/svg+xml"}


WRONG_TOKEN = b'<p class="no" role="alert">That is not the token of this server.</p>'


def page(name: str) -> Response[bytes]:
    return Response((STATIC / name).read_bytes(), media_type=MediaType.HTML, headers=SECURE)


def login_page(*, wrong: bool) -> Response[bytes]:
    response = page("login.html")
    response.content = response.content.replace(b"<!-- wrong -->", WRONG_TOKEN if wrong else b"")
    return response


def logged_in(access: Access, request: Request[Any, Any, Any]) -> bool:
    return access.knows_session(request.cookies.get(COOKIE, ""))


def session_cookie(access: Access, request: Request[Any, Any, Any]) -> Cookie:
    """For https only, when that is how the world reaches us or how this one came."""
    secure = access.secure or request.scope["scheme"] == "https"
    return Cookie(COOKIE, value=access.session, httponly=True, samesite="strict", secure=secure, max_age=30 * 86_400)


def pages_router(access: Access) -> Router:
    @get("/", include_in_schema=False)
    async def home(request: Request[Any, Any, Any]) -> Response[bytes]:
        if logged_in(access, request):
            return page("index.html")
        if not access.open_pages:
            return login_page(wrong="wrong" in request.query_params)
        response = page("index.html")
        response.set_cookie(session_cookie(access, request))
        return response

    @post("/login", include_in_schema=False)
    async def login(request: Request[Any, Any, Any]) -> Redirect:
        form = parse_qs((await request.body())[:4096].decode("utf-8", "replace"))
        if not access.knows(form.get("token", [""])[0].strip()):
            return Redirect("/?wrong", status_code=303)
        return Redirect("/", status_code=303, cookies=[session_cookie(access, request)])

    @get("/static/{name:str}", include_in_schema=False)
    async def asset(name: str) -> Response[bytes]:
        if name not in ASSETS:
            return Response(b"not found", status_code=404, media_type=MediaType.TEXT)
        return Response((STATIC / name).read_bytes(), media_type=ASSETS[name], headers=SECURE)

    return Router("/", route_handlers=[home, login, asset])


async def feed(engine: Engine) -> AsyncIterator[bytes]:
    """Server-sent events: one JSON object for each thing that happens."""
    live = engine.subscribe()
    try:
        yield b"retry: 1000\n\n"
        while True:
            yield b"data: " + msgspec.json.encode(await live.get()) + b"\n\n"
    finally:
        live.close()


def live_router(engine: Engine) -> Router:
    @get("/live", summary="What happens now, as server-sent events")
    async def live() -> Stream:
        return Stream(feed(engine), media_type="text/event-stream", headers={"cache-control": "no-store"})

    return Router("/", route_handlers=[live], tags=["live"])


def metrics_router(registry: CollectorRegistry) -> Router:
    @get("/metrics", include_in_schema=False)
    async def metrics() -> Response[bytes]:
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    return Router("/", route_handlers=[metrics])
