"""Opens connections to a site: to the best of its servers that answers (RFC 5321, 5.1).

Servers are tried by preference, equals by chance, and of each the addresses, IPv6 and IPv4 in turn.  The next one is
tried when there is no connection, no greeting of 220, no EHLO, or no TLS where there must be.  An address that failed
is tried last for a while: a server that swallows connections would cost each new one half a minute.
"""

import asyncio
import contextlib
import itertools
import random
from collections.abc import AsyncGenerator, Sequence
from typing import Final

from heliograph.adapters.smtp.limits import Limits
from heliograph.adapters.smtp.opening import CannotOpen, Opener, Origin, Session
from heliograph.adapters.smtp.trust import Trust
from heliograph.adapters.smtp.url import Relay
from heliograph.deliver.mx import Network, Site, alternating, may_reach, order
from heliograph.ports import MailDns
from heliograph.ports.mail import UNSURE

TELLING: Final = ("refused", "tls", "unreachable", "private", "dns")
"""Which of several failures is told: what a server said says most."""
SHUNNED_S: Final = 60.0
"""For so long an address that failed stands behind the others."""
SHUNNED: Final = 100
"""Addresses of one site that are remembered to have failed."""


class Origins:
    """Who we are for each connection: our name, and our addresses in turn."""

    def __init__(self, ehlo: str, addresses: Sequence[str]) -> None:
        self._ehlo = ehlo
        self._four = [one for one in addresses if ":" not in one]
        self._six = [one for one in addresses if ":" in one]
        self._any = not addresses
        self._turn = itertools.count()

    def reach(self, address: str) -> bool:
        """Have we an address of that kind?"""
        return self._any or bool(self._six_or_four(address))

    def to(self, address: str) -> Origin:
        own = self._six_or_four(address)
        return Origin(self._ehlo, own[next(self._turn) % len(own)] if own else "")

    def _six_or_four(self, address: str) -> list[str]:
        return self._six if ":" in address else self._four


class SiteWay:
    """A :class:`heliograph.adapters.smtp.pool.Way`.  ``tls``: optional, or encrypted where it must be; a site whose
    certificates must be verified is *required* whatever it says."""

    def __init__(
        self,
        site: Site,
        dns: MailDns,
        limits: Limits,
        trust: Trust,
        origins: Origins,
        *,
        port: int,
        tls: str,
        private: Sequence[Network] = (),
    ) -> None:
        self._site, self._dns, self._limits, self._trust, self._origins = site, dns, limits, trust, origins
        self._port, self._tls, self._private = port, "required" if site.verified else tls, private
        self._shunned: dict[str, float] = {}

    def __str__(self) -> str:
        return str(self._site)

    async def open(self) -> Session:
        failures: list[CannotOpen] = []
        async with contextlib.aclosing(self._ways(failures)) as ways:
            for _ in range(self._limits.addresses):
                way = await anext(ways, None)
                if way is None:
                    break
                try:
                    return await self._try(*way)
                except CannotOpen as error:
                    failures.append(error)
        raise min(failures, key=lambda one: TELLING.index(one.kind))

    async def _try(self, host: str, address: str) -> Session:
        relay = Relay(host, self._port, self._tls)
        try:
            return await Opener(relay, self._limits, self._trust, self._origins.to(address), at=address).open()
        except CannotOpen:
            self._shun(address)
            raise

    def _shun(self, address: str) -> None:
        self._shunned.pop(address, None)
        self._shunned[address] = asyncio.get_running_loop().time() + SHUNNED_S
        while len(self._shunned) > SHUNNED:
            del self._shunned[next(iter(self._shunned))]

    async def _ways(self, failures: list[CannotOpen]) -> AsyncGenerator[tuple[str, str], None]:
        """(host, address) in the order of this attempt; a host that has none adds to ``failures``."""
        last: list[tuple[str, str]] = []
        now = asyncio.get_running_loop().time()
        for host in order(self._site, lambda names: random.sample(names, len(names))):
            addresses, failure = await self._addresses(host)
            if failure is not None:
                failures.append(failure)
            for address in addresses:
                if now < self._shunned.get(address, 0.0):
                    last.append((host, address))
                else:
                    yield host, address
        for way in last:
            yield way

    async def _addresses(self, host: str) -> tuple[list[str], CannotOpen | None]:
        """Those that may be connected to, and what is wrong with the host when there are none."""
        answer = await self._dns.addresses(host)
        reached = [address for address in answer.found if may_reach(address, self._private)]
        usable = [address for address in reached if self._origins.reach(address)]
        if usable:
            return alternating(usable), None
        if reached:
            why = f"{host} is at {reached[0]}, and direct.source_addresses has none of that kind"
            return [], CannotOpen("private", why, enhanced="4.4.4")
        if answer.found:
            why = f"{host} is at {answer.found[0]}, where no mail is sent (direct.private_networks)"
            return [], CannotOpen("private", why, enhanced="4.4.4")
        why = f"DNS gives no answer about {host}" if answer.fault == UNSURE else f"{host} has no address"
        return [], CannotOpen("dns", why, enhanced="4.4.3" if answer.fault == UNSURE else "4.4.4")
