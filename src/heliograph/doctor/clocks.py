"""Our clock against everybody else's: asked last, when the servers have said theirs."""

from typing import Final

from heliograph.doctor.finding import Finding, fail, ok, skipped, warn
from heliograph.doctor.patient import Patient

SKEW_S: Final = 1.0
"""Records are stamped by who takes them: two collectors this far apart put a person's events out of order."""
BAD_SKEW_S: Final = 10.0
"""Leases last 15 s: a worker that is this far off is taken for dead, or takes others for dead."""
MEND: Final = "run chrony or systemd-timesyncd on both machines"


def skews(patient: Patient) -> list[Finding]:
    """One finding for each server that told its time."""
    if not patient.clocks:
        return [skipped("clock.skew", "no server told its time")]
    return [_skew(f"clock.{server}", ahead) for server, ahead in sorted(patient.clocks.items())]


def _skew(name: str, ahead: float) -> Finding:
    seen = f"its clock is {abs(ahead):.2f} s {'ahead of' if ahead > 0 else 'behind'} ours"
    if abs(ahead) <= SKEW_S:
        return ok(name, seen)
    return (fail if abs(ahead) > BAD_SKEW_S else warn)(name, seen, MEND)
