"""What a :class:`~heliograph.ports.Stream` promises.  The laws are those of every adapter: the twin in memory keeps
them here, Kafka in ``tests/cluster/test_kafka.py``."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Protocol

import pytest

from heliograph.adapters.memory import MemoryBroker, MemoryStream
from heliograph.events.ids import BUCKETS
from heliograph.events.partitions import partition_key, partition_of
from heliograph.ports.stream import (
    EFFECTS,
    OUTCOMES,
    PLAN,
    RECORDS,
    Entry,
    Post,
    Reader,
    Stream,
    StreamAway,
    StreamRefused,
)

PARTITIONS = 4
PATIENCE_S = 60.0
Place = tuple[str, int]


class World(Protocol):
    """Topics of four partitions (a plan: one) that nobody else uses."""

    def stream(self) -> Stream:
        """As another process would have it."""
        ...

    def away(self) -> contextlib.AbstractAsyncContextManager[None]:
        """Nobody answers, for a while."""
        ...


class Owner:
    """Begins where it is told, else at the oldest; ``story``: what it was told."""

    def __init__(self, begins: dict[Place, int] | None = None) -> None:
        self.begins = begins or {}
        self.held: set[Place] = set()
        self.story: list[tuple[str, Place]] = []

    async def assigned(self, partitions: Sequence[Place]) -> dict[Place, int]:
        self.held |= set(partitions)
        self.story += [("assigned", place) for place in partitions]
        return {place: self.begins.get(place, -1) for place in partitions}

    async def revoked(self, partitions: Sequence[Place], lost: bool) -> None:
        assert not lost
        await asyncio.sleep(0.05)  # whoever did not wait would be seen
        self.held -= set(partitions)
        self.story += [("revoked", place) for place in partitions]


def posts(count: int, topic: str = RECORDS, first: int = 0) -> list[Post]:
    """Keys of all buckets in turn; the value is the number."""
    return [Post(topic, partition_key(n * 37 % BUCKETS), b"%d" % n) for n in range(first, first + count)]


async def gather(reader: Reader, count: int) -> list[Entry]:
    """So many entries."""
    found: list[Entry] = []
    async with asyncio.timeout(PATIENCE_S):
        while len(found) < count:
            found += await reader.read(1_000, 0.2)
    return found


async def until(true: Callable[[], bool], patience_s: float = PATIENCE_S) -> None:
    async with asyncio.timeout(patience_s):
        while not true():  # noqa: ASYNC110 - what is awaited happens in several places
            await asyncio.sleep(0.01)


class StreamLaws:
    async def test_what_was_appended_is_read_where_its_key_belongs(self, world: World) -> None:
        stream, sent = world.stream(), posts(300)
        places = await stream.appender().append(sent)
        assert [place[0] for place in places] == [
            partition_of(int.from_bytes(post.key, "big"), PARTITIONS) for post in sent
        ]
        entries = await gather(stream.reader([RECORDS], Owner(), group=None), 300)
        found = {(entry.partition, entry.offset): (entry.topic, entry.key, entry.value) for entry in entries}
        assert found == {place: (RECORDS, p.key, p.value) for place, p in zip(places, sent, strict=True)}

    async def test_a_partition_has_the_order_of_its_appender(self, world: World) -> None:
        stream = world.stream()
        appender = stream.appender()
        await asyncio.gather(*(appender.append(posts(20, first=first)) for first in range(0, 1000, 20)))
        entries = await gather(stream.reader([RECORDS], Owner(), group=None), 1000)
        for number in range(PARTITIONS):
            mine = [entry for entry in entries if entry.partition == number]
            assert [entry.offset for entry in mine] == list(range(len(mine)))
            assert (values := [int(entry.value) for entry in mine]) == sorted(values)

    async def test_a_partition_that_is_named_is_taken(self, world: World) -> None:
        named = [Post(EFFECTS, partition_key(5), b"x", partition) for partition in (0, 1, 2, 3, 3)]
        places = await world.stream().appender().append(named)
        assert places == [(0, 0), (1, 0), (2, 0), (3, 0), (3, 1)]

    async def test_nothing_to_append_is_acknowledged_at_once(self, world: World) -> None:
        assert await world.stream().appender().append([]) == []

    async def test_topics_are_apart_and_one_reader_may_have_several(self, world: World) -> None:
        stream = world.stream()
        await stream.appender().append([*posts(10), *posts(10, EFFECTS), *posts(10, OUTCOMES)])
        entries = await gather(stream.reader([RECORDS, EFFECTS], Owner(), group=None), 20)
        assert sorted((entry.topic, int(entry.value)) for entry in entries) == sorted(
            (topic, n) for topic in (RECORDS, EFFECTS) for n in range(10)
        )

    async def test_who_is_cancelled_while_something_comes_has_ended(self, world: World) -> None:
        stream = world.stream()
        appender, reader = stream.appender(), stream.reader([RECORDS], Owner(), group=None)

        async def read_on() -> None:
            while True:
                await reader.read(10, 60)

        for turns in range(40):
            reading = asyncio.create_task(read_on())
            await asyncio.sleep(0)
            await appender.append(posts(1))
            for _ in range(turns % 4):
                await asyncio.sleep(0)
            reading.cancel()
            assert (await asyncio.wait([reading], timeout=PATIENCE_S))[0]

    @pytest.mark.parametrize("group", [None, "workers"])
    async def test_reading_begins_where_the_owner_says(self, world: World, group: str | None) -> None:
        stream = world.stream()
        await stream.appender().append([Post(RECORDS, b"", b"%d" % n, n % 2) for n in range(20)])
        owner = Owner({(RECORDS, 0): 7, (RECORDS, 1): 10})
        reader = stream.reader([RECORDS], owner, group=group)
        entries = await gather(reader, 3)
        assert [(entry.partition, entry.offset, entry.value) for entry in entries] == [
            (0, 7, b"14"), (0, 8, b"16"), (0, 9, b"18"),
        ]  # fmt: skip
        await stream.appender().append([Post(RECORDS, b"", b"new", 1)])
        assert [(entry.partition, entry.offset) for entry in await gather(reader, 1)] == [(1, 10)]

    async def test_a_limit_is_kept_and_nothing_is_left_out(self, world: World) -> None:
        stream = world.stream()
        await stream.appender().append(posts(50))
        reader, found = stream.reader([RECORDS], Owner(), group=None), []
        while len(found) < 50:
            found.append(await reader.read(1, PATIENCE_S))
        assert [len(entries) for entries in found] == [1] * 50
        assert await reader.read(1, 0.05) == []

    async def test_where_a_topic_ends_is_known(self, world: World) -> None:
        stream = world.stream()
        reader = stream.reader([RECORDS], Owner(), group=None)
        assert await reader.ends(RECORDS) == dict.fromkeys(range(PARTITIONS), (0, 0))
        await stream.appender().append([Post(RECORDS, b"", b"x", 2)] * 3)
        assert await reader.ends(RECORDS) == {0: (0, 0), 1: (0, 0), 2: (0, 3), 3: (0, 0)}
        assert await reader.ends(PLAN) == {0: (0, 0)}

    async def test_partitions_are_counted(self, world: World) -> None:
        appender = world.stream().appender()
        assert [await appender.partitions(topic) for topic in (RECORDS, EFFECTS, PLAN)] == [PARTITIONS, PARTITIONS, 1]

    async def test_what_will_never_be_taken_is_refused_and_spoils_nothing(self, world: World) -> None:
        stream = world.stream()
        appender = stream.appender()
        for never in (
            Post("nowhere", b"", b"x"),
            Post(RECORDS, b"", b"x", PARTITIONS),
            Post(RECORDS, b"", bytes(20_000_000)),
        ):
            with pytest.raises(StreamRefused):
                await appender.append([never])
        with pytest.raises(StreamRefused):
            await appender.partitions("nowhere")
        assert await appender.append([Post(RECORDS, b"", b"good", 0)]) == [(0, 0)]

    async def test_while_nobody_answers_it_is_said_and_afterwards_all_goes_on(self, world: World) -> None:
        stream = world.stream()
        appender, reader = stream.appender(), stream.reader([RECORDS], Owner(), group="workers")
        await appender.append(posts(1))
        assert len(await gather(reader, 1)) == 1
        async with world.away():
            with pytest.raises(StreamAway):
                await appender.append(posts(1, first=1))
            with pytest.raises(StreamAway):
                await gather(reader, 1_000)
        async with asyncio.timeout(PATIENCE_S):
            while True:
                with contextlib.suppress(StreamAway):
                    await appender.append(posts(1, first=2))
                    break
        values: set[int] = set()
        async with asyncio.timeout(PATIENCE_S):
            while 2 not in values:
                with contextlib.suppress(StreamAway):
                    values |= {int(entry.value) for entry in await reader.read(10, 0.2)}
        assert values <= {1, 2}, "what StreamAway was raised for may be there, nothing else"

    async def test_two_members_share_and_each_begins_where_the_other_stopped(self, world: World) -> None:
        """Offsets are the owners' own, as they are beside a store."""
        kept: dict[Place, int] = {}
        seen: dict[Place, list[int]] = {}
        streams = [world.stream(), world.stream()]
        owners, readers, tasks = [], [], []

        async def work(reader: Reader, owner: Owner) -> None:
            while True:
                for entry in await reader.read(7, 0.05):
                    place = (entry.topic, entry.partition)
                    assert place in owner.held, "read of a partition that is another's"
                    seen.setdefault(place, []).append(entry.offset)
                    kept[place] = entry.offset + 1

        def join(stream: Stream) -> None:
            owners.append(Owner(kept))
            readers.append(stream.reader([RECORDS], owners[-1], group="workers"))
            tasks.append(asyncio.create_task(work(readers[-1], owners[-1])))

        async def until_seen(count: int) -> None:
            async with asyncio.timeout(PATIENCE_S):
                while sum(map(len, seen.values())) < count:
                    for task in tasks:
                        if task.done():
                            task.result()
                    await asyncio.sleep(0.01)

        appender = streams[0].appender()
        join(streams[0])
        await appender.append(posts(500))
        await until_seen(500)
        join(streams[1])
        for first in range(500, 3000, 50):
            await appender.append(posts(50, first=first))
            await asyncio.sleep(0.01)
        await until(lambda: {len(owner.held) for owner in owners} == {PARTITIONS // 2})
        assert not owners[0].held & owners[1].held
        tasks.pop(0).cancel()
        await readers[0].close()
        await appender.append(posts(500, first=3000))
        await until_seen(3500)
        assert {place: sorted(offsets) == list(range(len(offsets))) for place, offsets in seen.items()} == {
            (RECORDS, number): True for number in range(PARTITIONS)
        }, "each entry once"
        assert owners[0].held == set()
        assert len(owners[1].held) == PARTITIONS
        tasks[0].cancel()

    async def test_a_partition_is_let_go_before_another_gets_it(self, world: World) -> None:
        streams, told = [world.stream(), world.stream()], []

        class Telling(Owner):
            def __init__(self, name: str) -> None:
                super().__init__()
                self.name = name

            async def assigned(self, partitions: Sequence[Place]) -> dict[Place, int]:
                told.extend((place, self.name, "has") for place in partitions)
                return await super().assigned(partitions)

            async def revoked(self, partitions: Sequence[Place], lost: bool) -> None:
                await super().revoked(partitions, lost)
                told.extend((place, self.name, "lets go") for place in partitions)

        async def poll(reader: Reader) -> None:
            while True:
                await reader.read(10, 0.05)

        owners = [Telling("first"), Telling("second")]
        tasks = []
        for stream, owner in zip(streams, owners, strict=True):
            tasks.append(asyncio.create_task(poll(stream.reader([RECORDS], owner, group="workers"))))
            await until(lambda owner=owner: bool(owner.held))
        moved = owners[1].held
        assert moved
        for place in moved:
            assert [what[1:] for what in told if what[0] == place] == [
                ("first", "has"), ("first", "lets go"), ("second", "has"),
            ]  # fmt: skip
        for task in tasks:
            task.cancel()

    async def test_what_was_begun_is_let_go_also_by_who_is_cancelled_and_closes(self, world: World) -> None:
        class Slow(Owner):
            letting_go, may = asyncio.Event(), asyncio.Event()

            async def revoked(self, partitions: Sequence[Place], lost: bool) -> None:
                self.letting_go.set()
                await self.may.wait()
                await super().revoked(partitions, lost)

        async def poll(reader: Reader) -> None:
            while True:
                await reader.read(10, 0.05)

        first = world.stream().reader([RECORDS], slow := Slow(), group="workers")
        polling = asyncio.create_task(poll(first))
        await until(lambda: len(slow.held) == PARTITIONS)
        next = asyncio.create_task(poll(world.stream().reader([RECORDS], owner := Owner(), group="workers")))
        async with asyncio.timeout(PATIENCE_S):
            await slow.letting_go.wait()
        polling.cancel()
        await asyncio.wait([polling])
        closing = asyncio.create_task(first.close())
        await asyncio.sleep(0.2)
        assert not closing.done()
        slow.may.set()
        await closing
        assert not slow.held
        await until(lambda: len(owner.held) == PARTITIONS)
        next.cancel()

    async def test_how_far_a_group_is_may_be_noted_at_any_time(self, world: World) -> None:
        stream = world.stream()
        reader = stream.reader([RECORDS], Owner(), group="workers")
        await stream.appender().append(posts(5))
        entries = await gather(reader, 5)
        await reader.commit({(entry.topic, entry.partition): entry.offset + 1 for entry in entries})
        await reader.close()
        await reader.commit({(RECORDS, 0): 1})
        with pytest.raises(StreamAway):
            await reader.read(1, 0.05)

    async def test_closing_waits_for_what_is_under_way(self, world: World) -> None:
        stream = world.stream()
        appender = stream.appender()
        waits = [asyncio.ensure_future(appender.append(posts(100, first=first))) for first in range(0, 1000, 100)]
        await appender.close(PATIENCE_S)
        assert sum(len(places) for places in await asyncio.gather(*waits)) == 1000


class MemoryWorld:
    def __init__(self) -> None:
        self.broker = MemoryBroker(PARTITIONS)

    def stream(self) -> MemoryStream:
        return MemoryStream(self.broker)

    @contextlib.asynccontextmanager
    async def away(self) -> AsyncIterator[None]:
        self.broker.away = True
        yield
        self.broker.away = False


class TestMemory(StreamLaws):
    @pytest.fixture
    def world(self) -> World:
        return MemoryWorld()
