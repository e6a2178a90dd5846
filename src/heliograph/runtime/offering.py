"""What the loop of broadcasts asks of the processor: to offer one to some people, to begin, to end and to take it back.

Each piece says from which place of the audience it goes on, and is passed over when the row is not there any more: so
pieces that were made before a pause, a cancel, another plan or a full disk do nothing, and none is done twice.
"""

from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from heliograph import decide
from heliograph.decide.broadcasts import Broadcast, broadcast_of, journey_of
from heliograph.deliver.lifecycle import CANCELLABLE
from heliograph.events.record import Offer
from heliograph.ports import BroadcastRow, Store
from heliograph.runtime.chunk import Chunk
from heliograph.runtime.counting import MAX_AGAIN, unsent, waiting
from heliograph.runtime.desk import Desk
from heliograph.runtime.past import survivor
from heliograph.runtime.sweeper import read_progress
from heliograph.runtime.work import ROW_BYTES, Call, Swept

SAMPLE: Final = 500
"""Keys that are looked at (some 5 ms): they are in the order of a hash, so the first ones are a fair draw."""


class Offers(Call[bool]):
    """Offer a broadcast to some people, folded ``under`` this plan; its result: whether it was done.

    ``begin``, ``end``: the place in the audience before and after them; the same for those that are looked at
    ``again``.  ``through``: there is nobody behind them.
    """

    patient = True

    def __init__(
        self,
        broadcast_id: str,
        items: Sequence[Swept],
        begin: str | None,
        end: str | None,
        under: int,
        *,
        through: bool = False,
        again: Sequence[str] = (),
    ) -> None:
        super().__init__()
        self.records = max(len(items), 1)
        folds = [item.folds for item in items if item.folds]
        self.size = ROW_BYTES * len(items) + (len(msgspec.msgpack.encode(folds)) if folds else 0)
        self._id, self._items, self._under = broadcast_id, items, under
        self._begin, self._end, self._through, self._again = begin, end, through, again
        self._broken: set[str] = set()
        self._at = ""
        self.offered = self.entered = 0
        """People, once it was decided."""

    def prepare(self, desk: Desk) -> None:
        desk.fetch(item.key for item in self._items)

    def decide(self, chunk: Chunk) -> None:
        self.result, self.offered, self.entered = False, 0, 0
        desk, known = chunk.desk, chunk.desk.broadcast(self._id)
        if known is None or known.status != "running" or known.after != self._begin:
            return
        if desk.plan.version != self._under or desk.holds.held(journey_of(self._id)):
            return
        row = desk.walking(self._id)
        assert row is not None
        offered, entered = row.offered, row.people.get("entered", 0)
        row.again = [key for key in row.again if key not in self._again]
        for item in self._items:
            self._offer(chunk, row, item)
        row.after, row.through = self._end, row.through or self._through
        self.offered, self.entered = row.offered - offered, row.people.get("entered", 0) - entered
        if chunk.far:
            self.entered = self.offered  # nobody knows yet; the rate takes it that all of them do
        self.result = True

    def _offer(self, chunk: Chunk, row: BroadcastRow, item: Swept) -> None:
        self._at = item.key
        state = survivor(item.key, chunk.desk.state)
        if state is None or decide.was_offered(state, self._id):
            return  # forgotten, or a device of somebody whom it has come by
        if item.key in self._broken:
            row.offered += 1
            row.refused["undecidable"] = row.refused.get("undecidable", 0) + 1
        elif item.keys and (state.pending or not item.keys.issuperset((state.key, *state.links))):
            self._later(row, item.key)  # their past is not what was folded any more
        else:
            row.offered += 1
            chunk.append(state.key, Offer(self._id, self._under if item.keys else 0, item.folds), self._id)

    def _later(self, row: BroadcastRow, key: str) -> None:
        if len(row.again) < MAX_AGAIN:
            row.again.append(key)
        else:
            row.offered += 1
            row.refused["changing"] = row.refused.get("changing", 0) + 1

    def isolate(self) -> bool:
        self._broken.add(self._at)
        return True


