"""The collector of several machines: judges what arrives, stamps it, and appends it to the shared log.

Judged as on one machine (:func:`heliograph.runtime.work.admit`), but a duplicate is found where its person's state
is: here it is ``accepted`` again.  Nothing on this way waits for the store: the ledger's words for an address are
read beside the loop within a bound, and without them the event goes as it is (its person is told later).
"""

import asyncio
import contextlib
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import msgspec
from msgspec.structs import replace

from heliograph.events.event import Event
from heliograph.events.identity import email_of, key_of
from heliograph.events.ids import bucket, make_id
from heliograph.events.partitions import partition_key
from heliograph.events.record import HISTORICAL, EventBody, LedgerRow, Record, encode_record
from heliograph.ports import Arrival, Busy, Clock, DeadLetter, Result, Store, Taken
from heliograph.ports.stream import DEAD_LETTERS, RECORDS, Post
from heliograph.runtime.dead_letters import letter_entry
from heliograph.runtime.desk import Published
from heliograph.runtime.funnel import Funnel
from heliograph.runtime.meter import Meter
from heliograph.runtime.places import Place, position_of
from heliograph.runtime.work import schema_complaint

WORDS_S: Final = 0.1
"""The ledger may take so long; then events go without its words."""
RETRY_S: Final = 1.0
"""And then it is left alone for so long."""
THREADS: Final = 4
"""That read the ledger."""

NO_PLAN: Final = "no plan is known yet: nothing is published, or the log is away"

Rows = dict[str, list[LedgerRow]]
"""Normalised address -> its words."""


class Words:
    """What the ledger says of addresses, read beside the event loop, within a bound."""

    def __init__(self, store: Store, meter: Meter, *, within_s: float = WORDS_S) -> None:
        self._store, self._meter, self._within_s = store, meter, within_s
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="heliograph-words")
        self._reading = 0
        self._not_before = 0.0

    async def of(self, addresses: Sequence[str]) -> Rows:
        """By address; none of those that could not be read in time."""
        if time.monotonic() < self._not_before or self._reading >= THREADS * 64:
            self._meter.count("words_missing_total", by=len(addresses))
            return {}
        self._reading += 1
        reading = asyncio.get_running_loop().run_in_executor(self._threads, self._read, addresses)
        reading.add_done_callback(self._read_ended)
        try:
            async with asyncio.timeout(self._within_s):
                return await asyncio.shield(reading)
        except Exception:
            self._not_before = time.monotonic() + RETRY_S
            self._meter.count("words_missing_total", by=len(addresses))
            return {}

    def _read(self, addresses: Sequence[str]) -> Rows:
        return {address: self._store.ledger(address) for address in addresses}

    def _read_ended(self, done: "asyncio.Future[Rows]") -> None:
        self._reading -= 1
        with contextlib.suppress(asyncio.CancelledError):
            done.exception()  # whoever waited has gone on without

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)


class Judged(msgspec.Struct):
    """One arrival: its result, and what has to be appended for it."""

    result: Result
    key: str = ""
    event: Event | None = None
    address: str | None = None
    letter: DeadLetter | None = None


class Edge:
    """The :class:`~heliograph.ports.Gate` of a collector.  ``published``: the plan in force, None as long as nobody
    knows one; ``words`` None: no store is asked.  One per process: it stamps ``received_at``, never backwards."""

    def __init__(self, funnel: Funnel, clock: Clock, meter: Meter, published: Callable[[], Published | None]) -> None:
        self.clock = clock
        self.words: Words | None = None
        self.closing = False
        self.latest: Place | None = None
        """The event that was taken last."""
        self._funnel, self._meter, self._published = funnel, meter, published
        self._last_at = 0

    @property
    def ready(self) -> bool:
        return not self.closing and self._published() is not None

    async def collect(self, arrivals: Sequence[Arrival]) -> list[Result]:
        """One result for each, in order, once all of them are durable.  :class:`Busy` when they cannot be made so; then
        some of them may be there all the same."""
        published = self._published()
        if published is None or self.closing:
            raise Busy("stopping" if self.closing else NO_PLAN, 2)
        judged = [judge(arrival, published) for arrival in arrivals]
        rows = await self._rows({one.address for one in judged if one.address})
        at = self._now()
        posts = [post for one in judged if (post := posted(one, at, published.plan.version, rows)) is not None]
        durable = await self._funnel.put(posts) if posts else ""
        taken = Taken(one.result for one in judged)
        taken.durable = durable
        places = [(one.key, one.event.event_id) for one in judged if one.event is not None]
        taken.position = position_of(places)
        self.latest = places[-1] if places else self.latest
        for result in taken:
            self._meter.count("events_total", result.status)
        return taken

    async def _rows(self, addresses: set[str]) -> Rows:
        if not addresses:
            return {}
        if self.words is None:
            self._meter.count("words_missing_total", by=len(addresses))
            return {}
        return await self.words.of(list(addresses))

    def _now(self) -> int:
        self._last_at = max(self._last_at, self.clock.now())
        return self._last_at


def judge(arrival: Arrival, published: Published) -> Judged:
    """What becomes of it, as on one machine, but for duplicates."""
    event = arrival.event
    if event is None:
        return Judged(Result(arrival.message_id, "refused", arrival.refused))
    key = key_of(event)
    if key is None:
        return Judged(Result(arrival.message_id, "refused", "no userId, anonymousId or traits.email"))
    if complaint := schema_complaint(published, event):
        letter = DeadLetter(
            id=make_id("dead", arrival.message_id, complaint), at=0, reason=complaint,
            event_name=event.name or event.type, payload=arrival.raw,
        )  # fmt: skip
        return Judged(Result(arrival.message_id, "dead_letter", complaint), letter=letter)
    return Judged(Result(arrival.message_id, "accepted"), key, event, email_of(event))


def posted(judged: Judged, at: int, plan: int, rows: Rows) -> Post | None:
    """The entry of the log that keeps it; None for what is refused."""
    if (letter := judged.letter) is not None:
        return Post(DEAD_LETTERS, *letter_entry(replace(letter, at=at)))
    if (event := judged.event) is None:
        return None
    if event.occurred_at > at:
        event = replace(event, occurred_at=at)
    body = EventBody(event, rows.get(judged.address, []) if judged.address else [])
    record = Record(judged.key, event.event_id, at, plan, body, HISTORICAL if event.historical else 0)
    return Post(RECORDS, partition_key(bucket(judged.key)), encode_record(record))
