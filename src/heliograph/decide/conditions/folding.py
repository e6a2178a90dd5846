"""From a history to condition states: what live observation of the same events would have come to.

The runtime folds when a new segment is back-filled (:class:`heliograph.decide.fresh.Folding`: the same, fed event by
event, for many leaves); what it gets travels in a ``Touch`` and is merged with what was observed meanwhile.  Events may
come in any order and more than once.

A person's history holds what clients sent and what was imported: everything that ``did`` and its kin, ``sequence`` and
``near`` ask for.  The product's own events (``Email ...``, ``Segment ...``, and so all of ``engaged``) are not in it:
the runtime tells them again from the rows of messages and from the journal, under the ids that
:func:`heliograph.decide.members.product_id` gives them, so that a merge counts nothing twice.  ``trait``,
``in_segment``, ``in_topic``, ``bucket`` and ``everyone`` keep no state.
"""

from collections.abc import Iterable
from hashlib import blake2b
from typing import Any

from heliograph.decide.conditions.index import LeafIndex
from heliograph.decide.conditions.model import Leaf
from heliograph.decide.conditions.operators import fold as folded
from heliograph.events.event import PRODUCT_EVENTS, Event
from heliograph.events.ids import digest


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
    """The 64-bit hash by which condition states know an event."""
    own = folded(event.name) in PRODUCT_EVENTS
    data = digest(event.event_id) if own else blake2b(event.event_id.encode(), digest_size=8).digest()
    return int.from_bytes(data[:8], "big")
