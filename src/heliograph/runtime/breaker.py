"""The circuit breaker at work: it hears what became of mails once that is on disk, and holds what does too badly.

Transactional mail is not judged: what somebody waits for, a service notice above all, is never stopped on statistics.
"""

from collections.abc import Callable, Iterable
from typing import Final, NamedTuple, Protocol

import structlog

from heliograph.deliver.breaker import Breaker, Finding, Kind, Rules
from heliograph.ports import Clock, MessageRow
from heliograph.runtime.meter import Meter

log = structlog.get_logger("heliograph.breaker")

MAX_OPENED: Final = 1_000
"""Journeys held by the breaker that are watched for being let go."""


class Sample(NamedTuple):
    """``late``: it was counted when it was sent."""

    row: MessageRow
    kind: Kind
    late: bool = False


def domain_of(row: MessageRow) -> str:
    return row.address[row.address.rfind("@") + 1 :]


class Holding(Protocol):
    def __call__(self, journey: str, reason: str, held: Callable[[str], None]) -> None:
        """Hold the mail of this journey, soon; ``held`` is called once that is on disk."""


class MailBreaker:
    """``receiver``: who takes the mail of a domain.  ``held``: whether a journey's mail is held.  ``hold`` holds it."""

    def __init__(
        self,
        rules: Rules,
        clock: Clock,
        meter: Meter,
        *,
        held: Callable[[str], bool],
        hold: Holding,
        receiver: Callable[[str], str] = lambda domain: domain,
    ) -> None:
        self._clock, self._meter = clock, meter
        self._held, self._hold, self.receiver = held, hold, receiver
        self._enabled = rules.enabled
        self._breaker = Breaker(rules, clock.now())
        self._opened: dict[str, bool] = {}
        """Journey -> whether its hold is on disk."""

    def heard(self, samples: Iterable[Sample]) -> None:
        """What one commit brought."""
        if not self._enabled:
            return
        mails: dict[tuple[str, str, Kind], int] = {}
        for row, kind, late in samples:
            if late:
                self._returned(row, kind)
            elif not row.transactional:
                name = (row.journey, domain_of(row), kind)
                mails[name] = mails.get(name, 0) + 1
        now = self._clock.now()
        for (journey, domain, kind), count in mails.items():
            if not self._is_held(journey, now):
                self._act(self._breaker.mails(journey, self.receiver(domain), kind, count, now))

    def _returned(self, row: MessageRow, kind: Kind) -> None:
        """Something came back about a mail that was sent."""
        now = self._clock.now()
        if not row.transactional and not self._is_held(row.journey, now):
            receiver, sent_at = self.receiver(domain_of(row)), row.sent_at or row.sending_at
            self._act(self._breaker.trouble(row.journey, receiver, kind, sent_at, now))

    def _is_held(self, journey: str, now: int) -> bool:
        """Held mail, or mail that is about to be, needs no more evidence; mail that was let go needs fresh one."""
        if self._held(journey) or self._opened.get(journey) is False:
            return True
        if self._opened.pop(journey, False):
            self._breaker.forget(journey, now)
        return False

    def _act(self, finding: Finding | None) -> None:
        if finding is None:
            return
        if not finding.opens:
            log.warning("one receiver alone", journey=finding.journey, receiver=finding.receiver, reason=finding.reason)
            return
        if len(self._opened) >= MAX_OPENED:
            del self._opened[next(iter(self._opened))]
        self._opened[finding.journey] = False
        self._meter.count("breaker_open_total", finding.kind)
        log.error("breaker open", journey=finding.journey, kind=finding.kind, reason=finding.reason)
        self._hold(finding.journey, finding.reason, self._is_on_disk)

    def _is_on_disk(self, journey: str) -> None:
        self._opened[journey] = True
