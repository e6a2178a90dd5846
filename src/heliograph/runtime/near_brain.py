"""A brain in this very process, over a stream: what Flink does at scale, for tests and the simulator.

One process, without state that lasts: it keeps its people in memory and reads ``records`` from the oldest entry on when
it begins.  So a restart is what a restore from an old checkpoint is: all of it is said again, with the same numbers and
ids, and whoever hears it passes over what they know.  A record is decided under the plan that it names, or the newer
one that its person has met; one whose plan has not arrived waits, and so does what is behind it in its partition.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from heliograph import decide
from heliograph.decide import effects as fx
from heliograph.decide.decided import Decided, encode_decided, next_number
from heliograph.decide.state import State
from heliograph.events.ids import bucket, make_id
from heliograph.events.partitions import partition_key
from heliograph.events.record import EventBody, Record, Wake, decode_record, encode_record
from heliograph.ports import Entry, PlanRow, Stream
from heliograph.ports.stream import EFFECTS, RECORDS, Post

DERIVED: Final = 2_000
"""Ids of derived records that are remembered for each person."""
PORTION: Final = 500

Plans = Callable[[int], decide.Plan | None]
"""The plan of this version, None when it is not known yet."""


class Person(msgspec.Struct):
    """``heard``: ids of derived records, the latest last.  ``woken``: the deadline for which a wake-up is in the log.
    ``number``: also of who was forgotten."""

    state: State | None = None
    heard: dict[str, None] = {}
    woken: int = 0
    number: int = 0


class NearBrain:
    """``plans``: where plans are; ``wake``: whether to append wake-ups, at :meth:`wake`."""

    def __init__(self, stream: Stream, plans: Plans) -> None:
        self._stream, self._plans = stream, plans
        self._appender = stream.appender()
        self._people: dict[str, Person] = {}
        self._waiting: dict[int, deque[Entry]] = {}
        """By partition: what waits for a plan."""
        self._deadlines: dict[str, int] = {}
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
        for entry in entries:
            self._waiting.setdefault(entry.partition, deque()).append(entry)
        posts: list[Post] = []
        for partition, waiting in self._waiting.items():
            while waiting and (said := self._decide(partition, waiting[0])) is not None:
                waiting.popleft()
                posts += said
        if posts:
            await self._appender.append(posts)
        return len(entries)

    # -- one record --

    def _decide(self, partition: int, entry: Entry) -> list[Post] | None:
        """What to append on account of it; None while its plan is not there."""
        record = decode_record(entry.value)
        person = self._people.get(record.key) or Person(heard={})
        state = person.state or decide.new_state(record.key)
        plan = self._plans(max(record.plan_version, state.plan_version))
        if plan is None:
            return None
        if not isinstance(record.body, EventBody) or record.body.hops or record.body.depth:
            if record.id in person.heard:
                return []
            self._remember(person, record.id)
        self._people[record.key] = person
        state, effects = decide.step(state, record, plan)
        person.number = state.number = next_number(person.number, record.received_at)
        person.state = None if decide.is_blank(state) else state
        self._set_deadline(record.key, person)
        return self._told(partition, record, person, effects, entry.value)

    def _remember(self, person: Person, name: str) -> None:
        person.heard[name] = None
        if len(person.heard) > DERIVED:
            del person.heard[next(iter(person.heard))]

    def _told(
        self, partition: int, record: Record, person: Person, effects: Sequence[fx.Effect], data: bytes
    ) -> list[Post]:
        hops = [effect.record for effect in effects if isinstance(effect, fx.Hop)]
        told = [effect for effect in effects if not isinstance(effect, fx.Hop)]
        blob = None if person.state is None else decide.encode_state(person.state)
        decided = Decided(record, told, blob, self._deadlines.get(record.key), person.number)
        said = Post(EFFECTS, partition_key(bucket(record.key)), encode_decided(decided, data), partition)
        return [*map(as_post, hops), said]

    # -- time --

    def _set_deadline(self, key: str, person: Person) -> None:
        due = None if person.state is None else decide.deadline(person.state)
        if due is None:
            self._deadlines.pop(key, None)
        else:
            self._deadlines[key] = due

    def next_due(self) -> int | None:
        return min((due for key, due in self._deadlines.items() if self._people[key].woken != due), default=None)

    async def wake(self, now: int) -> int:
        """Append a wake-up for everybody whose deadline has come; how many.  Its instant is the deadline itself."""
        due = [(at, key) for key, at in self._deadlines.items() if at <= now and self._people[key].woken != at]
        posts = []
        for at, key in sorted(due):
            person = self._people[key]
            person.woken = at
            version = person.state.plan_version if person.state is not None else 0
            posts.append(as_post(Record(key, make_id("wake", key, at), at, version, Wake())))
        if posts:
            await self._appender.append(posts)
        return len(posts)


def as_post(record: Record) -> Post:
    return Post(RECORDS, partition_key(bucket(record.key)), encode_record(record))


def plans_of(plan: Callable[[int | None], PlanRow | None]) -> Plans:
    """Plans as a store has them (``store.plan``), compiled once each."""
    known: dict[int, decide.Plan] = {}

    def find(version: int) -> decide.Plan | None:
        if version not in known and (row := plan(version)) is not None:
            known[version] = decide.compile_plan(msgspec.json.decode(row.document), version)
        return known.get(version)

    return find
