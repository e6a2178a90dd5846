"""The twin in memory of the shared log: brokers, groups and rebalances without a network.

A member of a group learns of a rebalance when it reads, as it would when it polls; a partition goes to its new owner
once the old one has let go of it.
"""

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Final

from heliograph.events.partitions import murmur2
from heliograph.ports.stream import (
    PLAN,
    TOPICS,
    Assignment,
    Entry,
    EntryRefused,
    Post,
    StreamAway,
    StreamGap,
    StreamRefused,
)

MAX_ENTRY: Final = 16 * 1024 * 1024
LOOK_S: Final = 0.01

Place = tuple[str, int]


class MemoryBroker:
    """What several streams share.  ``topics``: name -> its partitions, each a list of entries.  ``away``: while set,
    nobody answers.  ``largest``: topic -> bytes of an entry at most.  ``oldest``: the first offset that retention has
    left (what stands before it in the list is gone)."""

    def __init__(self, partitions: int = 4) -> None:
        self.topics: dict[str, list[list[Entry]]] = {
            topic: [[] for _ in range(1 if topic == PLAN else partitions)] for topic in TOPICS
        }
        self.groups: dict[str, list[MemoryReader]] = {}
        self.owners: dict[tuple[str, Place], MemoryReader] = {}
        self.committed: dict[tuple[str, Place], int] = {}
        self.largest: dict[str, int] = {}
        self.oldest: dict[Place, int] = {}
        self.away = False
        self.now = 0
        self.grown = asyncio.Event()

    def add(self, post: Post) -> tuple[int, int]:
        """(partition, offset) of the new entry."""
        parts = self.topic(post.topic)
        if len(post.value) > (largest := self.largest.get(post.topic, MAX_ENTRY)):
            raise EntryRefused(f"{post.topic}: {len(post.value)} bytes are more than {largest}")
        number = (murmur2(post.key) & 0x7FFFFFFF) % len(parts) if post.partition is None else post.partition
        if not 0 <= number < len(parts):
            raise StreamRefused(f"{post.topic} has no partition {number}")
        parts[number].append(Entry(post.topic, number, len(parts[number]), post.key, post.value, self.now))
        self.grown.set()
        return number, len(parts[number]) - 1

    def topic(self, topic: str) -> list[list[Entry]]:
        if topic not in self.topics:
            raise StreamRefused(f"there is no topic {topic}")
        return self.topics[topic]

    def places(self, topics: Sequence[str]) -> list[Place]:
        return [(topic, number) for topic in topics for number in range(len(self.topic(topic)))]

    def here(self) -> None:
        if self.away:
            raise StreamAway("the brokers are away")


class MemoryAppender:
    def __init__(self, broker: MemoryBroker) -> None:
        self._broker = broker
        self._closed = False

    def append(self, posts: Sequence[Post]) -> "asyncio.Future[list[tuple[int, int]]]":
        done: asyncio.Future[list[tuple[int, int]]] = asyncio.get_running_loop().create_future()
        try:
            self._broker.here()
            done.set_result([self._broker.add(post) for post in posts])
        except (StreamAway, StreamRefused) as error:
            done.set_exception(error)
            done.exception()
        return done

    async def partitions(self, topic: str) -> int:
        self._broker.here()
        return len(self._broker.topic(topic))

    async def close(self, patience_s: float) -> None:
        """Nothing is ever under way."""


class MemoryReader:
    """``group`` None: all partitions, from its first ``read`` on."""

    def __init__(self, broker: MemoryBroker, topics: Sequence[str], assignment: Assignment, group: str | None) -> None:
        self._broker, self._topics, self._assignment, self._group = broker, list(topics), assignment, group
        self._next: dict[Place, int] = {}
        self._moving: asyncio.Task[None] | None = None
        self._closed = False
        if group is not None:
            broker.groups.setdefault(group, []).append(self)

    async def read(self, limit: int, wait_s: float) -> list[Entry]:
        deadline = asyncio.get_running_loop().time() + wait_s
        while True:
            if self._closed:
                raise StreamAway("this reader is closed")
            self._broker.here()
            await self._rebalance()
            self._broker.grown.clear()
            left = deadline - asyncio.get_running_loop().time()
            if (entries := self._take(limit)) or left <= 0:
                return entries
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(left, LOOK_S)):
                    await self._broker.grown.wait()

    def _take(self, limit: int) -> list[Entry]:
        taken: list[Entry] = []
        for (topic, number), offset in self._next.items():
            entries = self._broker.topics[topic][number]
            if not self._broker.oldest.get((topic, number), 0) <= offset <= len(entries):
                raise StreamGap(f"{topic}/{number}: what follows {offset} is gone")
            new = entries[offset : offset + limit - len(taken)]
            self._next[topic, number] = offset + len(new)
            taken += new
        return taken

    async def _rebalance(self) -> None:
        """Let go of what is no longer ours, take what is and has no owner.  It is done to its end also when the read
        that began it is cancelled."""
        if self._moving is None or self._moving.done():
            mine = self._due()
            gone = [place for place in self._next if place not in mine]
            new = [place for place in mine if place not in self._next and self._free(place)]
            if not gone and not new:
                return
            self._moving = asyncio.create_task(self._move(gone, new))
        await asyncio.shield(self._moving)

    async def _move(self, gone: list[Place], new: list[Place]) -> None:
        await self._let_go(gone)
        if new:
            begins = await self._assignment.assigned(new)
            oldest = self._broker.oldest
            self._next |= {p: at if (at := begins.get(p, -1)) >= 0 else oldest.get(p, 0) for p in new}

    def _due(self) -> list[Place]:
        places = self._broker.places(self._topics)
        if self._group is None:
            return places
        members = self._broker.groups[self._group]
        return places[members.index(self) :: len(members)]

    def _free(self, place: Place) -> bool:
        return self._group is None or self._broker.owners.setdefault((self._group, place), self) is self

    def _held(self) -> list[Place]:
        """Also those that were promised, and never came because of an error."""
        owners = self._broker.owners.items()
        promised = [place for (group, place), owner in owners if group == self._group and owner is self]
        return list(dict.fromkeys([*self._next, *promised]))

    async def _let_go(self, places: list[Place]) -> None:
        if not places:
            return
        for place in places:
            self._next.pop(place, None)
        await self._assignment.revoked(places, lost=False)
        for place in places:
            self._broker.owners.pop((self._group or "", place), None)

    async def commit(self, offsets: dict[Place, int]) -> None:
        if self._group is not None:
            self._broker.committed |= {(self._group, place): offset for place, offset in offsets.items()}

    async def ends(self, topic: str) -> dict[int, tuple[int, int]]:
        self._broker.here()
        oldest, parts = self._broker.oldest, self._broker.topic(topic)
        return {number: (oldest.get((topic, number), 0), len(entries)) for number, entries in enumerate(parts)}

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        if self._moving is not None:
            await asyncio.wait([self._moving])
        await self._let_go(self._held())
        if self._group is not None:
            self._broker.groups[self._group].remove(self)


class MemoryStream:
    """One process's way to a :class:`MemoryBroker`."""

    def __init__(self, broker: MemoryBroker | None = None) -> None:
        self.broker = broker or MemoryBroker()
        self._readers: list[MemoryReader] = []

    def appender(self) -> MemoryAppender:
        return MemoryAppender(self.broker)

    def reader(self, topics: Sequence[str], assignment: Assignment, *, group: str | None) -> MemoryReader:
        self._readers.append(MemoryReader(self.broker, topics, assignment, group))
        return self._readers[-1]

    async def close(self) -> None:
        for reader in self._readers:
            await reader.close()
