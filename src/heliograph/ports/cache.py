"""What several machines share beside the log and the store: profiles and catalogs for rendering, and rates."""

from collections.abc import Mapping, Sequence
from typing import Protocol

import msgspec


class Cached(msgspec.Struct, frozen=True):
    """A person's blob as somebody put it there.  ``rev``: ``last_t`` of the state's newest record (ms), so that newer
    is greater."""

    rev: int
    blob: bytes


class ProfileCache(Protocol):
    """Profiles for rendering, in front of the store.  Never the truth: every answer may be missing, none may be older
    than what the asker already knows.

    The law: a change that was put (or removed) is what the next :meth:`get` says, on every machine; a writer that is
    late never overwrites a newer blob.  When the cache is away all calls answer at once as if it were empty
    (:meth:`get`) or do nothing, and what was missed meanwhile is never served afterwards.
    """

    def get(self, key: str, at_least: int) -> bytes | None:
        """The blob, if there is one whose ``rev`` is ``at_least`` this."""
        ...

    def put(self, profiles: Mapping[str, Cached | None]) -> None:
        """None: the person is gone."""
        ...

    def away(self) -> bool: ...


class Grant(msgspec.Struct, frozen=True):
    """``count`` may go now (0..asked); of the rest the next may be asked for again at ``retry_at`` (ms)."""

    count: int
    retry_at: int


class RateShare(Protocol):
    """Rates that many machines keep together.  No stretch of a rate's unit ever holds more than was written, whoever
    sends; when the shared place is away each machine keeps to its own fair share from a full unit later on."""

    async def take(self, wants: Sequence[tuple[str, int, int, int]]) -> list[Grant]:
        """For each (name, limit, unit_ms, how many): what may go.  Names: ``receiver:NAME``, ``sender:NAME``,
        ``relay:NAME``, and with ``:day`` at the end what counts by day."""
        ...

    async def close(self) -> None: ...
