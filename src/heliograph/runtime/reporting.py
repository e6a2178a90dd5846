"""Bounce and complaint mail on its way in: which message is it about, is that proven, and what follows.

*Proven*: one of our keys signed what names the message (the VERP token of the address that it came to or that it
quotes, or the unsubscribe link of the returned mail), so whoever made the report had that mail.  Without, anybody could
have written it: it may then move the status of that one message, whose random id it must know, and tell its journey;
it never suppresses an address and never counts for the circuit breaker.
"""

from typing import Final

from heliograph import render
from heliograph.deliver import reports
from heliograph.deliver.reports import Recipient, Report
from heliograph.events.record import Outcome
from heliograph.ports import Heard, MessageRow
from heliograph.runtime.chunk import Chunk
from heliograph.runtime.feedback import take_feedback
from heliograph.runtime.work import Call

MAX_REASON: Final = 500

TOLD: Final = frozenset({"bounced", "delivered", "complained"})
"""Kinds of reports that are outcomes of a message; the others change nothing, except that what was ``relayed`` is no
longer ``unknown``."""


class TakeMail(Call[Heard]):
    """One mail that came to a bounce address.  ``keys``: what signs our tokens, None when nothing does."""

    def __init__(self, raw: bytes, recipient: str, keys: render.LinkKeys | None) -> None:
        super().__init__()
        self._report, self._keys = reports.read(raw, recipient), keys

    def decide(self, chunk: Chunk) -> None:
        message_id, proven = self._message(chunk)
        row = chunk.desk.message(message_id) if message_id else None
        if row is None:
            self.result = Heard(self._report.kind if self._report.kind != "dsn" else "unknown", reason=NOT_OURS)
        elif self._report.kind == "dsn":
            self._notified(chunk, row, proven)
        elif self._report.kind in TOLD:
            self._apply(chunk, row, self._report.kind, "a complaint was reported", proven, stops=proven)
        else:
            self.result = Heard(self._report.kind, row.message_id, proven, reason=NOT_READ)

    def _message(self, chunk: Chunk) -> tuple[str, bool]:
        """The id of the message and whether it is proven."""
        if (signed := signed_id(self._report, self._keys)) and chunk.desk.message(signed):
            return signed, True
        known = (one for one in self._report.message_ids if chunk.desk.message(one) is not None)
        return next(known, ""), False

    def _notified(self, chunk: Chunk, row: MessageRow, proven: bool) -> None:
        about = reports.finding(self._report, row.address) or Recipient("")
        kind, reason = about.kind, about.reason[:MAX_REASON]
        if kind in TOLD:
            self._apply(chunk, row, kind, reason, proven, stops=proven and reports.condemns(about, row.address))
            return
        if kind == "relayed" and row.status == "unknown":
            chunk.end_message(row, "sent", f"shown by what came back: relayed, {reason}", row.sending_at or chunk.now())
            chunk.drain()
        self.result = Heard(kind, row.message_id, proven, reason=reason)

    def _apply(self, chunk: Chunk, row: MessageRow, kind: str, reason: str, proven: bool, *, stops: bool) -> None:
        take_feedback(chunk, Outcome(row.message_id, kind, chunk.now(), reason), suppresses=stops, trusted=proven)
        self.result = Heard(kind, row.message_id, proven, stops, reason)


NOT_OURS: Final = "it names no message that this server has sent"
NOT_READ: Final = "it says nothing that the standards know"


def signed_id(report: Report, keys: render.LinkKeys | None) -> str:
    """The id of the message that this report names under our signature, "" for none."""
    if keys is None:
        return ""
    for address in report.addresses:
        if message_id := render.read_verp(address, keys):
            return message_id
    for token in report.links:
        if claims := render.verify("u", token, keys):
            return claims.message_id
    return ""
