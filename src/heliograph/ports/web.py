"""HTTP requests to the world."""

from typing import Protocol

import msgspec


class HttpRequest(msgspec.Struct, frozen=True):
    """One try.  ``body`` is sent as it is, byte by byte; ``timeout_s`` is for all of it, from the look-up of the name
    to the last byte of the answer."""

    method: str
    url: str
    headers: dict[str, str]
    body: bytes
    timeout_s: float


class HttpReply(msgspec.Struct, frozen=True):
    """What a server said.  ``headers``: names in lower case, the last of each; ``body`` as it came."""

    status: int
    headers: dict[str, str]
    body: bytes


class HttpFailed(Exception):
    """There is no reply, and why.  ``final``: trying the same again cannot help."""

    def __init__(self, reason: str, *, final: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.final = final


class HttpCaller(Protocol):
    """Makes HTTP requests to the world.  Redirects are handed back, not followed; certificates are verified; proxies
    and logins that the environment names are ignored; no cookies are kept."""

    async def call(self, request: HttpRequest, max_body: int) -> HttpReply:
        """One request; :class:`HttpFailed` without a reply in time, or with a body above ``max_body`` bytes."""
        ...

    async def close(self) -> None: ...
