"""What commits leave for the log arrives there, in order, and only then is it forgotten."""

import pytest

from heliograph.adapters.memory.shared import SharedMemoryStore
from heliograph.adapters.memory.stream import MemoryStream
from heliograph.adapters.schema import JsonSchema
from heliograph.ports import Commit, DeadLetter, Relayed, Result
from heliograph.ports.stream import RECORDS
from heliograph.runtime.clock import ManualClock
from heliograph.runtime.far_chunk import FarChunk
from heliograph.runtime.far_desk import FarDesk
from heliograph.runtime.meter import Meter
from heliograph.runtime.processor import Processor
from heliograph.runtime.relay import ENTRY, PublishAgain, Relay, row_in
from tests.runtime.harness import T0, until


def left(*names: str) -> Commit:
    return Commit(relay=[Relayed(name, RECORDS, b"\0\1", name.encode()) for name in names])


def arrived(stream: MemoryStream) -> list[bytes]:
    return [entry.value for part in stream.broker.topics[RECORDS] for entry in part]


class World:
    """``largest``: bytes of an entry that the log takes."""

    def __init__(self, store: SharedMemoryStore | None = None, largest: int = 1_000) -> None:
        self.store, self.stream, self.meter = store or SharedMemoryStore(), MemoryStream(), Meter()
        self.stream.broker.largest[RECORDS] = largest
        desk = FarDesk(self.store, JsonSchema, partitions=4)
        self.processor = Processor(
            self.store, desk, ManualClock(T0), self.meter, chunk=FarChunk, settled=lambda _: None, fatal=lambda _: None
        )
        self.processor.start()
        self.relay = Relay(self.store, self.stream.appender(), self.meter, self.processor.put)

    async def stop(self) -> None:
        await self.relay.stop()
        await self.processor.stop()

    def letters(self) -> list[DeadLetter]:
        return self.store.dead_letters()[0]


async def test_what_a_commit_left_is_published_at_once_in_its_order() -> None:
    world = World()
    world.relay.start()
    for n in range(5):
        world.store.commit(left(f"a{n}", f"b{n}"))
        world.relay.stir()
    await until(lambda: len(arrived(world.stream)) == 10)
    assert arrived(world.stream) == [f"{one}{n}".encode() for n in range(5) for one in "ab"]
    await world.stop()
    assert world.store.relayed(10) == []


async def test_while_the_log_is_away_it_stays_and_says_so() -> None:
    world = World()
    world.stream.broker.away = True
    world.store.commit(left("a"))
    world.relay.start()
    await until(lambda: bool(world.relay.why))
    assert len(world.store.relayed(10)) == 1
    world.stream.broker.away = False
    await until(lambda: arrived(world.stream) == [b"a"])
    await until(lambda: not world.relay.why)
    await world.stop()


async def test_what_a_dead_process_left_is_published_by_another() -> None:
    time = [0]
    dead = SharedMemoryStore(now=lambda: time[0])
    dead.relayed(1)
    dead.commit(left("a"))
    world = World(dead.beside())
    assert await world.relay.portion() == 0
    time[0] += 3_600_000
    assert await world.relay.portion() == 1
    assert arrived(world.stream) == [b"a"]
    await world.stop()


async def test_what_the_log_refuses_is_a_dead_letter_and_all_others_go_on() -> None:
    world = World(largest=10)
    large = "x" * 11
    world.store.commit(left("a", large, "b"))
    world.relay.start()
    await until(lambda: not world.store.relayed(10))
    assert list(dict.fromkeys(arrived(world.stream))) == [b"a", b"b"]
    assert not world.relay.why
    (letter,) = world.letters()
    assert (letter.event_name, letter.at, letter.replayed_at) == (ENTRY, T0, 0)
    assert "refused by the log" in letter.reason and "more than 10" in letter.reason
    assert row_in(letter) == Relayed(large, RECORDS, b"\0\1", large.encode()), "nothing of it is lost"
    assert world.meter.registry.get_sample_value("heliograph_relay_refused_total") == 1
    await world.stop()


async def test_once_the_log_takes_it_a_replay_publishes_it() -> None:
    world = World(largest=10)
    world.store.commit(left("x" * 11))
    assert await world.relay.portion() == 1
    world.stream.broker.largest.clear()
    (letter,) = world.letters()
    row = row_in(letter)
    assert row is not None
    work = PublishAgain(letter, row)
    world.processor.put(work)
    assert await work.done == Result(letter.id, "accepted")
    assert await world.relay.portion() == 1
    assert arrived(world.stream) == [b"x" * 11]
    assert world.letters()[0].replayed_at == T0
    await world.stop()


async def test_a_topic_that_is_missing_condemns_no_entry() -> None:
    world = World()
    del world.stream.broker.topics[RECORDS]
    world.store.commit(left("a"))
    world.relay.start()
    await until(lambda: "no topic" in world.relay.why)
    assert len(world.store.relayed(10)) == 1 and not world.letters()
    await world.stop()


@pytest.mark.parametrize("payload", [b"{}", b'{"entry": "a", "topic": "records", "key": "", "value": ""}', b"..."])
def test_nobody_puts_an_entry_into_the_log_by_sending_what_looks_like_a_letter(payload: bytes) -> None:
    assert row_in(DeadLetter(id="theirs", at=0, reason="", event_name=ENTRY, payload=payload)) is None
