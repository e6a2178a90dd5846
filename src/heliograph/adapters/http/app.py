"""The front door: which path belongs to whom.  One exact look-up for events, prefixes for links, the rest falls
through to the application of the console."""

from collections.abc import Sequence

import structlog

from heliograph.adapters.http import snippet
from heliograph.adapters.http.body import BodyReader, ClientGone
from heliograph.adapters.http.collect import BATCH, ROUTES, Collect
from heliograph.adapters.http.limiter import RateLimiter
from heliograph.adapters.http.links import Links
from heliograph.adapters.http.proxies import Proxies
from heliograph.adapters.http.reply import (
    CORS,
    App,
    Problem,
    Receive,
    Reply,
    Scope,
    Send,
    not_allowed,
    problem,
    write,
)
from heliograph.events.decode import CALL_TYPES
from heliograph.ports import Engine
from heliograph.render.links import Kind, LinkKeys

log = structlog.get_logger()

_LATER = ("/v1/cloudevents", "/hooks/", "/w/")
"""In the contract, not in this version."""
_CALLS = ", ".join(f"/v1/{call}" for call in (*CALL_TYPES, BATCH))
_LINKS: dict[str, Kind] = {"/u/": "u", "/p/": "p", "/c/": "c", "/o/": "o"}


class Door:
    """The ASGI application of the whole server.

    ``fallback`` answers every path that is not ours and gets the lifespan; ``write_keys`` open the door for events;
    ``proxies``: networks that are believed when they say who calls.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        write_keys: tuple[str, ...],
        events_per_second: float,
        link_keys: LinkKeys,
        brand: str,
        fallback: App | None = None,
        reader: BodyReader | None = None,
        proxies: Sequence[str] = (),
    ) -> None:
        reader = reader or BodyReader()
        self._engine = engine
        self._write_keys = write_keys
        self._fallback = fallback or _nothing
        self._proxies = Proxies(proxies) if proxies else None
        self.collect = Collect(engine, write_keys, RateLimiter(events_per_second), reader)
        self._links = Links(engine, link_keys, reader, brand)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._fallback(scope, receive, send)
            return
        if self._proxies is not None:
            scope = self._proxies.seen(scope)
        path: str = scope["path"]
        try:
            reply = await (self.collect(scope, receive) if path in ROUTES else self._elsewhere(path, scope, receive))
        except Problem as error:
            reply = error.reply
        except ClientGone:
            return
        except Exception:
            log.exception("request failed", path=path)
            reply = problem(500, "an error of ours, written to the log; try again later", headers=CORS)
        if reply is None:
            await self._fallback(scope, receive, send)
        else:
            await write(send, reply, head=scope["method"] == "HEAD")

    async def _elsewhere(self, path: str, scope: Scope, receive: Receive) -> Reply | None:
        """Whatever is not an event; None for the fallback."""
        if kind := _LINKS.get(path[:3]):
            return await self._links(scope, receive, kind)
        if path == "/heliograph.js":
            return snippet.script(scope)
        if path in ("/healthz", "/readyz"):
            return self._health(path, scope)
        if path.startswith(snippet.SETTINGS_PREFIX):
            return snippet.library_settings(scope, self._write_keys)
        if path.startswith(_LATER):
            return problem(404, "this path is not in this version", headers=CORS)
        if path.startswith("/v1/"):
            return problem(404, f"no such call; use one of {_CALLS}", headers=CORS)
        return None

    def _health(self, path: str, scope: Scope) -> Reply:
        """``/healthz``: the process answers.  ``/readyz``: it takes work."""
        if scope["method"] not in ("GET", "HEAD"):
            return not_allowed("GET", "HEAD")
        if path == "/readyz" and not self._engine.ready:
            return problem(503, "not ready: starting, draining, or the disk refuses")
        return Reply(200, b'{"status":"ok"}')


async def _nothing(scope: Scope, receive: Receive, send: Send) -> None:
    """The fallback of a server without a console."""
    if scope["type"] == "lifespan":
        while (await receive())["type"] == "lifespan.startup":
            await send({"type": "lifespan.startup.complete"})
        await send({"type": "lifespan.shutdown.complete"})
    elif scope["type"] == "http":
        await write(send, problem(404, "nothing here"))
