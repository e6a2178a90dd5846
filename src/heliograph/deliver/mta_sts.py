"""MTA-STS (RFC 8461), without I/O: what a domain's record and policy say, and whom they let take its mail."""

import re
from collections.abc import Iterable
from typing import Final

import msgspec

VERSION: Final = "STSv1"
MODES: Final = ("enforce", "testing", "none")
LONGEST_S: Final = 31_557_600
"""``max_age`` is at most a year (section 3.2)."""
MAX_BYTES: Final = 64 * 1024
"""Of a policy (section 3.3: a client may limit it)."""
MAX_PATTERNS: Final = 200

_ID = re.compile(r"[A-Za-z0-9]{1,32}")
_AGE = re.compile(r"[0-9]{1,10}")
_HOST = re.compile(r"(\*\.)?[a-z0-9_-]+(\.[a-z0-9_-]+)*\.?", re.IGNORECASE)


class BadPolicy(ValueError):
    """What was served is no policy: it is as if nothing had been served."""


class Policy(msgspec.Struct, frozen=True):
    """``max_age``: seconds for which it holds.  ``mx``: names of servers, or ``*.`` before one."""

    mode: str
    max_age: int
    mx: tuple[str, ...] = ()


def record_id(texts: Iterable[str]) -> str:
    """The id in the TXT records of ``_mta-sts.DOMAIN``; empty when there is no policy, also when there are two records
    (section 3.1)."""
    records = [text for text in texts if re.match(r"v=STSv1[ \t]*(;|$)", text)]
    if len(records) != 1:
        return ""
    fields = [field.strip().partition("=") for field in records[0].split(";")]
    ids = [value.strip() for name, _, value in fields if name.strip() == "id"]
    return ids[0] if ids and _ID.fullmatch(ids[0]) else ""


def parse(text: str) -> Policy:
    """The policy of ``/.well-known/mta-sts.txt``; :class:`BadPolicy`.  Unknown fields are ignored, and of a field that
    may stand once the first counts (section 3.2)."""
    fields: dict[str, str] = {}
    patterns: list[str] = []
    for line in re.split(r"\r?\n", text):
        name, colon, value = line.partition(":")
        name, value = name.strip(), value.strip()
        if name == "mx" and colon:
            patterns.append(value)
        elif colon:
            fields.setdefault(name, value)
    if fields.get("version") != VERSION:
        raise BadPolicy(f"its version is not {VERSION}")
    return Policy(_mode(fields), _age(fields), _mx(patterns, fields["mode"]))


def _mode(fields: dict[str, str]) -> str:
    if fields.get("mode") not in MODES:
        raise BadPolicy(f"its mode is none of {', '.join(MODES)}")
    return fields["mode"]


def _age(fields: dict[str, str]) -> int:
    age = fields.get("max_age", "")
    if not _AGE.fullmatch(age):
        raise BadPolicy("its max_age is no number of seconds")
    return min(int(age), LONGEST_S)


def _mx(patterns: list[str], mode: str) -> tuple[str, ...]:
    if mode != "none" and not patterns:
        raise BadPolicy("it names no mx")
    if len(patterns) > MAX_PATTERNS or not all(map(_HOST.fullmatch, patterns)):
        raise BadPolicy("its mx are no host names")
    return tuple(pattern.lower().rstrip(".") for pattern in patterns)


def allows(policy: Policy, host: str) -> bool:
    """Is this one of the servers?  ``*.`` stands for one whole label at the left (section 4.1)."""
    host = host.lower().rstrip(".")
    parent = host.partition(".")[2]
    return any(
        pattern == host or (pattern.startswith("*.") and parent != "" and pattern[2:] == parent)
        for pattern in policy.mx
    )
