"""``heliograph doctor``: looks at everything a deployment rests on, and says the mend.

A check is a function from :class:`Patient` to findings; :data:`CHECKS` lists them, in the order in which people read
them.  They run beside each other; one that breaks is a finding, too.  What is not configured is skipped, so the same
list serves one machine and many.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from msgspec.structs import replace

from heliograph.doctor.clickhouse import clickhouse
from heliograph.doctor.clocks import skews
from heliograph.doctor.finding import FAIL, OK, SKIPPED, STATUSES, WARN, Finding, fail
from heliograph.doctor.flink import flink
from heliograph.doctor.kafka import kafka
from heliograph.doctor.machine import data_folder, event_loop, open_files, time_service
from heliograph.doctor.offsets import offsets
from heliograph.doctor.patient import Patient, hide, secrets_of
from heliograph.doctor.postgres import postgres
from heliograph.doctor.project import opened, settings
from heliograph.doctor.redis import redis
from heliograph.doctor.relay import relays
from heliograph.doctor.sender import domains
from heliograph.doctor.sources import greeting
from heliograph.doctor.web import base_url, server

Check = Callable[[Patient], Awaitable[Sequence[Finding]]]

CHECKS: Final[tuple[Check, ...]] = (
    settings, data_folder, open_files, event_loop, time_service, base_url, server,
    kafka, flink, postgres, offsets, redis, clickhouse,
    relays, greeting, domains,
)  # fmt: skip
NAMES: Final = {check.__name__: check for check in CHECKS}
PATIENCE_S: Final = 60.0
"""Of one check: a silent relay is given up after 15 s, a silent nameserver after 10 s for each question."""


def chosen(words: Sequence[str]) -> list[Check]:
    """The checks of these names (:data:`NAMES`); none given: all.  :class:`KeyError` names what there is not."""
    return [NAMES[word] for word in words] if words else list(CHECKS)


async def examine(patient: Patient, checks: Sequence[Check] = CHECKS) -> list[Finding]:
    """What every check found, in their order, without any secret of the settings; the clocks last."""
    found = await asyncio.gather(*(_guarded(check, patient) for check in checks))
    findings = [finding for one in found for finding in one] + skews(patient)
    secrets = frozenset() if patient.settings is None else secrets_of(patient.settings)
    return [replace(one, seen=hide(one.seen, secrets), mend=hide(one.mend, secrets)) for one in findings]


async def _guarded(check: Check, patient: Patient) -> Sequence[Finding]:
    name = check.__name__
    begun = time.monotonic()
    try:
        async with asyncio.timeout(PATIENCE_S):
            return await check(patient)
    except TimeoutError:
        return [
            fail(name, f"this check did not end within {time.monotonic() - begun:.0f} s", "something it asks is silent")
        ]
    except Exception as error:
        return [
            fail(name, f"this check broke: {type(error).__name__}: {error}", "please report it: the rest was looked at")
        ]


__all__ = [
    "CHECKS",
    "FAIL",
    "NAMES",
    "OK",
    "SKIPPED",
    "STATUSES",
    "WARN",
    "Check",
    "Finding",
    "Patient",
    "chosen",
    "examine",
    "opened",
]
