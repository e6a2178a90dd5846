"""One file of a spool: frames, each ``u32 size | u32 CRC-32 | msgpack [topic, key, value]``, big-endian.

A frame is whole or it is not there: what a crash cut short at the end was never acknowledged, and is cut off.
"""

import os
import struct
from collections.abc import Iterator
from pathlib import Path
from zlib import crc32

import msgspec

from heliograph.ports.stream import Post

_HEAD = struct.Struct(">II")
_READ = 1 << 20
_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(tuple[str, bytes, bytes])


def frame(post: Post) -> bytes:
    """The bytes of one entry.  Where it goes follows from its key: a partition of its own is not kept."""
    payload = _ENCODER.encode((post.topic, post.key, post.value))
    return _HEAD.pack(len(payload), crc32(payload)) + payload


def frames(path: Path, start: int, end: int) -> Iterator[tuple[int, bytes]]:
    """(offset behind it, payload) of every whole frame between these offsets; ends at the first damaged one."""
    with path.open("rb", buffering=_READ) as file:
        at = file.seek(start)
        while at + _HEAD.size <= end:
            if len(head := file.read(_HEAD.size)) < _HEAD.size:
                return
            size, crc = _HEAD.unpack(head)
            payload = file.read(size) if at + _HEAD.size + size <= end else b""
            if len(payload) != size or crc32(payload) != crc:
                return
            at += _HEAD.size + size
            yield at, payload


def post_of(payload: bytes) -> Post:
    """What :func:`frame` was made of."""
    return Post(*_DECODER.decode(payload))


class Segment:
    """A file of frames that grows at its end.  ``entries`` and ``size`` (bytes) count what is synced and known to be:
    they belong to the thread that reads, :meth:`write` to the one that writes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.entries = self.size = 0
        self._file = -1

    @classmethod
    def found(cls, path: Path) -> "Segment":
        """One that an earlier process left behind; :attr:`size` ends before what is cut short or damaged."""
        segment = cls(path)
        for end, _ in frames(path, 0, path.stat().st_size):
            segment.entries, segment.size = segment.entries + 1, end
        return segment

    @property
    def damaged(self) -> int:
        """Bytes behind the last whole frame."""
        return self.path.stat().st_size - self.size

    def write(self, data: bytes) -> None:
        """Append and sync, or OSError with the file as it was; :meth:`grew` says so afterwards."""
        if self._file < 0:
            self._create()
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(self._file, view) :]
            os.fdatasync(self._file)
        except OSError:
            os.ftruncate(self._file, self.size)
            os.lseek(self._file, self.size, os.SEEK_SET)
            raise

    def grew(self, entries: int, size: int) -> None:
        self.entries, self.size = self.entries + entries, self.size + size

    def _create(self) -> None:
        """A new name in a folder has to be synced, too."""
        self._file = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        folder = os.open(self.path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def close(self) -> None:
        if self._file >= 0:
            os.close(self._file)
        self._file = -1

    def delete(self) -> None:
        self.close()
        self.path.unlink(missing_ok=True)
