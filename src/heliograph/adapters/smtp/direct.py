"""The transport straight to the receivers: one pool of connections for each site.

A parcel goes: domain -> servers (DNS) and policy (MTA-STS) -> site -> its pool.  The look-ups of different domains run
beside each other, and what waits for one delays no other.  Pools are made for the first parcel and dropped when they
rest; how many connections they may have is :mod:`heliograph.adapters.smtp.quota`.
"""

import asyncio
import ipaddress
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

from heliograph.adapters.smtp.fetch import PolicyFetcher
from heliograph.adapters.smtp.limits import Limits
from heliograph.adapters.smtp.policies import Policies
from heliograph.adapters.smtp.pool import Pool
from heliograph.adapters.smtp.quota import Capacity, Quota, Seat, limit_of
from heliograph.adapters.smtp.site import Origins, SiteWay
from heliograph.adapters.smtp.switch import Desk, Switch
from heliograph.adapters.smtp.trust import Trust
from heliograph.deliver import mx
from heliograph.deliver.mta_sts import allows
from heliograph.deliver.routes import DEFAULT, DirectRoute, Reach
from heliograph.ports import Courier, MailDns, Parcel, Verdict

KNOWN_S: Final = 30.0
"""For so long the way to a domain is not looked up again; DNS answers are kept for longer behind that."""
KNOWN: Final = 10_000
"""Domains remembered; the oldest goes first."""
SWEEP_S: Final = 10.0
"""How often pools that rest are dropped."""
PER_CONNECTION: Final = 100
"""Messages to a receiver over one connection, unless its limits say otherwise."""
TLS: Final = {"optional": "optional", "required": "encrypted"}
"""``direct.starttls`` -> how to open: without a policy a certificate proves nothing, because the server's name comes
from DNS (RFC 7672, 1.3)."""


class Towards:
    """One receiver: its quota, its pools, and the parcels of it that nobody asked for yet."""

    def __init__(self, quota: Quota) -> None:
        self.quota = quota
        self.waiting: set[str] = set()
        self.pools: dict[mx.Site, tuple[Pool, Seat]] = {}


