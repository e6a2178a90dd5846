"""Whom a journey can concern at all, told from rows that are still encoded: everybody else need not be decided.

A journey by event decides nothing about people to whom no event of that name happened in the window; whoever it does
not concern gets the same mail from all others, with it and without.  A journey by segment or schedule, or one that
waits for what a step says, may concern anybody.
"""

from collections.abc import Iterable

import msgspec

from heliograph.adapters.rocksdb import Kept, Logged
from heliograph.backtest.past import Reach
from heliograph.backtest.plans import Lane, Plans
from heliograph.decide.journeys.program import Emit, Journey
from heliograph.events.event import PRODUCT_EVENTS
from heliograph.events.record import Kind


class Concern(msgspec.Struct, frozen=True):
    """``names``: of events, encoded; None for everybody, also those to whom nothing happens in the window."""

    names: tuple[bytes, ...] | None

    def meant(self, rows: Iterable[Kept], log: Iterable[Logged]) -> bool:
        """``rows``: what happened in the window.  True more often than need be, never false where it matters."""
        if self.names is None:
            return True
        if any(name in row.data for row in rows for name in self.names):
            return True
        return any(row.head.kind == Kind.ENTER for row in log)


def concern_of(plans: Plans) -> Concern:
    """Whom the draft, or the version that it is compared with, can concern."""
    lanes = [lane for lane in (plans.draft, plans.live) if lane is not None]
    names = [_name(lane, lane.plan.journeys[plans.name]) for lane in lanes]
    if any(name is None for name in names):
        return Concern(None)
    return Concern(tuple({name.encode() for name in names if name}))


def _name(lane: Lane, journey: Journey) -> str | None:
    """The event that starts it, "" for none (it is entered by the API); None when anything may."""
    entry = journey.entry
    if entry.api:
        return ""
    name = entry.filter.event if entry.filter is not None else ""
    said = {step.event for one in lane.plan.journeys.values() for step in one.program if isinstance(step, Emit)}
    return name if name and name.isascii() and name not in said | PRODUCT_EVENTS else None


def in_window(rows: Iterable[Kept], reach: Reach) -> list[Kept]:
    """The rows of the events that a backtest takes for events of the window."""
    return [row for row in rows if reach.since <= _taken_at(row) < reach.until]


def _taken_at(row: Kept) -> int:
    return row.occurred_at if b"historical" in row.data else row.received_at
