"""A deployment in one file: how the rows lie in it.

::

    gzip( MAGIC, version u8, frame*, end )      frame = kind u8, length u32, body (msgpack)

The end says how many frames of each kind there are and what they hash to (blake2b-256), so a file that was cut short or
changed is found out before anything of it is used.  Kinds and fields are only ever appended.
"""

import gzip
import os
import struct
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator
from hashlib import blake2b, file_digest
from pathlib import Path
from typing import Any, BinaryIO, Final, TypeAlias

import msgspec

from heliograph.events.event import Event
from heliograph.events.record import LedgerRow
from heliograph.ports import BroadcastRow, DeadLetter, JournalRow, MessageRow, PlanRow, RequestRow

MAGIC: Final = b"heliograph house\n"
VERSION: Final = 1
LARGEST: Final = 64 * 1024 * 1024
"""A frame: the largest row is a plan of some megabytes."""


class Meta(msgspec.Struct, array_like=True):
    name: str
    value: bytes


class Person(msgspec.Struct, array_like=True):
    key: str
    state: bytes


class Happened(msgspec.Struct, array_like=True):
    key: str
    event: Event


class Noted(msgspec.Struct, array_like=True):
    key: str
    row: JournalRow


Row: TypeAlias = (
    PlanRow | Meta | LedgerRow | BroadcastRow | RequestRow | DeadLetter | MessageRow | Happened | Noted | Person
)
KINDS: Final[dict[int, type[Any]]] = {
    1: PlanRow,
    2: Meta,
    3: LedgerRow,
    4: BroadcastRow,
    5: RequestRow,
    6: DeadLetter,
    7: MessageRow,
    8: Happened,
    9: Noted,
    10: Person,
}
"""In the order in which they are written: people come last, because with them everything begins to move."""
END: Final = 0
_NUMBERS = {kind: number for number, kind in KINDS.items()}
_DECODERS = {number: msgspec.msgpack.Decoder(kind) for number, kind in KINDS.items()}
_HEAD = struct.Struct(">BI")


class ArchiveError(ValueError):
    """The file is none of ours, newer than this code, or damaged; the text says which."""


class _End(msgspec.Struct, array_like=True):
    counts: dict[int, int]
    digest: bytes


def write(path: Path, rows: Iterable[Row]) -> dict[str, int]:
    """Write all of it under a name of its own and give it its own at the end; how many rows of each kind."""
    counts: Counter[int] = Counter()
    hashed = blake2b(digest_size=32)
    encode = msgspec.msgpack.Encoder().encode
    unfinished = path.with_name(path.name + ".unfinished")
    with _private(unfinished) as raw, gzip.GzipFile(fileobj=raw, mode="wb", compresslevel=3) as file:
        file.write(MAGIC + bytes((VERSION,)))
        for row in rows:
            number, body = _NUMBERS[type(row)], encode(row)
            counts[number] += 1
            frame = _HEAD.pack(number, len(body)) + body
            hashed.update(frame)
            file.write(frame)
        body = encode(_End(dict(counts), hashed.digest()))
        file.write(_HEAD.pack(END, len(body)) + body)
    unfinished.replace(path)
    return _named(counts)


def _private(path: Path) -> BinaryIO:
    """For its owner alone: there are addresses and signing keys in it."""
    path.unlink(missing_ok=True)
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")


def verify(path: Path) -> dict[str, int]:
    """Read it through to its end; how many rows of each kind.  Raises :class:`ArchiveError`."""
    return _named(Counter(_NUMBERS[type(row)] for row in read(path)))


def digest(path: Path) -> str:
    """What tells this file from others."""
    with path.open("rb") as file:
        return file_digest(file, lambda: blake2b(digest_size=16)).hexdigest()


def read(path: Path) -> Iterator[Row]:
    """The rows, in order.  Raises :class:`ArchiveError`, at the latest behind the last one."""
    counts: Counter[int] = Counter()
    hashed = blake2b(digest_size=32)
    for number, body in _frames(path):
        if number == END:
            _check(msgspec.msgpack.decode(body, type=_End), counts, hashed.digest())
            return
        counts[number] += 1
        hashed.update(_HEAD.pack(number, len(body)) + body)
        try:
            row: Row = _DECODERS[number].decode(body)
        except (KeyError, UnicodeDecodeError, msgspec.MsgspecError) as error:
            raise ArchiveError(f"{path} is damaged, or of a newer version of Heliograph ({error})") from error
        yield row
    raise ArchiveError(f"{path} ends in the middle: it was cut short; export it again")


def _frames(path: Path) -> Iterator[tuple[int, bytes]]:
    try:
        with gzip.open(path, "rb") as file:
            head = file.read(len(MAGIC) + 1)
            if not head.startswith(MAGIC):
                raise ArchiveError(f"{path} was not written by `heliograph export`")
            if head[-1] != VERSION:
                raise ArchiveError(f"{path} is of format {head[-1]}, this version reads {VERSION}: update Heliograph")
            while head := file.read(_HEAD.size):
                number, length = _HEAD.unpack(head)
                if length > LARGEST:
                    raise ArchiveError(f"{path} is damaged: a row of {length} bytes")
                yield number, file.read(length)
    except (gzip.BadGzipFile, zlib.error, EOFError, struct.error) as error:
        raise ArchiveError(f"{path} is damaged or no export of Heliograph ({error})") from error


def _check(end: _End, counts: Counter[int], digest: bytes) -> None:
    if end.digest != digest or end.counts != dict(counts):
        raise ArchiveError("the file is damaged: its rows are not those that were written; export it again")


def _named(counts: Counter[int]) -> dict[str, int]:
    return {KINDS[number].__name__: counts[number] for number in sorted(counts)}
