"""The spool: a queue of segment files in one folder.

::

    drop <-- [segment 7 | segment 8 | segment 9] <-- append     one writer thread; whoever waits shares one sync

Nothing remembers on disk how far the first segment was read: a segment that was read whole is deleted, and after a
crash the first one is read again from its beginning.  Ids make that harmless, and it costs no write.
"""

import asyncio
import fcntl
import os
from collections import deque
from collections.abc import Awaitable, Sequence
from concurrent.futures import Future as Written
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path

import structlog

from heliograph.adapters.spool.segment import Segment, frame, frames, post_of
from heliograph.ports.spool import SpoolFull
from heliograph.ports.stream import Post

SEGMENT_BYTES = 8 * 1024 * 1024
"""Then the next file begins: at most so much is read twice after a crash, some 15,000 events."""
SUFFIX, DAMAGED = ".spool", ".damaged"

log = structlog.get_logger("heliograph.spool")


class SpoolLocked(Exception):
    """Another process uses this folder.  Stop, and say which folder and what to do."""


class _Waiting:
    """One call of :meth:`FileSpool.append`."""

    __slots__ = ("data", "done", "posts")

    def __init__(self, posts: Sequence[Post], data: bytes, done: "asyncio.Future[None]") -> None:
        self.posts, self.data, self.done = posts, data, done


class FileSpool:
    """``bound``: bytes that may wait.  One process, one event loop; all but the syncing happens on that loop."""

    def __init__(self, folder: Path, bound: int, *, segment_bytes: int = SEGMENT_BYTES) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._bound, self._segment_bytes = folder, bound, segment_bytes
        self._lock = self._locked()
        self._segments: deque[Segment] = deque(self._found())
        self._next = 1 + max((int(segment.path.stem) for segment in self._segments), default=0)
        self._open: Segment | None = None
        """The one that grows; those of an earlier process never do."""
        self._read = 0
        """Bytes of the first segment that were dropped."""
        self._dropped = 0
        """Entries of the first segment that were dropped."""
        self._queued: list[_Waiting] = []
        self._writing: list[_Waiting] = []
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="heliograph-spool")

    # -- what is in it --

    @property
    def waiting(self) -> int:
        return self._synced() + sum(len(one.posts) for one in self._pending())

    @property
    def size(self) -> int:
        synced = sum(segment.size for segment in self._segments) - self._read
        return synced + sum(len(one.data) for one in self._pending())

    def _synced(self) -> int:
        return sum(segment.entries for segment in self._segments) - self._dropped

    def _pending(self) -> list[_Waiting]:
        return [*self._writing, *self._queued]

    # -- in --

    def append(self, posts: Sequence[Post]) -> Awaitable[None]:
        data = b"".join(map(frame, posts))
        if self.size + len(data) > self._bound:
            raise SpoolFull(f"the spool holds {self._bound >> 20} MB and is full")
        waiting = _Waiting(posts, data, asyncio.get_running_loop().create_future())
        self._queued.append(waiting)
        if not self._writing:
            self._hand_over()
        return waiting.done

    def _hand_over(self) -> None:
        """Everything that waits, in one write and one sync."""
        self._writing, self._queued = self._queued, []
        segment, data = self._room(), b"".join(one.data for one in self._writing)
        loop = asyncio.get_running_loop()
        job = self._writer.submit(segment.write, data)
        job.add_done_callback(lambda done: loop.call_soon_threadsafe(self._back, segment, len(data), done))

    def _room(self) -> Segment:
        """The segment to write into."""
        if self._open is not None and self._open.size >= self._segment_bytes:
            self._open.close()
            self._open = None
        if self._open is None:
            self._open = Segment(self._folder / f"{self._next:012d}{SUFFIX}")
            self._next += 1
            self._segments.append(self._open)
        return self._open

    def _back(self, segment: Segment, size: int, done: "Written[None]") -> None:
        """The writer is done."""
        written, self._writing = self._writing, []
        error = done.exception()
        if error is None:
            segment.grew(sum(len(one.posts) for one in written), size)
        else:
            log.error("the spool cannot be written", folder=str(self._folder), error=str(error))
            self._abandon(segment)
        for one in written:
            if one.done.cancelled():
                continue
            if error is None:
                one.done.set_result(None)
            else:
                one.done.set_exception(SpoolFull(f"the spool's disk refuses: {error}"))
        if self._queued:
            self._hand_over()

    def _abandon(self, segment: Segment) -> None:
        """After a sync that failed nobody knows what is in the rest of this file."""
        segment.close()
        self._open = None
        if not segment.entries:
            self._segments.remove(segment)
            segment.delete()

    # -- out --

    def peek(self, limit: int) -> list[Post]:
        found: list[Post] = []
        start, dropped = self._read, self._dropped
        for segment in list(self._segments):
            wanted = min(limit - len(found), segment.entries - dropped)
            payloads = list(islice(frames(segment.path, start, segment.size), wanted)) if wanted else []
            if not payloads and wanted and not found:
                self._leave_out(segment, segment.entries - dropped)
            found += [post_of(payload) for _, payload in payloads]
            if found and len(payloads) < wanted:
                break  # nobody may count what is behind as what is not there
            start = dropped = 0
        return found

    def _leave_out(self, segment: Segment, lost: int) -> None:
        """It was whole when it was synced, and is not now: the disk lost what was acknowledged.  The file is kept."""
        if segment is self._open and self._writing:
            return  # what is under way belongs to it; the next look
        aside = segment.path.with_suffix(DAMAGED)
        log.error("acknowledged entries cannot be read any more: left out", entries=lost, file=str(aside))
        segment.close()
        segment.path.rename(aside)
        if segment is self._segments[0]:
            self._read = self._dropped = 0
        self._segments.remove(segment)
        if segment is self._open:
            self._open = None

    async def settled(self) -> None:
        if pending := [one.done for one in self._pending()]:
            await asyncio.gather(*pending, return_exceptions=True)

    def drop(self, count: int) -> None:
        while count and self._synced():
            segment = self._segments[0]
            left = segment.entries - self._dropped
            if count < left:
                ends = islice(frames(segment.path, self._read, segment.size), count)
                self._read = deque(ends, maxlen=1)[0][0]
                self._dropped += count
                return
            count -= left
            self._forget_first()

    def _forget_first(self) -> None:
        """It was read whole; one that still grows only looks so while its writer is busy."""
        segment = self._segments[0]
        if segment is self._open and self._writing:
            self._read, self._dropped = segment.size, segment.entries
            return
        self._segments.popleft()
        self._read = self._dropped = 0
        if segment is self._open:
            self._open = None
        segment.delete()

    def close(self) -> None:
        """Only when nothing is being appended any more."""
        self._writer.shutdown()
        for segment in self._segments:
            segment.close()
        if not self._synced():
            for segment in self._segments:
                segment.delete()
        os.close(self._lock)

    # -- the folder --

    def _locked(self) -> int:
        lock = os.open(self._folder / "LOCK", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(lock)
            raise SpoolLocked(
                f"another process spools into {self._folder}; stop it, or give each its own folder with --data"
            ) from None
        return lock

    def _found(self) -> list[Segment]:
        """What an earlier process left behind, without what was cut short."""
        found = [Segment.found(path) for path in sorted(self._folder.glob(f"*{SUFFIX}"))]
        for segment in found:
            if segment.damaged:
                log.warning("the end of a spool file is not whole, and was never acknowledged",
                            file=str(segment.path), bytes=segment.damaged)  # fmt: skip
            if not segment.entries:
                segment.delete()
        return [segment for segment in found if segment.entries]
