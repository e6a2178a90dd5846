"""What commits leave for the log arrives there, in order, and only then is it forgotten."""

from heliograph.adapters.memory.shared import SharedMemoryStore
from heliograph.adapters.memory.stream import MemoryStream
from heliograph.ports import Commit, Relayed
from heliograph.ports.stream import RECORDS
from heliograph.runtime.meter import Meter
from heliograph.runtime.relay import Relay
from tests.runtime.harness import until


def left(*names: str) -> Commit:
    return Commit(relay=[Relayed(name, RECORDS, b"\0\1", name.encode()) for name in names])


def arrived(stream: MemoryStream) -> list[bytes]:
    return [entry.value for part in stream.broker.topics[RECORDS] for entry in part]


async def test_what_a_commit_left_is_published_at_once_in_its_order() -> None:
    store, stream = SharedMemoryStore(), MemoryStream()
    relay = Relay(store, stream.appender(), Meter())
    relay.start()
    for n in range(5):
        store.commit(left(f"a{n}", f"b{n}"))
        relay.stir()
    await until(lambda: len(arrived(stream)) == 10)
    assert arrived(stream) == [f"{one}{n}".encode() for n in range(5) for one in "ab"]
    await relay.stop()
    assert store.relayed(10) == []


async def test_while_the_log_is_away_it_stays_and_says_so() -> None:
    store, stream = SharedMemoryStore(), MemoryStream()
    stream.broker.away = True
    relay = Relay(store, stream.appender(), Meter())
    store.commit(left("a"))
    relay.start()
    await until(lambda: bool(relay.why))
    assert len(store.relayed(10)) == 1
    stream.broker.away = False
    await until(lambda: arrived(stream) == [b"a"])
    await until(lambda: not relay.why)
    await relay.stop()


async def test_what_a_dead_process_left_is_published_by_another() -> None:
    time = [0]
    dead, stream = SharedMemoryStore(now=lambda: time[0]), MemoryStream()
    dead.relayed(1)
    dead.commit(left("a"))
    relay = Relay(dead.beside(), stream.appender(), Meter())
    assert await relay.portion() == 0
    time[0] += 3_600_000
    assert await relay.portion() == 1
    assert arrived(stream) == [b"a"]
