"""The addresses that our mail leaves from, as far as this machine can know them; and what direct mail needs of them."""

import ipaddress
import socket
from typing import Final

import msgspec

from heliograph.adapters.dns import Resolver
from heliograph.adapters.smtp import parse_url
from heliograph.bootstrap.mail import own_name
from heliograph.config import DIRECT, Settings
from heliograph.doctor.finding import Finding, fail, ok, skipped, warn
from heliograph.doctor.patient import Patient
from heliograph.ports import MailDns
from heliograph.ports.mail import UNSURE

FAR: Final = ("192.0.2.1", 25)
"""Where nobody is: asking the system which address would be used sends nothing."""


class Sources(msgspec.Struct, frozen=True):
    """``sure``: mail leaves from there, and not perhaps from elsewhere.  ``why``: where they come from, or why there
    are none."""

    addresses: tuple[str, ...]
    sure: bool
    why: str


async def sources(settings: Settings, dns: MailDns) -> Sources:
    """Of direct mail ours, of a relay those that its name leads to."""
    if settings.smtp.url == DIRECT:
        return _our_own(settings)
    host = parse_url(settings.smtp.url).host
    found = [host] if _is_address(host) else list((await dns.addresses(host)).found)
    public = tuple(one for one in found if ipaddress.ip_address(one).is_global)
    if not public:
        return Sources((), False, f"from which address the relay {host} sends cannot be known from here")
    return Sources(public, False, f"the relay {host}; providers may send from others: take their include:")


def _our_own(settings: Settings) -> Sources:
    if settings.direct.source_addresses:
        return Sources(settings.direct.source_addresses, True, "direct.source_addresses")
    used = _outward()
    if used and ipaddress.ip_address(used).is_global:
        return Sources((used,), True, "this machine")
    return Sources((), False, f"this machine sends from {used or 'nowhere'}, which others see as another address")


def _outward() -> str:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(FAR)
        except OSError:
            return ""
        return str(probe.getsockname()[0])


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


async def greeting(patient: Patient) -> list[Finding]:
    """Forward-confirmed names of the addresses that send straight to receivers (RFC 1912, 2.1)."""
    if patient.settings is None or patient.dns is None:
        return []
    if patient.settings.smtp.url != DIRECT:
        return [skipped("direct.names", "mail goes through a relay: its names are its own")]
    ehlo = patient.settings.direct.ehlo or own_name()
    ours = _our_own(patient.settings)
    first = [_no_name()] if not ehlo else [await _forward(ehlo, ours, patient.dns)]
    return [*first, *[await _reverse(address, ehlo, patient.dns) for address in ours.addresses]]


def _no_name() -> Finding:
    return fail(
        "direct.ehlo",
        "this machine has no full name, so servers are greeted with an address",
        'direct.ehlo = "mail.YOUR.DOMAIN"',
    )


async def _forward(ehlo: str, ours: Sources, dns: Resolver) -> Finding:
    leads = (await dns.addresses(ehlo)).found
    if not leads:
        return fail(
            "direct.ehlo", f"{ehlo} has no address", f"give {ehlo} an A record with the address that mail leaves from"
        )
    missing = [one for one in ours.addresses if one not in leads]
    if missing:
        return warn(
            "direct.ehlo",
            f"{ehlo} is {', '.join(leads)}, mail leaves from {', '.join(missing)}",
            f"let {ehlo} lead there, too",
        )
    return ok("direct.ehlo", f"{ehlo} is {', '.join(leads)}")


async def _reverse(address: str, ehlo: str, dns: Resolver) -> Finding:
    name, answer = f"ptr.{address}", await dns.names(address)
    mend = f"ask who gave you {address} to name it {ehlo or 'as direct.ehlo'} (PTR)"
    if answer.fault == UNSURE:
        return warn(name, "DNS gives no answer", "try again, or name another server in direct.nameservers")
    if not answer.found:
        return fail(name, f"{address} has no name: Gmail and Microsoft refuse its mail", mend)
    back = [one for one in answer.found if address in (await dns.addresses(one)).found]
    if not back:
        return fail(name, f"{address} is called {answer.found[0]}, which leads elsewhere", mend)
    if ehlo not in back:
        return warn(name, f"{address} is called {back[0]}, and greets as {ehlo}", mend)
    return ok(name, f"{address} is {back[0]}, and back")
