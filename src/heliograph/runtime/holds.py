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
        old = self._holds.get(journey)
        if old is not None and by == BREAKER:
            return old
        at = chunk.now() if old is None else old.at
        self._holds[journey] = hold = Hold(journey, reason[:MAX_REASON], by, at)
        self._write(chunk)
        return hold

    def lift(self, chunk: "Chunk", journey: str) -> Hold | None:
        """Let its mail go from here on; the hold that was, None when there was none."""
        hold = self._holds.pop(journey, None)
        if hold is not None:
            self._write(chunk)
        return hold

    def _write(self, chunk: "Chunk") -> None:
        chunk.commit.meta[META] = msgspec.msgpack.encode(list(self._holds.values()))


BREAKER: Final = "breaker"
"""Who holds when the circuit breaker does."""
