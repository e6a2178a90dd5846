"""Opens connections to a site: to the best of its servers that answers (RFC 5321, 5.1).

Servers are tried by preference, equals by chance, and of each the addresses, IPv6 and IPv4 in turn.  The next one is
tried when there is no connection, no greeting of 220, no EHLO, or no TLS where there must be.
"""

import itertools
import random
from collections.abc import Iterator, Sequence
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

    def __str__(self) -> str:
        return str(self._site)

    async def open(self) -> Session:
        failures: list[CannotOpen] = []
        left = self._limits.addresses
        for host in order(self._site, lambda names: random.sample(names, len(names))):
            addresses, failure = await self._addresses(host)
            if failure is not None:
                failures.append(failure)
            for opener in itertools.islice(self._openers(host, addresses), left):
                left -= 1
                try:
                    return await opener.open()
                except CannotOpen as error:
                    failures.append(error)
            if not left:
                break
        raise min(failures, key=lambda one: TELLING.index(one.kind))

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

    def _openers(self, host: str, addresses: Sequence[str]) -> Iterator[Opener]:
        relay = Relay(host, self._port, self._tls)
        for address in addresses:
            yield Opener(relay, self._limits, self._trust, self._origins.to(address), at=address)
