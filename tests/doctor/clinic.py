"""A project on disk, and what the doctor says of it."""

from collections.abc import Sequence
from pathlib import Path

from heliograph import config, doctor
from heliograph.adapters.dns import Resolver
from heliograph.doctor import Finding, Patient
from heliograph.doctor.finding import STATUSES

BASIC = """
[project]
name = "shop"
{project}
[collect]
write_key = "a-write-key-of-its-own"
[api]
token = "a-token-of-its-own"
[smtp]
url = "{smtp}"
{more}
[sender.default]
from = "Shop <hello@shop.example>"
{sender}
"""


def patient(folder: Path, *, smtp: str = "smtp://127.0.0.1:1", more: str = "", sender: str = "", project: str = "",
            nameserver: str = "", mend: bool = False, url: str | None = None) -> Patient:  # fmt: skip
    """Its settings have to be right."""
    if nameserver:
        more += f'\n[direct]\nnameservers = ["{nameserver}"]\n' if "[direct]" not in more else ""
    (folder / config.FILE).write_text(BASIC.format(smtp=smtp, more=more, sender=sender, project=project))
    found = config.inspect(folder, {})
    assert found.settings is not None, found.problems
    dns = Resolver([nameserver]) if nameserver else None
    return Patient(folder, folder / "data", found.settings, dns, url, mend)


async def said(one: Patient, *checks: doctor.Check) -> dict[str, Finding]:
    """By name; a name twice is a mistake of the check."""
    findings = await doctor.examine(one, checks or doctor.CHECKS)
    assert all(finding.status in STATUSES for finding in findings)
    by_name = {finding.name: finding for finding in findings}
    assert len(by_name) == len(findings)
    return by_name


def statuses(findings: dict[str, Finding], names: Sequence[str]) -> list[str]:
    return [findings[name].status for name in names]
