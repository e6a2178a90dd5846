"""A :class:`~heliograph.ports.Reader` over librdkafka's consumer.

One thread polls; a whole batch is handed to the loop at once.  The group rebalances cooperatively: who keeps a
partition goes on reading it, and one that moves is given up by its owner, who finishes first, before anybody else gets
it.  Nothing is read from a partition that is not ours, and nothing twice within one time of owning it: the thread keeps
the next offset of each partition beside librdkafka.
"""

import asyncio
import contextlib
import threading
import time
import uuid
from collections import deque
from collections.abc import Coroutine, Iterable, Sequence
from typing import Any, Final, TypeAlias, TypeVar

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Message, TopicPartition

from heliograph.adapters.kafka.client import Config, Way
from heliograph.ports.stream import Assignment, Entry, StreamAway, StreamRefused

T = TypeVar("T")
Place: TypeAlias = tuple[str, int]
"""(our name of the topic, partition)."""

BATCH: Final = 1_000
"""Entries that one hand-over takes at most."""
MAX_WAITING: Final = 8_000
"""Entries that wait for the owner; beyond it nothing is taken from the brokers."""
QUEUED_KB: Final = 4 * 1024
"""Of each partition, read ahead."""
SESSION_MS: Final = 10_000
"""A member that is silent for so long is dead; others get its partitions.  Shorter than a lease (postgres.lease)."""
LOOK_S: Final = 0.1
STUCK_S: Final = 1.0
"""An owner who takes nothing for so long keeps its partitions, and librdkafka stops fetching."""


