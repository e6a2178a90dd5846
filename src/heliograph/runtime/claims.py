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


class OfMessages(Work):
    """Work on messages, one after another.  Where deciding what its person makes of one raises (a bug), that person is
    not told: what became of the message is written all the same, and the others do not suffer for it."""

    internal = True
    size = 0

    def __init__(self, messages: Sequence[object]) -> None:
        self.records = len(messages)
        self._untold: set[str] = set()
        self._at = ""

    def decide(self, chunk: Chunk) -> None:
        self.decide_each(chunk)
        chunk.untold = False

    def decide_each(self, chunk: Chunk) -> None:
        """Each behind :meth:`turn_to`."""
        raise NotImplementedError

    def turn_to(self, chunk: Chunk, message_id: str) -> None:
        self._at, chunk.untold = message_id, message_id in self._untold

    def isolate(self) -> bool:
        again = self._at not in self._untold
        self._untold.add(self._at)
        return again


class PassCommitPoint(OfMessages):
    """The commit point: from here on a message counts as sent or unknown, whatever happens.

    ``held``: what this mailer still holds; it is empty once its socket has closed, and then nothing may go.
    """

    urgent = True

    def __init__(
        self, message_ids: Sequence[str], held: Mapping[str, MessageRow], answer: Answer, meta: Meta = dict
    ) -> None:
        super().__init__(message_ids)
        self._ids, self._held, self._answer, self._meta = message_ids, held, answer, meta
        self._gone: set[str] = set()
        """Those that an earlier try of this very ask made ``sending``: nobody was told so yet."""

    def decide_each(self, chunk: Chunk) -> None:
        chunk.commit.meta.update(self._meta())
        self._go: list[str] = []
        self._stop: list[tuple[str, str]] = []
        for message_id in self._ids:
            self._judge(chunk, message_id)

    def _judge(self, chunk: Chunk, message_id: str) -> None:
        self.turn_to(chunk, message_id)
        row = chunk.desk.message(message_id) if message_id in self._held else None
        if row is None or not chunk.desk.may_mail(row.key):
            self._stop.append((message_id, "not yours"))
        elif row.status == "sending" and message_id in self._gone:
            self._go.append(message_id)
        elif stop := chunk.stopped(row):
            self._stop.append((message_id, stop.reason))
            if stop.status != row.status:
                end(chunk, row, stop.status, stop.reason)
        else:
            self._go.append(message_id)
            self._gone.add(message_id)
            chunk.under(row.key)
            chunk.write_message(replace(row, status="sending", sending_at=chunk.now()))

    def settled(self) -> None:
        self._answer(self._go, self._stop)

    def failed(self, error: Exception) -> None:
        self._answer([], [(message_id, "stopping") for message_id in self._ids])


class TakeReports(OfMessages):
    """Outcomes.  ``ended`` gets (message id, row to be tried again or None) of each.  ``elsewhere``: ids of those that
    another relay may take at once."""

    urgent = True

    def __init__(
        self,
        done: Sequence[mailwire.Done],
        ended: Callable[[list[tuple[mailwire.Done, MessageRow | None]]], None],
        elsewhere: frozenset[str] = frozenset(),
        meta: Meta = dict,
    ) -> None:
        super().__init__(done)
        self._done, self._ended, self._elsewhere, self._meta = done, ended, elsewhere, meta

    def decide_each(self, chunk: Chunk) -> None:
        chunk.commit.meta.update(self._meta())
        self._fates = [(done, self._take(chunk, done)) for done in self._done]

    def _take(self, chunk: Chunk, done: mailwire.Done) -> MessageRow | None:
        self.turn_to(chunk, done.message_id)
        return take_report(chunk, done, done.message_id in self._elsewhere)

    def settled(self) -> None:
        self._ended(self._fates)


class Bury(OfMessages):
    """Messages whose mailer is gone: those past the commit point are ``unknown``, the others wait again.  ``ended``
    gets the rows that wait."""

    def __init__(
        self,
        message_ids: Sequence[str],
        ended: Callable[[Sequence[MessageRow]], None],
        reason: str,
    ) -> None:
        super().__init__(message_ids)
        self._ids, self._ended, self._reason = message_ids, ended, reason

    def decide_each(self, chunk: Chunk) -> None:
        self._waiting: list[MessageRow] = []
        for message_id in self._ids:
            self.turn_to(chunk, message_id)
            row = chunk.desk.message(message_id)
            if row is not None and self.is_lost(chunk, row):
                row = lose(chunk, message_id, self._reason)
            if row is not None and row.status == "queued":
                self._waiting.append(row)

    def is_lost(self, chunk: Chunk, row: MessageRow) -> bool:
        """It is past its commit point."""
        return row.status == "sending"

    def settled(self) -> None:
        self._ended(self._waiting)


class End(OfMessages):
    """Messages that come to an end before any mailer had them: without a run or a template; those too late
    (``deferred``) are decided again.  ``ended`` gets the rows that wait again."""

    def __init__(self, fates: Sequence[tuple[str, str, str]], ended: Callable[[Sequence[MessageRow]], None]) -> None:
        super().__init__(fates)
        self._fates, self._ended = fates, ended

    def decide_each(self, chunk: Chunk) -> None:
        self._waiting: list[MessageRow] = []
        for message_id, status, reason in self._fates:
            self.turn_to(chunk, message_id)
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
