"""A :class:`heliograph.ports.MailDns` over dnspython's asyncio resolver.

Every question is asked once: who asks while an answer is on its way waits for that same answer, and answers are kept
as long as their TTL allows, those that say *no* as well (RFC 2308).  Look-ups run beside each other, so a domain whose
servers are silent holds up nobody but its own mail.
"""

import asyncio
import ipaddress
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, NamedTuple

import dns.asyncresolver
import dns.exception
import dns.message
import dns.name
import dns.nameserver
import dns.resolver
import dns.reversename

from heliograph.adapters.dns.kept import Kept
from heliograph.events.domains import a_label
from heliograph.ports import MxAnswer, Records
from heliograph.ports.mail import NO_DOMAIN, NO_RECORD, NULL_MX, UNSURE

KEPT: Final = 10_000
"""Answers kept of each kind, some 5 MB; the one unused for longest goes first."""
SHORTEST_S: Final = 5.0
"""Also an answer with TTL 0 serves the messages of a few seconds."""
LONGEST_S: Final = 3600.0
"""An answer with a TTL of days is asked for again after an hour: MX records change in an emergency."""
LONGEST_NO_S: Final = 300.0
"""The same for an answer that says no: a domain that was mended is mailed to soon."""
UNSURE_S: Final = 10.0
"""No answer at all: the next message asks again, the next hundred do not."""
PATIENCE_S: Final = 10.0
"""For one question, all nameservers together."""
TRY_S: Final = 2.0
"""For one nameserver, before the next one is asked."""
MOST_AT_ONCE: Final = 512
"""Questions under way; more wait for their turn.  With :data:`PATIENCE_S` 51 a second even if none is answered."""


class BadNameserver(ValueError):
    """``direct.nameservers`` has one that is no address, or nobody names any."""


class _Found(NamedTuple):
    """What DNS says to one question.  ``ttl``: seconds."""

    records: Sequence[Any]
    fault: str
    ttl: float


