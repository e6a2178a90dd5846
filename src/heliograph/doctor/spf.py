"""SPF (RFC 7208): may this address send for this domain?  Every mechanism, macros but ``%{p}``, and the bounds on
look-ups, so that what is said here is what a receiver would say.

DNS comes in as functions; nothing here opens a socket.
"""

import ipaddress
import re
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, NamedTuple, Protocol
from urllib.parse import quote

from heliograph.events.domains import a_label
from heliograph.ports import MxAnswer, Records
from heliograph.ports.mail import NO_DOMAIN, NO_RECORD, UNSURE

LOOKUPS: Final = 10
"""Mechanisms and modifiers that ask DNS, in one evaluation (section 4.6.4)."""
VOID: Final = 2
"""Of those, how many may find nothing."""
HOSTS: Final = 10
"""MX hosts of one mechanism."""
RESULTS: Final = {"+": "pass", "-": "fail", "~": "softfail", "?": "neutral"}
ASKING: Final = frozenset({"include", "a", "mx", "ptr", "exists", "redirect"})
MECHANISMS: Final = frozenset({"all", "include", "a", "mx", "ptr", "ip4", "ip6", "exists"})

_TERM = re.compile(r"([+\-?~]?)([A-Za-z][A-Za-z0-9_.\-]*)(?:([:=])([^\s]*?))?((?:/\d{1,3})?(?://\d{1,3})?)")
_MACRO = re.compile(r"%(?:\{([slodiphcrtvSLODIPHCRTV])(\d*)(r?)([.\-+,/_=]*)\}|([%_\-]))")

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class Dns(Protocol):
    """What is asked; a :class:`heliograph.ports.MailDns` is one."""

    async def mx(self, domain: str) -> MxAnswer: ...
    async def addresses(self, host: str) -> Records: ...
    async def texts(self, name: str) -> Records: ...


class Verdict(NamedTuple):
    """``result``: pass, fail, softfail, neutral, none, permerror or temperror.  ``why``: the mechanism that decided,
    or what is wrong.  ``lookups``: how many were needed."""

    result: str
    why: str
    lookups: int = 0


class Term(NamedTuple):
    """One word of a record: ``-ip4:192.0.2.0/24`` or ``redirect=x.example``."""

    sign: str
    name: str
    value: str
    four: int
    six: int
    modifier: bool

    def __str__(self) -> str:
        mark = "=" if self.modifier else ":" if self.value else ""
        return self.sign.strip("+") + self.name + mark + self.value


class Broken(Exception):
    """The evaluation ends here: permerror or temperror."""

    def __init__(self, result: str, why: str) -> None:
        super().__init__(why)
        self.result = result


def records(texts: Sequence[str]) -> list[str]:
    """The SPF records among these TXT records (section 4.5)."""
    return [text for text in texts if text == "v=spf1" or text.startswith("v=spf1 ")]


def parse(record: str) -> list[Term]:
    """The terms; :class:`Broken` (permerror) where the syntax ends.  Unknown modifiers are kept: they mean nothing."""
    return [_term(word) for word in record.split()[1:]]


def _term(word: str) -> Term:
    match = _TERM.fullmatch(word)
    if match is None:
        raise Broken("permerror", f"{word!r} is no mechanism")
    sign, name, mark, value, cidr = match[1] or "+", match[2].lower(), match[3], match[4] or "", match[5]
    if mark == "=":
        return Term(sign, name, value + cidr, 32, 128, True)
    if name not in MECHANISMS:
        raise Broken("permerror", f"there is no mechanism {name!r}")
    if name in ("ip4", "ip6"):
        _network(value + cidr, name)
        return Term(sign, name, value + cidr, 32, 128, False)
    four, _, six = cidr.removeprefix("/").partition("//") if not cidr.startswith("//") else ("", "", cidr[2:])
    if (name in ("include", "exists") and not value) or int(four or 0) > 32 or int(six or 0) > 128:
        raise Broken("permerror", f"{word!r} is no mechanism")
    return Term(sign, name, value, int(four or 32), int(six or 128), False)


