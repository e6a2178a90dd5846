"""What an edit did to a journey, step by step: for people who are about to publish it."""

from collections.abc import Iterable
from difflib import SequenceMatcher
from typing import Any, Final

from heliograph.decide.journeys.program import Journey

PARTS: Final = ("topic", "priority", "entry", "exit", "goal", "holdout", "on_edit")
"""What is compared as a whole."""

INSERTED: Final = "inserted"
DELETED: Final = "deleted"
REORDERED: Final = "reordered"
CHANGED: Final = "changed"


def parts_changed(old: Journey, new: Journey) -> list[str]:
    """The parts beside the steps that are not what they were."""
    return [part for part in PARTS if old.document.get(part) != new.document.get(part)]


def steps_changed(old: Journey, new: Journey) -> list[tuple[str, str]]:
    """(step id, inserted | deleted | reordered | changed), new ones in their order, then those that are gone.

    A step counts as changed for what it says itself; what stands inside it are steps of their own.
    """
    kept = _in_order(old.written, new.written)
    found = []
    for step_id in new.written:
        if step_id not in old.written:
            found.append((step_id, INSERTED))
        elif _own(old, step_id) != _own(new, step_id):
            found.append((step_id, CHANGED))
        elif step_id not in kept:
            found.append((step_id, REORDERED))
    return found + [(step_id, DELETED) for step_id in old.written if step_id not in new.written]


def _in_order(old: Iterable[str], new: Iterable[str]) -> set[str]:
    """The steps of both that stand in the same order; as many as can be."""
    ours, theirs = set(new), set(old)
    before, after = [one for one in old if one in ours], [one for one in new if one in theirs]
    blocks = SequenceMatcher(None, before, after, autojunk=False).get_matching_blocks()
    return {step_id for block in blocks for step_id in before[block.a : block.a + block.size]}


def _own(journey: Journey, step_id: str) -> Any:
    """What a step says, without the steps inside it."""
    path = journey.written[step_id]
    node: Any = journey.document
    for part in path:
        node = node[part]
    return _without(node, path, set(journey.written.values()) - {path})


def _without(node: Any, path: tuple[str | int, ...], steps: set[tuple[str | int, ...]]) -> Any:
    if isinstance(node, dict):
        return {key: _without(value, (*path, key), steps) for key, value in node.items()}
    if isinstance(node, list):
        places = ((value, (*path, at)) for at, value in enumerate(node))
        return [_without(value, here, steps) for value, here in places if here not in steps]
    return node
