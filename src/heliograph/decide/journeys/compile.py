"""From a journey as people write it (contract, section 4) to a :class:`heliograph.decide.journeys.program.Journey`.

Nothing here raises for bad input: every problem is noted in the context with its path, and what could not be read
is left out.  The result is only used when no problem was noted.
"""

from collections.abc import Collection
from typing import Any, Final

import msgspec

from heliograph.decide.conditions import Condition, parse_condition
from heliograph.decide.conditions.paths import event_reader, parse_event_path
from heliograph.decide.journeys.program import (
    FINISHED,
    Entry,
    ExitEvent,
    Goal,
    Journey,
    Match,
    Reader,
    Reentry,
    watched,
)
from heliograph.decide.journeys.steps import StepReader, append, read_filter
from heliograph.decide.parsing import Context, JsonPath, nearest
from heliograph.events.ids import make_id

MAX_EXITS: Final = 50

KEYS: Final = frozenset(
    {"name", "topic", "priority", "entry", "exit", "goal", "holdout", "on_edit", "steps", "description"}
)
LATER_ENTRIES: Final = frozenset({"schedule", "start", "timezone", "item", "api"})
REPEATS: Final = ("ignore", "restart", "update")


def journey_version(document: dict[str, Any]) -> str:
    """Names the content of a journey: 8 characters."""
    return make_id(msgspec.json.encode(document, order="deterministic"))[:8]


def compile_journey(
    name: str, document: Any, path: JsonPath, context: Context, templates: Collection[str] | None
) -> Journey | None:
    """``templates``: the known names, or None to take any (an older version of a journey, whose runs go on)."""
    keys = context.mapping(document, path, "a journey", KEYS, required=("entry", "steps"))
    if keys is None:
        return None
    _check_name(name, keys, path, context)
    entry = _entry(keys.get("entry"), (*path, "entry"), context) if "entry" in keys else None
    events, ifs = _exits(keys.get("exit", []), (*path, "exit"), context, by_event=bool(entry and entry.filter))
    goal = _goal(keys["goal"], (*path, "goal"), context) if "goal" in keys else None
    steps = StepReader(context, templates)
    start = steps.top(keys["steps"], (*path, "steps")) if "steps" in keys else FINISHED
    topic = _topic(keys.get("topic", "marketing"), (*path, "topic"), context)
    priority = context.integer(keys.get("priority", 0), (*path, "priority"), "`priority`", -1_000_000, 1_000_000)
    _on_edit(keys.get("on_edit", "pin"), (*path, "on_edit"), context)
    program = steps.finished()
    return Journey(
        name=name,
        version=journey_version(document),
        topic=topic,
        priority=priority or 0,
        entry=entry or Entry(None),
        exit_events=events,
        exit_ifs=ifs,
        goal=goal,
        holdout=_percent(keys.get("holdout", "0%"), (*path, "holdout"), context),
        program=program,
        start=start,
        index=dict(steps.places),
        document=document,
        timed=any(condition.timed for condition in watched(ifs, program)),
    )


def _check_name(name: str, keys: dict[str, Any], path: JsonPath, context: Context) -> None:
    written = context.text(keys.get("name", name), (*path, "name"), "`name`")
    if written is not None and written != name:
        context.problem((*path, "name"), f"this journey is called {name!r}, not {written!r}")


def _topic(node: Any, path: JsonPath, context: Context) -> str:
    topic = context.text(node, path, "`topic`")
    if topic is not None and topic not in context.topics:
        context.problem(path, f"there is no topic {topic!r}", nearest(topic, context.topics))
    return topic or "marketing"


def _on_edit(node: Any, path: JsonPath, context: Context) -> None:
    if node == "follow":
        context.problem(path, "`follow` is not in this version")
    else:
        context.choice(node, path, "`on_edit`", ("pin",))


def _percent(node: Any, path: JsonPath, context: Context) -> float:
    try:
        share = float(node.removesuffix("%")) / 100 if isinstance(node, str) and node.endswith("%") else None
    except ValueError:
        share = None
    if share is None or not 0 <= share < 1:
        context.problem(path, "`holdout` is a share like 5%, below 100%")
        return 0.0
    return share


def _reader(node: Any, path: JsonPath, what: str, context: Context) -> Reader | None:
    text = context.text(node, path, what)
    if text is None:
        return None
    try:
        return event_reader(parse_event_path(text))
    except ValueError as error:
        context.problem(path, f"{what}: {error}")
        return None


# -- entry --

_ENTRY_KEYS: Final = frozenset({"event", "where", "segment", "key", "on_repeat", "if", "reentry"})


