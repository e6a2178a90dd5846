"""The relay: what commits left for the shared log, on its way there, behind them.

A row of :attr:`heliograph.ports.Commit.relay` is on disk before it is published and goes when it was acknowledged: at
least once, under an id that says what it is, so that a second copy is passed over.  Each process publishes what its own
commits left, in their order, and what a dead one left behind: so what one process said about a person stays in order.

A row that the log refuses for what it is (too large) must not stop those behind it: it becomes a dead letter, whole,
and is published again when somebody replays that.
"""

import asyncio
import contextlib
from base64 import b64decode, b64encode
from collections.abc import Callable, Sequence
from typing import Final

import msgspec
import structlog
from msgspec.structs import replace

from heliograph.events.ids import make_id
from heliograph.ports import (
    Appender,
    Busy,
    DeadLetter,
    EntryRefused,
    Relayed,
    Result,
    SharedStore,
    StoreAway,
    StreamAway,
    StreamRefused,
)
from heliograph.ports.stream import Post
from heliograph.runtime.chunk import Chunk
from heliograph.runtime.meter import Meter
from heliograph.runtime.work import ROW_BYTES, Call, Work

PORTION: Final = 1_000
"""Rows of some 300 bytes: one look at the store, one acknowledgement."""
IDLE_S: Final = 0.1
"""How long what a dead process left may lie once it is given out to us."""
AWAY_S: Final = 1.0
ENTRY: Final = "!entry"
"""The ``event_name`` of a dead letter that is an entry of the log; no event is called so."""

log = structlog.get_logger("heliograph.relay")


class _Whole(msgspec.Struct):
    """The payload of such a letter, as JSON; ``key`` and ``value`` in Base64."""

    entry: str
    topic: str
    key: str
    value: str


def letter_of(row: Relayed, reason: str) -> DeadLetter:
    """What is kept of a row that the log refuses: all of it."""
    whole = _Whole(row.id, row.topic, b64encode(row.key).decode(), b64encode(row.value).decode())
    name = make_id("entry", row.topic, row.id)
    return DeadLetter(
        id=name, at=0, reason=f"refused by the log: {reason}", event_name=ENTRY, payload=msgspec.json.encode(whole)
    )


def row_in(letter: DeadLetter) -> Relayed | None:
    """The inverse; None for any other letter, whatever somebody sent us that looks like one."""
    if letter.event_name != ENTRY:
        return None
    try:
        whole = msgspec.json.decode(letter.payload, type=_Whole)
        row = Relayed(whole.entry, whole.topic, b64decode(whole.key), b64decode(whole.value))
    except ValueError:
        return None
    return row if letter.id == make_id("entry", row.topic, row.id) else None


class SetAside(Call[None]):
    """Keep these letters; one that was replayed and is refused again waits again."""

    internal = True

    def __init__(self, letters: Sequence[DeadLetter]) -> None:
        super().__init__()
        self.records = len(letters)
        self.size = sum(ROW_BYTES + len(letter.payload) for letter in letters)
        self._letters = letters

    def decide(self, chunk: Chunk) -> None:
        self.result = None
        for letter in self._letters:
            chunk.dead_letter(replace(letter, at=chunk.now()))


class PublishAgain(Call[Result]):
    """What such a letter holds leaves for the log once more, behind this commit."""

    def __init__(self, letter: DeadLetter, row: Relayed) -> None:
        super().__init__()
        self.size = ROW_BYTES + len(letter.payload)
        self._letter, self._row = letter, row

    def decide(self, chunk: Chunk) -> None:
        self.result = Result(self._letter.id, "accepted")
        chunk.commit.relay.append(self._row)
        chunk.dead_letter(replace(self._letter, replayed_at=chunk.now()))


class Relay:
    """``put``: into the processor's queue; without one, that an entry is refused is raised.  ``owner``: the name of
    this process, for its log."""

    def __init__(
        self,
        store: SharedStore,
        appender: Appender,
        meter: Meter,
        put: Callable[[Work], None] | None = None,
        *,
        owner: str = "",
    ) -> None:
        self._store, self._appender, self._meter, self._put = store, appender, meter, put
        self._log = log.bind(owner=owner) if owner else log
        self._stirred = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.why = ""
        """What keeps the log from taking it, "" for nothing."""

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="relay")

    async def stop(self, patience_s: float = 5.0) -> None:
        """Publish what is there, for at most so long; whoever comes next finds the rest."""
        with contextlib.suppress(TimeoutError, StoreAway, StreamAway, StreamRefused, Busy):
            async with asyncio.timeout(patience_s):
                while await self.portion():
                    pass
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def stir(self) -> None:
        """A commit left something."""
        self._stirred.set()

    async def _run(self) -> None:
        while True:
            self._stirred.clear()
            try:
                while await self.portion() == PORTION:
                    pass
                self.why = ""
                await self._rest(IDLE_S)
            except (StoreAway, StreamAway, StreamRefused, Busy) as error:
                if not self.why:
                    self._log.warning("the relay waits", error=str(error))
                of_the_log = isinstance(error, StreamAway | StreamRefused)
                self.why = str(error) or type(error).__name__ if of_the_log else ""
                await asyncio.sleep(AWAY_S)

    async def _rest(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stirred.wait()

    async def portion(self) -> int:
        """Publish the next few of ours (and of who died); how many."""
        rows = await asyncio.to_thread(self._store.relayed, PORTION)
        if rows:
            refused = await self._publish([row for _, row in rows])
            if refused and self._put is not None:
                work = SetAside(refused)
                self._put(work)
                await work.done
                self._meter.count("relay_refused_total", by=len(refused))
            await asyncio.to_thread(self._store.forget_relayed, [number for number, _ in rows])
            self._meter.count("relayed_total", by=len(rows) - len(refused))
        return len(rows)

    async def _publish(self, rows: Sequence[Relayed]) -> list[DeadLetter]:
        """All at once; where one is refused, one by one: those that are."""
        try:
            await self._appender.append(list(map(_post, rows)))
        except EntryRefused as error:
            if self._put is None:
                raise
            if len(rows) == 1:
                self._log.error("refused by the log: kept as a dead letter", entry=rows[0].id, reason=str(error))
                return [letter_of(rows[0], str(error))]
            return [letter for row in rows for letter in await self._publish([row])]
        return []


def _post(row: Relayed) -> Post:
    return Post(row.topic, row.key, row.value)
