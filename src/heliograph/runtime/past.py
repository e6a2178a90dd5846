"""A person's past, as far as this store has it: for conditions that nobody observed when it happened.

Events come from history.  What conditions can ask of the product's own events is told again from what they left behind:
mail from the rows of its messages, memberships and skipped mail from the journal.  They get the ids that ``step`` gave
them, so what was also observed live counts once.  Of a click only the message is known, not the link.

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
BREATH: Final = 200
"""Events looked at between two breathing points: some 0.3 ms."""

SKIPPED: Final = "Email Skipped"
_TOLD: Final = {"segment_entered": "Segment Entered", "segment_left": "Segment Left", "message_skipped": SKIPPED}
"""Facts of the journal that were events, too."""


Steps: TypeAlias = Generator[None, None, T]
"""Work that breathes, and its result."""


class Past:
    """``swept`` -> what a state that was last swept for that plan lacks under ``plan``."""

    def __init__(self, store: Store, plan: decide.Plan) -> None:
        self.store, self.plan = store, plan
        self._lacking: dict[int, tuple[LeafIndex, frozenset[str] | None, frozenset[str]]] = {}

    def fold(self, state: decide.State) -> Steps[dict[str, Any]]:
        """The states of the leaves that this person lacks, from everything stored under their keys."""
        index, names, own = self._of(state.swept)
        folding = decide.Folding(index)
        keys = keys_of(state)
        for key in keys:
            place: tuple[int, str] | None = None
            while True:
                found, place = self.store.history_part(key, names, place, BREATH)
                for event in found:
                    folding.take(event)
                if place is None:
                    break
                yield
        for count, event in enumerate(own_events(self.store, keys, own) if own else ()):
            folding.take(event)
            if count % BREATH == BREATH - 1:
                yield
        return folding.states

    def _of(self, swept: int) -> tuple[LeafIndex, frozenset[str] | None, frozenset[str]]:
        """The leaves that are lacking; the events that they ask for (None: any may concern them), and those of the
        product's own."""
        found = self._lacking.get(swept)
        if found is None:
            leaves = [self.plan.leaves.leaves[leaf_id] for leaf_id in self.plan.fresh.lacking(swept)]
            asked = frozenset(name for leaf in leaves for name in leaf.event_names)
            anywhere = any(leaf.by_location for leaf in leaves)
            found = LeafIndex(leaves), None if anywhere else asked, asked & PRODUCT_EVENTS
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


def own_events(store: Store, keys: Sequence[str], asked: frozenset[str]) -> Iterator[Event]:
    """The product's own events that happened to this person, as far as they are ``asked``."""
    if any(name.startswith("Email ") for name in asked):
        for key in keys:
            yield from _mail(store, key)
    if not asked.isdisjoint(_TOLD.values()):
        for key in keys:
            yield from _journal(store, key)


def _mail(store: Store, key: str) -> Iterator[Event]:
    cursor: str | None = None
    while True:
        rows, cursor = store.messages(key=key, limit=PAGE, cursor=cursor)
        for row in rows:
            yield from mail_events(row)
        if cursor is None:
            return


def mail_events(row: MessageRow) -> Iterator[Event]:
    """What became of one message, as far as it was told by mailers and receivers, oldest first."""
    names = {"journey": row.journey, "run_id": row.run_id, "step_id": row.step_id, "template": row.template}
    for kind, at, machine in row.outcomes:
        name = decide.OUTCOME_EVENTS.get(kind)
        if name is not None and not machine:
            properties = {"message_id": row.message_id, **names, "reason": row.reason if kind == row.status else ""}
            event_id = decide.product_id(name, row.key, at, row.message_id)
            yield Event(event_id, "track", name, at, properties=properties)


def _journal(store: Store, key: str) -> Iterator[Event]:
    """What was decided at once: memberships that turned, mail that was skipped."""
    before: int | None = None
    while True:
        rows = store.journal(key, PAGE, before)
        for row in rows:
            if (name := _TOLD.get(row.kind)) is not None:
                part = row.data.get("message_id" if name == SKIPPED else "segment", "")
                properties = row.data if name == SKIPPED else {"segment": part}
                event_id = decide.product_id(name, key, row.at, part)
                yield Event(event_id, "track", name, row.at, properties=properties)
        if len(rows) < PAGE:
            return
        oldest = rows[-1].at
        before = oldest + 1 if oldest + 1 != before else oldest
