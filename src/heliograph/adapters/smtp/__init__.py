"""SMTP: a pipelining client over asyncio, with its pool of connections."""

from heliograph.adapters.smtp.limits import Limits
from heliograph.adapters.smtp.pool import Pool
from heliograph.adapters.smtp.probe import probe, sentence
from heliograph.adapters.smtp.url import BadUrl, Relay, parse_url
from heliograph.ports import Courier, Transport


def transport(url: str, courier: Courier, connections: int) -> Transport:
    """What a mailer opens by name; :class:`BadUrl` when the url cannot be understood."""
    return Pool(parse_url(url), courier, Limits(connections=connections))


__all__ = ["BadUrl", "Limits", "Pool", "Relay", "parse_url", "probe", "sentence", "transport"]
