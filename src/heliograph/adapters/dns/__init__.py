"""DNS, as mail needs it: MX, addresses and texts, cached and asked for once."""

from heliograph.adapters.dns.resolver import BadNameserver, Resolver

__all__ = ["BadNameserver", "Resolver"]
