"""What DNS says of the domains that we send from: whether receivers will believe our mail, and bounces find home."""

import ipaddress
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Final

from heliograph.config import DkimSetting, SenderSetting, Settings
from heliograph.deliver.mta_sts import record_id
from heliograph.doctor import dkim, dmarc, spf
from heliograph.doctor.finding import Finding, fail, ok, skipped, warn
from heliograph.doctor.patient import Patient
from heliograph.doctor.sources import Sources, sources
from heliograph.ports import MailDns
from heliograph.ports.mail import UNSURE
from heliograph.render.headers import split_mailbox

STRANGER: Final = "192.0.2.255"
"""An address of nobody (RFC 5737): whoever lets it pass lets everybody pass, and to find that out every look-up of a
record is made."""
UNSURE_MEND: Final = "DNS gave no answer: try again, or name another server in direct.nameservers"
RESULTS: Final = {"pass": ok, "neutral": warn, "softfail": warn, "temperror": warn}
"""What an SPF result of our own address is; every other one is a failure."""


async def domains(patient: Patient) -> list[Finding]:
    """All checks of all senders, each domain once."""
    if patient.settings is None or patient.dns is None:
        return []
    found: dict[str, Finding] = {}
    ours = await sources(patient.settings, patient.dns)
    for sender in patient.settings.sender.values():
        for finding in await _sender(patient.settings, sender, ours, patient.dns):
            found.setdefault(finding.name, finding)
    return list(found.values())


async def _sender(settings: Settings, sender: SenderSetting, ours: Sources, dns: MailDns) -> list[Finding]:
    author = _domain(sender.from_)
    envelope = _domain(sender.return_path) if sender.return_path else author
    spf_found = await _spf(envelope, ours, dns)
    keys = [await _dkim(one, dns) for one in sender.dkim] or [_unsigned(author)]
    policy = await _policy(author, envelope, [one.domain for one in sender.dkim], dns)
    mx = await _mx(envelope, dns)
    return [*spf_found, *keys, *policy, mx, *await _inbound(envelope, dns)]


class Silence(Exception):
    """DNS gives no answer about this name."""


def _domain(mailbox: str) -> str:
    return split_mailbox(mailbox)[1].rpartition("@")[2].lower()


def _texts(dns: MailDns) -> Callable[[str], Awaitable[Sequence[str]]]:
    async def ask(name: str) -> Sequence[str]:
        answer = await dns.texts(name)
        if answer.fault == UNSURE:
            raise Silence(name)
        return answer.found

    return ask


# -- SPF --


async def _spf(domain: str, ours: Sources, dns: MailDns) -> list[Finding]:
    name = f"spf.{domain}"
    whole = await spf.evaluate(dns, STRANGER, f"postmaster@{domain}")
    if whole.result == "none":
        return [fail(name, whole.why, f'{domain} TXT "v=spf1 {_mechanisms(ours)} -all"')]
    if whole.result == "temperror":
        return [warn(name, whole.why, UNSURE_MEND)]
    if whole.result == "permerror":
        return [
            fail(
                name,
                whole.why,
                f"receivers take the record for none: mend it (RFC 7208; at most {spf.LOOKUPS} look-ups)",
            )
        ]
    if whole.result == "pass":
        return [fail(name, f"everybody may send for {domain} ({whole.why})", "end it with -all or ~all")]
    if not ours.addresses:
        return [
            skipped(
                name,
                f"{whole.lookups} look-ups; {ours.why}",
                "see that the record names the addresses your mail leaves from",
            )
        ]
    return [await _covered(domain, address, ours, dns) for address in ours.addresses]


def _mechanisms(ours: Sources) -> str:
    return " ".join(f"ip{ipaddress.ip_address(one).version}:{one}" for one in ours.addresses) or "include:YOUR.PROVIDER"


async def _covered(domain: str, address: str, ours: Sources, dns: MailDns) -> Finding:
    """A relay may send from other addresses than it listens on: a failure there is only a warning."""
    said = await spf.evaluate(dns, address, f"postmaster@{domain}")
    make = RESULTS.get(said.result, fail if ours.sure else warn)
    mend = f"let the SPF record of {domain} name {address} ({ours.why})"
    seen = f"{said.result} for {address} ({said.why}), {said.lookups} look-ups"
    return Finding(f"spf.{domain}.{address}", make("", "", "").status, seen, "" if said.result == "pass" else mend)


# -- DKIM --


def _unsigned(domain: str) -> Finding:
    return fail(
        f"dkim.{domain}",
        "mail is not signed",
        "[sender.NAME] dkim: Gmail and Microsoft refuse bulk mail without (docs/how-to/send-straight-to-receivers.md)",
    )


