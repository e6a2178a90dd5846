"""The loader: from a log to the tables of facts, block by block, behind everything else.

A source gives records in order, partition by partition.  What came is gathered until it is a block's worth or has
waited long enough, planned, and loaded.  While the tables are away the loader holds one helping, reads no further and
tries again; nobody upstream notices.  After a crash the last planned block is loaded once more, as it was.
"""

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Sequence
from typing import Final, Protocol, TypeVar

import msgspec
import structlog

from heliograph.measure.facts import Told, rows_of
from heliograph.ports import Clock
from heliograph.ports.facts import Block, FactsAway, FactSink, FactsRefused

BLOCK_RECORDS: Final = 20_000
"""Of one block: some 60,000 rows, 50 MB while they are on their way."""
PENDING_RECORDS: Final = 50_000
"""Read and not loaded yet, of all partitions together."""
PAUSE_MS: Final = 1_000
"""At least this long between two blocks of a partition, unless they are full."""
INSERTS_PAUSE_MS: Final = 250
"""The same between the blocks of different partitions: each is up to five parts for ClickHouse to merge, and it likes
few large ones.  32 partitions come round in 8 seconds."""
FIRST_RETRY_S: Final = 0.5
LONGEST_RETRY_S: Final = 30.0
PATIENCE: Final = 30
"""So many pauses a planned block may take to come again; a log that was cut gives what it has."""

T = TypeVar("T")

log = structlog.get_logger("heliograph.facts")


class Progress(msgspec.Struct, frozen=True):
    """After a block.  ``lag_ms``: how old its oldest record was when it could be asked for; 0 when nothing waits."""

    lag_ms: int
    records: int = 0
    rows: int = 0
    away: bool = False


class Source(Protocol):
    """Where records come from.  ``name``: for ever; positions of one partition ascend."""

    name: str

    async def read(self, limit: int, wait_s: float, start: "Starting") -> list[tuple[int, Told]]:
        """(partition, record), at most ``limit``, an empty list after ``wait_s`` without any.  Partitions that came
        begin where ``start`` says."""
        ...

    async def loaded(self, block: Block) -> None:
        """It is in the tables."""
        ...

    async def close(self) -> None: ...


class Starting(Protocol):
    """Where reading begins, asked of the loader."""

    async def begin(self, partitions: Sequence[int]) -> dict[int, int]:
        """These are ours now: partition -> the first position to read, -1 for the oldest."""
        ...

    def leave(self, partitions: Iterable[int]) -> None:
        """They are somebody else's."""
        ...


class _Pending:
    """What was read of a partition and not loaded.  ``cut``: where the first block has to end, because it was planned
    so before; -1: anywhere."""

    def __init__(self, cut: int = -1) -> None:
        self.told: list[Told] = []
        self.cut = cut
        self.since = 0

    def add(self, told: Told, now: int) -> None:
        if not self.told:
            self.since = now
        self.told.append(told)

    def due(self, now: int, pause: int) -> bool:
        if not self.told:
            return False
        if self.cut >= 0:
            return self.told[-1].position >= self.cut or now - self.since >= PATIENCE * pause
        return len(self.told) >= BLOCK_RECORDS or now - self.since >= pause

    def take(self) -> list[Told]:
        """The next block: deterministic where it was planned before."""
        if self.cut >= 0:
            size = sum(one.position <= self.cut for one in self.told)
            self.cut = -1
            if not size:
                return []
        else:
            size = min(len(self.told), BLOCK_RECORDS)
        taken, self.told = self.told[:size], self.told[size:]
        return taken


class Loader:
    """``heard``: called after each block, and when nothing waits."""

    def __init__(
        self, sink: FactSink, source: Source, clock: Clock, heard: Callable[[Progress], None] = lambda _: None,
        *, pause_ms: int = PAUSE_MS,
    ) -> None:  # fmt: skip
        self._sink, self._source, self._clock, self._heard = sink, source, clock, heard
        self._pending: dict[int, _Pending] = {}
        self._pause_ms = pause_ms
        self._away_since = 0
        self._stop = asyncio.Event()

    def stop(self) -> None:
        """Soon: what was planned and not loaded is repeated by the next loader."""
        self._stop.set()

    async def run(self) -> None:
        """Until told to stop.  Raises :class:`~heliograph.ports.facts.FactsTooNew`."""
        try:
            if steps := await self._insist(self._sink.prepare):
                log.info("tables of facts made", versions=steps)
            while not self._stop.is_set():
                await self.turn()
        finally:
            await self._source.close()

    async def turn(self) -> None:
        """Read once, load what is due."""
        room = PENDING_RECORDS - sum(len(one.told) for one in self._pending.values())
        came: list[tuple[int, Told]] = []
        if room > 0:
            wait_s = min(self._pause, 1_000) / 1_000 / 4
            came = await self._source.read(min(room, BLOCK_RECORDS), wait_s, self)
            for partition, told in came:
                self._pending.setdefault(partition, _Pending()).add(told, self._clock.now())
        full = room <= 0
        for partition, pending in sorted(self._pending.items(), key=lambda one: one[1].since):
            if pending.due(self._clock.now(), self._pause) or (full and pending.told):
                full = False
                await self._load(partition, pending)
        if not came and not any(one.told for one in self._pending.values()):
            self._heard(Progress(0))

    @property
    def _pause(self) -> int:
        return max(self._pause_ms, INSERTS_PAUSE_MS * len(self._pending) if len(self._pending) > 1 else 0)

    async def _load(self, partition: int, pending: _Pending) -> None:
        told = pending.take()
        pending.since = self._clock.now()
        if not told:
            return
        last = told[-1]
        block = Block(self._source.name, partition, told[0].position, last.position, last.record.received_at)
        rows = await asyncio.to_thread(rows_of, partition, told)
        await self._insist(lambda: self._sink.load(block, rows))
        if self._away_since:
            return  # given up: the next loader begins with this block
        await self._source.loaded(block)
        lag = self._clock.now() - told[0].record.received_at
        self._heard(Progress(max(lag, 0), len(told), sum(map(len, rows.values()))))

    async def _insist(self, work: Callable[[], T]) -> T | None:
        """Until it is done, or nobody wants it any more."""
        pause = FIRST_RETRY_S
        while True:
            try:
                result = await asyncio.to_thread(work)
            except (FactsAway, FactsRefused) as error:
                refused = isinstance(error, FactsRefused)
                log.warning("facts are not taken", reason=str(error), refused=refused, again_in_s=pause)
                self._away_since = self._away_since or self._clock.now()
                self._heard(Progress(self._clock.now() - self._away_since, away=True))
            else:
                self._away_since = 0
                return result
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._stop.wait()
            if self._stop.is_set():
                return None
            pause = min(pause * 2, LONGEST_RETRY_S)

    # -- where reading begins --

    async def begin(self, partitions: Sequence[int]) -> dict[int, int]:
        planned = await self._insist(lambda: self._sink.blocks(self._source.name)) or {}
        starts = {}
        for partition in partitions:
            block = planned.get(partition)
            self._pending[partition] = _Pending(-1 if block is None else block.last)
            starts[partition] = -1 if block is None else block.first
        return starts

    def leave(self, partitions: Iterable[int]) -> None:
        for partition in partitions:
            self._pending.pop(partition, None)
