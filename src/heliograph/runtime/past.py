"""A person's past, as far as this store has it: for conditions that nobody observed when it happened.

Events come from history.  What conditions can ask of the product's own events is told again from what they left behind:
mail from the rows of its messages, memberships from the journal.  They get the ids that ``step`` gave them, so what was
also observed live counts once.  Of a click only the message is known, not the link.

Reading keeps the interpreter lock, so a thread would only make everybody wait longer (decision 0034): folding is a
generator with breathing points, and who drives it gives way to live work there.
"""

from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Any, Final, TypeAlias, TypeVar

from heliograph import decide
from heliograph.decide.conditions import LeafIndex
from heliograph.events.event import PRODUCT_EVENTS, Event
from heliograph.ports import MessageRow, Store

T = TypeVar("T")

PAGE: Final = 200
MAX_FORWARDS: Final = 8
"""Merged keys followed to the survivor (:data:`heliograph.events.record.MAX_HOPS`)."""
BREATH: Final = 32
"""Events between two breathing points: some 0.2 ms."""

_SEGMENT_FACTS: Final = {"segment_entered": "Segment Entered", "segment_left": "Segment Left"}


Steps: TypeAlias = Generator[None, None, T]
"""Work that breathes, and its result."""


class Past:
    """``swept`` -> what a state that was last swept for that plan lacks under ``plan``."""

    def __init__(self, store: Store, plan: decide.Plan) -> None:
        self.store, self.plan = store, plan
        self._lacking: dict[int, tuple[LeafIndex, frozenset[str]]] = {}

    def fold(self, state: decide.State) -> Steps[dict[str, Any]]:
        """The states of the leaves that this person lacks, from everything stored under their keys."""
        index, asked = self._of(state.swept)
        folding = decide.Folding(index)
        for count, event in enumerate(events(self.store, keys_of(state), asked)):
            folding.take(event)
            if count % BREATH == BREATH - 1:
                yield
        return folding.states

    def _of(self, swept: int) -> tuple[LeafIndex, frozenset[str]]:
        found = self._lacking.get(swept)
        if found is None:
            leaves = [self.plan.leaves.leaves[leaf_id] for leaf_id in self.plan.fresh.lacking(swept)]
            found = LeafIndex(leaves), frozenset(name for leaf in leaves for name in leaf.event_names)
            self._lacking[swept] = found
        return found


def survivor(key: str, read: Callable[[str], decide.State | None]) -> decide.State | None:
    """The state of a key, following merges; None when nothing is known or the merges run in a circle."""
    for _ in range(MAX_FORWARDS + 1):
        state = read(key)
        if state is None or not state.forward:
            return state
        key = state.forward
    return None


def keys_of(state: decide.State) -> tuple[str, ...]:
    """Where the past of this person lies: what was stored under a merged key stays there."""
    return state.key, *state.links


def events(store: Store, keys: Sequence[str], asked: frozenset[str]) -> Iterator[Event]:
    """Everything that happened to this person; of the product's own events those that are ``asked``."""
    for key in keys:
        yield from store.history(key)
    if any(name.startswith("Email ") for name in asked & PRODUCT_EVENTS):
        for key in keys:
            yield from _mail(store, key)
    if not asked.isdisjoint(_SEGMENT_FACTS.values()):
        for key in keys:
            yield from _memberships(store, key)


def _mail(store: Store, key: str) -> Iterator[Event]:
    cursor: str | None = None
    while True:
        rows, cursor = store.messages(key=key, limit=PAGE, cursor=cursor)
        for row in rows:
            yield from mail_events(row)
        if cursor is None:
            return


def mail_events(row: MessageRow) -> Iterator[Event]:
    """The events of one message, oldest first."""
    names = {"journey": row.journey, "run_id": row.run_id, "step_id": row.step_id, "template": row.template}
    properties = {"message_id": row.message_id, **names}
    told = [(kind, at) for kind, at, machine in row.outcomes if not machine]
    if row.status == "skipped" and all(kind != "skipped" for kind, _ in told):
        told.append(("skipped", row.created_at))
    for kind, at in told:
        if (name := decide.OUTCOME_EVENTS.get(kind)) is not None:
            reason = {"reason": row.reason if kind == row.status else ""}
            event_id = decide.product_id(name, row.key, at, row.message_id)
            yield Event(event_id, "track", name, at, properties={**properties, **reason})


def _memberships(store: Store, key: str) -> Iterator[Event]:
    before: int | None = None
    while True:
        rows = store.journal(key, PAGE, before)
        for row in rows:
            if (name := _SEGMENT_FACTS.get(row.kind)) is not None:
                segment = row.data.get("segment", "")
                event_id = decide.product_id(name, key, row.at, segment)
                yield Event(event_id, "track", name, row.at, properties={"segment": segment})
        if len(rows) < PAGE:
            return
        oldest = rows[-1].at
        before = oldest + 1 if oldest + 1 != before else oldest
