"""Counts of journeys and broadcasts where many workers count: each partition has its own, written by whoever has the
partition, in the commits that change them; the whole is their sum."""

from collections.abc import Collection
from typing import Any, Final

import msgspec

from heliograph.decide import journey_version
from heliograph.ports import BroadcastRow, SharedStore
from heliograph.runtime.retention import LOG_MS
from heliograph.runtime.tally import JourneyTally, Tally

META: Final = "tally@"
"""Meta value for each partition: journey -> :class:`~heliograph.runtime.tally.JourneyTally`."""

PART: Final = "broadcast@"
"""Meta value for each broadcast and partition: its four dicts of counts (:class:`~heliograph.ports.BroadcastRow`)."""
WALK: Final = "walk@"
"""Meta value for each broadcast: how far its walk is, written by who leads broadcasts and nobody else; so a pause that
another process writes into the row is not written over."""
COUNTS: Final = ("people", "refused", "messages", "skipped")

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(dict[str, JourneyTally]).decode


class FarTally(Tally):
    """``partition``: of whose records the facts are that are noted now."""

    def __init__(self, store: SharedStore, partitions: int) -> None:
        super().__init__({})
        self._store, self._partitions = store, partitions
        self._parts: dict[int, Tally] = {}
        self._touched: set[int] = set()
        self.partition = 0

    def forget(self, kept: Collection[int]) -> None:
        """Others may have counted anywhere but in the partitions ``kept``, which were ours all the time: what is
        counted there may be on its way to the disk."""
        self._parts = {name: part for name, part in self._parts.items() if name in self._touched or name in kept}

    def note(self, kind: str, data: dict[str, Any]) -> None:
        part = self._parts.get(self.partition)
        if part is None:
            part = self._parts[self.partition] = Tally(self._read(self.partition))
        part.note(kind, data)
        self._touched.add(self.partition)

    def _read(self, partition: int) -> dict[str, JourneyTally]:
        return _decode(self._store.meta(f"{META}{partition}") or b"\x80")

    def changes(self) -> dict[str, bytes]:
        touched, self._touched = self._touched, set()
        parts = ((name, self._parts[name]) for name in sorted(touched))
        return {f"{META}{name}": _encode(part.journeys) for name, part in parts if part.changes()}

    def counts(self) -> dict[str, dict[str, int]]:
        return {name: dict(tally.counts) for name, tally in self._sums().items()}

    def active(self) -> set[tuple[str, str]]:
        """Also versions that were in force while the log that may still be decided was written: a record is decided
        under the plan that it names, and starts a run that nobody has counted yet."""
        return Tally(self._sums()).active() | self._in_force_lately()

    def _in_force_lately(self) -> set[tuple[str, str]]:
        since, plans = self._store.last_received_at() - LOG_MS, self._store.plans()
        until = [published_at for _, published_at in plans[1:]]
        found: set[tuple[str, str]] = set()
        for (version, _), replaced_at in zip(plans, until, strict=False):
            if replaced_at >= since and (row := self._store.plan(version)) is not None:
                journeys = msgspec.json.decode(row.document).get("journeys", {})
                found |= {(name, journey_version(text)) for name, text in journeys.items()}
        return found

    def _sums(self) -> dict[str, JourneyTally]:
        """As the store has them: nobody knows those of others otherwise."""
        sums: dict[str, JourneyTally] = {}
        for partition in range(self._partitions):
            for name, one in self._read(partition).items():
                total = sums.setdefault(name, JourneyTally())
                for word, count in one.counts.items():
                    total.add(word, count)
                versions = total.active_by_version
                total.active_by_version = {
                    version: versions.get(version, 0) + one.active_by_version.get(version, 0)
                    for version in {**versions, **one.active_by_version}
                }
        return sums


# -- broadcasts --

_decode_walk = msgspec.msgpack.Decoder(tuple[str | None, int, bool, list[str], dict[str, int]]).decode


def part_name(broadcast_id: str, partition: int) -> str:
    return f"{PART}{partition}:{broadcast_id}"


def encode_part(row: BroadcastRow) -> bytes:
    return _encode([getattr(row, name) for name in COUNTS])


def read_part(store: SharedStore, name: str) -> BroadcastRow:
    """What was counted there so far."""
    data = store.meta(name)
    counts = msgspec.msgpack.decode(data, type=list[dict[str, int]]) if data else [{}, {}, {}, {}]
    row = BroadcastRow(broadcast_id="", name="", document={}, status="", created_at=0)
    return msgspec.structs.replace(row, **dict(zip(COUNTS, counts, strict=True)))


def read_walk(store: SharedStore, row: BroadcastRow) -> BroadcastRow:
    """How far this broadcast is; whom its walk itself refused."""
    data = store.meta(WALK + row.broadcast_id)
    if data is None:
        return msgspec.structs.replace(row, people={}, refused={}, messages={}, skipped={})
    after, offered, through, again, refused = _decode_walk(data)
    return msgspec.structs.replace(
        row, after=after, offered=offered, through=through, again=again, people={}, refused=refused, messages={},
        skipped={},
    )  # fmt: skip


def encode_walk(row: BroadcastRow) -> bytes:
    return _encode([row.after, row.offered, row.through, row.again, row.refused])


def copied(row: BroadcastRow) -> BroadcastRow:
    """One that may be changed in place."""
    counts = {name: dict(getattr(row, name)) for name in COUNTS}
    return msgspec.structs.replace(row, again=list(row.again), **counts)


def summed(row: BroadcastRow, store: SharedStore, partitions: int, walk: BroadcastRow | None = None) -> BroadcastRow:
    """The row of a broadcast with how far its walk is and what was counted in every partition."""
    whole = copied(row)
    if row.started_at:
        walk = walk or read_walk(store, row)
        whole.after, whole.offered, whole.through, whole.again = walk.after, walk.offered, walk.through, walk.again
        _add(whole, walk)
        for partition in range(partitions):
            _add(whole, read_part(store, part_name(row.broadcast_id, partition)))
    return whole


def _add(whole: BroadcastRow, part: BroadcastRow) -> None:
    for name in COUNTS:
        counts: dict[str, int] = getattr(whole, name)
        for word, count in getattr(part, name).items():
            counts[word] = counts.get(word, 0) + count
