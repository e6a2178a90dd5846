"""Unknown messages, settled by hand: released, sent again or given up, each with a reason."""

from collections.abc import Sequence
from typing import Final

from msgspec.structs import replace

from heliograph import decide
from heliograph.deliver.lifecycle import SETTLEMENTS, advance, settled
from heliograph.ports import JournalRow, MessageRow, Settled
from heliograph.runtime.applying import MAX_OUTCOMES
from heliograph.runtime.chunk import Chunk
from heliograph.runtime.past import survivor
from heliograph.runtime.work import Call

MAX_TOGETHER: Final = 1_000
"""Messages settled in one go: one commit, one page of a list."""
MAX_REASON: Final = 500


class SettleUnknown(Call[list[Settled]]):
    """``action``: a key of :data:`~heliograph.deliver.lifecycle.SETTLEMENTS`.  One result for each id, in order; the
    same call again changes nothing."""

    def __init__(self, message_ids: Sequence[str], action: str, reason: str, by: str) -> None:
        """Raises ValueError for what no caller should ask."""
        super().__init__()
        if action not in SETTLEMENTS:
            raise ValueError(f"the action is one of {', '.join(SETTLEMENTS)}, not {action!r}")
        if not reason.strip():
            raise ValueError("a reason is needed: it is kept with each message")
        if len(message_ids) > MAX_TOGETHER:
            raise ValueError(f"at most {MAX_TOGETHER:,} messages in one go")
        self.records = len(message_ids)
        self._ids, self._action, self._said = message_ids, action, f"{by}: {reason}"[:MAX_REASON]

    def decide(self, chunk: Chunk) -> None:
        self.result = [self._settle(chunk, message_id) for message_id in self._ids]

    def _settle(self, chunk: Chunk, message_id: str) -> Settled:
        row = chunk.desk.message(message_id)
        if row is None:
            return Settled(message_id, "not_found", "no message has this id")
        if settled(row.outcomes) == self._action:
            return Settled(message_id, "already", f"settled before; it is {row.status}")
        status = advance(row.status, SETTLEMENTS[self._action].signal) if row.status == "unknown" else None
        if status is None:
            return Settled(message_id, "not_unknown", f"it is {row.status}")
        if status == "queued" and (refused := why_not(chunk, row)):
            return Settled(message_id, "refused", refused)
        self._note(chunk, row)
        _DO[self._action](chunk, self._noted(chunk, row), self._said)
        return Settled(message_id, SETTLEMENTS[self._action].kind, self._said)

    def _noted(self, chunk: Chunk, row: MessageRow) -> MessageRow:
        """The row with the settlement among its outcomes."""
        outcomes = [*row.outcomes, (SETTLEMENTS[self._action].kind, chunk.now(), False)][-MAX_OUTCOMES:]
        return replace(row, outcomes=outcomes)

    def _note(self, chunk: Chunk, row: MessageRow) -> None:
        """A fact in its person's journal."""
        state = survivor(row.key, chunk.desk.state)
        fact = {
            "message_id": row.message_id, "journey": row.journey, "run_id": row.run_id, "step_id": row.step_id,
            "template": row.template, "action": self._action, "reason": self._said,
        }  # fmt: skip
        at, key = chunk.now(), row.key if state is None else state.key
        chunk.commit.journal.append((key, JournalRow(at, "message_settled", fact, chunk.desk.position)))


def _release(chunk: Chunk, row: MessageRow, said: str) -> None:
    """It was sent when it was; its person, who went on long ago, hears that now."""
    chunk.end_message(row, "sent", said, row.sending_at or chunk.now())
    chunk.drain()


def _resend(chunk: Chunk, row: MessageRow, said: str) -> None:
    """At once, as another attempt, under the same Message-ID; the commit point asks all its questions again."""
    again = replace(
        row, status="queued", reason=said, attempt=row.attempt + 1, next_at=chunk.now(), sending_at=0,
        not_after=too_late_from(chunk, row),
    )  # fmt: skip
    chunk.write_message(again)
    chunk.offers.append(again)


def _drop(chunk: Chunk, row: MessageRow, said: str) -> None:
    chunk.write_message(replace(row, reason=said))


_DO: Final = {"sent": _release, "resend": _resend, "drop": _drop}


def why_not(chunk: Chunk, row: MessageRow) -> str:
    """Why this one must not be sent again, "" when it may."""
    now = chunk.now()
    if row.unwanted:
        return f"it was cancelled meanwhile: {row.unwanted}"
    if (late_at := too_late_from(chunk, row)) and now >= late_at:
        return "it is stale, or these are its person's quiet hours"
    if (stop := chunk.stopped(replace(row, status="queued", not_after=0))) is not None and stop.status != "queued":
        return stop.reason
    state = survivor(row.key, chunk.desk.state)
    if state is None or decide.render_context(state, chunk.desk.plan, row.run_id, now) is None:
        return "its run is no longer remembered, so it cannot be written again"
    return ""


def too_late_from(chunk: Chunk, row: MessageRow) -> int:
    """Like ``not_after``, counted from now on: the end of its freshness or the next quiet hours, 0 for neither."""
    template = chunk.desk.plan.templates.get(row.template) or {}
    freshness = template.get("freshness_ms")
    bounds = [row.created_at + freshness if isinstance(freshness, int) else 0]
    state = survivor(row.key, chunk.desk.state)
    if state is not None and not row.transactional:
        bounds.append(decide.next_quiet(decide.Person(state, chunk.desk.plan), chunk.now()))
    return min((at for at in bounds if at), default=0)
