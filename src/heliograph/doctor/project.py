"""The project's settings, first of all: without them little else can be looked at."""

from collections.abc import Mapping
from pathlib import Path

from heliograph import config
from heliograph.adapters.dns import BadNameserver, Resolver
from heliograph.doctor.finding import Finding, fail, ok
from heliograph.doctor.patient import Patient


def opened(
    project: Path, data: Path, url: str | None, *, mend: bool, environ: Mapping[str, str] | None = None
) -> Patient:
    """Who is to be looked at.  Inside an event loop: DNS is opened here."""
    found = config.inspect(project, environ).settings
    try:
        dns = Resolver(() if found is None else found.direct.nameservers)
    except BadNameserver:
        dns = None
    return Patient(project, data, found, dns, url, mend)


async def settings(patient: Patient) -> list[Finding]:
    """Every problem of ``heliograph.toml`` and the environment, and what would stop a start."""
    problems = config.inspect(patient.project).problems
    if not problems:
        try:
            config.load(patient.project)
        except config.ConfigError as error:
            problems = error.problems
    name = "settings"
    if problems:
        return [fail(name, str(one), f"heliograph check {patient.project}") for one in problems]
    nowhere = [fail("dns", "nobody is named to ask DNS", "set direct.nameservers")] if patient.dns is None else []
    return [ok(name, f"{patient.project / config.FILE} is fine"), *nowhere]
