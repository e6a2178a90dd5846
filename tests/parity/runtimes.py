"""The runtimes that a recorded log is fed to.  Each says what it decides, record by record; hops that stand in the log
are fed, those that are emitted are only compared."""

import functools
from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path
from typing import Any
from unittest import mock

import msgspec

from heliograph import decide
from heliograph.adapters.rocksdb import RocksStore
from heliograph.adapters.schema import JsonSchema
from heliograph.decide import keyed
from heliograph.decide.decided import decode_decided
from heliograph.decide.effects import Hop
from heliograph.events.record import (
    EventBody,
    Link,
    MergeInto,
    Record,
    Unlink,
    decode_record,
    encode_record,
    record_head,
)
from heliograph.ports import Commit, PlanRow, Store
from heliograph.runtime.chunk import Chunk
from heliograph.runtime.clock import ManualClock
from heliograph.runtime.desk import Desk
from tests import recorded
from tests.parity.answers import Answer, Book, answered, from_afar
from tests.recorded import Recording

PORTION = 500
"""Records of one commit."""


@functools.cache
def remembered(folder: Path, events: int, seed: int) -> tuple[Recording, Book]:
    """A log, and what memory says to it: once for all who are held against it."""
    home = folder / f"recorded-{events}-{seed}"
    home.mkdir()
    recording = recorded.record(home, events, seed)
    with Book(home / "memory") as memory:
        in_memory(recording, memory)
    return recording, memory


def in_memory(recording: Recording, book: Book) -> None:
    """The keyed function over a dict of blobs: each record loads its person's and stores it again."""
    known = {version: decide.compile_plan(msgspec.json.decode(one), version) for version, one in recording.plans}
    blobs: dict[str, bytes] = {}
    for data in recording:
        key = record_head(data).key
        held = keyed.load(key, blobs.pop(key, None))
        said = keyed.take(held, data, known.get)
        if (blob := keyed.dump(held)) is not None:
            blobs[key] = blob
        for one in said.decided:
            book.write(from_afar(decode_decided(one)))
        for _, hop in said.hops:
            book.hop(hop)


class InRocksDB:
    """The embedded engine's own way to replay, from an empty folder.  The desk is cold for each portion: every state
    that is decided on was read from the disk."""

    def __init__(self, folder: Path) -> None:
        self.store: Store = RocksStore(folder)
        self.hops: list[bytes] = []
        self._step = decide.step
        self._said: list[Answer] = []

    def answers(self, recording: Recording) -> Iterator[Answer]:
        with mock.patch.object(decide, "step", self._listening):
            for version, records in groupby(map(decode_record, recording), lambda record: record.plan_version):
                self.store.commit(Commit(plan=PlanRow(version, dict(recording.plans)[version], 0)))
                desk = Desk(self.store, JsonSchema)
                for portion in portions(records):
                    self._commit(desk, portion)
                    yield from self._said
                    self._said.clear()

    def _commit(self, desk: Desk, portion: list[Record]) -> None:
        clock = ManualClock()
        chunk = Chunk(desk, clock)
        for record in portion:
            clock.at = record.received_at
            chunk.replay(record)
        commit = chunk.finish()
        desk.seal()
        self.store.commit(commit, sync=False)
        desk.reload()

    def _listening(self, state: decide.State, record: Record, plan: decide.Plan) -> tuple[decide.State, list[Any]]:
        state, effects = self._step(state, record, plan)
        self._said.append(answered(record, effects, state))
        self.hops += [encode_record(effect.record) for effect in effects if isinstance(effect, Hop)]
        return state, effects


def portions(records: Iterable[Record]) -> Iterator[list[Record]]:
    portion: list[Record] = []
    for record in records:
        portion.append(record)
        if len(portion) == PORTION:
            yield portion
            portion = []
    yield portion


def logged_hops(recording: Recording) -> dict[str, bytes]:
    """Records of the log that only ``step`` makes, by id: merges, what was forwarded, what journeys emitted."""
    return {record.id: data for data in recording if _is_hop(record := decode_record(data))}


def _is_hop(record: Record) -> bool:
    body = record.body
    if isinstance(body, Link | MergeInto | Unlink):
        return True
    return getattr(body, "hops", 0) > 0 or (isinstance(body, EventBody) and body.depth > 0)
