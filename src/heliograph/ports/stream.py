"""The log that several machines share (Kafka), and its twin in memory.

Words: a *topic* is cut into *partitions*; an *offset* numbers the entries of one, from 0; *acknowledged* = kept by all
in-sync replicas.  Names of topics are the plain ones below; an adapter puts its prefix in front.
"""

from collections.abc import Awaitable, Sequence
from typing import Final, Protocol

import msgspec

RECORDS: Final = "records"
"""Everything that is decided: :func:`heliograph.events.record.encode_record`."""
EFFECTS: Final = "effects"
"""What was decided: :func:`heliograph.decide.decided.encode_decided`; partitioned like records."""
OUTCOMES: Final = "outcomes"
"""What became of messages: JSON, for other systems."""
FACTS: Final = "facts"
"""What happened, for measuring: JSON, for other systems and the loader of ClickHouse."""
PLAN: Final = "plan"
"""Published plans, compacted.  Key: the version as u32, big-endian; value: msgpack [version, document, published_at]
(:class:`heliograph.ports.PlanRow`; the document is canonical JSON in bytes, the instant ms)."""
DEAD_LETTERS: Final = "dead_letters"
"""What was refused after its 200, for repair."""
TOPICS: Final = (RECORDS, EFFECTS, OUTCOMES, FACTS, PLAN, DEAD_LETTERS)


class StreamAway(Exception):
    """Nobody acknowledged in time; the entry may or may not be there.  Slow down: try again (ids make that harmless),
    spool, or answer 503."""


class StreamRefused(Exception):
    """It will not be taken however often it is tried: too large, no such topic, not allowed.  ``str`` says the mend."""


class EntryRefused(StreamRefused):
    """It is this very entry (too large, say); others are taken.  Set it aside, and go on."""


class StreamGap(StreamRefused):
    """The entries that were to be read next are gone: kept for less long than nobody read them, or the topic was made
    anew.  Stop: what they said is lost, and somebody has to say so before anybody reads on."""


class Entry(msgspec.Struct, frozen=True, gc=False):
    """One entry of a topic."""

    topic: str
    partition: int
    offset: int
    key: bytes
    value: bytes
    at: int = 0
    """When the broker (or the producer) stamped it, ms."""


class Post(msgspec.Struct, frozen=True, gc=False):
    """What to append.  ``partition`` None: where the key belongs (:mod:`heliograph.events.partitions`)."""

    topic: str
    key: bytes
    value: bytes
    partition: int | None = None


class Appender(Protocol):
    """The producing side.  Entries given to one appender for one partition keep their order, also over retries."""

    def append(self, posts: Sequence[Post]) -> "Awaitable[list[tuple[int, int]]]":
        """Queue at once, in this order; awaited: the (partition, offset) of each once **all** are acknowledged.
        Awaited it raises :class:`StreamAway` or :class:`StreamRefused`: some of them may be there, and what is appended
        again comes behind whatever was appended meanwhile."""
        ...

    async def partitions(self, topic: str) -> int:
        """How many it has; :class:`StreamAway`, :class:`StreamRefused` when there is no such topic."""
        ...

    async def close(self, patience_s: float) -> None:
        """Wait for what is under way, at most so long."""
        ...


class Reader(Protocol):
    """The consuming side: one group member, or (``group`` None) a reader of all partitions by itself.

    Where reading begins is the caller's: :meth:`assigned` is called with the partitions that came and answers from
    which offset each is read (-1: the oldest there is).  :meth:`revoked` is called, and awaited, before another member
    gets them; after ``lost`` they are somebody else's already.
    """

    async def read(self, limit: int, wait_s: float) -> list[Entry]:
        """Up to ``limit`` entries, in order per partition; an empty list after ``wait_s`` without any.  Raises
        :class:`StreamAway` when the brokers have been away for longer than the adapter's patience (read on: it may
        pass), :class:`StreamRefused` for what will not pass, :class:`StreamGap` among it.  What :class:`Assignment`
        raised ends the reader and is raised here."""
        ...

    async def commit(self, offsets: dict[tuple[str, int], int]) -> None:
        """Note for monitoring (lag) how far this group is: (topic, partition) -> the next offset to read.  Best
        effort: offsets that matter live with what they led to (``ports.Commit.offsets``)."""
        ...

    async def ends(self, topic: str) -> dict[int, tuple[int, int]]:
        """Partition -> (oldest offset there is, the next one to be written)."""
        ...

    async def close(self) -> None: ...


class Assignment(Protocol):
    """What a :class:`Reader` tells its owner.  Nothing of the reader may be called, and awaited, in here."""

    async def assigned(self, partitions: Sequence[tuple[str, int]]) -> dict[tuple[str, int], int]:
        """These are ours now; from which offset each is read, -1 for the oldest."""
        ...

    async def revoked(self, partitions: Sequence[tuple[str, int]], lost: bool) -> None:
        """Finish what is under way of these; ``lost``: it is too late for that."""
        ...


class Stream(Protocol):
    """Where appenders and readers come from."""

    def appender(self) -> Appender: ...

    def reader(self, topics: Sequence[str], assignment: Assignment, *, group: str | None) -> Reader: ...

    async def close(self) -> None: ...