class Direct:
    """A :class:`heliograph.ports.Transport`.  ``limits``: the times; connections are those of ``way`` and ``reaches``.
    ``policies``: None when MTA-STS is off."""

    def __init__(
        self,
        way: DirectRoute,
        reaches: Mapping[str, Reach],
        courier: Courier,
        dns: MailDns,
        policies: Policies | None,
        limits: Limits | None = None,
        trust: Trust | None = None,
    ) -> None:
        """:class:`ValueError` when the settings cannot be used."""
        self._way, self._reaches, self._courier, self._dns, self._policies = way, reaches, courier, dns, policies
        self._limits = limits or Limits()
        self._trust = trust or Trust(way.ca_pem)
        self._private = networks(way.private_networks)
        self._origins = Origins(way.ehlo, way.source_addresses)
        self._loop = asyncio.get_running_loop()
        self._switch = Switch(courier)
        self._capacity = Capacity(way.connections)
        self._towards: dict[str, Towards] = {}
        self._known: dict[str, tuple[float, mx.Site | mx.NoWay]] = {}
        self._unknown: dict[str, list[Parcel]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._sweep: asyncio.TimerHandle | None = None
        self._closing = False

    # -- Transport --

    def room(self, route: str, receiver: str) -> int:
        towards = self._towards.get(receiver)
        limit = towards.quota.limit if towards else limit_of(self._reach(receiver))
        return self._limits.ahead * limit - (len(towards.waiting) if towards else 0)

    def post(self, parcel: Parcel) -> None:
        if self._closing:
            return
        domain = mx.domain_of(parcel.recipient)
        self._to(parcel.receiver or domain).waiting.add(parcel.message_id)
        until, found = self._known.get(domain, (0.0, None))
        if found is not None and self._loop.time() < until:
            self._forward(parcel, domain, found)
        elif domain in self._unknown:
            self._unknown[domain].append(parcel)
        else:
            self._unknown[domain] = [parcel]
            task = self._loop.create_task(self._find(domain))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def decided(self, go: Sequence[str], stop: Sequence[str]) -> None:
        self._switch.decided(go, stop)

    def reach(self, receivers: Mapping[str, Reach]) -> None:
        self._reaches = receivers
        for name, towards in self._towards.items():
            towards.quota.bound(self._reach(name))

    async def close(self, grace_s: float) -> None:
        self._closing = True
        if self._sweep is not None:
            self._sweep.cancel()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._unknown.clear()
        pools = [pool for towards in self._towards.values() for pool, _ in towards.pools.values()]
        await asyncio.gather(*(pool.close(grace_s) for pool in pools))
        if self._policies is not None:
            await self._policies.close()
        await self._dns.close()

    @property
    def sites(self) -> int:
        """Pools there are."""
        return sum(len(towards.pools) for towards in self._towards.values())

    @property
    def connections(self) -> int:
        """Open ones, and those being opened."""
        return self._capacity.held

    # -- the way to a domain --

    async def _find(self, domain: str) -> None:
        try:
            found = await self._look_up(domain)
        except Exception as error:  # whatever it is, what waits must hear of it
            found = mx.NoWay("retry", 0, "4.3.0", f"the way to {domain} could not be found: {error!r}")
        self._known.pop(domain, None)
        self._known[domain] = (self._loop.time() + KNOWN_S, found)
        while len(self._known) > KNOWN:
            del self._known[next(iter(self._known))]
        for parcel in self._unknown.pop(domain):
            self._forward(parcel, domain, found)

    async def _look_up(self, domain: str) -> mx.Site | mx.NoWay:
        if mx.is_literal(domain):
            return mx.no_way("literal", domain)
        answer = await self._dns.mx(domain)
        if answer.fault:
            return mx.no_way(answer.fault, domain)
        if answer.implicit and (fault := (await self._dns.addresses(domain)).fault):
            return mx.no_way(fault, domain)
        policy = await self._policies.policy(domain) if self._policies else None
        enforced = policy if policy is not None and policy.mode == "enforce" else None
        allowed = (lambda host: allows(enforced, host)) if enforced else None
        found = mx.site(answer.hosts, ours=self._way.ehlo, allowed=allowed)
        return mx.no_way(found, domain) if isinstance(found, str) else found

    def _forward(self, parcel: Parcel, domain: str, found: mx.Site | mx.NoWay) -> None:
        if isinstance(found, mx.NoWay):
            self._delivered(parcel, Verdict(found.kind, found.code, found.enhanced, found.reply, "connect"))
        else:
            self._pool(self._to(parcel.receiver or domain), found).post(parcel)

    # -- receivers and their pools --

    def _reach(self, receiver: str) -> Reach:
        return self._reaches.get(receiver) or self._reaches.get(DEFAULT) or Reach()

    def _to(self, receiver: str) -> Towards:
        towards = self._towards.get(receiver)
        if towards is None:
            towards = self._towards[receiver] = Towards(Quota(self._capacity, self._reach(receiver)))
            self._sweep_later()
        return towards

    def _pool(self, towards: Towards, site: mx.Site) -> Pool:
        if (found := towards.pools.get(site)) is not None:
            return found[0]
        desk = Desk(self._switch, self._delivered, towards.waiting.difference_update)
        way = SiteWay(
            site, self._dns, self._limits, self._trust, self._origins, port=self._way.port,
            tls=TLS[self._way.starttls], private=self._private,
        )  # fmt: skip
        seat = Seat(towards.quota)
        pool = desk.transport = Pool(way, desk, self._limits_of(towards.quota), self._trust, seat)
        seat.sit(pool)
        towards.pools[site] = pool, seat
        return pool

    def _limits_of(self, quota: Quota) -> Limits:
        """How many connections, its seat says."""
        return msgspec.structs.replace(
            self._limits, connections=self._capacity.total, messages_per_connection=quota.deliveries or PER_CONNECTION
        )

    def _delivered(self, parcel: Parcel, verdict: Verdict) -> None:
        domain = mx.domain_of(parcel.recipient)
        self._to(parcel.receiver or domain).waiting.discard(parcel.message_id)
        if verdict.stage == "connect" and self._enforced(domain):
            said = f"{verdict.reply} (the MTA-STS policy of {domain} is enforced)"
            verdict = msgspec.structs.replace(verdict, reply=said)
        self._courier.delivered(parcel, verdict)

    def _enforced(self, domain: str) -> bool:
        _, found = self._known.get(domain, (0.0, None))
        return isinstance(found, mx.Site) and found.verified

    # -- what rests is dropped --

    def _sweep_later(self) -> None:
        if self._sweep is None:
            self._sweep = self._loop.call_later(SWEEP_S, self._sweep_now)

    def _sweep_now(self) -> None:
        self._sweep = None
        for receiver, towards in list(self._towards.items()):
            for site, (pool, seat) in list(towards.pools.items()):
                if pool.resting:
                    seat.leave()
                    del towards.pools[site]
            if not (towards.pools or towards.waiting or towards.quota.wait_s):
                del self._towards[receiver]
        if self._towards and not self._closing:
            self._sweep_later()


def networks(texts: Sequence[str]) -> tuple[mx.Network, ...]:
    """``direct.private_networks``; :class:`ValueError` when one is none."""
    try:
        return tuple(map(ipaddress.ip_network, texts))
    except ValueError as error:
        raise ValueError(f"direct.private_networks: {error}") from None


def known_policies(way: DirectRoute, dns: MailDns, trust: Trust) -> Policies | None:
    if not way.mta_sts:
        return None
    fetcher = PolicyFetcher(dns, trust, networks(way.private_networks))
    return Policies(dns, fetcher, Path(way.folder) if way.folder else None)
