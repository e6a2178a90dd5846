"""Work that mailers ask of the processor: to pass the commit point, to record outcomes, to bury the lost."""

from collections.abc import Callable, Mapping, Sequence

import structlog
from msgspec.structs import replace

from heliograph.ports import MessageRow
from heliograph.runtime import mailwire
from heliograph.runtime.chunk import Chunk
from heliograph.runtime.feedback import lose, take_report
from heliograph.runtime.work import Work

log = structlog.get_logger("heliograph.claims")

Answer = Callable[[list[str], list[tuple[str, str]]], None]
Meta = Callable[[], dict[str, bytes]]
"""What the traffic wants kept, in the same commit."""


class PassCommitPoint(Work):
    """The commit point: from here on a message counts as sent or unknown, whatever happens.

    ``held``: what this mailer still holds; it is empty once its socket has closed, and then nothing may go.
    """

    internal = urgent = True

    def __init__(
        self, message_ids: Sequence[str], held: Mapping[str, MessageRow], answer: Answer, meta: Meta = dict
    ) -> None:
        self.records = len(message_ids)
        self.size = 0
        self._ids, self._held, self._answer, self._meta = message_ids, held, answer, meta

    def decide(self, chunk: Chunk) -> None:
        chunk.commit.meta.update(self._meta())
        self._go: list[str] = []
        self._stop: list[tuple[str, str]] = []
        for message_id in self._ids:
            self._judge(chunk, message_id)

    def _judge(self, chunk: Chunk, message_id: str) -> None:
        row = chunk.desk.message(message_id) if message_id in self._held else None
        if row is None:
            self._stop.append((message_id, "not yours"))
        elif stop := chunk.stopped(row):
            self._stop.append((message_id, stop.reason))
            if stop.status != row.status:
                end(chunk, row, stop.status, stop.reason)
        else:
            self._go.append(message_id)
            chunk.write_message(replace(row, status="sending", sending_at=chunk.now()))

    def settled(self) -> None:
        self._answer(self._go, self._stop)

    def failed(self, error: Exception) -> None:
        self._answer([], [(message_id, "stopping") for message_id in self._ids])


class TakeReports(Work):
    """Outcomes.  ``ended`` gets (message id, row to be tried again or None) of each.  ``elsewhere``: ids of those that
    another relay may take at once."""

    internal = urgent = True

    def __init__(
        self,
        done: Sequence[mailwire.Done],
        ended: Callable[[list[tuple[mailwire.Done, MessageRow | None]]], None],
        elsewhere: frozenset[str] = frozenset(),
        meta: Meta = dict,
    ) -> None:
        self.records = len(done)
        self.size = 0
        self._done, self._ended, self._elsewhere, self._meta = done, ended, elsewhere, meta

    def decide(self, chunk: Chunk) -> None:
        chunk.commit.meta.update(self._meta())
        elsewhere = self._elsewhere
        self._fates = [(done, take_report(chunk, done, done.message_id in elsewhere)) for done in self._done]

    def settled(self) -> None:
        self._ended(self._fates)


class Bury(Work):
    """Messages whose mailer is gone: those past the commit point are ``unknown``, the others wait again.  ``ended``
    gets the rows that wait."""

    internal = True

    def __init__(
        self,
        message_ids: Sequence[str],
        ended: Callable[[Sequence[MessageRow]], None],
        reason: str,
    ) -> None:
        self.records = len(message_ids)
        self.size = 0
        self._ids, self._ended, self._reason = message_ids, ended, reason

    def decide(self, chunk: Chunk) -> None:
        self._waiting: list[MessageRow] = []
        for message_id in self._ids:
            row = chunk.desk.message(message_id)
            if row is not None and row.status == "sending":
                row = lose(chunk, message_id, self._reason)
            if row is not None and row.status == "queued":
                self._waiting.append(row)

    def settled(self) -> None:
        self._ended(self._waiting)


class End(Work):
    """Messages that come to an end before any mailer had them: without a run or a template; those too late
    (``deferred``) are decided again.  ``ended`` gets the rows that wait again."""

    internal = True

    def __init__(self, fates: Sequence[tuple[str, str, str]], ended: Callable[[Sequence[MessageRow]], None]) -> None:
        self.records = len(fates)
        self.size = 0
        self._fates, self._ended = fates, ended

    def decide(self, chunk: Chunk) -> None:
        self._waiting: list[MessageRow] = []
        for message_id, status, reason in self._fates:
            row = chunk.desk.message(message_id)
            if row is not None and row.status == "queued":
                end(chunk, row, status, reason)
                row = chunk.desk.message(message_id)
            if row is not None and row.status == "queued":
                self._waiting.append(row)

    def settled(self) -> None:
        self._ended(self._waiting)

    def failed(self, error: Exception) -> None:
        self._ended([])


def end(chunk: Chunk, row: MessageRow, status: str, reason: str) -> None:
    """It does not go, at least not now."""
    if status == "deferred":
        chunk.miss_message(row, chunk.now(), "")
    else:
        chunk.end_message(row, status, reason, chunk.now())
        chunk.drain()