async def _dkim(setting: DkimSetting, dns: MailDns) -> Finding:
    host = f"{setting.selector}._domainkey.{setting.domain}"
    name = f"dkim.{setting.selector}.{setting.domain}"
    try:
        own = dkim.public_of(Path(setting.key_file))
    except (OSError, ValueError, TypeError) as error:
        return fail(name, f"{setting.key_file}: {error}", "an RSA-2048 or Ed25519 key in PEM, without a passphrase")
    answer = await dns.texts(host)
    mend = f'{host} TXT "{own.record}"'
    if answer.fault == UNSURE:
        return warn(name, f"DNS gives no answer about {host}", UNSURE_MEND)
    if len(answer.found) != 1:
        return fail(
            name,
            f"{host} has {len(answer.found) or 'no'} TXT records" if answer.found else f"{host} has no TXT record",
            mend,
        )
    if why := dkim.complaint(own, answer.found[0]):
        return fail(name, f"{host}: {why}", mend)
    if own.kind == "rsa" and own.bits < dkim.SHORT_BITS:
        return warn(name, f"{host} fits, and has {own.bits} bits", "make a key of 2,048 bits, under a new selector")
    if "y" in dkim.tags(answer.found[0]).get("t", "").split(":"):
        return warn(name, f"{host} fits, and says t=y: testing", "take t=y out: receivers treat such mail as unsigned")
    return ok(name, f"{host} is the key that signs ({own.kind}{f', {own.bits} bits' if own.bits else ''})")


# -- DMARC --


async def _policy(author: str, envelope: str, signers: Sequence[str], dns: MailDns) -> list[Finding]:
    try:
        walk = await dmarc.walk(author, _texts(dns))
        return [_dmarc(walk), await _aligned(walk, envelope, signers, dns)]
    except Silence as silence:
        return [warn(f"dmarc.{author}", f"DNS gives no answer about {silence}", UNSURE_MEND)]


def _dmarc(walk: dmarc.Walk) -> Finding:
    name, record = f"dmarc.{walk.domain}", walk.record
    if walk.crowded:
        made = fail if record is None else warn
        return made(
            name, f"_dmarc.{walk.crowded[0]} has several DMARC records: none of them counts", "keep one of them"
        )
    if record is None:
        return fail(
            name,
            f"nothing speaks for {walk.domain}",
            f'_dmarc.{walk.organisation} TXT "v=DMARC1; p=none; rua=mailto:dmarc@{walk.organisation}"',
        )
    if record.misspelt:
        seen = f"_dmarc.{record.domain} says {record.misspelt}: receivers take that for p=none, or for no record"
        return warn(name, seen, f"begin it with v=DMARC1; p=none (or {', '.join(dmarc.POLICIES[1:])})")
    policy = record.policy_of(walk.domain)
    seen = f"p={policy} by _dmarc.{record.domain}"
    if record.tags.get("t", "").lower() == "y":
        return warn(name, f"{seen}, and t=y: receivers only report", "take t=y out when the reports are clean")
    if "rua" not in record.tags:
        return warn(
            name,
            f"{seen}, and nobody is told",
            f"add rua=mailto:... to _dmarc.{record.domain}: without reports you do not see who fails",
        )
    return ok(name, seen, "when the reports are clean: quarantine, then reject" if policy == "none" else "")


async def _aligned(walk: dmarc.Walk, envelope: str, signers: Sequence[str], dns: MailDns) -> Finding:
    """Relaxed: the same organisation (RFC 9989, 4.10.2); strict (aspf for SPF, adkim for DKIM): the same domain."""
    tags = {} if walk.record is None else walk.record.tags
    strict = {word: tags.get(word, "r").lower() == "s" for word in ("aspf", "adkim")}
    others = [(envelope, "aspf"), *((signer, "adkim") for signer in signers)]
    for other, word in others:
        same = other == walk.domain
        if same or (not strict[word] and (await dmarc.walk(other, _texts(dns))).organisation == walk.organisation):
            return ok(f"dmarc.{walk.domain}.alignment", f"{other} speaks for {walk.domain}")
    asked = walk.domain if all(strict.values()) else walk.organisation
    seen = f"neither SPF nor DKIM is of {asked} ({', '.join(dict.fromkeys(other for other, _ in others))})"
    return fail(f"dmarc.{walk.domain}.alignment", seen, f"sign with d={walk.domain}, or take a return_path there")


# -- what comes back --


async def _mx(domain: str, dns: MailDns) -> Finding:
    answer = await dns.mx(domain)
    name = f"mx.{domain}"
    if answer.fault == UNSURE:
        return warn(name, f"DNS gives no answer about {domain}", UNSURE_MEND)
    mend = f"give {domain} an MX record, or set return_path to an address of a domain that has one"
    if answer.fault:
        return fail(name, f"{domain} takes no mail ({answer.fault}): bounces are lost", mend)
    if answer.implicit:
        made = warn if (await dns.addresses(domain)).found else fail
        return made(name, f"{domain} has no MX record", mend)
    return ok(name, f"bounces go to {answer.hosts[0][1]}")


async def _inbound(domain: str, dns: MailDns) -> list[Finding]:
    """Hints only: how mail to us is protected."""
    sts = record_id((await dns.texts(f"_mta-sts.{domain}")).found)
    reports = [text for text in (await dns.texts(f"_smtp._tls.{domain}")).found if text.startswith("v=TLSRPTv1")]
    return [
        ok(f"mta_sts.{domain}", f"policy {sts}") if sts
        else skipped(f"mta_sts.{domain}", "none: optional, protects bounces on their way to you (RFC 8461)"),
        ok(f"tlsrpt.{domain}", reports[0]) if len(reports) == 1
        else skipped(f"tlsrpt.{domain}", "none: optional, tells you whose TLS to you fails (RFC 8460)"),
    ]  # fmt: skip
