"""The decision at the commit point: may this message still go?

Asked once, with the ledger's rows as they are at that moment (never from a cache), just before DATA.  The runtime
writes ``sending`` for every go in one synced commit; what comes after that is too late.
"""

from collections.abc import Iterable, Mapping
from typing import Protocol

import msgspec

from heliograph.deliver.lifecycle import CANCELLABLE, MISSED
from heliograph.events.record import LedgerRow

STOPS_ALL = ("!bounce", "!manual")
STOPS_MARKETING = ("!complaint",)
IMPLICIT_TOPIC = "marketing"
"""A message without a topic that is not transactional."""
HELD = "held"
"""The reason of a stop because the journey's mail is held."""


class Candidate(Protocol):
    """What the decision needs of a message; :class:`heliograph.ports.MessageRow` has it."""

    @property
    def status(self) -> str: ...
    @property
    def reason(self) -> str: ...
    @property
    def topic(self) -> str | None: ...
    @property
    def transactional(self) -> bool: ...
    @property
    def not_after(self) -> int: ...


class Stop(msgspec.Struct, frozen=True):
    """It may not: the status that it takes, and why."""

    status: str
    reason: str


def decide(
    message: Candidate, rows: Iterable[LedgerRow], topics: Mapping[str, str], now: int, *, held: bool = False
) -> Stop | None:
    """``None`` is go.  ``rows``: everything the ledger has on the message's address.  ``topics``: topic -> ``required``
    or ``assumed`` (unlisted: assumed).  ``now``: ms; ``not_after`` 0 means never too late.  ``held``: the mail of its
    journey is held; it keeps its status and waits.

    What comes too late is ``deferred``: whether it is stale or waits for a better hour, its person decides.
    """
    if message.status not in CANCELLABLE:
        return Stop(message.status, message.reason or f"already {message.status}")
    words = {row.topic: row.given for row in rows}
    stop = _suppressed(message, words) or _unwanted(message, words, topics) or _untimely(message, now)
    return stop or (Stop(message.status, HELD) if held else None)


def _suppressed(message: Candidate, words: Mapping[str, bool]) -> Stop | None:
    stops = STOPS_ALL if message.transactional else STOPS_ALL + STOPS_MARKETING
    for topic in stops:
        if words.get(topic) is False:
            return Stop("cancelled", f"suppressed: {topic[1:]}")
    return None


def _unwanted(message: Candidate, words: Mapping[str, bool], topics: Mapping[str, str]) -> Stop | None:
    if message.transactional:
        return None
    topic = message.topic or IMPLICIT_TOPIC
    wanted = words.get(topic, topics.get(topic) != "required")
    return None if wanted else Stop("cancelled", f"no_consent: {topic}")


def _untimely(message: Candidate, now: int) -> Stop | None:
    if message.status == "deferred":
        return Stop("deferred", message.reason)
    late = message.not_after and now >= message.not_after
    return Stop("deferred", MISSED) if late else None
