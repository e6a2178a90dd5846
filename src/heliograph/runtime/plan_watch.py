"""The plan in force, as the topic ``plan`` tells it: what collectors judge by and stamp on records.

A collector needs no store for it, so it starts and works while PostgreSQL is away.  Compiling takes tenths of a second
for a large project and happens beside the event loop; of the plans that are there at the start only the newest is.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import msgspec
import structlog

from heliograph import decide
from heliograph.ports import Entry, PlanRow, Post, Reader, Relayed, Stream, StreamAway, StreamRefused
from heliograph.ports.stream import PLAN
from heliograph.runtime.desk import CompileSchema, Published

READ = 100
WAIT_S = 1.0
PAUSE_S = 1.0

log = structlog.get_logger("heliograph.plan")
_ROW = msgspec.msgpack.Decoder(PlanRow)


def plan_post(row: PlanRow) -> Post:
    """The entry that announces a plan."""
    return Post(PLAN, row.version.to_bytes(4, "big"), msgspec.msgpack.encode(row))


def relayed_plan(row: PlanRow) -> Relayed:
    """The same, as it leaves behind a commit."""
    post = plan_post(row)
    return Relayed(f"plan:{row.version}", post.topic, post.key, post.value)


def plan_of(value: bytes) -> PlanRow:
    """The inverse; :class:`msgspec.MsgspecError` for anything else."""
    return _ROW.decode(value)


class _Everything:
    """A reader by itself: all partitions, from the oldest entry."""

    async def assigned(self, partitions: Sequence[tuple[str, int]]) -> dict[tuple[str, int], int]:
        return dict.fromkeys(partitions, -1)

    async def revoked(self, partitions: Sequence[tuple[str, int]], lost: bool) -> None:
        pass


class PlanWatch:
    """``changed``: awaited with each plan that comes into force here."""

    def __init__(
        self,
        stream: Stream,
        compile_schema: CompileSchema,
        changed: Callable[[Published], Awaitable[None]] | None = None,
    ) -> None:
        self.published: Published | None = None
        self.away = ""
        """Why the topic cannot be read, "" when it can."""
        self._stream, self._compile_schema, self._changed = stream, compile_schema, changed
        self._known = asyncio.Event()

    @property
    def version(self) -> int:
        """Of the plan in force, 0 for none."""
        return 0 if self.published is None else self.published.plan.version

    async def known(self) -> None:
        """Until there is one."""
        await self._known.wait()

    async def use(self, row: PlanRow) -> None:
        """This plan is in force, unless a newer one is.  Also for who has just published it."""
        if row.version <= self.version:
            return
        published = await asyncio.to_thread(self._compiled, row)
        if row.version <= self.version:
            return
        self.published = published
        if self._changed is not None:
            await self._changed(published)
        self._known.set()
        log.info("plan", version=row.version)

    def _compiled(self, row: PlanRow) -> Published:
        return Published(decide.compile_plan(msgspec.json.decode(row.document), row.version), self._compile_schema)

    async def run(self) -> None:
        """Follow the topic, until cancelled.  Away, the plan in force stays."""
        reader = self._stream.reader([PLAN], _Everything(), group=None)
        try:
            while True:
                try:
                    await self._take(await self._read(reader))
                    self.away = ""
                except (StreamAway, StreamRefused) as error:
                    self.away = str(error) or "no answer"
                    await asyncio.sleep(PAUSE_S)
        finally:
            await reader.close()

    async def _read(self, reader: Reader) -> list[Entry]:
        """What is new, until nothing more is there at once."""
        found = entries = await reader.read(READ, WAIT_S)
        while len(entries) == READ:
            found = found + (entries := await reader.read(READ, 0.05))
        return found

    async def _take(self, entries: Sequence[Entry]) -> None:
        rows = [plan_of(entry.value) for entry in entries if entry.value]
        if newest := max(rows, key=lambda row: row.version, default=None):
            await self.use(newest)
