"""Where facts go to be measured (ClickHouse), and how they are asked for.

Words: a *source* is a log that facts are loaded from, a topic or the log of one machine, by a name of its own; a
*block* is what lies between two positions of one of its partitions, both included.  A block is planned before it is
loaded: whoever goes on after a crash repeats the last one as it was, and a repeated block changes nothing.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import msgspec


class FactsAway(Exception):
    """It does not answer, or has no room or time just now.  Slow down and load the same block again."""


class FactsRefused(Exception):
    """It said no, and will until somebody changes something; ``str`` says what."""


class FactsTooNew(Exception):
    """Its tables were made by a newer version of Heliograph.  Stop the process."""


class Block(msgspec.Struct, frozen=True):
    """``received_at`` (ms): of its last record."""

    source: str
    partition: int
    first: int
    last: int
    received_at: int = 0

    @property
    def token(self) -> str:
        """Names it for ever: two blocks of one token hold the same rows."""
        return f"{self.source}/{self.partition}/{self.first}-{self.last}"


class Answer(msgspec.Struct, frozen=True):
    """Of a query.  ``cut``: there were more rows."""

    columns: list[str]
    rows: list[list[Any]]
    cut: bool = False


class FactSink(Protocol):
    """Tables of facts.  Calls block, and come from one thread at a time."""

    def prepare(self) -> list[int]:
        """Bring the tables to this version; which steps that took, none when they were.  Raises
        :class:`FactsTooNew`."""
        ...

    def blocks(self, source: str) -> dict[int, Block]:
        """Partition -> the block that was planned last."""
        ...

    def load(self, block: Block, rows: Mapping[str, Sequence[tuple[Any, ...]]]) -> None:
        """Plan the block and put its rows (:data:`heliograph.measure.facts.Rows`) where they belong.  When it raises,
        some of them may be there: load the same block again."""
        ...

    def query(self, sql: str, limit: int) -> Answer:
        """Read, never write, at most ``limit`` rows and within bounds of time and memory.  Also from another thread
        than those that load.  Raises :class:`FactsRefused` with what the database said."""
        ...

    def close(self) -> None: ...
