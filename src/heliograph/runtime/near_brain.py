"""A brain in this very process, over a stream: what Flink does at scale, for tests and the simulator.

One process, without state that lasts: it keeps its people in memory and reads ``records`` from the oldest entry on when
it begins.  So a restart is what a restore from an old checkpoint is: all of it is said again, with the same numbers and
ids, and whoever hears it passes over what they know.
"""

import asyncio
from collections.abc import Callable, Sequence

import msgspec

from heliograph import decide
from heliograph.decide import keyed
from heliograph.events.ids import bucket
from heliograph.events.partitions import partition_key
from heliograph.events.record import Record, decode_record, encode_record
from heliograph.ports import Entry, PlanRow, Stream
from heliograph.ports.stream import EFFECTS, FACTS, OUTCOMES, RECORDS, Post

PORTION = 500


class NearBrain:
    """``plans``: where plans are (:data:`heliograph.decide.keyed.Plans`).  Time passes with :meth:`wake`."""

    def __init__(self, stream: Stream, plans: keyed.Plans) -> None:
        self._plans = plans
        self._appender = stream.appender()
        self._people: dict[str, keyed.Held] = {}
        self._due: dict[str, int] = {}
        self._reader = stream.reader([RECORDS], self, group=None)
        self._task: asyncio.Task[None] | None = None
        self._ending = False

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="brain")

    async def stop(self) -> None:
        self._ending = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self._reader.close()

    async def assigned(self, partitions: Sequence[tuple[str, int]]) -> dict[tuple[str, int], int]:
        return dict.fromkeys(partitions, -1)

    async def revoked(self, partitions: Sequence[tuple[str, int]], lost: bool) -> None:
        """Never: it reads all of them by itself."""

    async def _run(self) -> None:
        while not self._ending:
            await self.portion()

    async def portion(self, wait_s: float = 0.05) -> int:
        """Decide the next few records; how many were there."""
        entries = await self._reader.read(PORTION, wait_s)
        posts = [post for entry in entries for post in self._decide(entry)]
        if posts:
            await self._appender.append(posts)
        return len(entries)

    def _decide(self, entry: Entry) -> list[Post]:
        """What to append on account of it."""
        key = decode_record(entry.value).key
        held = self._people.setdefault(key, keyed.load(key, None))
        said = keyed.take(held, entry.value, self._plans)
        if (due := keyed.due(held)) is None:
            self._due.pop(key, None)
        else:
            self._due[key] = due
        topic_key = partition_key(bucket(key))
        return [
            *(Post(RECORDS, *hop) for hop in said.hops),
            *(Post(EFFECTS, topic_key, decided, entry.partition) for decided in said.decided),
            *(Post(FACTS, topic_key, fact) for fact in said.facts),
            *(Post(OUTCOMES, topic_key, outcome) for outcome in said.outcomes),
        ]

    # -- time --

    def next_due(self) -> int | None:
        """The earliest timer for which no wake-up is in the log."""
        return min((due for key, due in self._due.items() if self._people[key].alarm != due), default=None)

    async def wake(self, now: int) -> int:
        """Append a wake-up for everybody whose deadline has come; how many.  Its instant is the deadline itself."""
        due = sorted((at, key) for key, at in self._due.items() if at <= now and self._people[key].alarm != at)
        posts: list[Post] = []
        for at, key in due:
            held = self._people[key]
            held.alarm = at
            posts.append(Post(RECORDS, *keyed.wake(held, held.state.plan_version)))
        if posts:
            await self._appender.append(posts)
        return len(posts)


def as_post(record: Record) -> Post:
    """A record as it stands in the log."""
    return Post(RECORDS, partition_key(bucket(record.key)), encode_record(record))


def plans_of(plan: Callable[[int | None], PlanRow | None]) -> keyed.Plans:
    """Plans as a store has them (``store.plan``), compiled once each."""
    known: dict[int, decide.Plan] = {}

    def find(version: int) -> decide.Plan | None:
        if version not in known and (row := plan(version or None)) is not None:
            known[row.version] = decide.compile_plan(msgspec.json.decode(row.document), row.version)
            return known[row.version]
        return known.get(version)

    return find
