"""The desk of one process among many: what it has at hand may have been changed by another since.

So it notes what was read while a chunk is decided: the rows of messages (``bases``) and the words of addresses
(``guards``); the store compares them when the chunk is committed, and when something is otherwise by then, all of it is
decided again.  Words are read anew for every chunk, rows of messages are kept, because nearly always only the worker
that has a person's partition writes them.
"""

from collections import OrderedDict
from collections.abc import Collection, Iterable, Sequence
from typing import Any

import structlog

from heliograph import decide
from heliograph.events.ids import bucket
from heliograph.events.partitions import partition_of
from heliograph.events.record import LedgerRow
from heliograph.ports import BroadcastRow, Claim, MessageRow, SharedStore, StoreAway, StoreFailed, StoreTooNew
from heliograph.runtime.catching_up import CatchingUp
from heliograph.runtime.desk import MESSAGES, CompileSchema, Desk
from heliograph.runtime.far_counts import (
    WALK,
    FarTally,
    copied,
    encode_part,
    encode_walk,
    part_name,
    read_part,
    read_walk,
    summed,
)
from heliograph.runtime.holds import FarHolds
from heliograph.runtime.leases import Leases
from heliograph.runtime.profiles import Remembered
from heliograph.runtime.recent import Recent

BLOBS = 20_000
"""States as they came from the brain, some kilobytes each at most: they are wanted for rendering at once."""
PARTS = 10_000
"""Of broadcasts: a hundred of them in a hundred partitions."""

log = structlog.get_logger("heliograph.desk")


