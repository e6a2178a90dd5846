"""Fetches MTA-STS policies over HTTPS (RFC 8461, 3.3): no redirects, no cache, a verified certificate, text/plain.

Names are looked up by the resolver that finds the mail servers, and only addresses that mail may go to are connected
to: a policy's host is chosen by whoever owns the domain.  The HTTP library is loaded for the first policy.
"""

import asyncio
import importlib
import socket
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from heliograph import __version__
from heliograph.adapters.smtp.trust import Trust
from heliograph.deliver.mta_sts import MAX_BYTES, BadPolicy
from heliograph.deliver.mx import Network, may_reach
from heliograph.ports import MailDns

if TYPE_CHECKING:
    import aiohttp

TIMEOUT_S: Final = 60.0
"""RFC 8461, 3.3: "a reasonable timeout, e.g. one minute"."""
HTTPS: Final = 443


class PolicyFetcher:
    """``port``: other than 443 in tests only."""

    def __init__(
        self,
        dns: MailDns,
        trust: Trust,
        private: Sequence[Network] = (),
        port: int = HTTPS,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        self._dns, self._trust, self._private = dns, trust, private
        self._port, self._timeout_s = port, timeout_s
        self._session: aiohttp.ClientSession | None = None
        self._opening = asyncio.Lock()

    async def fetch(self, domain: str) -> str:
        """The policy's text; :class:`BadPolicy` says why there is none."""
        session = await self._open()
        import aiohttp

        url = f"https://mta-sts.{domain}:{self._port}/.well-known/mta-sts.txt"
        try:
            async with asyncio.timeout(self._timeout_s), session.get(url, allow_redirects=False) as response:
                if response.status != 200:
                    raise BadPolicy(f"{url} answers {response.status}")
                if response.content_type != "text/plain":
                    raise BadPolicy(f"{url} is {response.content_type}, not text/plain")
                return await _text(response, url)
        except TimeoutError:
            raise BadPolicy(f"{url}: no answer within {self._timeout_s:g} s") from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise error if isinstance(error, BadPolicy) else BadPolicy(f"{url}: {error}") from error

    async def _open(self) -> "aiohttp.ClientSession":
        async with self._opening:
            if self._session is None:
                await asyncio.to_thread(importlib.import_module, "aiohttp")
                self._session = self._made()
        return self._session

    def _made(self) -> "aiohttp.ClientSession":
        import aiohttp

        connector = aiohttp.TCPConnector(
            limit=0, ssl=self._trust.verifying, resolver=_resolver(self._dns, self._private), use_dns_cache=False,
            force_close=True,
        )  # fmt: skip
        return aiohttp.ClientSession(
            connector=connector, timeout=aiohttp.ClientTimeout(), cookie_jar=aiohttp.DummyCookieJar(),
            headers={"user-agent": f"Heliograph/{__version__}", "accept": "text/plain", "accept-encoding": "identity"},
            auto_decompress=False, trust_env=False,
        )  # fmt: skip

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()


async def _text(response: "aiohttp.ClientResponse", url: str) -> str:
    found = bytearray()
    async for piece in response.content.iter_chunked(16 * 1024):
        found += piece
        if len(found) > MAX_BYTES:
            raise BadPolicy(f"{url} has more than {MAX_BYTES:,} bytes")
    return found.decode("utf-8", "replace")


def _resolver(dns: MailDns, private: Sequence[Network]) -> Any:
    from aiohttp.abc import AbstractResolver, ResolveResult

    class Ours(AbstractResolver):
        async def resolve(
            self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
        ) -> list[ResolveResult]:
            found = (await dns.addresses(host)).found
            reached = [address for address in found if may_reach(address, private)]
            if not reached:
                raise OSError(None, f"{host} has no address that may be reached")
            return [
                ResolveResult(
                    hostname=host, host=address, port=port, proto=0, flags=socket.AI_NUMERICHOST,
                    family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                )
                for address in reached
            ]  # fmt: skip

        async def close(self) -> None: ...

    return Ours()
