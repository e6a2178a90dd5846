"""Counts per journey, kept in the commits that change them, so that a restart and a crash leave them exact."""

from typing import Any

import msgspec

from heliograph.ports import Store

INDEX = "tally"
"""Meta value: the names of the journeys that have one; each lies under ``tally:NAME``."""

COUNTED = ("active", "started", "held_out", "finished", "exited", "sent", "skipped", "goals")

_encode = msgspec.msgpack.Encoder().encode


class JourneyTally(msgspec.Struct):
    """``active_by_version``: runs under way by journey version; what a publish must pin."""

    counts: dict[str, int] = msgspec.field(default_factory=lambda: dict.fromkeys(COUNTED, 0))
    active_by_version: dict[str, int] = {}

    def add(self, word: str, by: int = 1) -> None:
        self.counts[word] = self.counts.get(word, 0) + by


class Tally:
    """Facts go in by :meth:`note`; :meth:`changes` gives the meta values of the next commit."""

    def __init__(self, journeys: dict[str, JourneyTally]) -> None:
        self.journeys = journeys
        self._changed: set[str] = set()
        self._stored = set(journeys)

    @classmethod
    def load(cls, store: Store) -> "Tally":
        names = msgspec.msgpack.decode(store.meta(INDEX) or b"\x90", type=list[str])
        rows = {name: store.meta(f"{INDEX}:{name}") for name in names}
        return cls({name: msgspec.msgpack.decode(row, type=JourneyTally) for name, row in rows.items() if row})

    def note(self, kind: str, data: dict[str, Any]) -> None:
        """One fact of a decision; most kinds count nothing."""
        count = _COUNTS.get(kind)
        if count is not None and (name := data.get("journey")):
            count(self._of(name), data)

    def _of(self, name: str) -> JourneyTally:
        self._changed.add(name)
        if name not in self.journeys:
            self.journeys[name] = JourneyTally()
        return self.journeys[name]

    def changes(self) -> dict[str, bytes]:
        """Meta values to commit, once."""
        if not self._changed:
            return {}
        meta = {f"{INDEX}:{name}": _encode(self.journeys[name]) for name in self._changed}
        if not self._stored.issuperset(self._changed):
            self._stored |= self._changed
            meta[INDEX] = _encode(sorted(self._stored))
        self._changed.clear()
        return meta

    def counts(self) -> dict[str, dict[str, int]]:
        return {name: dict(tally.counts) for name, tally in self.journeys.items()}

    def active(self) -> set[tuple[str, str]]:
        """(journey, version) with runs under way."""
        return {(name, v) for name, tally in self.journeys.items() for v, n in tally.active_by_version.items() if n > 0}


def _started(tally: JourneyTally, data: dict[str, Any]) -> None:
    tally.add("started")
    tally.add("active")
    tally.add("held_out", int(data.get("arm") == "holdout"))
    version = data.get("version", "")
    tally.active_by_version[version] = tally.active_by_version.get(version, 0) + 1


def _ended(tally: JourneyTally, data: dict[str, Any]) -> None:
    tally.add("active", -1)
    tally.add("finished", int(data.get("reason") == "finished"))
    tally.add("exited", int(data.get("reason") == "exited"))
    _leave_version(tally, data.get("version", ""))


def _leave_version(tally: JourneyTally, version: str) -> None:
    left = tally.active_by_version.get(version, 0) - 1
    if left > 0:
        tally.active_by_version[version] = left
    else:
        tally.active_by_version.pop(version, None)


def _moved(tally: JourneyTally, data: dict[str, Any]) -> None:
    """A run went over to another version."""
    _leave_version(tally, data.get("version", ""))
    to = data.get("to", "")
    tally.active_by_version[to] = tally.active_by_version.get(to, 0) + 1


def _outcome(tally: JourneyTally, data: dict[str, Any]) -> None:
    tally.add("sent", int(data.get("kind") == "sent"))
    tally.add("skipped", int(data.get("kind") == "skipped"))


def _skipped(tally: JourneyTally, _data: dict[str, Any]) -> None:
    tally.add("skipped")


def _goal(tally: JourneyTally, _data: dict[str, Any]) -> None:
    tally.add("goals")


_COUNTS = {
    "run_started": _started,
    "run_ended": _ended,
    "run_moved": _moved,
    "message_outcome": _outcome,
    "message_skipped": _skipped,
    "goal": _goal,
}
"""Which facts count, and how."""
