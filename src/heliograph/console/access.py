"""Who may call: a Bearer token, or the session that the log-in page made from it."""

import hashlib
import hmac
from typing import Any

import msgspec
from litestar.connection import ASGIConnection
from litestar.exceptions import NotAuthorizedException, PermissionDeniedException
from litestar.handlers import BaseRouteHandler

COOKIE = "heliograph_session"
HEADER = "x-heliograph"
"""A change that rests on the cookie must carry this header: other sites' forms cannot set it."""
SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
CHALLENGE = {"www-authenticate": 'Bearer realm="api"'}


class Access(msgspec.Struct, frozen=True):
    """``token``: the API token.  ``open_pages``: the pages log in by themselves (the demo on loopback).  ``secure``:
    the world reaches us by https, so the session travels by nothing else."""

    token: str
    open_pages: bool = False
    secure: bool = False

    @property
    def session(self) -> str:
        """What the cookie holds: it opens the console and does not reveal the token."""
        return hmac.new(self.token.encode(), b"heliograph console session", hashlib.sha256).hexdigest()

    def knows(self, token: str) -> bool:
        return hmac.compare_digest(token.encode(), self.token.encode())

    def knows_session(self, value: str) -> bool:
        return hmac.compare_digest(value.encode(), self.session.encode())

    async def guard(self, connection: ASGIConnection[Any, Any, Any, Any], _handler: BaseRouteHandler) -> None:
        """Litestar guard of everything under ``/api``."""
        scheme, _, token = connection.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and self.knows(token.strip()):
            return
        if scheme:
            raise NotAuthorizedException(
                "this token is not the one in [api] token of heliograph.toml", headers=CHALLENGE
            )
        if not self.knows_session(connection.cookies.get(COOKIE, "")):
            raise NotAuthorizedException("send the API token: Authorization: Bearer TOKEN", headers=CHALLENGE)
        if connection.scope.get("method", "GET") not in SAFE and HEADER not in connection.headers:
            raise PermissionDeniedException(f"changes from a page carry the header {HEADER}")
