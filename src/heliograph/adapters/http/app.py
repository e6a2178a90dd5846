"""The front door: which path belongs to whom.  One exact look-up for events, prefixes for links, the rest falls
through to the application of the console."""

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
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
from heliograph.ports import Engine, Gate, Trouble
from heliograph.render.links import Kind, LinkKeys

log = structlog.get_logger()

_LATER = ("/v1/cloudevents", "/hooks/", "/w/")
"""In the contract, not in this version."""
_CALLS = ", ".join(f"/v1/{call}" for call in (*CALL_TYPES, BATCH))
_LINKS: dict[str, Kind] = {"/u/": "u", "/p/": "p", "/c/": "c", "/o/": "o"}


class Front:
    """The way in for events, and what needs no engine behind it.

    ``fallback`` answers every path that is not ours and gets the lifespan; ``write_keys`` open the door for events;
    ``proxies``: networks that are believed when they say who calls; ``troubles``: what is away, for ``/readyz``.
    """

    def __init__(
        self,
        gate: Gate,
        *,
        write_keys: tuple[str, ...],
        events_per_second: float,
        fallback: App | None = None,
        reader: BodyReader | None = None,
        proxies: Sequence[str] = (),
        troubles: Callable[[], Sequence[Trouble]] = list,
    ) -> None:
        self._gate = gate
        self._write_keys = write_keys
        self._fallback = fallback or _nothing
        self._proxies = Proxies(proxies) if proxies else None
        self._troubles = troubles
        self.collect = Collect(gate, write_keys, RateLimiter(events_per_second), reader or BodyReader())

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
        if path == "/healthz":
            return Reply(200, b'{"status":"ok"}')
        troubles = self._troubles()
        if not self._gate.ready:
            said = "; ".join(f"{one.what}: {one.why}" for one in troubles)
            return problem(503, f"not ready: {said or 'starting, draining, or the disk refuses'}")
        found: dict[str, object] = {"status": "degraded", "troubles": troubles} if troubles else {"status": "ok"}
        return Reply(200, msgspec.json.encode(found))


class Door(Front):
    """The ASGI application of a whole server: events, links from mails, and the fallback."""

    def __init__(self, engine: Engine, *, link_keys: LinkKeys, brand: str, **front: Any) -> None:
        reader = front["reader"] = front.get("reader") or BodyReader()
        super().__init__(engine, **front)
        self._links = Links(engine, link_keys, reader, brand)

    async def _elsewhere(self, path: str, scope: Scope, receive: Receive) -> Reply | None:
        if kind := _LINKS.get(path[:3]):
            return await self._links(scope, receive, kind)
        return await super()._elsewhere(path, scope, receive)


async def _nothing(scope: Scope, receive: Receive, send: Send) -> None:
    """The fallback of a server without a console."""
    if scope["type"] == "lifespan":
        while (await receive())["type"] == "lifespan.startup":
            await send({"type": "lifespan.startup.complete"})
        await send({"type": "lifespan.shutdown.complete"})
    elif scope["type"] == "http":
        await write(send, problem(404, "nothing here"))