class KafkaReader:
    """Belongs to the loop that it was made in.  What its owner raises ends it: ``read`` raises that from then on."""

    def __init__(self, way: Way, topics: Sequence[str], assignment: Assignment, group: str | None) -> None:
        self._way, self._topics, self._assignment, self._group = way, list(topics), assignment, group
        self._plain = {way.name(topic): topic for topic in topics}
        self._loop = asyncio.get_running_loop()
        self._entries: deque[Entry] = deque()
        self._trouble: BaseException | None = None
        self._news = asyncio.Event()
        self._next: dict[Place, int] = {}
        self._noted: dict[Place, int] = {}
        self._room = threading.Event()
        self._room.set()
        self._closing = threading.Event()
        self._over = asyncio.Event()
        self._heard = ""
        self._alive = time.monotonic()
        self._consumer = Consumer(self._config())
        self._thread = threading.Thread(target=self._run, name="kafka-reader", daemon=True)
        self._thread.start()

    def _config(self) -> Config:
        return {
            **self._way.config(self._hear),
            "group.id": f"{self._way.setting.prefix}.{self._group or uuid.uuid4()}",
            "partition.assignment.strategy": "cooperative-sticky",
            "session.timeout.ms": SESSION_MS,
            "heartbeat.interval.ms": SESSION_MS // 5,
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "auto.offset.reset": "error",
            "check.crcs": True,
            "fetch.error.backoff.ms": 100,
            "fetch.queue.backoff.ms": 10,
            "queued.min.messages": BATCH * 4,
            "queued.max.messages.kbytes": QUEUED_KB,
        }

    # -- for the owner, in the loop --

    async def read(self, limit: int, wait_s: float) -> list[Entry]:
        if not self._entries and self._trouble is None:
            self._news.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self._news.wait()
        if not self._entries and self._trouble is not None:
            trouble = self._trouble
            if not self._over.is_set():
                self._trouble = None
            raise trouble
        taken = [self._entries.popleft() for _ in range(min(limit, len(self._entries)))]
        if len(self._entries) < MAX_WAITING:
            self._room.set()
        return taken

    async def commit(self, offsets: dict[Place, int]) -> None:
        self._noted = {**self._noted, **offsets}

    async def ends(self, topic: str) -> dict[int, tuple[int, int]]:
        return await asyncio.to_thread(self._way.ends, topic)

    async def close(self) -> None:
        self._closing.set()
        self._room.set()
        await self._over.wait()
        await asyncio.to_thread(self._thread.join)

    # -- hand-over, in the loop --

    def _arrived(self, entries: Iterable[Entry]) -> None:
        self._entries.extend(entries)
        if len(self._entries) >= MAX_WAITING:
            self._room.clear()
        self._news.set()

    def _failed(self, trouble: BaseException) -> None:
        self._trouble = trouble
        self._news.set()

    async def _let_go(self, places: list[Place], lost: bool) -> None:
        """What was handed over and not read is the next owner's."""
        gone = set(places)
        self._entries = deque(entry for entry in self._entries if (entry.topic, entry.partition) not in gone)
        await self._assignment.revoked(places, lost)

    # -- the thread --

    def _run(self) -> None:
        trouble: BaseException | None = None
        try:
            self._begin()
            while not self._closing.is_set():
                self._turn()
        except BaseException as error:  # whatever it was, the owner hears it
            trouble = error
        with contextlib.suppress(KafkaException, RuntimeError):
            self._note()
            self._consumer.close()
        with contextlib.suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(self._finish, trouble)

    def _finish(self, trouble: BaseException | None) -> None:
        self._over.set()
        self._failed(trouble or StreamAway("this reader is closed"))

    def _begin(self) -> None:
        if self._group is None:
            self._take_all()
        else:
            names = [self._way.name(topic) for topic in self._topics]
            self._consumer.subscribe(names, on_assign=self._assigned, on_revoke=self._revoked, on_lost=self._lost)

    def _take_all(self) -> None:
        places: list[Place] = []
        for topic in self._topics:
            while not self._closing.is_set():
                try:
                    places += [(topic, part) for part in self._way.partitions(topic)]
                    break
                except (StreamAway, StreamRefused) as error:
                    self._say(error)
                    self._closing.wait(LOOK_S)
        if not self._closing.is_set():
            self._consumer.assign(self._from(places))

    def _turn(self) -> None:
        if not self._room.wait(STUCK_S):
            self._hold()
        message = self._consumer.poll(LOOK_S)
        if self._noted:
            self._note()
        if message is None:
            self._look()
            return
        self._alive = time.monotonic()
        self._hand_over([message])  # before its partition can be revoked inside the next call
        self._hand_over(self._consumer.consume(BATCH - 1, 0))

    def _hand_over(self, messages: list[Message]) -> None:
        if entries := [entry for entry in map(self._entry, messages) if entry is not None]:
            self._loop.call_soon_threadsafe(self._arrived, entries)

    def _note(self) -> None:
        noted, self._noted = self._noted, {}
        places = [TopicPartition(self._way.name(topic), part, at) for (topic, part), at in noted.items()]
        with contextlib.suppress(KafkaException):
            if self._group is not None:
                self._consumer.commit(offsets=places, asynchronous=True)

    def _hold(self) -> None:
        """The owner takes nothing: remain a member without fetching on."""
        held = self._consumer.assignment()
        self._consumer.pause(held)
        while not self._room.is_set():
            message = self._consumer.poll(LOOK_S)
            if message is not None:
                self._hand_over([message])
        self._alive = time.monotonic()
        ours = {(place.topic, place.partition) for place in self._consumer.assignment()}
        self._consumer.resume([place for place in held if (place.topic, place.partition) in ours])

    def _entry(self, message: Message) -> Entry | None:
        error = message.error()
        topic = self._plain.get(message.topic() or "", self._topics[0])
        if error is not None:
            self._say(self._way.reaction(error, topic, self._heard))
            return None
        place, offset = (topic, message.partition() or 0), message.offset() or 0
        if offset < self._next.get(place, offset + 1):
            return None  # given up meanwhile
        self._next[place] = offset + 1
        return Entry(*place, offset, message.key() or b"", message.value() or b"", message.timestamp()[1])

    def _look(self) -> None:
        """Nothing came: is there nothing, or nobody?"""
        patience_s = self._way.patience_s
        if time.monotonic() - self._alive < patience_s / 2:
            return
        try:
            self._consumer.list_topics(self._way.name(self._topics[0]), timeout=patience_s / 2)
            self._alive = time.monotonic()
        except KafkaException as error:
            if time.monotonic() - self._alive >= patience_s:
                self._say(self._way.reaction(error, self._topics[0], self._heard))

    def _say(self, trouble: StreamAway | StreamRefused) -> None:
        self._loop.call_soon_threadsafe(self._failed, trouble)

    def _hear(self, error: KafkaError) -> None:
        self._heard = self._way.telling(self._heard, error)

    # -- partitions come and go: in the thread, inside poll --

    def _assigned(self, consumer: Consumer, places: list[TopicPartition]) -> None:
        consumer.incremental_assign(self._from(self._places(places)))

    def _from(self, places: list[Place]) -> list[TopicPartition]:
        """Where the owner wants each to be read from."""
        begins = self._ask(self._assignment.assigned(places)) if places else {}
        offsets = {place: begins.get(place, -1) for place in places}
        self._next |= {place: max(offset, 0) for place, offset in offsets.items()}
        return [
            TopicPartition(self._way.name(topic), part, offset if offset >= 0 else OFFSET_BEGINNING)
            for (topic, part), offset in offsets.items()
        ]

    def _revoked(self, consumer: Consumer, places: list[TopicPartition]) -> None:
        self._give_up(consumer, self._places(places), lost=False)

    def _lost(self, consumer: Consumer, places: list[TopicPartition]) -> None:
        self._give_up(consumer, self._places(places), lost=True)

    def _give_up(self, consumer: Consumer, places: list[Place], lost: bool) -> None:
        for place in places:
            self._next.pop(place, None)
        if places:
            self._ask(self._let_go(places, lost))
        consumer.incremental_unassign([TopicPartition(self._way.name(topic), part) for topic, part in places])

    def _places(self, places: list[TopicPartition]) -> list[Place]:
        return [(self._plain[place.topic], place.partition) for place in places]

    def _ask(self, question: Coroutine[Any, Any, T]) -> T:
        """The owner's answer: it lives in the loop."""
        return asyncio.run_coroutine_threadsafe(question, self._loop).result()
