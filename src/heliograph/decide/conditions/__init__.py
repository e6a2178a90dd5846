"""Conditions: one language for segments, entries, exits and branches (contract, section 3).

How it works.  ``grammar`` reads what was written and notes all problems.  What comes out is a tree: ``groups`` (all,
any, not) over leaves (``traits``, ``did``, ``membership``).  ``operators`` and ``instants`` compile comparisons to
closures once, at publish; ``windows`` holds the arithmetic of bounded, exact counting; ``index`` finds the few leaves
that a record can change.  Nothing here reads a clock: truth is asked for an instant, and every condition can name the
next one at which time alone may change it, so that the runtime sets a timer instead of polling.
"""

from heliograph.decide.conditions.did import Count, Did, Lasting, lasting
from heliograph.decide.conditions.filters import EventFilter, parse_event_filter, read_event_filter, read_path
from heliograph.decide.conditions.folding import Source, fold, mark_of, source_of
from heliograph.decide.conditions.grammar import parse_condition
from heliograph.decide.conditions.groups import Group
from heliograph.decide.conditions.index import FilterIndex, LeafIndex
from heliograph.decide.conditions.model import (
    Condition,
    Explanation,
    Leaf,
    View,
    content_id,
    culprit_leaf,
    failing_leaf,
    first_failing,
    turns_at,
)
from heliograph.decide.conditions.paths import Path, event_reader, parse_event_path, parse_path

__all__ = [
    "Condition", "Count", "Did", "EventFilter", "Explanation", "FilterIndex", "Group", "Lasting", "Leaf", "LeafIndex",
    "Path", "Source", "View", "content_id", "culprit_leaf", "event_reader", "failing_leaf", "first_failing", "fold",
    "lasting", "mark_of", "parse_condition", "parse_event_filter", "parse_event_path", "parse_path",
    "read_event_filter", "read_path", "source_of", "turns_at",
]  # fmt: skip