class FarDesk(Desk):
    """``partitions``: of the topics, 0 where nothing is carried out here.  ``leases``: which of them are ours; None in
    a process that only asks.  ``applied``: partition -> the next offset to carry out."""

    store: SharedStore
    tally: FarTally
    holds: FarHolds

    def __init__(self, store: SharedStore, compile_schema: CompileSchema, *, partitions: int = 0) -> None:
        self.partitions = partitions
        self.leases: Leases | None = None
        self.applied: dict[int, int] = {}
        self.catching_up = CatchingUp()
        self.bases: dict[str, int] = {}
        self.guards: dict[str, dict[str, LedgerRow]] = {}
        self.careful = False
        """Something was not as we took it to be: read what is nearly always new, too."""
        self.blobs = Remembered(BLOBS)
        self._stale: OrderedDict[str, dict[str, float]] = OrderedDict()
        self._numbers: Recent[str, int] = Recent(BLOBS)
        self._parts: Recent[str, BroadcastRow] = Recent(PARTS)
        self._walks: Recent[str, BroadcastRow] = Recent(PARTS)
        super().__init__(store, compile_schema)

    def join(self, partitions: int) -> None:
        """So many partitions are there."""
        self.partitions = partitions
        self.tally = FarTally(self.store, partitions)

    # -- life of a chunk --

    @property
    def _recents(self) -> tuple[Recent[Any, Any], ...]:
        return (*super()._recents, self.blobs, self._numbers, self._parts, self._walks)

    def seal(self) -> None:
        super().seal()
        self.holds.seal()
        self._anew()
        self.bases, self.guards = {}, {}

    def settle(self) -> None:
        super().settle()
        self.holds.settle()
        self._anew()
        self.careful = False

    def _anew(self) -> None:
        for shared in (self._words, self._holders, self._requests, self._broadcasts, self._walks):
            shared.forget()

    def forget(self, taken: Collection[int] = ()) -> None:
        """Others may have written anything that is on disk; partitions ``taken`` are ours only from now on."""
        for recent in self._recents:
            recent.forget()
        self.tally.forget(set(self.leases.epochs) - set(taken) if self.leases is not None else ())

    def reload(self) -> None:
        """Who carries nothing out works on by the plan that is known, as its collector does (``plan_watch``, which
        tells ``/readyz``); :class:`StoreTooNew` for all others."""
        last_at = getattr(self, "last_at", 0)
        try:
            super().reload()
        except StoreTooNew as error:
            if self.leases is not None or not self.planned:
                raise
            log.error("the plan before stays in force", in_force=self.plan.version, reason=str(error))
        self.last_at = max(last_at, self.last_at)
        self.tally, self.holds = FarTally(self.store, self.partitions), FarHolds(self.store)
        self.bases, self.guards = {}, {}
        self.careful = True
        self._review()

    def _review(self) -> None:
        """Whose the partitions are by now, and how far they are."""
        if self.leases is None or not self.leases.epochs:
            return
        epochs = self.leases.epochs
        known = {claim.partition: claim for claim in self.store.claims()}
        for partition, epoch in list(epochs.items()):
            claim = known.get(partition)
            if claim is not None and (claim.owner, claim.epoch) == (self.leases.owner, epoch):
                self.applied[partition] = claim.offset
            else:
                del epochs[partition]

    def look(self) -> bool:
        """Read what others may have put: a plan, holds; whether mail may go now that did not.  From any thread."""
        before = set(self.holds.all())
        self.holds.look()
        return not before <= set(self.holds.all())

    # -- whose a person is --

    def take(self, claims: Sequence[Claim]) -> None:
        """These partitions are ours from now on."""
        self.forget([claim.partition for claim in claims])
        for claim in claims:
            self.catching_up.forget(claim.partition)
        self.applied.update((claim.partition, claim.offset) for claim in claims)

    def partition_of(self, key: str) -> int:
        return partition_of(bucket(key), self.partitions) if self.partitions else -1

    def is_mine(self, key: str) -> bool:
        return self.leases is not None and self.partition_of(key) in self.leases.epochs

    def offers(self, row: MessageRow) -> bool:
        """Whether this message may be handed out now."""
        waits = not row.transactional and self.catching_up.waits(self.partition_of(row.key))
        return self.is_mine(row.key) and not waits

    def may_mail(self, key: str) -> bool:
        return self.is_mine(key) and self.leases is not None and self.leases.left_ms() > 0

    # -- states: only the brain writes them --

    def state(self, key: str) -> decide.State | None:
        blob = self.blobs.get(key)
        if blob is None:
            (blob,) = self.store.states((key,))
        return decide.decode_state(blob) if blob else None

    def fetch(self, keys: Iterable[str]) -> None:
        """Nothing: they are seldom wanted."""

    def write_state(self, key: str, blob: bytes | None, number: int) -> None:
        self.blobs.write(key, blob or False)
        self._numbers.write(key, number)

    def fetch_numbers(self, keys: Sequence[str]) -> None:
        """Of the last decision of each that was carried out."""
        missing = [key for key in dict.fromkeys(keys) if self._numbers.get(key) is None]
        for key, blob in zip(missing, self.store.states(missing) if missing else (), strict=True):
            self._numbers.keep(key, decide.decode_state(blob).number if blob else 0)

    def number(self, key: str) -> int:
        number = self._numbers.get(key)
        if number is None:
            self.fetch_numbers((key,))
            number = self._numbers.get(key)
        return number or 0

    # -- messages --

    def rendered_from(self, message_id: str, stale: dict[str, float]) -> None:
        """The mail that a mailer has now: how many seconds old is what of it; nothing: all of it is new."""
        self._stale.pop(message_id, None)
        if stale:
            self._stale[message_id] = stale
        if len(self._stale) > MESSAGES:
            self._stale.popitem(last=False)

    def stale(self, message_id: str) -> dict[str, float]:
        return self._stale.get(message_id, {})

    def present(self, message_id: str) -> MessageRow | None:
        return super().message(message_id)

    def message(self, message_id: str) -> MessageRow | None:
        row = super().message(message_id)
        self.bases.setdefault(message_id, -1 if row is None else row.rev)
        return row

    def unwritten(self, message_id: str) -> bool:
        """Whether to take it that there is no such row yet; the store knows better, and then we are careful."""
        if self.careful or self.messages.get(message_id) is not None:
            return False
        self.bases.setdefault(message_id, -1)
        return True

    def messages_of(self, keys: Sequence[str], limit: int = 200) -> list[MessageRow]:
        return [self.message(row.message_id) or row for row in super().messages_of(keys, limit)]

    # -- broadcasts: their people are counted by partition --

    def part(self, broadcast_id: str, partition: int) -> BroadcastRow:
        """What people of this partition do, for this chunk to change in place."""
        name = part_name(broadcast_id, partition)
        row = self._parts.open.get(name)
        if row is None:
            known = self._parts.get(name) or read_part(self.store, name)
            row = copied(known)
            self._parts.write(name, row)
        return row

    def changed_parts(self) -> dict[str, bytes]:
        return {name: encode_part(row) for name, row in self._parts.open.items()}

    def broadcast(self, broadcast_id: str) -> BroadcastRow | None:
        """With what all workers have counted."""
        row = self.plain_broadcast(broadcast_id)
        return None if row is None else summed(row, self.store, self.partitions, self._walks.get(broadcast_id))

    def walking(self, broadcast_id: str) -> BroadcastRow | None:
        """How far it is, for who leads the broadcasts to change in place."""
        row = self._walks.open.get(broadcast_id)
        if row is None and (known := self.plain_broadcast(broadcast_id)) is not None:
            row = copied(self._walks.get(broadcast_id) or read_walk(self.store, known))
            self._walks.write(broadcast_id, row)
        return row

    def changed_walks(self) -> dict[str, bytes]:
        return {WALK + name: encode_walk(row) for name, row in self._walks.open.items()}

    def counting(self, broadcast_id: str) -> BroadcastRow | None:
        """The row itself, for whoever leads the broadcasts."""
        row = self._broadcasts.open.get(broadcast_id)
        if row is None and (known := self.plain_broadcast(broadcast_id)) is not None:
            row = copied(known)
            self._broadcasts.write(broadcast_id, row)
        return row

    # -- requests --

    def awaits(self, request_id: str) -> bool:
        """Also that it is ours to make."""
        row = self.request(request_id) if super().awaits(request_id) else None
        return row is not None and self.is_mine(row.key)

    # -- ledger --

    def words(self, address: str) -> dict[str, LedgerRow]:
        words = super().words(address)
        self.guards.setdefault(address, words)
        return words

    # -- plans --

    def _reload_plan(self) -> None:
        """:class:`StoreTooNew` for a plan that only a newer program can read."""
        try:
            super()._reload_plan()
        except (StoreAway, StoreFailed):  # it is not about the plan
            raise
        except Exception as error:
            raise StoreTooNew(
                "the plan in force cannot be read by this program: update it, or publish a plan that it can read "
                f"({type(error).__name__}: {error})"
            ) from error

    def catch_up(self, version: int) -> None:
        """Records name this plan: whoever stamped them read it from the store's."""
        if not self.planned or self.plan.version < version:
            self._reload_plan()
