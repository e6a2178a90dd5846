"""From the written form of a condition to the compiled one: a table of words, each with its reader."""

from collections.abc import Callable
from typing import Any, Final, TypeAlias

from heliograph.decide.conditions.did import Count, make_did
from heliograph.decide.conditions.did_amount import reader
from heliograph.decide.conditions.did_distinct import read_did_distinct
from heliograph.decide.conditions.filters import read_checks, read_event_filter, read_path
from heliograph.decide.conditions.groups import make_group
from heliograph.decide.conditions.lately import read_engaged
from heliograph.decide.conditions.lot import read_bucket
from heliograph.decide.conditions.measures import MEASURES
from heliograph.decide.conditions.membership import EVERYONE, make_in_segment, make_in_topic
from heliograph.decide.conditions.model import Condition
from heliograph.decide.conditions.paths import parse_event_path, parse_path
from heliograph.decide.conditions.places import read_near
from heliograph.decide.conditions.sequence import read_sequence
from heliograph.decide.conditions.traits import make_trait
from heliograph.decide.conditions.windows import MAX_COUNT, MAX_COUNT_SAME
from heliograph.decide.parsing import Context, JsonPath, kind_of

MAX_DEPTH: Final = 16
"""Groups within groups: enough for any rule that a person can read, far from Python's recursion limit."""
MAX_PARTS: Final = 200
"""Conditions side by side in one ``all`` or ``any``."""

Reader: TypeAlias = Callable[[Any, JsonPath, Context, int], Condition | None]


def parse_condition(node: Any, path: JsonPath, context: Context, depth: int = 0) -> Condition | None:
    """The condition that ``node`` stands for; None after noting every reason why not."""
    if isinstance(node, list):
        context.problem(path, "a list of conditions stands under `all:` or `any:`")
        return None
    if not isinstance(node, dict):
        context.problem(path, f"a condition is a mapping like `trait: {{path: country, is: DE}}`, not {kind_of(node)}")
        return None
    known = [word for word in node if word in READERS]
    for word in node:
        if word not in READERS:
            context.unknown((*path, str(word)), word, "a condition", READERS, later="condition")
    if len(known) > 1:
        context.problem(path, f"one condition to a node, not {', '.join(known)}: put them under `all:`")
        return None
    if not node:
        context.problem(path, f"an empty condition; expected one of {', '.join(sorted(READERS))}")
    if not known or len(node) > 1:
        return None
    if depth > MAX_DEPTH:
        context.problem(path, f"conditions nest at most {MAX_DEPTH} deep")
        return None
    return READERS[known[0]](node[known[0]], (*path, known[0]), context, depth)


def _read_group(kind: str) -> Reader:
    def read(node: Any, path: JsonPath, context: Context, depth: int) -> Condition | None:
        items = context.sequence(node, path, f"`{kind}`", most=MAX_PARTS)
        parts = [parse_condition(item, (*path, at), context, depth + 1) for at, item in enumerate(items or [])]
        present = [part for part in parts if part is not None]
        return make_group(kind, present) if present and len(present) == len(parts) else None

    return read


def _read_not(node: Any, path: JsonPath, context: Context, depth: int) -> Condition | None:
    part = parse_condition(node, path, context, depth + 1)
    return None if part is None else make_group("not", [part])


def _read_trait(node: Any, path: JsonPath, context: Context, depth: int) -> Condition | None:
    if not isinstance(node, dict):
        context.problem(path, f"`trait` is a mapping with a path and operators, not {kind_of(node)}")
        return None
    if "path" not in node:
        context.problem(path, "`trait` needs `path`")
        return None
    trait_path = read_path(node["path"], (*path, "path"), context, parse_path)
    context.own_trait(node["path"], (*path, "path"))
    operators = {word: operand for word, operand in node.items() if word != "path"}
    checks, instants = read_checks(operators, path, context, instants=True)
    return None if trait_path is None or not (checks or instants) else make_trait(trait_path, checks, instants)


DID_KEYS: Final = ("event", "where", "same", "within", "at_least", "at_most", "exactly", "between")
COUNT_KEYS: Final = ("at_least", "at_most", "exactly", "between")


