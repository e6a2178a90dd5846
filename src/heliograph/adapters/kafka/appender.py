"""An :class:`~heliograph.ports.Appender` over librdkafka's idempotent producer.

One thread waits for acknowledgements; what arrived together is handed to the loop together.  An entry is kept by all
in-sync replicas before it counts (``acks=all``).  The producer tries again by itself until the patience of the settings
is spent; its sequence numbers keep such repeats out of the log and the order per partition as it was given.  What
:class:`StreamAway` was raised for may be there or not, and whoever appends it again may find it twice.
"""

import asyncio
import contextlib
import threading
import time
from collections import deque
from collections.abc import Sequence
from functools import partial
from typing import Final, TypeAlias

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from heliograph.adapters.kafka.client import MAX_ENTRY, UNKNOWN_TOPIC_S, Way
from heliograph.ports.stream import Post, StreamAway, StreamRefused

MAX_QUEUED: Final = 200_000
"""Entries that wait for acknowledgement: two seconds of what one process can append."""
MAX_QUEUED_KB: Final = 256 * 1024
LOOK_S: Final = 0.2
"""How long the thread waits at most before it looks whether it is to end."""


class _Call:
    """One ``append``: what it still waits for."""

    __slots__ = ("done", "left", "places", "timer")

    def __init__(self, count: int, loop: asyncio.AbstractEventLoop) -> None:
        self.left = count
        self.places = [(-1, -1)] * count
        self.done: asyncio.Future[list[tuple[int, int]]] = loop.create_future()
        self.timer: asyncio.TimerHandle | None = None

    def end(self, error: Exception | None = None) -> None:
        if self.timer is not None:
            self.timer.cancel()
        if self.done.done():
            return
        if error is None:
            self.done.set_result(self.places)
        else:
            self.done.set_exception(error)
            self.done.exception()  # whoever stopped waiting is not told twice


_Noted: TypeAlias = tuple[_Call, int, StreamAway | StreamRefused | None, tuple[int, int]]


class KafkaAppender:
    """Belongs to the loop that it was made in."""

    def __init__(self, way: Way) -> None:
        self._way = way
        self._loop = asyncio.get_running_loop()
        self._line = _Line(way, self._loop)

    def append(self, posts: Sequence[Post]) -> "asyncio.Future[list[tuple[int, int]]]":
        if self._line.spent:  # the producer gave itself up: another one begins anew
            threading.Thread(target=self._line.close, args=(0.0,), name="kafka-appender-end", daemon=True).start()
            self._line = _Line(self._way, self._loop)
        call = _Call(len(posts), self._loop)
        if not posts:
            call.end()
            return call.done
        call.timer = self._loop.call_later(self._way.patience_s, self._late, call, posts[0].topic)
        self._queue(call, posts)
        return call.done

    def _queue(self, call: _Call, posts: Sequence[Post]) -> None:
        produce, noted, name = self._line.producer.produce, self._line.noted, self._way.name
        for index, (topic, key, value, partition) in enumerate((p.topic, p.key, p.value, p.partition) for p in posts):
            try:
                produce(
                    name(topic), value, key, -1 if partition is None else partition,
                    on_delivery=partial(noted, call, index, topic),
                )  # fmt: skip
            except BufferError:
                call.end(StreamAway(f"{len(self._line.producer)} entries wait for {self._way.setting.brokers} already"))
                return
            except KafkaException as error:
                call.end(self._way.reaction(error, topic, self._line.heard))
                return

    def _late(self, call: _Call, topic: str) -> None:
        call.end(self._way.silence(topic, self._line.heard))

    async def partitions(self, topic: str) -> int:
        return len(await asyncio.to_thread(self._way.partitions, topic))

    async def close(self, patience_s: float) -> None:
        await asyncio.to_thread(self._line.close, patience_s)
        await asyncio.sleep(0)  # what was acknowledged last is told


class _Line:
    """One producer and the thread that hears its acknowledgements."""

    def __init__(self, way: Way, loop: asyncio.AbstractEventLoop) -> None:
        self.heard = ""
        self.spent = False
        self._way, self._loop = way, loop
        self._fresh: deque[_Noted] = deque()
        self._ending = threading.Event()
        self.producer = Producer(
            {
                **way.config(self._hear),
                "enable.idempotence": True,
                "acks": "all",
                "partitioner": "murmur2_random",  # events.partitions, in C
                "linger.ms": 0,
                "compression.type": "lz4",
                "message.timeout.ms": round(way.patience_s * 1000),
                "message.max.bytes": MAX_ENTRY,
                "queue.buffering.max.messages": MAX_QUEUED,
                "queue.buffering.max.kbytes": MAX_QUEUED_KB,
                "topic.metadata.propagation.max.ms": round(min(UNKNOWN_TOPIC_S, way.patience_s / 2) * 1000),
                "retry.backoff.ms": 50,
                "retry.backoff.max.ms": 1_000,
            }
        )
        self._thread = threading.Thread(target=self._run, name="kafka-appender", daemon=True)
        self._thread.start()

    def noted(self, call: _Call, index: int, topic: str, error: KafkaError | None, message: Message) -> None:
        """In the thread: what became of one entry."""
        if error is None:
            self._fresh.append((call, index, None, (message.partition() or 0, message.offset() or 0)))
            return
        self.spent = self.spent or error.fatal()
        self._fresh.append((call, index, self._way.reaction(error, topic, self.heard), (-1, -1)))

    def _hear(self, error: KafkaError) -> None:
        self.heard = self._way.telling(self.heard, error)
        self.spent = self.spent or error.fatal()

    def _run(self) -> None:
        while not self._ending.is_set():
            self.producer.poll(LOOK_S)
            self._tell()

    def _tell(self) -> None:
        if self._fresh:
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
                self._loop.call_soon_threadsafe(self._settle)

    def _settle(self) -> None:
        while self._fresh:
            call, index, error, place = self._fresh.popleft()
            if error is not None:
                call.end(error)
                continue
            call.places[index] = place
            call.left -= 1
            if not call.left:
                call.end()

    def close(self, patience_s: float) -> None:
        """What is still waiting after that is given up."""
        deadline = time.monotonic() + patience_s
        while len(self.producer) and time.monotonic() < deadline:
            time.sleep(0.01)
        self._ending.set()
        self._thread.join()
        self.producer.purge()
        self.producer.flush(LOOK_S)
        self._tell()
