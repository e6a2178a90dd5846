"""What several machines share beside the log and the store: profiles for rendering, and rates."""

from collections.abc import Mapping
from typing import Final, Protocol

import msgspec

GRACE_MS: Final = 5_000
"""A machine that was not heard of for so long counts as out of reach of the shared place: five beats
(:data:`heliograph.runtime.sharing.BEAT_S`)."""
AHEAD: Final = 20
"""Permits may be held for a twentieth of their rate's unit, so a rate reaches 20/21 of what is written."""


class Cached(msgspec.Struct, frozen=True):
    """A person's blob as somebody put it there.  ``rev``: grows with each change of the person (the offset of the
    entry that brought it, say); blobs of one ``rev`` are equal.  ``blob`` None: the person is gone."""

    rev: int
    blob: bytes | None


class Known(msgspec.Struct, frozen=True):
    """A blob that was somebody's newest ``age_ms`` ago, and perhaps is not any more."""

    blob: bytes
    age_ms: int


class ProfileCache(Protocol):
    """Profiles for rendering, in front of the store.  Never the truth: every answer may be missing.

    The law: what was put is what the next :meth:`get` says, on every machine, until it is dropped; a writer that is
    late never overwrites a newer blob; and what a writer could not put is never answered with an older blob by that
    writer's process, nor by others once it has reached the cache again.  When the cache is away every call returns at
    once, as if it were empty.  Calls may come from any thread.
    """

    def get(self, wanted: Mapping[str, int]) -> dict[str, bytes]:
        """Key -> the least ``rev`` that will do; the blobs of those that are there, at least that new."""
        ...

    def last(self, key: str) -> Known | None:
        """What was put last, as old as it is: the law does not hold for it.  For who cannot wait for the store, and
        says so.  None: nothing is known, or the person was gone."""
        ...

    def put(self, profiles: Mapping[str, Cached]) -> None:
        """After the commit that made them, before anybody is answered on its account."""
        ...

    def renew(self) -> None:
        """Nothing put before is answered any more, by anybody.  For who takes over partitions: what their last owner
        could not put, nobody knows."""
        ...

    def away(self) -> bool: ...

    def counts(self) -> Mapping[str, int]:
        """Of profiles asked for: ``hit``, ``missing``, ``stale`` (older than asked for), ``away``."""
        ...

    def close(self) -> None: ...


class ShareAway(Exception):
    """No answer in time.  Slow down: keep to what is this machine's own share, and ask again in a while."""


class Want(msgspec.Struct, frozen=True, array_like=True):
    """``count`` more of what is limited to ``limit`` in any ``unit_ms``; or, with ``unit_ms`` 0, in a calendar day
    (UTC) of the shared place, of which this machine has ``mine`` already, sent or held."""

    name: str
    limit: int
    unit_ms: int
    count: int
    mine: int = 0


class Grant(msgspec.Struct, frozen=True, array_like=True):
    """``count`` may go: within ``unit_ms // AHEAD`` of asking, or on that day.  Of the rest nothing is free for
    ``wait_ms``.  ``others``: what this day's count holds beside the asker's own."""

    count: int
    wait_ms: int = 0
    others: int = 0


class Ask(msgspec.Struct, frozen=True, array_like=True):
    """One machine's question.

    ``machine``: one life of one process; ``seq`` grows with each of its asks (an older one that arrives late is
    refused).  ``workers``: the names of all live machines; ``units``: those
    of all rates that it may ever ask for.  ``day``: for which ``mine`` counts.  ``latest``: the shared
    clock cannot be beyond this (ms) unless it was set; 0: not known; -1: it was set.  ``away``: its last ask was not
    answered, so it may be letting go its own shares.  ``tells``: ``recall`` is everything that is remembered of
    ``day``, (name, machine, count), in the store and by this machine, and ``alive`` who was there when another epoch
    ended: of a day nothing is granted before somebody told that.
    """

    machine: str
    seq: int
    workers: tuple[str, ...]
    units: tuple[int, ...] = ()
    day: int = 0
    latest: int = 0
    away: bool = False
    tells: bool = False
    wants: tuple[Want, ...] = ()
    recall: tuple[tuple[str, str, int], ...] = ()
    alive: tuple[str, ...] = ()


class Answer(msgspec.Struct, frozen=True, array_like=True):
    """``epoch``: one unbroken memory of the shared place.  ``now``: its clock, ms.  ``late``: nothing was granted,
    because it is later than ``latest``, or a later ask came before.  ``grants``: as the wants.  ``alive``: machines
    heard of lately.  ``days``: by name of each day's want, what every machine has."""

    epoch: str
    now: int
    late: bool = False
    grants: tuple[Grant, ...] = ()
    alive: tuple[str, ...] = ()
    days: dict[str, dict[str, int]] = {}


class RateShare(Protocol):
    """Rates that many machines keep together.

    The law: no stretch of ``unit_ms`` (and no day) holds more than ``limit`` of what was granted and let go within its
    time, together with what machines out of reach let go on shares of ``limit // workers``: whoever asks, whatever
    clocks of machines say, and whatever the shared place forgets.  Whenever it may have forgotten something it grants
    nothing of a rate for one unit, and of a day what is left of it by everything that machines remember.  The proof is
    ``docs/decisions/0053-rates-of-many-machines.md``.
    """

    async def ask(self, ask: Ask) -> Answer:
        """Raises :class:`ShareAway` within the adapter's timeout."""
        ...

    @property
    def patience_ms(self) -> int:
        """The timeout."""
        ...

    async def close(self) -> None: ...
