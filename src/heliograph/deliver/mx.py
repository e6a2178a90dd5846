"""Whose server takes a message, and which addresses may be connected to (RFC 5321, 5.1).

A *site* is a set of servers that take mail for one or many domains; domains with the same servers share connections.
"""

import ipaddress
from collections.abc import Callable, Iterable, Sequence
from itertools import chain, groupby, zip_longest
from typing import Final, NamedTuple

import msgspec

from heliograph.events.domains import a_label

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Address = ipaddress.IPv4Address | ipaddress.IPv6Address

MAX_HOSTS: Final = 20
"""Servers of one domain that are remembered, the best ones; nobody has more that help."""


class NoWay(NamedTuple):
    """Why nothing can be sent to a domain, as a verdict: ``kind`` is bounced or retry."""

    kind: str
    code: int
    enhanced: str
    reply: str


class Site(msgspec.Struct, frozen=True):
    """``groups``: names of servers, the best group first; within a group all are equal.  ``verified``: their
    certificates must be (RFC 8461)."""

    groups: tuple[tuple[str, ...], ...]
    verified: bool = False

    def __str__(self) -> str:
        return self.groups[0][0]


WHY: Final = {
    "null_mx": ("bounced", 556, "5.1.10", "{0} takes no mail (null MX, RFC 7505)"),
    "no_domain": ("bounced", 0, "5.1.2", "there is no domain {0}"),
    "no_record": ("bounced", 0, "5.4.4", "{0} has neither an MX nor an address: nobody takes its mail"),
    "unsure": ("retry", 0, "4.4.3", "DNS gives no answer about {0}"),
    "literal": ("bounced", 0, "5.1.3", "{0} is no domain: mail is sent to names, not to addresses"),
    "ourselves": ("bounced", 0, "5.4.6", "the best mail server of {0} is this one, which takes no mail"),
    "policy": ("retry", 0, "4.7.5", "no mail server of {0} is among those of its MTA-STS policy (enforce)"),
}
"""Fault -> kind, code, enhanced code (RFC 3463, RFC 7505), sentence about the domain.

Only the domain's owner condemns addresses: the null MX has a reply code (RFC 7504, 556), so that
:func:`heliograph.deliver.replies.condemns_address` takes it for one.  ``no_domain`` has none: a name that does not
exist today (an expired domain, a resolver astray) bounces this message and suppresses nobody."""


def no_way(fault: str, domain: str) -> NoWay:
    kind, code, enhanced, sentence = WHY[fault]
    head = f"{code} {enhanced}" if code else enhanced
    return NoWay(kind, code, enhanced, f"{head} {sentence.format(domain)}")


def domain_of(recipient: str) -> str:
    """What stands behind the last @, as A-labels; as it is when there can be no such domain."""
    domain = recipient.rpartition("@")[2].rstrip(".")
    try:
        return a_label(domain)
    except UnicodeError:
        return domain


def is_literal(domain: str) -> bool:
    """``[192.0.2.1]``, or an address without its brackets."""
    if domain.startswith("["):
        return True
    try:
        ipaddress.ip_address(domain)
    except ValueError:
        return False
    return True


def site(
    hosts: Sequence[tuple[int, str]], *, ours: str = "", allowed: Callable[[str], bool] | None = None
) -> Site | str:
    """The servers to try, or the fault ``ourselves`` or ``policy``.

    ``hosts``: (preference, name).  Where we are one of them (``ours``, by name), it and all that are not better are
    left out: a relay would send the mail in a circle.  ``allowed``: what an enforced policy says of a host.
    """
    best = sorted(set(hosts))[:MAX_HOSTS]
    limit = min((preference for preference, name in best if ours and name == ours.lower()), default=None)
    best = [one for one in best if limit is None or one[0] < limit]
    if not best:
        return "ourselves"
    if allowed is not None:
        best = [one for one in best if allowed(one[1])]
    groups = tuple(tuple(name for _, name in equal) for _, equal in groupby(best, key=lambda one: one[0]))
    return Site(groups, allowed is not None) if groups else "policy"


def order(one: Site, shuffled: Callable[[Sequence[str]], Iterable[str]]) -> list[str]:
    """Its servers in the order of an attempt: by preference, equals by chance, which is the caller's."""
    return list(chain.from_iterable(map(shuffled, one.groups)))


def alternating(addresses: Sequence[str]) -> list[str]:
    """IPv6 and IPv4 in turn: a machine without IPv6 gets to the first IPv4 address after one failure."""
    six = [one for one in addresses if ":" in one]
    four = [one for one in addresses if ":" not in one]
    return [one for pair in zip_longest(six, four) for one in pair if one is not None]


def may_reach(address: str, private: Sequence[Network] = ()) -> bool:
    """May mail go to this address?  To what is globally routed, and to ``private`` networks that were allowed.

    Whoever writes an address into a form chooses the domain, and its owner the addresses behind it: without this, our
    connections would be theirs to point at the machines around us.
    """
    try:
        ip = _unwrapped(ipaddress.ip_address(address.partition("%")[0]))
    except ValueError:
        return False
    if any(ip in network for network in private if network.version == ip.version):
        return True
    return ip.is_global and not ip.is_multicast and not ip.is_reserved


def _unwrapped(ip: Address) -> Address:
    """The IPv4 address inside an IPv6 one: mapped, 6to4 (RFC 3056) or NAT64 (RFC 6052)."""
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour
        if inner is None and ip in NAT64:
            inner = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        return inner or ip
    return ip


NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")