class Turn(Call[bool]):
    """A broadcast begins (its time has come) or ends (nobody and nothing is left); its result: whether it did."""

    patient = True

    def __init__(self, broadcast_id: str, total: int = 0) -> None:
        super().__init__()
        self._id, self._total = broadcast_id, total

    def decide(self, chunk: Chunk) -> None:
        self.result = False
        known, now = chunk.desk.broadcast(self._id), chunk.now()
        if known is not None and known.status == "scheduled" and known.starts_at <= now:
            change(chunk, self._id, "running", started_at=now, total=self._total)
            self.result = True
        elif known is not None and is_over(known):
            change(chunk, self._id, "finished", ended_at=now)
            self.result = True


def members_of(broadcast: Broadcast, store: Store) -> str:
    """Whose members its audience is walked along; "" when everybody is asked: so is, in the same order, the audience
    of a segment that a sweep after a publish has not made right yet, because not all of them are its members."""
    progress = read_progress(store)
    unsure = progress is not None and not progress.ended_at and broadcast.members in progress.segments
    return "" if unsure else broadcast.members


def audience_of(broadcast: Broadcast, store: Store) -> int:
    """About how many people there are to offer it to: exact for members, an estimate where everybody is asked."""
    members = members_of(broadcast, store)
    return store.member_count(members) if members else everybody(store)


def everybody(store: Store) -> int:
    """About how many people there are: keys that were merged into others are nobody, and are taken off in their share
    of a sample (an import with addresses makes as many of them as people)."""
    found = [decide.decode_state(blob) for blob in store.states(store.keys(None, SAMPLE)) if blob is not None]
    people = sum(not state.forward for state in found)
    return round(max(store.counts().get("profiles", 0), len(found)) * people / len(found)) if found else 0


def is_over(row: BroadcastRow) -> bool:
    """Its whole audience was offered it and nobody waits for a clock or a mailer; what a cap or quiet hours put off
    may still go."""
    return row.status == "running" and row.through and not row.again and not unsent(row) and not waiting(row)


def change(
    chunk: Chunk, broadcast_id: str, status: str, reason: str = "", *, started_at: int = 0, ended_at: int = 0,
    total: int = 0,
) -> BroadcastRow:  # fmt: skip
    """The row of one that is there, from now on."""
    row = chunk.desk.counting(broadcast_id)
    assert row is not None
    row.status, row.reason, row.changed_at = status, reason, chunk.now()
    row.started_at, row.ended_at = row.started_at or started_at, row.ended_at or ended_at
    row.total = total or row.total
    return row


def held(chunk: Chunk, journey: str, reason: str) -> None:
    """The mail of this journey is held: a broadcast is paused with it."""
    row = chunk.desk.broadcast(broadcast_of(journey)) if broadcast_of(journey) else None
    if row is not None and row.status in ("scheduled", "running"):
        change(chunk, row.broadcast_id, "paused", reason)


def lifted(chunk: Chunk, journey: str) -> None:
    """And goes on with it."""
    row = chunk.desk.broadcast(broadcast_of(journey)) if broadcast_of(journey) else None
    if row is not None and row.status == "paused":
        goes_on(chunk, row)


def goes_on(chunk: Chunk, row: BroadcastRow) -> BroadcastRow:
    """A paused one is what it was."""
    if row.started_at or row.starts_at <= chunk.now():
        return change(chunk, row.broadcast_id, "running", started_at=chunk.now())
    return change(chunk, row.broadcast_id, "scheduled")


class Withdraw(Call[int]):
    """Cancel some messages of a broadcast that was cancelled; the hold on it goes with the last of them.  Its result:
    how many there were."""

    patient = True

    def __init__(self, broadcast_id: str, message_ids: Sequence[str], reason: str) -> None:
        super().__init__()
        self.records = max(len(message_ids), 1)
        self._id, self._ids, self._reason = broadcast_id, message_ids, reason

    def decide(self, chunk: Chunk) -> None:
        self.result = 0
        for message_id in self._ids:
            row = chunk.desk.message(message_id)
            if row is not None and row.status in CANCELLABLE:
                chunk.end_message(row, "cancelled", self._reason, chunk.now())
                chunk.drain()
                self.result += 1
        known = chunk.desk.broadcast(self._id)
        if known is None or not open_messages(known):
            chunk.desk.holds.lift(chunk, journey_of(self._id))


def open_messages(row: BroadcastRow) -> int:
    """Those that may still leave."""
    return unsent(row) + row.messages.get("deferred", 0)


Changed = Callable[[Chunk], BroadcastRow | str]
"""Changes a row in an open chunk; or why it cannot."""
