"""A worker: reads what the brain said of its partitions, carries it out, and mails what was decided.

::

    effects --read--> Carry (one partition's, in order) --> processor --> one commit: rows, relay, offset, fence
                                                                      --> dispatcher: what is queued is mailed

The store says whose a partition is and where to go on (:mod:`heliograph.runtime.leases`); the stream only says who is
to ask.  Whoever takes over begins at once with what follows, mails what is queued, and calls ``sending`` of the former
owner ``unknown`` only when that one has stopped for certain: at the end of its lease.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import Final

import structlog

from heliograph.events.partitions import buckets_of
from heliograph.ports import (
    Busy,
    Claim,
    Clock,
    Entry,
    MessageRow,
    Reader,
    SharedStore,
    StoreAway,
    Stream,
    StreamAway,
    StreamGap,
    steady_ms,
)
from heliograph.ports.stream import EFFECTS
from heliograph.runtime.chunk import Chunk
from heliograph.runtime.claims import Bury
from heliograph.runtime.dispatcher import Dispatcher
from heliograph.runtime.far_chunk import Carry
from heliograph.runtime.far_desk import FarDesk
from heliograph.runtime.gaps import GAP_MEND
from heliograph.runtime.leases import Leases
from heliograph.runtime.meter import Meter
from heliograph.runtime.processor import Processor
from heliograph.runtime.work import Call

GROUP: Final = "deliver"
PORTION: Final = 256
"""Decisions carried out by one piece of work: some 10 ms, so that commit points are not kept waiting."""
MAX_AHEAD: Final = 4_096
"""Decisions read and not yet on disk."""
WAIT_S: Final = 0.5
PATIENCE_S: Final = 10.0
AWAY_S: Final = 1.0
LOOK_S: Final = 0.25
"""How late a hold that somebody put elsewhere bites at the latest."""
ROUND_S: Final = 15.0
"""How long mail that another process queued (a resend by hand) may lie before it is found."""
LOST: Final = "its worker stopped before the receiver's reply"

log = structlog.get_logger("heliograph.delivery")


class Flush(Call[None]):
    """Settled when everything before it is on disk."""

    internal = patient = True
    records = size = 0

    def decide(self, chunk: object) -> None:
        self.result = None


class BuryOurs(Bury):
    """Only of people who still are ours when it is done: with whoever took them over mail may be under way."""

    def is_lost(self, chunk: Chunk, row: MessageRow) -> bool:
        assert isinstance(chunk.desk, FarDesk)
        lost = super().is_lost(chunk, row) and chunk.desk.is_mine(row.key)
        if lost:
            chunk.under(row.key)
        return lost


class Delivery:
    """``owner`` names this process among all (host, process, start); ``lease_ms``: how long it may be silent before
    others take its partitions over.  Life: :meth:`start` .. :meth:`stop`, inside that of the processor.

    The desk knows whose a person is: ``desk.may_mail(key)``, ``desk.is_mine(key)``.
    """

    def __init__(
        self,
        store: SharedStore,
        stream: Stream,
        processor: Processor,
        desk: FarDesk,
        dispatcher: Dispatcher,
        *,
        owner: str,
        lease_ms: int,
        meter: Meter,
        clock: Clock,
        group: str = GROUP,
    ) -> None:
        self.leases = Leases(store, owner, lease_ms)
        desk.leases = self.leases
        self._store, self._stream, self._processor = store, stream, processor
        self._desk, self._dispatcher, self._meter, self._clock = desk, dispatcher, meter, clock
        self._group = group
        self._reader: Reader | None = None
        self._given: set[int] = set()
        """Partitions that the stream says are ours."""
        self._astray_at: int | None = None
        self._ahead = 0
        self._room = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._burials: set[asyncio.Task[None]] = set()
        self._trouble = "it has not begun"
        self.halted = ""
        """Why it was stopped for good, with the rest of its process going on."""
        self._stopping: asyncio.Task[None] | None = None
        self._ending = False

    # -- life --

    async def start(self, ended: Callable[[asyncio.Task[None]], None] = lambda _: None) -> None:
        """Join the group.  ``ended``: told when a loop is over: whatever it was that it could not bear, partitions
        must not stay with who does not work on them.  :class:`~heliograph.ports.StreamAway` or ``StreamRefused``
        when the topic cannot be had."""
        appender = self._stream.appender()
        self._desk.join(await appender.partitions(EFFECTS))
        await appender.close(0)
        self._reader = self._stream.reader([EFFECTS], self, group=self._group)
        self._trouble = ""
        loops = {"delivery": self._read(), "leases": self.leases.keep(self._lost), "holds": self._look()}
        self._tasks = [asyncio.create_task(loop, name=name) for name, loop in loops.items()]
        for task in self._tasks:
            task.add_done_callback(ended)

    async def stop(self, patience_s: float = PATIENCE_S) -> None:
        """Read no more, let mailers finish what is past its commit point, give the partitions back."""
        if self._stopping is None:
            self._stopping = asyncio.create_task(self._stop(patience_s), name="stopping")
        await self._stopping

    def halt(self, why: str) -> None:
        """The same, for a process that has more to do than this."""
        log.error("nothing is carried out here any more", reason=why)
        self.halted = self.halted or why
        if self._stopping is None:
            self._stopping = asyncio.create_task(self._stop(PATIENCE_S), name="stopping")

    async def _stop(self, patience_s: float) -> None:
        self._trouble, self._ending = "it has been stopped", True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._give_up(list(self.leases.epochs), patience_s)
        for burial in self._burials:
            burial.cancel()
        if self._reader is not None:
            await self._reader.close()

    @property
    def healthy(self) -> bool:
        return not self.why

    @property
    def why(self) -> str:
        """What keeps it from working, "" for nothing."""
        if self.halted or self._trouble:
            return self.halted or self._trouble
        if failed := next((task for task in self._tasks if task.done() and not task.cancelled()), None):
            return f"its loop {failed.get_name()} ended: {failed.exception()!r}"
        if self.leases.epochs and not self.leases.left_ms():
            return "its lease could not be renewed: no mail is handed out"
        return ""

    # -- reading --

    async def _read(self) -> None:
        assert self._reader is not None
        while not self._ending:  # some clients swallow a cancellation
            while self._ahead >= MAX_AHEAD:
                self._room.clear()
                await self._room.wait()
            try:
                entries = await self._reader.read(MAX_AHEAD // 4, WAIT_S)
            except StreamAway as error:
                self._trouble = f"the log does not answer: {error}"
                await asyncio.sleep(AWAY_S)
                continue
            except StreamGap as error:
                raise StreamGap(f"{error}; {GAP_MEND}") from error
            self._trouble = ""
            self._carry(entries)
            if self._astray():
                await self._join_again()

    def _astray(self) -> bool:
        """For a whole lease the stream has said that a partition is ours, and the store that it is another's: somebody
        who has left the group since claimed it last, and nobody works on it."""
        if not self._given - self.leases.epochs.keys():
            self._astray_at = None
            return False
        if self._astray_at is None:
            self._astray_at = steady_ms()
        return steady_ms() - self._astray_at >= self.leases.lease_ms

    async def _join_again(self) -> None:
        """Every partition is claimed anew."""
        log.warning("partitions that nobody works on: joining again", partitions=sorted(self._given))
        assert self._reader is not None
        await self._reader.close()
        self._given, self._astray_at = set(), None
        self._reader = self._stream.reader([EFFECTS], self, group=self._group)

    def _carry(self, entries: Sequence[Entry]) -> None:
        parts: dict[int, list[Entry]] = {}
        for entry in entries:
            parts.setdefault(entry.partition, []).append(entry)
        for partition, found in parts.items():
            epoch = self.leases.epochs.get(partition)
            for at in range(0, len(found) if epoch is not None else 0, PORTION):
                assert epoch is not None
                self._put(Carry(partition, epoch, found[at : at + PORTION], self._carried))

    def _put(self, work: Carry) -> None:
        self._ahead += work.records
        self._processor.put(work)  # one by one: pieces of one call would take turns with others

    def _carried(self, work: Carry) -> None:
        self._ahead -= work.records
        self._room.set()

    # -- whose it is --

    async def assigned(self, partitions: Sequence[tuple[str, int]]) -> dict[tuple[str, int], int]:
        """Ours from now on: claimed in the store, which says where to go on."""
        names = [partition for _, partition in partitions]
        claims, wait_ms = await self._claim(names)
        self._desk.take(claims)
        self._dispatcher.resync()
        self._given |= set(names)
        burial = asyncio.create_task(self._bury_later({one.partition: one.epoch for one in claims}, wait_ms))
        self._burials.add(burial)
        burial.add_done_callback(self._burials.discard)
        log.info("partitions taken over", partitions=names, wait_ms=wait_ms)
        return {(EFFECTS, claim.partition): max(claim.offset, 0) for claim in claims}  # a gap at the front is one, too

    async def _claim(self, partitions: Sequence[int]) -> tuple[list[Claim], int]:
        while True:
            try:
                return await self.leases.claim(partitions)
            except StoreAway as error:
                self._trouble = f"the store does not answer: {error}"
                await asyncio.sleep(AWAY_S)

    async def revoked(self, partitions: Sequence[tuple[str, int]], lost: bool) -> None:
        """Somebody else's from now on."""
        names = [partition for _, partition in partitions]
        self._given -= set(names)
        if lost:
            await self._lost(names)
        else:
            await self._give_up(names, self.leases.lease_ms / 1000)

    async def _lost(self, partitions: Sequence[int]) -> None:
        for partition in partitions:
            self.leases.epochs.pop(partition, None)
        self._desk.forget()

    async def _give_up(self, partitions: Sequence[int], patience_s: float) -> None:
        """What waits is dropped, what is past its commit point is waited for; only when nothing of it is left need the
        next one not wait for the end of our lease."""
        epochs = {name: self.leases.epochs.pop(name) for name in partitions if name in self.leases.epochs}
        if not epochs:
            return
        quiet = True
        try:
            async with asyncio.timeout(patience_s):
                await self._flush()
                while self._flying(epochs):  # noqa: ASYNC110
                    await asyncio.sleep(0.02)
                await self._flush()
        except (TimeoutError, Busy):  # too slow, or the processor has ended
            quiet = False
        self._desk.forget()
        if quiet:
            await self.leases.release(epochs)

    async def _flush(self) -> None:
        flush = Flush()
        self._processor.put(flush)
        await flush.done

    def _flying(self, partitions: Iterable[int]) -> bool:
        """Mail of these partitions is past its commit point, without an outcome."""
        claims = self._dispatcher.outbox.claims.values()
        return any(one.asked_at and self._desk.partition_of(one.row.key) in partitions for one in claims)

    async def _bury_later(self, epochs: dict[int, int], wait_ms: int) -> None:
        """What its former owner had past the commit point is unknown, once that one cannot write any more."""
        await asyncio.sleep(wait_ms / 1000)
        found: list[str] = []
        for partition, epoch in epochs.items():
            found += await self._left_in(partition, epoch)
        held = self._dispatcher.outbox.claims
        if lost := [name for name in found if name not in held]:
            log.warning("messages without an outcome", count=len(lost))
            self._processor.put(BuryOurs(lost, self._dispatcher.offer, LOST))

    async def _left_in(self, partition: int, epoch: int) -> list[str]:
        """Messages past their commit point; none where the partition is another's by now, who sees to them."""
        while self.leases.epochs.get(partition) == epoch:
            try:
                return await asyncio.to_thread(self._sending_in, buckets_of(partition, self._desk.partitions))
            except StoreAway:
                await asyncio.sleep(AWAY_S)
        return []

    def _sending_in(self, buckets: Sequence[int]) -> list[str]:
        return [row.message_id for row in self._store.unfinished_in(buckets) if row.status == "sending"]

    # -- what others did --

    async def _look(self) -> None:
        """Holds that were put or lifted elsewhere, another plan, mail that was queued elsewhere."""
        looks = 0
        while True:
            await asyncio.sleep(LOOK_S)
            looks += 1
            if self._desk.catching_up.look(self._clock.now()):
                self._dispatcher.resync()
            try:
                changed = await asyncio.to_thread(self._desk.look)
            except StoreAway:
                continue
            if changed or looks % int(ROUND_S / LOOK_S) == 0:
                self._dispatcher.resync()
