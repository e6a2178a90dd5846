"""One blob stays within :data:`MAX_BLOB` (design, section 6): what would grow it asks for room first.

``state.size`` is what the blob weighed when it was last encoded to find out, plus everything added since, plus
:data:`STEP_BYTES` an instant for what is too small to ask; so somebody ordinary is weighed once in some 250 records.
Where the sum passes the bound the blob is weighed, and if it is too heavy, finished things go, the oldest first: states
of conditions that no plan uses, ended runs, remembered entry keys, remembered events, then the older half of the dedupe
marks.  Never an active run, a trait, a word of consent or a membership: a new entry is refused ``state_full`` instead,
a new trait, link or list is not taken, and a record is not parked.

Condition states and memberships ask nobody: their size follows from the plan (at most 18 KB for a condition that counts
and for a ``sequence``, 20 with ``same``, 33 for ``did_distinct``, 50 for all measures of one amount together; some 50
bytes a membership).  So a plan with many conditions about very busy people takes its room from everything else.
"""

from collections.abc import Callable, Iterator
from typing import Final

from heliograph.decide.state import State, encode_unnumbered, size_of
from heliograph.decide.turn import Turn

MAX_BLOB: Final = 256 * 1024
SLIM_TO: Final = MAX_BLOB * 7 // 8
"""What a blob that had become too heavy is brought down to, so that the next record need not begin again."""
STEP_BYTES: Final = 1024
RUN_BYTES: Final = 512
"""A run beside its events: ids, names, its timers, and its row among the ended ones."""


def room(turn: Turn, size: int) -> bool:
    """Whether ``size`` more bytes fit, after throwing out finished things if need be; if so they count from now on."""
    if turn.state.size + size > MAX_BLOB:
        weigh(turn, size)
        if turn.state.size + size > MAX_BLOB:
            return False
    turn.state.size += size
    return True


def weigh(turn: Turn, wanted: int = 0) -> None:
    """Find out what the state weighs, and throw out finished things when with ``wanted`` more it is too much."""
    state = turn.state
    state.size = len(encode_unnumbered(state))
    over = state.size + wanted - MAX_BLOB
    if over <= 0:
        return
    over += MAX_BLOB - SLIM_TO
    gone = 0
    for shed in _SHEDS:
        for freed in shed(state):
            gone += freed
            if gone >= over:
                break
        if gone >= over:
            break
    if gone:
        turn.fact("cut", what="state", limit=MAX_BLOB)
        state.size = len(encode_unnumbered(state))


# -- what may go: each yields the bytes that it has just freed --


def _orphans(state: State) -> Iterator[int]:
    for leaf_id in sorted(state.orphans, key=lambda one: (state.orphans[one], one)):
        del state.orphans[leaf_id]
        yield size_of(state.conditions.pop(leaf_id, None))


def _ended(state: State) -> Iterator[int]:
    while state.ended:
        yield size_of(state.ended.pop(0))


def _entry_keys(state: State) -> Iterator[int]:
    entries = sorted((at, name, key) for name, keys in state.entered.items() for key, at in keys.items())
    for _, name, key in entries:
        del state.entered[name][key]
        yield size_of(key) + 9


def _events(state: State) -> Iterator[int]:
    rows = sorted((row[:2], name) for name, kept in state.last.items() for row in kept)
    for _, name in rows:
        yield len(state.last[name].pop(0)[2])


def _marks(state: State) -> Iterator[int]:
    freed, state.seen_before = len(state.seen_before), b""
    yield freed


_SHEDS: Final[tuple[Callable[[State], Iterator[int]], ...]] = (_orphans, _ended, _entry_keys, _events, _marks)
