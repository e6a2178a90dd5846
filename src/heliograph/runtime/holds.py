"""Journeys and broadcasts whose mail is held: their queued messages stay queued, nothing else about them changes.

People keep entering and runs keep going; what they decide to send waits in the store, is not offered to mailers, and
whatever a mailer has already is stopped at its commit point.  Lifted, it is offered again, and what became too late
meanwhile goes back to its person as ``missed``: stale mail is dropped with that reason, other mail finds its next hour.

Changed only inside the decision of a chunk, which commits them with everything else; so a crash, a restart and a commit
that failed leave what is on disk.
"""

from typing import TYPE_CHECKING, Final

import msgspec

from heliograph.ports import Hold, Store

if TYPE_CHECKING:
    from heliograph.runtime.chunk import Chunk

META: Final = "holds"
"""Meta value: a list of :class:`~heliograph.ports.Hold`."""
ROW: Final = "hold@"
"""In front of a journey, where many processes hold: its :class:`~heliograph.ports.Hold`."""
MAX_REASON: Final = 500
"""Characters of a reason that are kept."""


class Holds:
    """By name of journey (a broadcast: :func:`heliograph.decide.broadcasts.journey_of`).  There are never more than
    journeys and broadcasts, because only what exists can be held; whoever deletes one lifts it."""

    def __init__(self, holds: dict[str, Hold] | None = None) -> None:
        self._holds = holds or {}

    @classmethod
    def load(cls, store: Store) -> "Holds":
        rows = msgspec.msgpack.decode(store.meta(META) or b"\x90", type=list[Hold])
        return cls({row.journey: row for row in rows})

    def held(self, journey: str) -> bool:
        return journey in self._holds

    def reason(self, journey: str) -> str:
        """Why it is held, "" when it is not."""
        hold = self._holds.get(journey)
        return "" if hold is None else hold.reason or "held"

    def all(self) -> dict[str, Hold]:
        return dict(self._holds)

    def put(self, chunk: "Chunk", journey: str, reason: str, by: str) -> Hold:
        """Hold it from here on, in this chunk's commit.  Once held it stays held since then: a second reason takes the
        place of the first, except that nothing takes the place of what a person said but another person."""
        self._read_again()
        old = self._holds.get(journey)
        if old is not None and by == BREAKER:
            return old
        at = chunk.now() if old is None else old.at
        self._holds[journey] = hold = Hold(journey, reason[:MAX_REASON], by, at)
        self._write(chunk, journey)
        return hold

    def lift(self, chunk: "Chunk", journey: str) -> Hold | None:
        """Let its mail go from here on; the hold that was, None when there was none."""
        self._read_again()
        hold = self._holds.pop(journey, None)
        if hold is not None:
            self._write(chunk, journey)
        return hold

    def _read_again(self) -> None:
        """Where others hold and lift, too."""

    def _write(self, chunk: "Chunk", _journey: str) -> None:
        chunk.commit.meta[META] = msgspec.msgpack.encode(list(self._holds.values()))


class FarHolds(Holds):
    """Those of many processes: each is a row of its own, so nobody writes over what another one said of another; and
    read again before they are changed, unless a change of ours is not on disk yet.  ``changes``: how many there were
    here."""

    def __init__(self, store: Store) -> None:
        super().__init__()
        self.changes = 0
        self._store = store
        self._open = self._sealed = False
        """A change stands in the chunk that is being decided, being written."""
        self._read_again()

    @property
    def settled(self) -> bool:
        return not self._open and not self._sealed

    def _read_again(self) -> None:
        if self.settled:
            self._holds = self._stored()

    def look(self) -> None:
        """As others left them, unless a change of ours is under way: what is read beside it may be from before it.
        From any thread."""
        changes, settled = self.changes, self.settled
        found = self._stored()
        if settled and self.changes == changes:
            self._holds = found

    def _stored(self) -> dict[str, Hold]:
        """Behind those that one process left that moved in here."""
        rows = (self._store.meta(name) for name in self._store.metas(ROW))
        return Holds.load(self._store).all() | {hold.journey: hold for hold in map(_decode, filter(None, rows))}

    def _write(self, chunk: "Chunk", journey: str) -> None:
        self._open, self.changes = True, self.changes + 1
        if moved := Holds.load(self._store).all():  # as they are by now: another change may be under way
            rows = {ROW + name: _row(self._holds.get(name)) for name in moved}
            chunk.commit.meta |= {META: msgspec.msgpack.encode([]), **rows}
        chunk.commit.meta[ROW + journey] = _row(self._holds.get(journey))

    def seal(self) -> None:
        self._open, self._sealed = False, self._open

    def settle(self) -> None:
        self._sealed = False


def _row(hold: Hold | None) -> bytes | None:
    return None if hold is None else msgspec.msgpack.encode(hold)


_decode = msgspec.msgpack.Decoder(Hold).decode

BREAKER: Final = "breaker"
"""Who holds when the circuit breaker does."""
