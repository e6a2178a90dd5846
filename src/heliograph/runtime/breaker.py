"""The circuit breaker at work: it hears what became of mails once that is on disk, and holds what does too badly.

Transactional mail is not judged: what somebody waits for, a service notice above all, is never stopped on statistics.
"""

from collections import Counter
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


class Seen(NamedTuple):
    """Samples, counted.  ``mails``: (journey, receiver, what they came to); ``late``: (journey, receiver, what came
    back, when that mail was sent)."""

    mails: dict[tuple[str, str, Kind], int]
    late: dict[tuple[str, str, Kind, int], int]


def domain_of(row: MessageRow) -> str:
    return row.address[row.address.rfind("@") + 1 :]


def _is_trouble(mails: tuple[tuple[str, str, Kind], int]) -> bool:
    return mails[0][2] != "sent"


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

    def heard(self, samples: Iterable[Sample]) -> Seen:
        """What one commit brought; counted, for others."""
        seen = self._count(samples)
        self.judge(seen)
        return seen

    def judge(self, seen: Seen) -> None:
        """What was seen here or by another process.  What went well is counted first: the troubles of some seconds are
        a share of all mail of these seconds."""
        now, judged = self._clock.now(), self._breaker
        for (journey, receiver, kind), count in sorted(seen.mails.items(), key=_is_trouble):
            if not self._is_held(journey, now):
                self._act(judged.mails(journey, receiver, kind, count, now))
        for (journey, receiver, kind, sent_at), count in seen.late.items():
            for _ in range(count):
                if not self._is_held(journey, now):
                    self._act(judged.trouble(journey, receiver, kind, sent_at, now))

    def _count(self, samples: Iterable[Sample]) -> Seen:
        mails, late = Counter[tuple[str, str, Kind]](), Counter[tuple[str, str, Kind, int]]()
        for row, kind, is_late in samples if self._enabled else ():
            if row.transactional:
                continue
            receiver = self.receiver(domain_of(row))
            if is_late:
                late[row.journey, receiver, kind, row.sent_at or row.sending_at] += 1
            else:
                mails[row.journey, receiver, kind] += 1
        return Seen(mails, late)

    def held_elsewhere(self, journeys: Iterable[str]) -> None:
        """The breaker of some process holds these: let go, they begin anew here, too."""
        for journey in journeys:
            self._opened.setdefault(journey, True)

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
