"""Names of events that are nearly the name of a schema: a journey that waits for `Order Complete` waits for ever."""

from collections.abc import Iterator
from difflib import get_close_matches
from typing import Any, NamedTuple

from heliograph.events.event import EVENT_NAMES, PRODUCT_EVENTS
from heliograph.project.yaml import NodePath

ALIKE = 0.9
"""How like two names must be: `Order Complete` and `Order Completed` (0.97), not `Order Cancelled` (0.73)."""
VALUES = frozenset({"match", "json", "properties", "traits", "where"})
"""Keys below which `event` is no name of an event."""
TRAITS = "identify"


class Slip(NamedTuple):
    """``path``: of the name in the plan document; ``hint``: the schema that is probably meant."""

    path: NodePath
    name: str
    hint: str


def slips(document: dict[str, Any]) -> Iterator[Slip]:
    """Names without a schema beside one that nearly has it.  Only where most names have one: elsewhere a schema is the
    exception, and its absence tells nothing."""
    known = {name: name for name in document["schemas"] if name != TRAITS}
    used = list(_names(document["journeys"], ("journeys",))) + list(_names(document["segments"], ("segments",)))
    ours = {*EVENT_NAMES.values(), *PRODUCT_EVENTS, *(name for path, name in used if path[-2:-1] == ("emit",))}
    theirs = {name for _, name in used} - ours
    if 2 * len(theirs & known.keys()) <= len(theirs):
        return
    folded = {name.casefold(): name for name in known}
    for path, name in used:
        if name in theirs and name not in known and (near := get_close_matches(name.casefold(), folded, 1, ALIKE)):
            yield Slip(path, name, folded[near[0]])


def _names(node: Any, path: NodePath) -> Iterator[tuple[NodePath, str]]:
    """Every ``event: NAME``, with its path."""
    inner = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in inner:
        if key == "event" and isinstance(value, str):
            yield (*path, key), value
        elif key not in VALUES:
            yield from _names(value, (*path, key))
