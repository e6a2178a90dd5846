"""A :class:`~heliograph.ports.HttpCaller` over aiohttp, with connections that are kept.

The library is loaded at the first call: a project without webhooks neither waits for it nor pays its memory.
"""

import asyncio
import importlib
import ssl
from typing import TYPE_CHECKING

from heliograph import __version__
from heliograph.ports import HttpFailed, HttpReply, HttpRequest

if TYPE_CHECKING:
    import aiohttp

KEEP_S = 4.0
"""An idle connection is kept for less than the 5 s after which Node and uvicorn close theirs: a request written into a
closing connection fails and costs a retry."""
NO_URL = "the url is none that can be called"
USER_AGENT = f"Heliograph/{__version__}"


class AiohttpCaller:
    """``trust``: a TLS context in place of the system's certificates."""

    def __init__(self, trust: ssl.SSLContext | None = None) -> None:
        self._trust = trust
        self._session: aiohttp.ClientSession | None = None
        self._opening = asyncio.Lock()

    async def call(self, request: HttpRequest, max_body: int) -> HttpReply:
        session = await self._open()
        import aiohttp

        try:
            async with asyncio.timeout(request.timeout_s), self._sent(session, request) as response:
                body = await _read(response, max_body)
                return HttpReply(response.status, {k.lower(): v for k, v in response.headers.items()}, body)
        except TimeoutError:
            raise HttpFailed(f"no answer within {request.timeout_s:g} s") from None
        except (aiohttp.InvalidURL, aiohttp.NonHttpUrlClientError):
            raise HttpFailed(NO_URL, final=True) from None
        except (aiohttp.ClientError, OSError) as error:  # before ValueError: an error of a certificate is all three
            raise HttpFailed(_sentence(error)) from error
        except ValueError:
            raise HttpFailed(NO_URL, final=True) from None

    def _sent(self, session: "aiohttp.ClientSession", request: HttpRequest) -> "aiohttp.client._RequestContextManager":
        return session.request(
            request.method, request.url, data=request.body or None, headers=request.headers, allow_redirects=False
        )

    async def _open(self) -> "aiohttp.ClientSession":
        async with self._opening:
            if self._session is None:
                await asyncio.to_thread(importlib.import_module, "aiohttp")
                self._session = self._made()
        return self._session

    def _made(self) -> "aiohttp.ClientSession":
        """Bodies stay as they come: nothing asks for compression, so nobody can send a bomb."""
        import aiohttp

        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEP_S, ssl=self._trust or True),
            timeout=aiohttp.ClientTimeout(),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"user-agent": USER_AGENT, "accept": "application/json", "accept-encoding": "identity"},
            auto_decompress=False,
            trust_env=False,
        )

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()


async def _read(response: "aiohttp.ClientResponse", most: int) -> bytes:
    found = bytearray()
    async for part in response.content.iter_any():
        found += part
        if len(found) > most:
            raise HttpFailed(f"{response.status} with a body of more than {most // 1024} KB", final=True)
    return bytes(found)


def _sentence(error: Exception) -> str:
    """What went wrong, without the address: its query may hold a secret."""
    import aiohttp

    match error:
        case aiohttp.ClientConnectorCertificateError():
            return f"TLS: {getattr(error.certificate_error, 'verify_message', '') or error.certificate_error}"
        case aiohttp.ClientSSLError():
            return f"TLS: {error.strerror or error.os_error}"
        case aiohttp.ClientConnectorDNSError():
            return f"the name {error.host} is not known"
        case aiohttp.ClientConnectorError():
            return f"cannot connect to {error.host}:{error.port}: {error.os_error.strerror or error.os_error}"
        case aiohttp.ServerDisconnectedError():
            return "the connection was closed without an answer"
        case aiohttp.ClientPayloadError():
            return "the answer broke off"
        case aiohttp.ClientResponseError():
            return f"the answer is no HTTP: {error.message}"
        case _:
            return f"the connection broke: {error.strerror if isinstance(error, OSError) else type(error).__name__}"
