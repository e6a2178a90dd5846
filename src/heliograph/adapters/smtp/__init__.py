"""SMTP: a pipelining client over asyncio, with its pool of connections."""

from heliograph.adapters.smtp.limits import Limits
from heliograph.adapters.smtp.pool import Pool
from heliograph.adapters.smtp.probe import probe, sentence
from heliograph.adapters.smtp.url import BadUrl, Relay, parse_url
from heliograph.deliver.routes import Routes
from heliograph.ports import Courier, Transport


def transport(routes: Routes, courier: Courier) -> Transport:
    """What a mailer opens by name; :class:`BadUrl` when a url cannot be understood."""
    relay = routes.relays[0]
    return Pool(parse_url(relay.url), courier, Limits(connections=relay.connections))


__all__ = ["BadUrl", "Limits", "Pool", "Relay", "parse_url", "probe", "sentence", "transport"]
