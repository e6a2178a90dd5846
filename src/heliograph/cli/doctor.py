"""doctor: everything that a deployment rests on, looked at, with the mend for what is wrong."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from heliograph.cli.show import fail, print_json, say, table

if TYPE_CHECKING:
    from heliograph.doctor import Finding

STYLES = {"ok": "green", "warn": "yellow", "fail": "red", "skipped": "dim"}
"""In the order in which they are counted."""


def doctor(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="The project folder.")] = Path(),
    data: Annotated[Path, typer.Option("--data", "-d", help="Of the server on this machine.")] = Path("data"),
    url: Annotated[str | None, typer.Option("--url", envvar="HELIOGRAPH_URL", help="A running server to ask.")] = None,
    mend: Annotated[bool, typer.Option("--mend", help="Make what is missing: folder, topics, schema.")] = False,
    only: Annotated[
        list[str] | None, typer.Option("--only", metavar="CHECK", help="This check; may be repeated.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="For scripts.")] = False,
) -> None:
    """Look at everything a deployment rests on, and say the mend.  Exit code 1 when something fails."""
    if not directory.is_dir():
        fail(f"there is no folder {directory}")
    findings = asyncio.run(_look(directory, data, url, mend, only or []))
    counts = Counter(finding.status for finding in findings)
    if as_json:
        print_json({"checks": msgspec.to_builtins(findings), "counts": {status: counts[status] for status in STYLES}})
    else:
        _show(findings)
        say(", ".join(f"{counts[status]} {status}" for status in STYLES if counts[status]))
    if counts["fail"]:
        raise typer.Exit(1)


async def _look(directory: Path, data: Path, url: str | None, mend: bool, only: Sequence[str]) -> Sequence["Finding"]:
    from heliograph import doctor as medicine

    try:
        checks = medicine.chosen(only)
    except KeyError as error:
        fail(f"there is no check {error}; there are: {', '.join(medicine.NAMES)}", 2)
    patient = medicine.opened(directory, data, url, mend=mend)
    try:
        return await medicine.examine(patient, checks)
    finally:
        if patient.dns is not None:
            await patient.dns.close()


def _show(findings: Sequence["Finding"]) -> None:
    """What was seen, then what to do, whole lines that can be copied: a DKIM record has 400 characters."""
    table(("check", "", "seen"), [(one.name, one.status, one.seen) for one in findings])
    for status in ("warn", "fail"):
        for one in findings:
            if one.status == status:
                say(f"{one.name}: {one.mend}", STYLES[status])


COMMANDS = (doctor,)