def _network(text: str, name: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    try:
        network = ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise Broken("permerror", f"{name}:{text} is no network") from None
    if network.version != int(name[-1]):
        raise Broken("permerror", f"{name}:{text} is of the other family")
    return network


class Evaluation:
    """One check_host() (section 4): for ``address``, mail from ``sender``, greeted with ``helo``."""

    def __init__(self, dns: Dns, address: Address, sender: str, helo: str = "") -> None:
        self._dns = dns
        self._address = address
        self._sender = sender
        self._helo = helo
        self._lookups = 0
        self._void = 0
        self._ways: dict[str, Callable[[Term, str], Awaitable[bool]]] = {
            "all": self._all, "include": self._include, "a": self._a, "mx": self._mx, "ptr": self._ptr,
            "ip4": self._ip, "ip6": self._ip, "exists": self._exists,
        }  # fmt: skip

    async def verdict(self) -> Verdict:
        """What a receiver says, with the number of look-ups."""
        try:
            result, why = await self._check(self._sender.rpartition("@")[2])
        except Broken as broken:
            result, why = broken.result, str(broken)
        return Verdict(result, why, self._lookups)

    async def _check(self, domain: str) -> tuple[str, str]:
        answer = await self._dns.texts(domain)
        if answer.fault == UNSURE:
            raise Broken("temperror", f"DNS gives no answer about {domain}")
        found = records(answer.found)
        if not found:
            return "none", f"{domain} has no SPF record"
        if len(found) > 1:
            raise Broken("permerror", f"{domain} has {len(found)} SPF records, and none of them counts")
        terms = parse(found[0])
        for term in terms:
            if not term.modifier and await self._matches(term, domain):
                return RESULTS[term.sign], f"{term} of {domain}"
        redirect = [term for term in terms if term.modifier and term.name == "redirect"]
        if not redirect:
            return "neutral", f"nothing in the record of {domain} speaks of {self._address}"
        return await self._redirected(redirect[0], domain)

    async def _redirected(self, term: Term, domain: str) -> tuple[str, str]:
        self._count(term)
        result, why = await self._check(self._expand(term.value, domain))
        if result == "none":
            raise Broken("permerror", f"{term} of {domain}: {why}")
        return result, why

    async def _matches(self, term: Term, domain: str) -> bool:
        if term.name in ASKING:
            self._count(term)
        return await self._ways[term.name](term, domain)

    def _count(self, term: Term) -> None:
        self._lookups += 1
        if self._lookups > LOOKUPS:
            raise Broken("permerror", f"more than {LOOKUPS} look-ups are needed, at {term}")

    # -- the mechanisms (section 5) --

    async def _all(self, term: Term, domain: str) -> bool:
        return True

    async def _ip(self, term: Term, domain: str) -> bool:
        return self._address in _network(term.value, term.name)

    async def _include(self, term: Term, domain: str) -> bool:
        target = self._expand(term.value, domain)
        result, why = await self._check(target)
        if result == "none":
            raise Broken("permerror", f"{term} of {domain}: {why}")
        return result == "pass"

    async def _a(self, term: Term, domain: str) -> bool:
        return self._among(await self._hosts(self._target(term, domain)), term)

    async def _mx(self, term: Term, domain: str) -> bool:
        answer = await self._dns.mx(self._target(term, domain))
        self._heard(answer.fault or (NO_RECORD if answer.implicit else ""))
        if answer.implicit:
            return False
        if len(answer.hosts) > HOSTS:
            raise Broken("permerror", f"{term} of {domain} has more than {HOSTS} hosts")
        return any([self._among((await self._dns.addresses(host)).found, term) for _, host in answer.hosts])

    async def _ptr(self, term: Term, domain: str) -> bool:
        """Not looked at: receivers may skip it, and nobody should write it (section 5.5)."""
        return False

    async def _exists(self, term: Term, domain: str) -> bool:
        return any("." in one for one in await self._hosts(self._expand(term.value, domain)))

    async def _hosts(self, name: str) -> Sequence[str]:
        answer = await self._dns.addresses(name)
        self._heard(answer.fault)
        return answer.found

    def _heard(self, fault: str) -> None:
        if fault == UNSURE:
            raise Broken("temperror", "DNS gives no answer")
        self._void += fault in (NO_DOMAIN, NO_RECORD)
        if self._void > VOID:
            raise Broken("permerror", f"more than {VOID} look-ups find nothing")

    def _among(self, addresses: Sequence[str], term: Term) -> bool:
        six = self._address.version == 6
        bits = term.six if six else term.four
        same = [text for text in addresses if (":" in text) == six]
        return any(self._address in ipaddress.ip_network(f"{text}/{bits}", strict=False) for text in same)

    # -- names with macros (section 7) --

    def _target(self, term: Term, domain: str) -> str:
        return self._expand(term.value, domain) if term.value else domain

    def _expand(self, text: str, domain: str) -> str:
        if "%" in _MACRO.sub("", text):
            raise Broken("permerror", f"{text!r} has a macro that is none")
        name = _MACRO.sub(lambda match: self._macro(match, domain), text)
        try:
            return a_label(name.rstrip("."))
        except UnicodeError:
            return name

    def _macro(self, match: re.Match[str], domain: str) -> str:
        if match[5]:
            return {"%": "%", "_": " ", "-": "%20"}[match[5]]
        local, _, sender = self._sender.rpartition("@")
        six = self._address.version == 6
        whole = ".".join(self._address.exploded.replace(":", "")) if six else str(self._address)
        value = {
            "s": self._sender, "l": local or "postmaster", "o": sender, "d": domain, "i": whole, "h": self._helo,
            "p": "unknown", "v": "ip6" if six else "in-addr", "c": str(self._address), "r": "unknown", "t": "0",
        }[match[1].lower()]  # fmt: skip
        parts = re.split(f"[{re.escape(match[4] or '.')}]", value)
        if match[3]:
            parts.reverse()
        text = ".".join(parts[-int(match[2]) :] if match[2] else parts)
        return quote(text, safe="") if match[1].isupper() else text


async def evaluate(dns: Dns, address: str, sender: str, helo: str = "") -> Verdict:
    """What a receiver would say of mail from ``sender`` (an address, or ``postmaster@`` a domain) that comes from the
    IP address ``address``."""
    return await Evaluation(dns, ipaddress.ip_address(address), sender, helo).verdict()
