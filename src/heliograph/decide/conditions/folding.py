"""From a history to condition states: what live observation of the same events would have come to.

The runtime folds when a new segment is back-filled; what it gets travels in a ``Touch`` and is merged with what was
observed meanwhile.  Events may come in any order and more than once.  (:class:`heliograph.decide.fresh.Folding` is the
same for many people and leaves, with an index that exists already.)

A person's history holds what clients sent and what was imported.  The product's own events are not in it: leaves that
ask for ``Email ...`` can be folded from events that the runtime makes of its messages (under the ids that
:func:`heliograph.decide.members.product_event` gives them, so that a merge counts nothing twice); ``Segment Entered``
and ``Segment Left`` are never kept, and leaves that ask for them begin to know when they are published.
"""

from collections.abc import Iterable
from enum import StrEnum
from hashlib import blake2b
from typing import Any

from heliograph.decide.conditions.index import LeafIndex
from heliograph.decide.conditions.model import Leaf
from heliograph.decide.conditions.operators import fold as folded
from heliograph.events.event import PRODUCT_EVENTS, Event
from heliograph.events.ids import digest


class Source(StrEnum):
    """Where the events of a leaf are kept."""

    NONE = "none"
    """It keeps no state."""
    HISTORY = "history"
    MESSAGES = "messages"
    """Among others or alone, of messages: ``Email ...`` are made of their rows."""
    NOWHERE = "nowhere"
    """``Segment Entered`` or ``Segment Left`` are among them."""


def source_of(leaf: Leaf) -> Source:
    """From what the leaf's state can be folded."""
    own = leaf.event_names & PRODUCT_EVENTS
    if any(name.startswith("Segment ") for name in own):
        return Source.NOWHERE
    if own:
        return Source.MESSAGES
    return Source.HISTORY if leaf.observes else Source.NONE


def fold(leaves: Iterable[Leaf], events: Iterable[Event]) -> dict[str, Any]:
    """Leaf id -> state, of the leaves that any of one person's events concerns."""
    index = LeafIndex(leaves)
    states: dict[str, Any] = {}
    for event in events:
        if not event.name or not (found := index.takers(event)):
            continue
        mark = mark_of(event)
        for leaf_id, take in found:
            state = take(states.get(leaf_id), event, mark)
            if state is not None:
                states[leaf_id] = state
    return states


def mark_of(event: Event) -> int:
    """The 64-bit hash under which samples of this event are known."""
    if folded(event.name) in PRODUCT_EVENTS:
        return int.from_bytes(digest(event.event_id)[:8], "big")
    return int.from_bytes(blake2b(event.event_id.encode(), digest_size=8).digest(), "big")
