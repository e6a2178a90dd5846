"""SMTP: a pipelining client over asyncio, its pools of connections to relays, and the way straight to receivers."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

from msgspec.structs import replace

from heliograph.adapters.smtp.direct import Direct, known_policies
from heliograph.adapters.smtp.limits import Limits
from heliograph.adapters.smtp.pool import Pool
from heliograph.adapters.smtp.probe import PATIENCE, probe, sentence
from heliograph.adapters.smtp.router import OpenRoute, Router
from heliograph.adapters.smtp.trust import Trust
from heliograph.adapters.smtp.url import BadUrl, Relay, parse_url
from heliograph.deliver.routes import DIRECT, DirectRoute, Reach, RelayRoute, Routes
from heliograph.ports import Courier, MailDns, Transport

OpenDns = Callable[[Sequence[str]], MailDns]
"""Nameservers, none for the system's -> DNS."""


def transport(
    routes: Routes, courier: Courier, open_dns: OpenDns | None = None, limits: Limits | None = None
) -> Transport:
    """What a mailer opens by name.  :class:`ValueError` (:class:`BadUrl`) when the settings cannot be used.

    A single route is a transport of its own: nothing stands between it and the mailer.
    """
    limits = limits or Limits()
    opened: dict[str, OpenRoute] = {relay.name: partial(_to_relay, relay, limits) for relay in routes.relays}
    if routes.direct is not None:
        if open_dns is None:
            raise ValueError("straight to the receivers goes nothing without DNS")
        opened[DIRECT] = partial(_to_receivers, routes.direct, routes.receivers, limits, open_dns)
    if len(opened) == 1:
        return next(iter(opened.values()))(courier)
    return Router(courier, opened)


def _to_relay(relay: RelayRoute, limits: Limits, courier: Courier) -> Transport:
    own = replace(limits, connections=relay.connections)
    return Pool(parse_url(relay.url), courier, own, Trust(relay.ca_pem))


def _to_receivers(
    way: DirectRoute, reaches: Mapping[str, Reach], limits: Limits, open_dns: OpenDns, courier: Courier
) -> Transport:
    dns, trust = open_dns(way.nameservers), Trust(way.ca_pem)
    return Direct(way, reaches, courier, dns, known_policies(way, dns, trust), limits, trust)


__all__ = [
    "PATIENCE", "BadUrl", "Direct", "Limits", "Pool", "Relay", "Router", "Trust", "parse_url", "probe", "sentence",
    "transport",
]  # fmt: skip
