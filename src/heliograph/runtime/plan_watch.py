"""The plan in force, as the topic ``plan`` tells it: what collectors judge by and stamp on records.

A collector needs no store for it, so it starts and works while PostgreSQL is away.  Compiling takes tenths of a second
for a large project and happens beside the event loop; of the plans that are there at the start only the newest is.

A plan that this program cannot read (a newer one published it) does not come into force here: the one before stays, and
events are judged by that, until somebody updates this process or publishes one that it can read.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import msgspec
import structlog

from heliograph import decide
from heliograph.ports import (
    Busy,
    Entry,
    PlanRow,
    Post,
    Reader,
    Relayed,
    StoreAway,
    Stream,
    StreamAway,
    StreamRefused,
    Trouble,
)
from heliograph.ports.stream import PLAN
from heliograph.runtime.desk import CompileSchema, Published

KEY = 4
"""Bytes of a version."""
LARGEST = 15 * 1024 * 1024
"""Bytes of a plan: the topic takes 16 MB, and a plan that never gets there would keep the brain waiting for it."""
READ = 100
WAIT_S = 1.0
PAUSE_S = 1.0

log = structlog.get_logger("heliograph.plan")
_ROW = msgspec.msgpack.Decoder(PlanRow)


def plan_post(row: PlanRow) -> Post:
    """The entry that announces a plan."""
    return Post(PLAN, row.version.to_bytes(KEY, "big"), msgspec.msgpack.encode(row))


def relayed_plan(row: PlanRow) -> Relayed:
    """The same, as it leaves behind a commit."""
    post = plan_post(row)
    return Relayed(f"plan:{row.version}", post.topic, post.key, post.value)


def plan_of(value: bytes) -> PlanRow:
    """The inverse; :class:`msgspec.MsgspecError` for anything else."""
    return _ROW.decode(value)


class Everything:
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
        self.refused, self.why_refused = 0, ""
        """The newest plan, if it is none that this program can read: its version, and why."""
        self._told = 0
        self._stream, self._compile_schema, self._changed = stream, compile_schema, changed
        self._known = asyncio.Event()

    @property
    def version(self) -> int:
        """Of the plan in force, 0 for none."""
        return 0 if self.published is None else self.published.plan.version

    async def known(self) -> None:
        """Until there is one."""
        await self._known.wait()

    async def _use(self, entry: Entry) -> bool:
        """Whether a plan is in force now that is at least as new as this one."""
        version = int.from_bytes(entry.key, "big")
        if version > self.version:
            try:
                self.published = await asyncio.to_thread(self._compiled, entry)
            except Exception as error:  # whatever it is that a later program writes
                self._refuse(version, error)
                return False
            self._known.set()
            log.info("plan", version=version)
        return True

    def _refuse(self, version: int, error: Exception) -> None:
        if version > self.refused:
            self.refused, self.why_refused = version, f"{type(error).__name__}: {error}"
            log.error("this program cannot read the plan: the one before stays in force", version=version,
                      in_force=self.version, error=self.why_refused)  # fmt: skip

    def _compiled(self, entry: Entry) -> Published:
        row = plan_of(entry.value)
        return Published(decide.compile_plan(msgspec.json.decode(row.document), row.version), self._compile_schema)

    async def _tell(self) -> None:
        """Whoever wants to know, until they have heard it."""
        published = self.published
        if published is not None and published.plan.version != self._told and self._changed is not None:
            await self._changed(published)
            self._told = published.plan.version

    def troubles(self) -> list[Trouble]:
        if not self.refused:
            return []
        why = f"plan {self.refused} cannot be read by this program: {self.why_refused}"
        means = f"events are judged by plan {self.version}: update this process, or publish a plan that it can read"
        return [Trouble("plan", why, means)]

    async def run(self) -> None:
        """Follow the topic, until cancelled.  Away, the plan in force stays."""
        reader = self._stream.reader([PLAN], Everything(), group=None)
        try:
            while True:
                try:
                    await self._take(await self._read(reader))
                    self.away = ""
                    await self._tell()
                except (StoreAway, Busy) as error:
                    log.warning("a plan is in force that the engine cannot read yet", reason=str(error))
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
        for entry in sorted(entries, key=lambda entry: entry.key, reverse=True):
            if entry.value and len(entry.key) == KEY and await self._use(entry):
                break
        if self.version >= self.refused:
            self.refused, self.why_refused = 0, ""
