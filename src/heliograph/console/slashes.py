"""Ids with a slash in them.

A server hands an application the path with its %-escapes undone, so ``/profiles/a%2Fb`` would ask for a path that does
not exist.  Here the escaped slash becomes a character that no text may hold (a Unicode noncharacter) until the route
is found, and a slash again where the id is used.
"""

from urllib.parse import unquote

from litestar.enums import ScopeType
from litestar.types import ASGIApp, Receive, Scope, Send

STAND_IN = "\ufdd0"


class EscapedSlashes:
    """ASGI: routes on the path as it was sent."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == ScopeType.HTTP and b"%2f" in (raw := scope["raw_path"]).lower():
            parts = [unquote(part).replace("/", STAND_IN) for part in raw.decode("latin-1").split("/")]
            scope["path"] = "/".join(parts)
        await self._app(scope, receive, send)


def as_sent(part: str) -> str:
    """A part of a path with its slashes."""
    return part.replace(STAND_IN, "/")
