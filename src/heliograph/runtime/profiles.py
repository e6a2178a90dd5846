"""Whom a mail is rendered for: the person as they are now, or, when that takes too long, as they were last known.

::

    what this process carried out last --no--> the cache --no--> the store, within a bound
                                                                   | late
                                                                   v
                                              what was known last, if that is fresh enough: marked

The first three are the newest there is: a change is visible in the next render.  The store is late when it does not
answer within ``wait_s``; then its answer is waited for in the background, and until it is there nobody asks again. A
store that is *away* (it says so) is another thing: no mail passes its commit point without it, so there is nothing to
be gained by old words.

Consent and suppression are not read here: they are looked up at the commit point, in the ledger, and never old.
"""

from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Final, Literal, TypeAlias

import structlog

from heliograph import decide
from heliograph.ports import Known, ProfileCache, SharedStore, StoreAway, Trouble, steady_ms
from heliograph.runtime.meter import Meter
from heliograph.runtime.past import survivor
from heliograph.runtime.recent import Recent

WAIT_S: Final = 0.25
OLDEST_S: Final = 3600.0
"""The defaults of ``postgres.profile_timeout`` and ``postgres.profile_oldest``."""

Blob: TypeAlias = bytes | Literal[False]
"""False: nothing is left of the person."""

log = structlog.get_logger("heliograph.profiles")


class Late(StoreAway):
    """The store does not answer in time, and nothing is known that is fresh enough: the mail waits."""


class Remembered(Recent[str, Blob]):
    """What is forgotten here was the newest until then, and is kept as that (``bound`` of them).  ``now``: ms."""

    __slots__ = ("_before", "now")

    def __init__(self, bound: int, now: Callable[[], int] = steady_ms) -> None:
        super().__init__(bound)
        self.now = now
        self._before: OrderedDict[str, tuple[Blob, int]] = OrderedDict()

    def forget(self) -> None:
        self._put_aside()
        super().forget()

    def clear(self) -> None:
        self._put_aside()
        super().clear()

    def note(self, key: str, blob: Blob, at: int | None = None) -> None:
        """So it was at that instant (now), says somebody who knows; who knows of a later one knows better."""
        at = self.now() if at is None else at
        if self._before.get(key, (False, at))[1] > at:
            return
        self._before[key] = blob, at
        self._before.move_to_end(key)
        if len(self._before) > self._bound:
            self._before.popitem(last=False)

    def last(self, key: str) -> Known | None:
        blob, at = self._before.get(key, (False, 0))
        return Known(blob, self.now() - at) if blob else None

    def _put_aside(self) -> None:
        for key, blob in self._clean.items():
            self.note(key, blob)


class Profiles:
    """``at_hand``: what this process carried out last.  ``wait_s``, ``oldest_s``: how long the store may take, and how
    old what is used instead may be, 0 for never.  Reads belong to one thread."""

    def __init__(
        self, store: SharedStore, at_hand: Remembered, cache: ProfileCache | None, meter: Meter, *,
        wait_s: float = WAIT_S, oldest_s: float = OLDEST_S,
    ) -> None:  # fmt: skip
        self._store, self._at_hand, self._cache, self._meter = store, at_hand, cache, meter
        self._wait_s, self._oldest_s = wait_s, oldest_s
        self._asking = ThreadPoolExecutor(1, "heliograph-profiles")
        self._overdue: tuple[str, int, Future[list[bytes | None]]] | None = None
        """Of whom, when and what was asked that is not answered in time."""

    def close(self) -> None:
        self._asking.shutdown(wait=False, cancel_futures=True)

    def troubles(self) -> list[Trouble]:
        """From any thread."""
        overdue = self._overdue
        if overdue is None or overdue[2].done():
            return []
        why = f"PostgreSQL takes longer than {self._wait_s:g} s to say who somebody is"
        return [Trouble("profiles", why, "mail is rendered from what was known last, and marked; else it waits")]

    # -- reading --

    def find(self, key: str) -> tuple[decide.State | None, float | None]:
        """The person that this key is of by now, and how many seconds ago that was last known to be so; None: now.
        :class:`StoreAway`, :class:`Late`: ask again later."""
        ages: list[float] = []

        def read(one: str) -> decide.State | None:
            blob, age = self._read(one)
            ages.extend(() if age is None else (age,))
            return decide.decode_state(blob) if blob else None

        return survivor(key, read), max(ages, default=None)

    def stored(self, key: str) -> decide.State | None:
        """As the store has them, or this process will have written them.  :class:`StoreAway`, :class:`Late`."""
        return survivor(key, lambda one: decide.decode_state(blob) if (blob := self._newest(one)) else None)

    def _read(self, key: str) -> tuple[Blob | None, float | None]:
        if (here := self._at_hand.get(key)) is not None:
            return self._from("here", here), None
        if self._cache is not None and (blob := self._cache.get({key: 0}).get(key)) is not None:
            return self._from("cache", blob), None
        try:
            return self._from("store", self._ask(key)), None
        except Late:
            if (known := self._last(key)) is None:
                self._meter.count("render_reads_total", "late")
                raise
            return self._from("last", known.blob), known.age_ms / 1000

    def _from(self, where: str, blob: Blob | None) -> Blob | None:
        self._meter.count("render_reads_total", where)
        return blob

    def _newest(self, key: str) -> Blob | None:
        here = self._at_hand.get(key)
        return self._ask(key) if here is None else here

    def _last(self, key: str) -> Known | None:
        """The freshest of what is known, if that is fresh enough."""
        found = [self._at_hand.last(key), None if self._cache is None else self._cache.last(key)]
        known = [one for one in found if one is not None and one.age_ms <= self._oldest_s * 1000]
        return min(known, key=lambda one: one.age_ms, default=None)

    # -- the store, within the bound --

    def _ask(self, key: str) -> bytes | None:
        if self._overdue is not None:
            self._heed(*self._overdue)
        at, asked = self._at_hand.now(), self._asking.submit(self._store.states, (key,))
        if not wait([asked], self._wait_s).done:
            log.warning("the store is late: mail is rendered from what was known last", after_s=self._wait_s)
            self._overdue = key, at, asked
            raise self._late()
        (blob,) = asked.result()
        if blob is not None:
            self._at_hand.note(key, blob)
        return blob

    def _heed(self, key: str, at: int, asked: Future[list[bytes | None]]) -> None:
        """What was answered too late is known from then on: where every answer is late, mail still goes, marked."""
        if not asked.done():
            raise self._late()
        self._overdue = None
        if asked.exception() is None and (blob := asked.result()[0]) is not None:
            self._at_hand.note(key, blob, at)

    def _late(self) -> Late:
        return Late(f"PostgreSQL did not say within {self._wait_s:g} s who somebody is")
