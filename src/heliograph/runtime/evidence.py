"""What all processes saw of mail: evidence for one judgement.

A circuit breaker or a warm-up that looks at its own process alone judges a part: each of four workers sends a quarter,
and complaints come in wherever a web hook or a mail happens to be taken.  So each process writes what it saw into a
small value of its own, and each that mails hears what the others wrote::

    settled here --> breaker, warm-up (at once)
                 --> batch --a beat--> store (evidence:NAME) --a beat--> breaker and warm-up of every other

Batches have numbers, and who reads remembers the last of each process.  The last :data:`KEPT` stay: who was out of
reach for longer misses some, mails nothing meanwhile, and finds what others opened, because a hold is a row.
"""

import asyncio
import contextlib
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping
from typing import Final

import msgspec

from heliograph.deliver.breaker import OTHERS, RECEIVERS, Kind
from heliograph.ports import SharedStore, steady_ms
from heliograph.runtime.breaker import Seen
from heliograph.runtime.chunk import Chunk
from heliograph.runtime.work import Work

META: Final = "evidence:"
"""In front of a process's name."""
KEPT: Final = 16
KEPT_MS: Final = 60_000
LATE: Final = 1_000
"""Of what came back in one beat, told to others: more than any breaker needs."""
FORGOTTEN_MS: Final = 3_600_000
"""What was not written for so long is of a process that is gone, or that has nothing to say."""

Warmed = tuple[str, str]
"""Sender, and what (:data:`heliograph.deliver.warmup.TALLIED`)."""


class Batch(msgspec.Struct, array_like=True):
    """``mails``, ``late``: the keys of :class:`Seen` and how often; ``warmed``: sender, what, how often."""

    number: int
    mails: list[tuple[str, str, Kind, int]] = []
    late: list[tuple[str, str, Kind, int, int]] = []
    warmed: list[tuple[str, str, int]] = []

    def seen(self) -> Seen:
        mails = {(journey, receiver, kind): count for journey, receiver, kind, count in self.mails}
        late = {(journey, receiver, kind, at): count for journey, receiver, kind, at, count in self.late}
        return Seen(mails, late)


_raw = msgspec.msgpack.Decoder(list[msgspec.Raw]).decode
_one = msgspec.msgpack.Decoder(Batch).decode


def _decode(value: bytes) -> list[Batch]:
    """Without what only a later program can read: while machines are updated, both work side by side."""
    found: list[Batch] = []
    with contextlib.suppress(msgspec.ValidationError):
        for raw in _raw(value):
            with contextlib.suppress(msgspec.ValidationError):
                found.append(_one(raw))
    return found


class Keep(Work):
    """Small values that nobody waits for.  ``values``: as they are when this is decided."""

    internal = patient = True
    records = size = 0

    def __init__(self, values: Callable[[], Mapping[str, bytes | None]]) -> None:
        self._values = values

    def decide(self, chunk: Chunk) -> None:
        chunk.commit.meta.update(self._values())


class Evidence:
    """``name``: of this process, unlike any other's; ``put``: into the processor's queue.  ``told`` is called with each
    batch of another process; None: this one only says what it saw."""

    def __init__(
        self,
        store: SharedStore,
        name: str,
        put: Callable[[Work], None],
        told: Callable[[Batch], None] | None,
        *,
        steady: Callable[[], int] = steady_ms,
    ) -> None:
        self._store, self._name, self._put, self._told, self._steady = store, META + name, put, told, steady
        self._mails: Counter[tuple[str, str, Kind]] = Counter()
        self._late: Counter[tuple[str, str, Kind, int]] = Counter()
        self._warmed: Counter[Warmed] = Counter()
        self._batches: deque[tuple[int, Batch]] = deque(maxlen=KEPT)
        self._numbers = 0
        self._heard: dict[str, tuple[int, int]] | None = None
        """Process -> the last number heard, and when that was; None before the first look."""

    # -- what this process saw --

    def saw(self, seen: Seen) -> None:
        self._mails.update(seen.mails)
        self._late.update(seen.late)

    def warmed(self, sender: str, what: str) -> None:
        self._warmed[sender, what] += 1

    def beat(self) -> None:
        """Write it, if there is any."""
        if not (self._mails or self._late or self._warmed):
            return
        self._numbers += 1
        self._batches.append((self._steady(), self._batch()))
        self._mails, self._late, self._warmed = Counter(), Counter(), Counter()
        self._put(Keep(self._value))

    def _batch(self) -> Batch:
        mails = folded(self._mails)
        late = [(*key, count) for key, count in self._late.most_common(LATE)]
        return Batch(self._numbers, mails, late, [(*key, count) for key, count in self._warmed.items()])

    def _value(self) -> dict[str, bytes | None]:
        since = self._steady() - KEPT_MS
        return {self._name: msgspec.msgpack.encode([batch for at, batch in self._batches if at > since])}

    # -- what others saw --

    async def look(self) -> None:
        """Hear what others wrote since.  :class:`~heliograph.ports.StoreAway`."""
        if self._told is not None:
            for batch in await asyncio.to_thread(self._read):
                self._told(batch)
            self._drop_silent()

    def _read(self) -> list[Batch]:
        found = {name: _decode(value) for name, value in self._values() if value}
        fresh = [batch for name, batches in found.items() for batch in batches if batch.number > self._last(name)]
        first, now = self._heard is None, self._steady()
        known, self._heard = self._heard or {}, {}
        for name, batches in found.items():
            last = max((batch.number for batch in batches), default=0)
            before = known.get(name)
            self._heard[name] = before if before is not None and before[0] >= last else (last, now)
        return [] if first else fresh  # what was said before this process began is not for it to judge

    def _values(self) -> Iterator[tuple[str, bytes | None]]:
        return ((name, self._store.meta(name)) for name in self._store.metas(META) if name != self._name)

    def _last(self, name: str) -> int:
        return (self._heard or {}).get(name, (0, 0))[0]

    def _drop_silent(self) -> None:
        """Who is here after all says all of it again with its next batch."""
        before = self._steady() - FORGOTTEN_MS
        if gone := dict.fromkeys(name for name, (_, at) in (self._heard or {}).items() if at <= before):
            self._put(Keep(lambda: gone))


def folded(mails: Mapping[tuple[str, str, Kind], int]) -> list[tuple[str, str, Kind, int]]:
    """Of each journey, the receivers with most mail by name, as many as a breaker tells apart, the others together."""
    sizes: dict[str, Counter[str]] = {}
    for (journey, receiver, _), count in mails.items():
        sizes.setdefault(journey, Counter())[receiver] += count
    named = {journey: dict(of.most_common(RECEIVERS)) for journey, of in sizes.items()}
    found: Counter[tuple[str, str, Kind]] = Counter()
    for (journey, receiver, kind), count in mails.items():
        found[journey, receiver if receiver in named[journey] else OTHERS, kind] += count
    return [(*key, count) for key, count in found.items()]