def _read_did(node: Any, path: JsonPath, context: Context, depth: int) -> Condition | None:
    before = len(context.problems)
    fields = context.mapping(node, path, "`did`", DID_KEYS, required=("event",))
    if fields is None:
        return None
    event_filter = read_event_filter(fields, path, context)
    same = read_path(fields["same"], (*path, "same"), context, parse_event_path) if "same" in fields else None
    count = _read_count(fields, path, context)
    within = context.duration(fields["within"], (*path, "within"), "`within`") if "within" in fields else None
    if len(context.problems) > before or event_filter is None or count is None:
        return None
    return make_did(event_filter, same, count, within.ms if within else None)


def _read_count(fields: dict[str, Any], path: JsonPath, context: Context) -> Count | None:
    written = [word for word in COUNT_KEYS if word in fields]
    if len(written) > 1:
        context.problem(path, f"`did` takes one of {', '.join(COUNT_KEYS)}, not {' and '.join(written)}")
        return None
    if not written:
        return Count()
    word = written[0]
    most = MAX_COUNT_SAME if "same" in fields else MAX_COUNT
    least = 1 if word == "at_least" or "same" in fields else 0
    count = _COUNTS[word](fields[word], (*path, word), context, least, most)
    if count is not None and "same" in fields and not count.least:
        context.problem((*path, word), "with `same` a count has a lower bound of at least 1: no value is never counted")
        return None
    return count


def _read_bound(shape: Callable[[int], Count]) -> Callable[..., Count | None]:
    def read(node: Any, path: JsonPath, context: Context, least: int, most: int) -> Count | None:
        bound = context.integer(node, path, f"`{path[-1]}`", least, most)
        return None if bound is None else shape(bound)

    return read


def _read_between(node: Any, path: JsonPath, context: Context, least: int, most: int) -> Count | None:
    bounds = context.sequence(node, path, "`between`", least=2, most=2)
    values = [context.integer(item, (*path, at), "`between`", least, most) for at, item in enumerate(bounds or [])]
    if len(values) != 2 or values[0] is None or values[1] is None:
        return None
    if values[0] > values[1]:
        context.problem(path, f"`between` goes from the smaller to the greater, not [{values[0]}, {values[1]}]")
        return None
    return Count(values[0], values[1])


_COUNTS: Final[dict[str, Callable[..., Count | None]]] = {
    "at_least": _read_bound(Count),
    "at_most": _read_bound(lambda n: Count(0, n)),
    "exactly": _read_bound(lambda n: Count(n, n)),
    "between": _read_between,
}


def _read_in_segment(node: Any, path: JsonPath, context: Context, depth: int) -> Condition | None:
    name = context.text(node, path, "`in_segment`")
    if name is None:
        return None
    if name not in context.segments:
        context.lists.add(name)
    return make_in_segment(name)


def _read_in_topic(node: Any, path: JsonPath, context: Context, depth: int) -> Condition | None:
    name = context.text(node, path, "`in_topic`")
    if name is None:
        return None
    if name not in context.topics:
        context.unknown(path, name, "the list of topics in policies.yaml", context.topics)
        return None
    return make_in_topic(name)


def _read_everyone(node: Any, path: JsonPath, context: Context, depth: int) -> Condition | None:
    if node is True:
        return EVERYONE
    context.problem(path, "`everyone` is written `everyone: true`")
    return None


def _leaf(read: Callable[[Any, JsonPath, Context], Condition | None]) -> Reader:
    return lambda node, path, context, depth: read(node, path, context)


READERS: Final[dict[str, Reader]] = {
    "all": _read_group("all"),
    "any": _read_group("any"),
    "not": _read_not,
    "trait": _read_trait,
    "did": _read_did,
    "in_segment": _read_in_segment,
    "in_topic": _read_in_topic,
    "everyone": _read_everyone,
    **{f"did_{measure}": _leaf(reader(measure)) for measure in MEASURES},
    "did_distinct": _leaf(read_did_distinct),
    "sequence": _leaf(read_sequence),
    "near": _leaf(read_near),
    "engaged": _leaf(read_engaged),
    "bucket": _leaf(read_bucket),
}
