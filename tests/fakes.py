"""Stand-ins for doors under test: an engine that remembers what it was told and decides nothing."""

import time
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

from heliograph.adapters.memory.store import MemoryStore
from heliograph.events.record import LedgerRow, Outcome
from heliograph.ports import Arrival, Busy, Commit, Result


class FakeClock:
    """The wall clock, or ``at`` when it is set."""

    def __init__(self, at: int | None = None) -> None:
        self.at = at

    def now(self) -> int:
        return time.time_ns() // 1_000_000 if self.at is None else self.at


class FakeEngine:
    """Accepts what was not refused, knows duplicates, answers ``dead_letter`` to events named ``Dead``.

    ``busy`` makes every change raise :class:`Busy`; ``broken`` makes ``collect`` fail as a bug would.
    """

    def __init__(self, topics: dict[str, Any] | None = None) -> None:
        self.store = MemoryStore()
        self.clock = FakeClock()
        self.plan = SimpleNamespace(document={"policies": {"topics": topics or {}}})
        self.ready = True
        self.busy: Busy | None = None
        self.broken = False
        self.arrivals: list[Arrival] = []
        self.outcomes: list[Outcome] = []
        self._seen: set[str] = set()

    async def collect(self, arrivals: Sequence[Arrival]) -> list[Result]:
        if self.busy:
            raise self.busy
        if self.broken:
            raise RuntimeError("a bug")
        self.arrivals += arrivals
        return [self._result(arrival) for arrival in arrivals]

    def _result(self, arrival: Arrival) -> Result:
        if arrival.event is None:
            return Result(arrival.message_id, "refused", arrival.refused)
        if arrival.event.name == "Dead":
            return Result(arrival.message_id, "dead_letter", "properties: not as the schema wants")
        if arrival.message_id in self._seen:
            return Result(arrival.message_id, "duplicate")
        self._seen.add(arrival.message_id)
        return Result(arrival.message_id, "accepted")

    async def change_ledger(self, rows: Sequence[LedgerRow]) -> None:
        if self.busy:
            raise self.busy
        self.store.commit(Commit(ledger={(row.address, row.topic): row for row in rows}))

    async def feedback(self, outcomes: Sequence[Outcome]) -> None:
        if self.busy:
            raise self.busy
        self.outcomes += outcomes
