"""One process's part of a backtest: the people of some buckets, one after the other."""

from collections import defaultdict
from collections.abc import Callable, Iterator
from itertools import groupby
from typing import Final

import msgspec

from heliograph import decide
from heliograph.adapters.rocksdb import Kept, Logged, RocksView
from heliograph.backtest.concern import concern_of, in_window
from heliograph.backtest.differ import Differences, compare
from heliograph.backtest.kin import Kin
from heliograph.backtest.lane import Story, tell
from heliograph.backtest.past import Past, PastReader, Reach
from heliograph.backtest.plans import Plans
from heliograph.backtest.tally import Counter, Side
from heliograph.events.identity import profile_id
from heliograph.events.ids import bucket, share

SAMPLED: Final = 20
PROGRESS_EVERY: Final = 500
"""People between two words about how far it is."""
LOG_ROWS: Final = 1_000_000
"""Rows of the log held in memory, encoded: a few hundred megabytes.  With more of them the buckets are taken in
several turns, each of which reads the log again."""


class Sampled(msgspec.Struct, frozen=True, order=True):
    """One person of the sample, with the sentence that ``why`` would say at the end of the window."""

    draw: float
    profile_id: str
    why: str


class Partial(msgspec.Struct):
    """What one process found.  ``seen``: people to whom something happened in the window."""

    draft: Side
    live: Side | None
    differences: Differences
    sample: list[Sampled] = []
    seen: int = 0
    events: int = 0

    def add(self, other: "Partial") -> None:
        self.draft.add(other.draft)
        if self.live is not None and other.live is not None:
            self.live.add(other.live)
        self.differences.add(other.differences)
        self.sample = sorted([*self.sample, *other.sample])[:SAMPLED]
        self.seen += other.seen
        self.events += other.events


def puts_off(plans: Plans) -> bool:
    """Whether a mail may be decided to go later than it was first decided."""
    policies = plans.draft.plan.policies
    return bool(policies.caps or policies.quiet_hours or policies.arbitrate_ms)


Rows = tuple[tuple[str, ...], list[Kept], list[Logged]]
"""One person: their keys, and what is stored under them."""


class Part:
    """Decides the people whose first key is in ``buckets``."""

    def __init__(self, view: RocksView, plans: Plans, reach: Reach, kin: Kin) -> None:
        self._view, self._plans, self._reach, self._kin = view, plans, reach, kin
        self._reader = PastReader(view, reach, puts_off=puts_off(plans))
        timezone = plans.draft.plan.timezone
        self._draft = Counter(plans.name, timezone)
        self._live = Counter(plans.name, timezone) if plans.live is not None else None
        self._concern = concern_of(plans)
        self.partial = Partial(self._draft.side, self._live.side if self._live else None, Differences())

    def run(self, buckets: range, told: Callable[[int], None] = lambda _rows: None) -> Partial:
        """``told``: called now and then with the rows of history read since the last time."""
        read = 0
        for number, (keys, history, log) in enumerate(self._people(buckets), 1):
            read += len(history)
            seen = in_window(history, self._reach)
            self.partial.seen += len({self._kin.survivor(row.key) for row in seen})
            if self._concern.meant(seen, log):
                self._one(self._reader.read(keys, history, log))
            if not number % PROGRESS_EVERY:
                told(read)
                read = 0
        told(read)
        return self.partial

    def pasts(self, buckets: range) -> Iterator[Past]:
        """Everybody's, whomever the journey concerns."""
        return (self._reader.read(*found) for found in self._people(buckets))

    # -- people --

    def _people(self, buckets: range) -> Iterator[Rows]:
        count = max(self._view.last_position() - self._first_position() + 1, 0)
        turns = min(max(-(-count * len(buckets) // (1024 * LOG_ROWS)), 1), len(buckets) or 1)
        size = -(-len(buckets) // turns)
        for start in range(buckets.start, buckets.stop, size or 1):
            yield from self._turn(range(start, min(start + size, buckets.stop)))

    def _first_position(self) -> int:
        first = self._view.first_logged()
        return first.position if first is not None else 1

    def _turn(self, buckets: range) -> Iterator[Rows]:
        log = self._log(buckets)
        for family in self._kin.families():
            if bucket(family[0]) in buckets:
                kept = [row for key in family for row in self._view.kept_of(key)]
                yield family, kept, sorted(row for key in family for row in log.pop(key, ()))
        for key, rows in groupby(self._view.kept(buckets), lambda row: row.key):
            if key not in self._kin.of:
                yield (key,), list(rows), log.pop(key, [])
        for key in sorted(log):
            yield (key,), [], log[key]

    def _log(self, buckets: range) -> dict[str, list[Logged]]:
        """The log of these people, by key."""
        found: dict[str, list[Logged]] = defaultdict(list)
        kin, of = self._kin, self._kin.of
        for row in self._view.logged():
            head = row.head
            place = bucket(kin.first(head.key)) if head.key in of else head.bucket
            if place in buckets:
                found[head.key].append(row)
        return found

    # -- deciding --

    def _one(self, past: Past) -> None:
        reach, plans = self._reach, self._plans
        draft = tell(past, plans.draft, reach.since, reach.until, reach.log_from)
        self._draft.count(draft)
        self.partial.events += len(past.records)
        if plans.live is not None and self._live is not None:
            live = draft if plans.unchanged else tell(past, plans.live, reach.since, reach.until, reach.log_from)
            self._live.count(live)
            if live is not draft:
                compare(self.partial.differences, plans.name, live, draft)
        self._sample(draft)

    def _sample(self, story: Story) -> None:
        """Draw among the people about whom the draft decided anything."""
        name, sample = self._plans.name, self.partial.sample
        meant = ("run_started", "run_refused")
        keys = {story.survivor(one.key) for one in story.decided if one.kind in meant and one.data["journey"] == name}
        for key in sorted(keys):
            draw = share("backtest sample", name, key)
            if len(sample) < SAMPLED or draw < sample[-1].draw:
                sample.append(Sampled(draw, profile_id(key), self._why(story, key)))
                sample.sort()
                del sample[SAMPLED:]

    def _why(self, story: Story, key: str) -> str:
        facts = [(one.at, one.kind, one.data) for one in reversed(story.decided) if story.survivor(one.key) == key]
        answer = decide.explain_journey(story.state(key), story.plan, self._plans.name, self._reach.until, facts)
        return str(answer["sentence"])