def _entry(node: Any, path: JsonPath, context: Context) -> Entry | None:
    later = LATER_ENTRIES.intersection(node) if isinstance(node, dict) else ()
    for key in sorted(later):
        context.problem((*path, key), f"`{key}` is not in this version")
    known = {key: value for key, value in node.items() if key not in later} if isinstance(node, dict) else node
    keys = context.mapping(known, path, "`entry`", _ENTRY_KEYS)
    if keys is None or later:
        return None
    if ("event" in keys) == ("segment" in keys):
        context.problem(path, "`entry` needs either `event` or `segment`")
        return None
    by_event = "event" in keys
    for key in ("where", "key", "on_repeat") if not by_event else ():
        if key in keys:
            context.problem((*path, key), f"`{key}` needs an entry by `event`")
    on_repeat = keys.get("on_repeat", "ignore")
    return Entry(
        filter=read_filter(keys, path, context) if by_event else None,
        segment="" if by_event else _segment(keys["segment"], (*path, "segment"), context),
        key=_reader(keys["key"], (*path, "key"), "`key`", context) if by_event and "key" in keys else None,
        key_path=str(keys.get("key", "")),
        on_repeat=context.choice(on_repeat, (*path, "on_repeat"), "`on_repeat`", REPEATS) or "ignore",
        condition=parse_condition(keys["if"], (*path, "if"), context) if "if" in keys else None,
        reentry=_reentry(keys.get("reentry", "always"), (*path, "reentry"), context),
    )


def _segment(node: Any, path: JsonPath, context: Context) -> str:
    name = context.text(node, path, "`segment`")
    if name is not None and name not in context.segments:
        context.problem(path, f"there is no segment {name!r}", nearest(name, context.segments))
    return name or ""


def _reentry(node: Any, path: JsonPath, context: Context) -> Reentry:
    if not isinstance(node, dict):
        return Reentry(context.choice(node, path, "`reentry` (or {after: P1D})", ("always", "never")) or "always")
    keys = context.mapping(node, path, "`reentry`", ("after",), required=("after",)) or {}
    after = context.duration(keys["after"], (*path, "after"), "`after`") if "after" in keys else None
    return Reentry("after", after.ms if after else 0)


# -- exits and goal --


def _exits(
    node: Any, path: JsonPath, context: Context, *, by_event: bool
) -> tuple[dict[str, tuple[ExitEvent, ...]], tuple[Condition, ...]]:
    events: dict[str, tuple[ExitEvent, ...]] = {}
    ifs: list[Condition] = []
    for at, item in enumerate(context.sequence(node, path, "`exit`", least=0, most=MAX_EXITS) or []):
        here = (*path, at)
        keys = context.mapping(item, here, "an exit", ("event", "where", "match", "if")) or {}
        if "if" in keys and len(keys) == 1:
            append(ifs, parse_condition(keys["if"], (*here, "if"), context))
        elif "event" in keys and "if" not in keys:
            filter = read_filter(keys, here, context)
            match = _match(keys["match"], (*here, "match"), context, by_event) if "match" in keys else None
            if filter is not None:
                events[filter.event] = (*events.get(filter.event, ()), ExitEvent(filter, match))
        elif isinstance(item, dict):
            context.problem(here, "an exit is either an `event` (with `where`, `match`) or an `if`")
    return events, tuple(ifs)


def _match(node: Any, path: JsonPath, context: Context, by_event: bool) -> Match | None:
    if not by_event:
        context.problem(path, "`match` needs an entry by `event`")
    if isinstance(node, dict):
        keys = context.mapping(node, path, "`match`", ("event", "entry"), required=("event", "entry")) or {}
        event, entry = keys.get("event"), keys.get("entry")
        if event is None or entry is None:
            return None
        sides = ((*path, "event"), event), ((*path, "entry"), entry)
    else:
        sides = (path, node), (path, node)
    readers = [_reader(side, here, "`match`", context) for here, side in sides]
    if readers[0] is None or readers[1] is None:
        return None
    return Match(readers[0], readers[1], " = ".join(dict.fromkeys(str(side) for _, side in sides)))


def _goal(node: Any, path: JsonPath, context: Context) -> Goal | None:
    known = ("event", "where", "within", "value")
    keys = context.mapping(node, path, "`goal`", known, required=("event", "within"))
    if keys is None or "event" not in keys or "within" not in keys:
        return None
    within = context.duration(keys["within"], (*path, "within"), "`within`")
    filter = read_filter(keys, path, context)
    value = _reader(keys["value"], (*path, "value"), "`value`", context) if "value" in keys else None
    return Goal(filter, within.ms, value) if filter is not None and within is not None else None
