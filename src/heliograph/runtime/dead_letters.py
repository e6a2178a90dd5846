"""What collectors refused after their 200, on its way from the log into the store: one process does it for all.

How far it is stands in the commit that keeps the letters, so none is missed; one that is there already stays as it is,
because it may have been replayed since.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

import msgspec
import structlog

from heliograph.ports import Busy, DeadLetter, Entry, SharedStore, StoreAway, Stream, StreamAway, StreamRefused
from heliograph.ports.stream import DEAD_LETTERS
from heliograph.runtime.chunk import Chunk
from heliograph.runtime.work import ROW_BYTES, Call, Work

META: Final = "dead_letters@"
"""Meta value for each partition: the next offset, 8 bytes."""
READ: Final = 200
WAIT_S: Final = 1.0
PAUSE_S: Final = 1.0

log = structlog.get_logger("heliograph.dead_letters")
_decode = msgspec.msgpack.Decoder(DeadLetter).decode


def letter_entry(letter: DeadLetter) -> tuple[bytes, bytes]:
    """(key, value) in the topic."""
    return letter.id.encode(), msgspec.msgpack.encode(letter)


class Keep(Call[None]):
    """Entries of the topic, into the store."""

    internal = patient = True

    def __init__(self, entries: Sequence[Entry]) -> None:
        super().__init__()
        self.records = len(entries)
        self.size = ROW_BYTES + sum(len(entry.value) for entry in entries)
        self._entries = entries

    def decide(self, chunk: Chunk) -> None:
        self.result = None
        for entry in self._entries:
            letter = _letter(entry)
            if letter is not None and chunk.desk.store.dead_letter(letter.id) is None:
                chunk.dead_letter(letter)
            chunk.commit.meta[f"{META}{entry.partition}"] = (entry.offset + 1).to_bytes(8, "big")


def _letter(entry: Entry) -> DeadLetter | None:
    """None for what is no letter: it stays in the topic, and the others behind it are kept."""
    try:
        return _decode(entry.value)
    except msgspec.MsgspecError as error:
        log.error("no dead letter", partition=entry.partition, offset=entry.offset, error=str(error))
        return None


class DeadLetters:
    def __init__(self, store: SharedStore, stream: Stream, put: Callable[[Work], None]) -> None:
        self._store, self._stream, self._put = store, stream, put

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            reader = self._stream.reader([DEAD_LETTERS], self, group=None)
            try:
                while True:
                    if entries := await reader.read(READ, WAIT_S):
                        work = Keep(entries)
                        self._put(work)
                        await work.done
            except (StreamAway, StreamRefused, StoreAway, Busy) as error:
                log.warning("dead letters wait in the log", reason=str(error))
                await asyncio.sleep(PAUSE_S)
            finally:
                await reader.close()

    async def assigned(self, partitions: Sequence[tuple[str, int]]) -> dict[tuple[str, int], int]:
        return {place: await asyncio.to_thread(self._next, place[1]) for place in partitions}

    def _next(self, partition: int) -> int:
        stored = self._store.meta(f"{META}{partition}")
        return -1 if stored is None else int.from_bytes(stored, "big")

    async def revoked(self, partitions: Sequence[tuple[str, int]], lost: bool) -> None:
        pass
