"""What a runtime says about each record of a log, and how two runtimes are held against each other: one by one.

Compared are bytes, so equal means equal in every field.  Two things are not compared, because runtimes are meant to
differ in them:

- ``State.number`` and ``Decided.number``: who may decide a record twice (Flink) numbers what it says; the embedded
  engine, which decides and writes in one commit, has no use for it and leaves 0.  Two that number are compared in it.
- The shell around a state (:mod:`heliograph.decide.keyed`): ids of derived records, alarms.  Flink alone has it.
"""

import struct
from array import array
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from heliograph import decide
from heliograph.decide.decided import Decided, Told
from heliograph.decide.effects import Effect, Hop
from heliograph.decide.state import encode_unnumbered
from heliograph.events.record import Record, decode_record

_LENGTH = struct.Struct(">I")
_pack = msgspec.msgpack.Encoder().encode
_effects = msgspec.msgpack.Decoder(list[Told]).decode


class Answer(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """One decision.  ``effects``: without hops, encoded; ``state``: the blob behind it, None for nothing; ``number``: 0
    from who has none."""

    key: str
    record_id: str
    effects: bytes
    deadline: int | None
    state: bytes | None
    number: int = 0


_answer = msgspec.msgpack.Decoder(Answer).decode


def answered(record: Record, effects: list[Effect], state: decide.State) -> Answer:
    """What ``step`` said at home."""
    told = [effect for effect in effects if not isinstance(effect, Hop)]
    blank = decide.is_blank(state)
    blob = None if blank else decide.encode_state(state)
    return Answer(record.key, record.id, _pack(told), None if blank else decide.deadline(state), blob)


def from_afar(one: Decided) -> Answer:
    """What came by the topic ``effects``."""
    blob = None if one.state is None else unnumbered(one.state)
    return Answer(one.record.key, one.record.id, _pack(one.effects), one.deadline, blob, one.number)


def unnumbered(blob: bytes) -> bytes:
    return encode_unnumbered(decide.decode_state(blob))


class Book:
    """The answers of one runtime, on disk, to be looked up by key in the order in which they were given; and its hops
    by their ids."""

    def __init__(self, file: Path) -> None:
        self._file = file.open("w+b")
        self._places: dict[str, array[int]] = {}
        self.hops: dict[str, bytes] = {}
        self.last: dict[str, Answer] = {}
        self.answers = 0

    def write(self, answer: Answer) -> None:
        place = self._file.seek(0, 2)
        data = _pack(answer)
        self._file.write(_LENGTH.pack(len(data)) + data)
        self._places.setdefault(answer.key, array("q")).append(place)
        self.last[answer.key] = answer
        self.answers += 1

    def hop(self, data: bytes) -> None:
        name = decode_record(data).id
        assert self.hops.setdefault(name, data) == data, f"two hops have the id {name}"

    @property
    def states(self) -> dict[str, bytes]:
        """The blob of each key of which anything is known, at the end; made anew each time it is asked for."""
        return {key: one.state for key, one in self.last.items() if one.state is not None}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _at: TracebackType | None
    ) -> None:
        self._file.close()

    def reader(self) -> "Reading":
        """Of what was written until the book was closed."""
        return Reading(Path(self._file.name), self._places)


class Reading:
    """One passage of another runtime's answers over a book: each is held against the next of its key."""

    def __init__(self, file: Path, places: dict[str, "array[int]"]) -> None:
        self._file = file.open("rb")
        self._places = places
        self._seen = dict.fromkeys(places, 0)
        self.compared = 0

    def compare(self, other: Answer) -> None:
        nth = self._seen.get(other.key, 0)
        places = self._places.get(other.key, array("q"))
        assert nth < len(places), f"decision {nth + 1} of {other.key} ({other.record_id}): there is none in the book"
        self._seen[other.key] = nth + 1
        if difference := differing(self._read(places[nth]), other):
            raise AssertionError(f"decision {nth + 1} of {other.key}, record {other.record_id}: {difference}")
        self.compared += 1

    def _read(self, place: int) -> Answer:
        self._file.seek(place)
        return _answer(self._file.read(_LENGTH.unpack(self._file.read(_LENGTH.size))[0]))

    def end(self) -> None:
        missing = [key for key, nth in self._seen.items() if nth < len(self._places[key])]
        assert not missing, f"{len(missing)} keys lack decisions, the first is {missing[0]}"
        self._file.close()


def differing(one: Answer, other: Answer) -> str:
    """The first thing in which they differ, in words; empty when they are equal."""
    if one.record_id != other.record_id:
        return f"record {one.record_id} was to come first"
    if one.effects != other.effects:
        return _differing_effects(_effects(one.effects), _effects(other.effects))
    if one.state != other.state:
        return _differing_states(one.state, other.state)
    if one.deadline != other.deadline:
        return f"deadlines {one.deadline} and {other.deadline}"
    if one.number and other.number and one.number != other.number:
        return f"numbers {one.number} and {other.number}"
    return ""


def _differing_effects(one: list[Told], other: list[Told]) -> str:
    for number, (mine, theirs) in enumerate(zip(one, other, strict=False), 1):
        if mine != theirs:
            return f"effect {number} is {mine} there and {theirs} here"
    if len(one) != len(other):
        longer, where = (one, "there") if len(one) > len(other) else (other, "here")
        return f"{len(one)} effects there and {len(other)} here: only {where} {longer[min(len(one), len(other))]}"
    return f"effects that are equal and encoded otherwise: {one}"


def _differing_states(one: bytes | None, other: bytes | None) -> str:
    if one is None or other is None:
        return f"a state {'here' if one is None else 'there'} only"
    mine, theirs = decide.decode_state(one), decide.decode_state(other)
    for field in mine.__struct_fields__:
        if (here := getattr(theirs, field)) != (there := getattr(mine, field)):
            return f"the state's {field} is {there} there and {here} here"
    return "states that are equal and encoded otherwise"
