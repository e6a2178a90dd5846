"""Who calls when proxies stand in front: ``X-Forwarded-For`` and ``-Proto``, or ``Forwarded`` (RFC 7239).

Each proxy adds whom it was called by at the right end, so reading goes from the right: the first address that is not
of a trusted network is the caller, and everything to its left is only what that caller claims.  Nothing at all is
believed of a peer that is not trusted.  A proxy that writes one kind of header usually passes the other kind on as it
came from the caller, so where both are there and disagree, neither is believed.
"""

import ipaddress
import re
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple, TypeAlias

from heliograph.adapters.http.reply import Scope

Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network
Headers: TypeAlias = Sequence[tuple[bytes, bytes]]

MAX_HOPS = 20
"""Proxies in a row that are looked at."""
_PAIR = re.compile(r"""([!#$%&'*+.^_`|~0-9A-Za-z-]+)=(?:"((?:[^"\\]|\\.)*)"|([^;,"\s]*))""")


class Hop(NamedTuple):
    """What one proxy says of its caller; "" for what it does not say."""

    address: str
    proto: str


class Proxies:
    """``networks``: of the proxies that are ours, like ``10.0.0.0/8``."""

    def __init__(self, networks: Sequence[str]) -> None:
        self._networks: list[Network] = [ipaddress.ip_network(network) for network in networks]
        self.trusts = lru_cache(maxsize=4_096)(self._trusts)

    def _trusts(self, address: str) -> bool:
        try:
            ip = ipaddress.ip_address(address)
        except ValueError:
            return False
        ip = getattr(ip, "ipv4_mapped", None) or ip
        return any(ip in network for network in self._networks)

    def seen(self, scope: Scope) -> Scope:
        """The scope with the caller's own address and scheme, where a trusted proxy tells them."""
        peer = scope.get("client")
        if not peer or not self.trusts(peer[0]):
            return scope
        caller = self._caller(scope["headers"])
        if caller is None:
            return scope
        proto = caller.proto if caller.proto in ("http", "https") else scope["scheme"]
        return {**scope, "client": (caller.address or peer[0], 0), "scheme": proto}

    def _caller(self, headers: Headers) -> Hop | None:
        told = [self._first_outside(hops) for hops in (_x_forwarded(headers), _forwarded(headers)) if hops]
        if len(told) == 2 and told[0].address != told[1].address:
            return None
        return told[0] if told else None

    def _first_outside(self, hops: list[Hop]) -> Hop:
        """From the right; what is no address ends what can be known."""
        known = Hop("", hops[-1].proto)
        for hop in reversed(hops[-MAX_HOPS:]):
            if not _is_address(hop.address):
                break
            known = hop
            if not self.trusts(hop.address):
                break
        return known


def _x_forwarded(headers: Headers) -> list[Hop]:
    """Left to right.  ``-Proto`` has one value for each address, or one of the last proxy's, which then is for all."""
    addresses = [_bare(part) for part in _list(headers, b"x-forwarded-for")]
    protos = [part.lower() for part in _list(headers, b"x-forwarded-proto")]
    if len(protos) != len(addresses):
        protos = [protos[-1] if protos else ""] * max(len(addresses), bool(protos))
    addresses += [""] * (len(protos) - len(addresses))
    return [Hop(*pair) for pair in zip(addresses, protos, strict=True)]


def _forwarded(headers: Headers) -> list[Hop]:
    elements = _list(headers, b"forwarded")
    return [
        Hop(_bare(pairs.get("for", "")), pairs.get("proto", "").lower())
        for pairs in map(_pairs, elements)
        if "for" in pairs or "proto" in pairs
    ]


def _pairs(element: str) -> dict[str, str]:
    return {match[1].lower(): match[2] if match[2] is not None else match[3] for match in _PAIR.finditer(element)}


def _list(headers: Headers, name: bytes) -> list[str]:
    """The elements of all headers of this name, in order."""
    whole = ",".join(value.decode("latin-1") for header, value in headers if header == name)
    return [part.strip() for part in whole.split(",")] if whole else []


def _bare(address: str) -> str:
    """Without brackets and port: ``[2001:db8::1]:4711``, ``192.0.2.1:80``."""
    if address.startswith("["):
        return address[1:].partition("]")[0]
    return address.partition(":")[0] if address.count(":") == 1 else address


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
