"""What a check says: what was seen, whether it is well, and the mend."""

from typing import Final

import msgspec

OK: Final = "ok"
WARN: Final = "warn"
"""It works, and will hurt some day."""
FAIL: Final = "fail"
"""It does not work, or large receivers refuse such mail."""
SKIPPED: Final = "skipped"
"""Not configured, or it cannot be known from here; ``seen`` says which."""
STATUSES: Final = (FAIL, WARN, SKIPPED, OK)
"""The worst first."""


class Finding(msgspec.Struct, frozen=True, omit_defaults=False):
    """``name``: dotted, as in ``kafka.topics``.  ``mend``: what to do, empty when there is nothing."""

    name: str
    status: str
    seen: str
    mend: str = ""


def ok(name: str, seen: str, mend: str = "") -> Finding:
    return Finding(name, OK, seen, mend)


def warn(name: str, seen: str, mend: str) -> Finding:
    return Finding(name, WARN, seen, mend)


def fail(name: str, seen: str, mend: str) -> Finding:
    return Finding(name, FAIL, seen, mend)


def skipped(name: str, seen: str, mend: str = "") -> Finding:
    return Finding(name, SKIPPED, seen, mend)
