"""What is acknowledged is there: brokers killed, paused, short of disk and of peers, members killed."""

import asyncio
import contextlib
import os
import resource
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator

import msgspec
import pytest
from deploy.local.cluster import Cluster

from heliograph.adapters.kafka import KafkaStream, check_topics, ensure_topics
from heliograph.config import KafkaSetting
from heliograph.ports.stream import (
    EFFECTS,
    PLAN,
    RECORDS,
    TOPICS,
    Appender,
    Entry,
    Post,
    Stream,
    StreamAway,
    StreamRefused,
)
from tests.contracts.test_stream import Owner, gather, until

WRITERS = 12
"""Three a partition."""


class Writing:
    """Writers that append one entry after the other, each to one partition, and again when nobody acknowledged."""

    def __init__(self, appender: Appender) -> None:
        self.acknowledged: dict[bytes, tuple[int, int]] = {}
        self.doubted: Counter[bytes] = Counter()
        self._appender, self._stop = appender, False
        self._tasks = [asyncio.create_task(self._write(number)) for number in range(WRITERS)]

    async def _write(self, writer: int) -> None:
        for number in range(1_000_000):
            value = b"%d:%d" % (writer, number)
            while value not in self.acknowledged:
                try:
                    [place] = await self._appender.append([Post(RECORDS, b"", value, writer % 4)])
                    self.acknowledged[value] = place
                except StreamAway:
                    self.doubted[value] += 1
            if self._stop:
                return

    async def so_many(self, count: int) -> None:
        """More than there are."""
        wanted = len(self.acknowledged) + count
        await until(lambda: len(self.acknowledged) >= wanted or any(task.done() for task in self._tasks), 180)

    async def end(self) -> None:
        self._stop = True
        await asyncio.gather(*self._tasks)


async def everything(stream: Stream) -> list[Entry]:
    reader = stream.reader([RECORDS], Owner(), group=None)
    count = sum(end - begin for begin, end in (await reader.ends(RECORDS)).values())
    return await gather(reader, count)


def assert_kept(writing: Writing, entries: list[Entry]) -> None:
    """Acknowledged: there, where it was said.  Order of each writer.  Twice: only what was appended again."""
    there = {(entry.partition, entry.offset): entry.value for entry in entries}
    assert [value for value, place in writing.acknowledged.items() if place[1] >= 0 and there[place] != value] == []
    times = Counter(entry.value for entry in entries)
    assert [value for value in writing.acknowledged if value not in times] == []
    assert {value: count for value, count in times.items() if count > 1 + writing.doubted[value]} == {}
    for writer in range(WRITERS):
        mine = [int(value.partition(b":")[2]) for value in times if value.startswith(b"%d:" % writer)]
        assert mine == list(range(len(mine))), "first appearances are in the order of appending"


@pytest.fixture
async def open_stream(kafka: KafkaSetting) -> AsyncIterator[Callable[[str], KafkaStream]]:
    ensure_topics(kafka)
    made: list[KafkaStream] = []

    def open_stream(timeout: str) -> KafkaStream:
        made.append(KafkaStream(msgspec.structs.replace(kafka, timeout=timeout)))
        return made[-1]

    yield open_stream
    await asyncio.gather(*(stream.close() for stream in made))


async def killed_and_started_again(cluster: Cluster, away_s: float = 0.0) -> None:
    await asyncio.to_thread(cluster.kill, "kafka")
    await asyncio.sleep(away_s)
    await asyncio.to_thread(cluster.start, "kafka")


async def test_kill_9_of_the_broker_loses_and_repeats_nothing_for_who_is_patient(
    open_stream: Callable[[str], KafkaStream], cluster: Cluster
) -> None:
    """The producer tries again by itself: its numbers keep what had arrived from arriving twice."""
    stream = open_stream("PT2M")
    writing = Writing(stream.appender())
    for _ in range(2):
        await writing.so_many(2_000)
        await killed_and_started_again(cluster)
    await writing.so_many(500)
    await writing.end()
    entries = await everything(stream)
    assert not writing.doubted
    assert len(entries) == len(writing.acknowledged)
    assert_kept(writing, entries)


async def test_kill_9_of_the_broker_repeats_only_what_was_appended_again(
    open_stream: Callable[[str], KafkaStream], cluster: Cluster
) -> None:
    stream = open_stream("PT1S")
    writing = Writing(stream.appender())
    await writing.so_many(1_000)
    await killed_and_started_again(cluster, away_s=2.0)
    await writing.so_many(500)
    await writing.end()
    assert writing.doubted, "nobody was told of the silence"
    assert_kept(writing, await everything(open_stream("PT30S")))


async def test_a_pause_shorter_than_the_patience_is_not_noticed(
    open_stream: Callable[[str], KafkaStream], cluster: Cluster
) -> None:
    stream = open_stream("PT30S")
    writing = Writing(stream.appender())
    await writing.so_many(500)
    cluster.pause("kafka")
    await asyncio.sleep(3)
    cluster.resume("kafka")
    await writing.so_many(500)
    await writing.end()
    assert not writing.doubted
    assert_kept(writing, await everything(stream))


