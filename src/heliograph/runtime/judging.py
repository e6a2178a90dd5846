"""What becomes of a message whose turn it is: a job for a mailer, an end, or nothing, because something else became of
it meanwhile."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from msgspec.structs import replace

from heliograph.deliver.lifecycle import MISSED
from heliograph.ports import MessageRow, StoreAway, steady_ms
from heliograph.runtime import mailwire
from heliograph.runtime.mailer_link import Mailer
from heliograph.runtime.outbox import Entry, Outbox
from heliograph.runtime.profiles import Late
from heliograph.runtime.traffic import Traffic

NOT_OFFERED: Final = mailwire.Done("", "stopped", "", 0)
"""Of a message that comes back without having been anywhere."""
LATE_MS: Final = 1_000
"""A message whose person nobody knows in time is looked at again so much later."""
SLICE: Final = 64
"""Messages offered before other tasks have a turn: a render context costs some 50 us."""
LONGEST_MS: Final = 1_000
"""And no longer than this, however slowly the store tells who somebody is: leases are renewed on the same loop."""

Fate = tuple[str, str, str]
"""Message id, status, reason."""
RenderContext = Callable[[MessageRow], dict[str, Any] | None]


class Judging:
    """As of :class:`heliograph.runtime.dispatcher.Dispatcher`: ``current``, ``mine``, ``templates``.  ``ending``:
    messages whose end waits to be written, at most what is queued."""

    def __init__(
        self,
        outbox: Outbox,
        traffic: Traffic,
        *,
        current: Callable[[str], MessageRow | None],
        mine: Callable[[MessageRow], bool],
        render_context: RenderContext,
        templates: Callable[[], Mapping[str, Any]],
    ) -> None:
        self._outbox, self._traffic, self._current, self._mine = outbox, traffic, current, mine
        self._render_context, self._templates = render_context, templates
        self.ending: set[str] = set()

    def overdue(self, now: int) -> list[Fate]:
        """Messages that became too late while they waited for something else than a mailer."""
        fates: list[Fate] = []
        while len(fates) < SLICE and (row := self._outbox.overdue(now)) is not None:
            if self._waits(row):
                self._doom(fates, row, "deferred", MISSED)
        return fates

    def _waits(self, row: MessageRow) -> bool:
        """Nothing else became of it meanwhile."""
        present = self._current(row.message_id)
        if present is None or present.status != "queued" or row.message_id in self.ending:
            return False
        return self._mine(row)

    def _doom(self, fates: list[Fate], row: MessageRow, status: str, reason: str) -> None:
        fates.append((row.message_id, status, reason))
        self.ending.add(row.message_id)

    def jobs(self, mailer: Mailer, count: int, fates: list[Fate], now: int) -> list[mailwire.Job]:
        jobs: list[mailwire.Job] = []
        until = steady_ms() + LONGEST_MS
        while len(jobs) < count and len(fates) < SLICE and steady_ms() < until:
            if (claim := self._outbox.claim(now)) is None:
                break
            try:
                if (job := self._judge(claim, fates, now)) is not None:
                    mailer.held[job.message_id] = claim.row
                    jobs.append(job)
            except Late:  # others may be known
                self._release(claim, now)
                self._outbox.add(replace(claim.row, next_at=now + LATE_MS))
            except StoreAway:
                self._release(claim, now)
                self._outbox.resync()
                if not jobs and not fates:
                    raise  # nothing goes: rest before the next look
                break
        return jobs

    def _judge(self, claim: Entry, fates: list[Fate], now: int) -> mailwire.Job | None:
        """The job that it becomes; None where it does not go, perhaps because of a fate."""
        row = claim.row
        if self._waits(row):
            fate = self._fate(row, now)
            if fate is None and (context := self._render_context(row)) is not None:
                return self._job(claim, context)
            self._doom(fates, row, *(fate or ("cancelled", "run_gone")))
        self._release(claim, now)
        return None

    def _release(self, claim: Entry, now: int) -> None:
        """It was claimed and does not go."""
        self._outbox.done(claim.row.message_id)
        self.back(claim, NOT_OFFERED, now)

    def _fate(self, row: MessageRow, now: int) -> tuple[str, str] | None:
        if row.not_after and now >= row.not_after:
            return "deferred", MISSED
        if row.template not in self._templates():
            return "skipped", f"no_template: {row.template}"
        return None

    def _job(self, claim: Entry, context: dict[str, Any]) -> mailwire.Job:
        row = claim.row
        return mailwire.Job(
            message_id=row.message_id,
            template=row.template,
            template_version=self._templates()[row.template]["version"],
            address=row.address,
            context=context,
            created_at=row.created_at,
            not_after=row.not_after,
            attempt=row.attempt + 1,
            topic=row.topic,
            key=row.key,
            campaign=row.journey,
            route=claim.route,
            receiver=claim.lane.receiver.name,
        )

    def back(self, claim: Entry, done: mailwire.Done, now: int) -> None:
        """It comes back, and what became of it."""
        self._traffic.ended(claim.lane, claim.route, claim.days, done, claim.asked_at, now)