class Resolver:
    """``nameservers``: ``ADDRESS`` or ``ADDRESS:PORT`` (``[::1]:53``), instead of those of the system."""

    def __init__(self, nameservers: Sequence[str] = (), patience_s: float = PATIENCE_S, try_s: float = TRY_S) -> None:
        try:
            self._resolver = dns.asyncresolver.Resolver(configure=not nameservers)
        except dns.resolver.NoResolverConfiguration:
            raise BadNameserver("this machine names no nameserver: set direct.nameservers") from None
        if nameservers:
            self._resolver.nameservers = [_nameserver(text) for text in nameservers]
        self._resolver.lifetime = patience_s
        self._resolver.timeout = try_s
        self._turns = asyncio.Semaphore(MOST_AT_ONCE)
        self._routes: Kept[MxAnswer] = Kept(KEPT)
        self._addresses: Kept[Records] = Kept(KEPT)
        self._texts: Kept[Records] = Kept(KEPT)

    async def mx(self, domain: str) -> MxAnswer:
        if (name := _name(domain)) is None:
            return MxAnswer(fault=NO_DOMAIN)
        return await self._routes.get(name.to_text(), lambda: self._ask_mx(name))

    async def addresses(self, host: str) -> Records:
        return await self._records(self._addresses, host, self._ask_addresses)

    async def texts(self, name: str) -> Records:
        return await self._records(self._texts, name, self._ask_texts)

    async def names(self, address: str) -> Records:
        """What an IP address is called (PTR), without a dot at the end; not kept."""
        found = await self._look_up(dns.reversename.from_address(address), "PTR")
        return Records(tuple(_text(one.target) for one in found.records), found.fault)

    async def close(self) -> None:
        """Give up what is being asked."""
        await self._routes.close()
        await self._addresses.close()
        await self._texts.close()

    async def _records(
        self, kept: Kept[Records], text: str, ask: Callable[[dns.name.Name], Awaitable[tuple[Records, float]]]
    ) -> Records:
        if (name := _name(text)) is None:
            return Records(fault=NO_DOMAIN)
        return await kept.get(name.to_text(), lambda: ask(name))

    # -- the three questions --

    async def _ask_mx(self, name: dns.name.Name) -> tuple[MxAnswer, float]:
        found = await self._look_up(name, "MX")
        if found.fault == NO_RECORD:
            return MxAnswer(((0, _text(name)),), implicit=True), found.ttl
        hosts = sorted((one.preference, _text(one.exchange)) for one in found.records)
        usable = tuple((preference, host) for preference, host in hosts if host)
        null = hosts and not usable  # "MX 0 ." (RFC 7505, 3)
        return MxAnswer(usable, NULL_MX if null else found.fault), found.ttl

    async def _ask_addresses(self, name: dns.name.Name) -> tuple[Records, float]:
        answers = await asyncio.gather(self._look_up(name, "AAAA"), self._look_up(name, "A"))
        addresses = tuple(one.address for answer in answers for one in answer.records)
        faults = {answer.fault for answer in answers}
        fault = "" if addresses else next(one for one in (UNSURE, NO_RECORD, NO_DOMAIN) if one in faults)
        return Records(addresses, fault), min(answer.ttl for answer in answers)

    async def _ask_texts(self, name: dns.name.Name) -> tuple[Records, float]:
        found = await self._look_up(name, "TXT")
        texts = tuple(b"".join(one.strings).decode("utf-8", "replace") for one in found.records)
        return Records(texts, found.fault), found.ttl

    async def _look_up(self, name: dns.name.Name, kind: str) -> _Found:
        try:
            async with self._turns:
                answer = await self._resolver.resolve(name, kind, raise_on_no_answer=False, search=False)
        except dns.resolver.NXDOMAIN as no:
            return _Found((), NO_DOMAIN, _within(_ttl_of(no, name), LONGEST_NO_S))
        except (dns.exception.DNSException, OSError, ValueError):  # SERVFAIL, REFUSED, silence, nonsense
            return _Found((), UNSURE, UNSURE_S)
        ttl = float(answer.chaining_result.minimum_ttl)
        if answer.rrset is None:
            return _Found((), NO_RECORD, _within(ttl, LONGEST_NO_S))
        return _Found(list(answer.rrset), "", _within(ttl, LONGEST_S))


def _within(ttl: float, longest: float) -> float:
    return min(max(ttl, SHORTEST_S), longest)


def _ttl_of(no: dns.resolver.NXDOMAIN, name: dns.name.Name) -> float:
    response: dns.message.QueryMessage | None = no.kwargs.get("responses", {}).get(name)
    try:
        return LONGEST_NO_S if response is None else float(response.resolve_chaining().minimum_ttl)
    except dns.exception.DNSException:
        return LONGEST_NO_S


def _name(text: str) -> dns.name.Name | None:
    """None when there can be no such name."""
    try:
        name = dns.name.from_text(a_label(text.strip().rstrip(".")))
    except (UnicodeError, dns.exception.DNSException):
        return None
    return None if name == dns.name.root else name


def _text(name: dns.name.Name) -> str:
    """Lower case, no dot at the end; the root is an empty text."""
    return "" if name == dns.name.root else name.to_text(omit_final_dot=True).lower()


def _nameserver(text: str) -> dns.nameserver.Do53Nameserver:
    address, port = text, "53"
    if text.startswith("["):
        address, _, rest = text[1:].partition("]")
        port = rest.removeprefix(":") or port
    elif text.count(":") == 1:
        address, _, port = text.partition(":")
    try:
        return dns.nameserver.Do53Nameserver(str(ipaddress.ip_address(address)), int(port))
    except ValueError:
        raise BadNameserver(f"a nameserver is ADDRESS or ADDRESS:PORT, not {text!r}") from None
