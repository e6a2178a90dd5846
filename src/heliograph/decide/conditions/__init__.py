"""Conditions: one language for segments, entries, exits and branches (contract, section 3).

How it works.  ``grammar`` reads what was written and notes all problems.  What comes out is a tree: ``groups`` (all,
any, not) over leaves: ``traits``, ``did``, ``did_amount``, ``did_distinct``, ``sequence``, ``places`` (near),
``lately`` (engaged), ``membership``, ``lot`` (bucket).  ``operators`` and ``instants`` compile comparisons to closures
once, at publish; ``windows`` (of counts), ``samples`` and ``measures`` (of amounts) hold the arithmetic of bounded,
exact windows; ``index`` finds the few leaves that a record can change, ``folding`` makes states of a history.  Nothing
here reads a clock: truth is asked for an instant, and every condition can name the next one at which time alone may
change it, so that the runtime sets a timer instead of polling.
"""

from heliograph.decide.conditions.did import Count, Did, Lasting, lasting
from heliograph.decide.conditions.filters import EventFilter, parse_event_filter, read_event_filter, read_path
from heliograph.decide.conditions.folding import fold, mark_of
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
    "Path", "View", "content_id", "culprit_leaf", "event_reader", "failing_leaf", "first_failing", "fold",
    "lasting", "mark_of", "parse_condition", "parse_event_filter", "parse_event_path", "parse_path",
    "read_event_filter", "read_path", "turns_at",
]  # fmt: skip