async def test_a_broker_that_cannot_write_acknowledges_nothing_that_is_not_there(
    open_stream: Callable[[str], KafkaStream], cluster: Cluster
) -> None:
    """As with a full disk: files of the broker may not grow beyond 3 MB."""
    appender, taken = open_stream("PT10S").appender(), 0
    await appender.append([Post(topic, b"k", b"0", part) for topic in TOPICS if topic != PLAN for part in range(4)])
    await appender.append([Post(PLAN, b"k", b"0", 0)])  # every file is open by now
    resource.prlimit(cluster.pids("kafka-1")[0], resource.RLIMIT_FSIZE, (3_000_000, resource.RLIM_INFINITY))
    with pytest.raises(StreamAway):
        for number in range(20):
            await appender.append([Post(EFFECTS, b"", b"%d:" % number + os.urandom(1_000_000), 0)])
            taken += 1
    assert 0 < taken < 4, (cluster.run / "kafka-1" / "log").read_text()[-3000:]
    await killed_and_started_again(cluster)
    reader = open_stream("PT30S").reader([EFFECTS], Owner(), group=None)
    entries = [entry for entry in await gather(reader, 4 + taken) if b":" in entry.value]
    assert [int(entry.value.partition(b":")[0]) for entry in entries][:taken] == list(range(taken))
    async with asyncio.timeout(60):
        while True:
            with contextlib.suppress(StreamAway):
                await appender.append([Post(EFFECTS, b"", b"again", 0)])
                break


MEMBER = """
import asyncio, sys
import msgspec
from heliograph.adapters.kafka import KafkaStream
from heliograph.config import KafkaSetting
from tests.contracts.test_stream import Owner

async def main():
    stream = KafkaStream(msgspec.json.decode(sys.argv[1], type=KafkaSetting))
    reader = stream.reader(["records"], owner := Owner(), group="workers")
    while True:
        await reader.read(100, 0.1)
        print(len(owner.held), flush=True)

asyncio.run(main())
"""


async def test_a_member_that_was_killed_is_followed_within_its_session(
    kafka: KafkaSetting, open_stream: Callable[[str], KafkaStream]
) -> None:
    """Ten seconds; a worker's lease (15 s) is longer, so the new owner waits for that, not for Kafka."""
    other = await asyncio.create_subprocess_exec(
        sys.executable, "-c", MEMBER, msgspec.json.encode(kafka).decode(), stdout=asyncio.subprocess.PIPE
    )
    assert other.stdout is not None
    while int(await other.stdout.readline()) < 4:
        pass
    reader = open_stream("PT10S").reader([RECORDS], owner := Owner(), group="workers")
    polling = asyncio.create_task(polled(reader.read))
    await until(lambda: len(owner.held) == 2)
    other.kill()
    begun = asyncio.get_running_loop().time()
    await other.communicate()
    await until(lambda: len(owner.held) == 4)
    assert asyncio.get_running_loop().time() - begun < 30
    polling.cancel()


async def polled(read: Callable[[int, float], object]) -> None:
    while True:
        await read(100, 0.1)  # type: ignore[misc]


@pytest.fixture
def three(new_cluster: Callable[[], Cluster]) -> Iterator[Cluster]:
    cluster = new_cluster()
    cluster.start("kafka:3")
    yield cluster
    cluster.stop()


async def all_know(setting: KafkaSetting) -> None:
    """Any of the brokers may be asked, and each hears of a topic when it does."""
    async with asyncio.timeout(60):
        while True:
            with contextlib.suppress(StreamAway, StreamRefused):
                if not await asyncio.to_thread(check_topics, setting):
                    break
            await asyncio.sleep(0.2)


async def test_of_three_brokers_one_may_die_and_with_two_dead_nothing_is_acknowledged(three: Cluster) -> None:
    brokers = str(three.addresses["kafka"]["brokers"])
    setting = KafkaSetting(brokers=brokers, prefix="three", partitions=4, replication=3, timeout="PT3M")
    ensure_topics(setting)
    await all_know(setting)
    stream = KafkaStream(setting)
    writing = Writing(stream.appender())
    await writing.so_many(1_000)
    await asyncio.to_thread(three.kill, "kafka-2")
    await writing.so_many(1_000)
    await asyncio.to_thread(three.start, "kafka")
    await writing.so_many(1_000)
    await asyncio.to_thread(three.kill, "kafka-1")
    await writing.so_many(500)
    await writing.end()
    assert not writing.doubted
    assert_kept(writing, await everything(stream))
    await asyncio.to_thread(three.kill, "kafka-3")
    hasty = KafkaStream(msgspec.structs.replace(setting, timeout="PT3S"))
    with pytest.raises(StreamAway):
        await hasty.appender().append([Post(RECORDS, b"", b"alone", n) for n in range(4)])
    await asyncio.to_thread(three.start, "kafka")
    assert_kept(writing, await everything(stream))
    await asyncio.gather(stream.close(), hasty.close())
