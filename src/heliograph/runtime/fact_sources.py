"""Where a loader reads: the topic ``effects``, or the log of one machine beside the process that owns it."""

import asyncio
from collections.abc import Callable, Sequence
from time import monotonic
from typing import Final, Protocol

import structlog

from heliograph.decide.decided import decode_decided
from heliograph.decide.effects import Fact
from heliograph.events.record import Record
from heliograph.measure.facts import Told
from heliograph.ports import Entry, JournalRow, Reader, Stream, StreamAway, StreamGap
from heliograph.ports.facts import Block, FactsRefused
from heliograph.ports.stream import EFFECTS
from heliograph.runtime.loading import Starting

GROUP: Final = "facts"
"""The consumer group of all loaders."""
SKEW_MS: Final = 60_000
"""A person who moved in from another machine may have a clock that is so much ahead of ours."""
RENEW_S: Final = 600.0
PAGE: Final = 16
"""Rows of a person's journal that are read at first; four times as many with each further look."""
MADE_ANEW: Final = (
    "the topic {name} was made anew: it ends before what is loaded already (partitions {partitions}).  Name another "
    "database in clickhouse.url and start again: what the topic has is loaded there, what was loaded stays where it is"
)

log = structlog.get_logger("heliograph.facts")


class LogView(Protocol):
    """A data folder read beside its owner (``adapters.rocksdb.RocksView``)."""

    def catch_up(self) -> None: ...

    def log(self, after: int = 0, limit: int = 1000) -> list[tuple[int, Record]]: ...

    def journal(self, key: str, limit: int = 200, before: int | None = None) -> list[JournalRow]: ...

    def close(self) -> None: ...


class LogSource:
    """The one partition 0 of a machine's own log.  Facts stand in the journals of people: a commit writes both, so what
    a view shows of the log it shows of them, and a person's journal ascends in position as it does in time."""

    def __init__(self, open_view: Callable[[], LogView], name: str) -> None:
        self.name = name
        self._open = open_view
        self._view: LogView | None = None
        self._opened_at = 0.0
        self._after: int | None = None

    async def read(self, limit: int, wait_s: float, start: Starting) -> list[tuple[int, Told]]:
        if self._after is None:
            first = (await start.begin([0]))[0]
            self._after = max(first, 1) - 1
        told = await asyncio.to_thread(self._read, self._after, limit)
        if not told:
            await asyncio.sleep(wait_s)
            return []
        self._after = told[-1].position
        return [(0, one) for one in told]

    def _caught_up(self) -> LogView:
        """The view as of now.  It is opened anew from time to time: it holds on to files that are long compacted."""
        if self._view is not None and monotonic() - self._opened_at > RENEW_S:
            self._view.close()
            self._view = None
        if self._view is None:
            self._view, self._opened_at = self._open(), monotonic()
        self._view.catch_up()
        return self._view

    def _read(self, after: int, limit: int) -> list[Told]:
        view = self._caught_up()
        logged = view.log(after, limit)
        if logged and logged[0][0] > after + 1:
            log.warning("the log was cut before it was loaded", after=after, goes_on_at=logged[0][0])
        facts = facts_of(view, logged)
        return [Told(position, record, facts.get(position, [])) for position, record in logged]

    async def loaded(self, block: Block) -> None:
        """Where to go on stands in the tables."""

    async def close(self) -> None:
        if self._view is not None:
            self._view.close()


def facts_of(view: LogView, logged: Sequence[tuple[int, Record]]) -> dict[int, list[Fact]]:
    """Position -> its facts, in order: of every person in this stretch, the end of their journal."""
    stretches: dict[str, tuple[int, int, int]] = {}
    for position, record in logged:
        first = stretches.get(record.key, (position, 0, 0))[0]
        stretches[record.key] = (first, position, record.received_at)
    found: dict[int, list[Fact]] = {}
    for key, (first, last, received_at) in stretches.items():
        for row in reversed(_journal(view, key, first, received_at + SKEW_MS)):
            if first <= row.position <= last:
                found.setdefault(row.position, []).append(Fact(row.kind, row.at, row.data))
    return found


def _journal(view: LogView, key: str, first: int, before: int) -> list[JournalRow]:
    """Newest first, at least down to this position."""
    limit = PAGE
    while True:
        rows = view.journal(key, limit, before)
        if len(rows) < limit or rows[-1].position < first:
            return rows
        limit *= 4


class TopicSource:
    """The topic ``effects``, as a member of one group of loaders.  What the brain says twice (after it was restored) is
    two entries with one content: the tables bring them together."""

    def __init__(self, stream: Stream, name: str, *, group: str = GROUP) -> None:
        self.name = name
        self._stream, self._group = stream, group
        self._reader: Reader | None = None
        self._start: Starting | None = None
        self._oldest: dict[int, int] = {}
        """Where partitions began when something was found to be gone."""
        self._begun: dict[int, int] = {}
        """Where the tables said that we begin."""

    async def read(self, limit: int, wait_s: float, start: Starting) -> list[tuple[int, Told]]:
        self._start = start
        if self._reader is None:
            self._reader = self._stream.reader([EFFECTS], self, group=self._group)
        try:
            entries = await self._reader.read(limit, wait_s)
        except StreamAway as error:
            log.warning("the log is away", reason=str(error))
            await asyncio.sleep(wait_s)
            return []
        except StreamGap as error:
            await self._pass_over(self._reader, str(error))
            return []
        return [(entry.partition, _told(entry)) for entry in entries]

    async def _pass_over(self, reader: Reader, why: str) -> None:
        """What the topic does not keep any more is in no table; what it keeps shall be.  :class:`FactsRefused` when it
        was made anew: its positions begin again, and tables take those of blocks that they have for repeated."""
        try:
            ends = await reader.ends(EFFECTS)
        except StreamAway:
            return
        if anew := [number for number, (_, following) in ends.items() if self._begun.get(number, -1) > following]:
            raise FactsRefused(MADE_ANEW.format(partitions=anew, name=self.name))
        self._oldest = {partition: begin for partition, (begin, _) in ends.items()}
        log.error("facts are gone before they were loaded; loading goes on at the oldest", reason=why)
        await reader.close()
        self._reader = None

    async def loaded(self, block: Block) -> None:
        if self._reader is not None:
            await self._reader.commit({(EFFECTS, block.partition): block.last + 1})

    async def close(self) -> None:
        if self._reader is not None:
            await self._reader.close()

    # -- ports.Assignment --

    async def assigned(self, partitions: Sequence[tuple[str, int]]) -> dict[tuple[str, int], int]:
        assert self._start is not None
        starts = await self._start.begin([partition for _, partition in partitions])
        self._begun |= starts
        return {(topic, partition): self._from(partition, starts[partition]) for topic, partition in partitions}

    def _from(self, partition: int, start: int) -> int:
        return start if start < 0 else max(start, self._oldest.get(partition, 0))

    async def revoked(self, partitions: Sequence[tuple[str, int]], lost: bool) -> None:
        if self._start is not None:
            self._start.leave([partition for _, partition in partitions])


def _told(entry: Entry) -> Told:
    decided = decode_decided(entry.value)
    return Told(entry.offset, decided.record, [effect for effect in decided.effects if isinstance(effect, Fact)])
