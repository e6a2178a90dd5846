"""From a journey as people write it (contract, section 4) to a :class:`heliograph.decide.journeys.program.Journey`.

Nothing here raises for bad input: every problem is noted in the context with its path, and what could not be read
is left out.  The result is only used when no problem was noted.
"""

from collections.abc import Collection
from typing import Any, Final

import msgspec

from heliograph.decide.conditions import Condition, parse_condition
from heliograph.decide.journeys.entering import read_entry, read_path
from heliograph.decide.journeys.program import (
    FINISHED,
    Emit,
    Entry,
    ExitEvent,
    Goal,
    Journey,
    Match,
    Step,
    values_of,
    watched,
)
from heliograph.decide.journeys.steps import StepReader, append, read_filter
from heliograph.decide.journeys.values import paths
from heliograph.decide.parsing import Context, JsonPath, nearest
from heliograph.events.ids import make_id

MAX_EXITS: Final = 50

KEYS: Final = frozenset(
    {"name", "topic", "priority", "entry", "exit", "goal", "holdout", "on_edit", "steps", "description"}
)


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
    entry = read_entry(keys.get("entry"), (*path, "entry"), context) if "entry" in keys else None
    by_event = entry is not None and (entry.filter is not None or entry.api)
    events, ifs = _exits(keys.get("exit", []), (*path, "exit"), context, by_event=by_event)
    goal = _goal(keys["goal"], (*path, "goal"), context) if "goal" in keys else None
    steps = StepReader(context, templates)
    start = steps.top(keys["steps"], (*path, "steps")) if "steps" in keys else FINISHED
    topic = _topic(keys.get("topic", "marketing"), (*path, "topic"), context)
    priority = context.integer(keys.get("priority", 0), (*path, "priority"), "`priority`", -1_000_000, 1_000_000)
    on_edit = context.choice(keys.get("on_edit", "pin"), (*path, "on_edit"), "`on_edit`", ("pin", "follow"))
    program = steps.program
    _warn_of_itself(entry, program, (*path, "steps"), context)
    if entry is not None and not by_event:
        _warn_of_no_event(program, (*path, "steps"), context)
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
        follow=on_edit == "follow",
        explicit=frozenset(steps.explicit),
        written={step_id: here[len(path) :] for step_id, here in steps.written.items()},
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


def _warn_of_itself(entry: Entry | None, program: tuple[Step, ...], path: JsonPath, context: Context) -> None:
    """A journey that makes its own entry event happen."""
    starts = entry.filter.event if entry is not None and entry.filter is not None else None
    if entry is None or entry.on_repeat != "restart":
        return
    for step in program:
        if isinstance(step, Emit) and step.event == starts:
            said = f"the step {step.id!r} emits the event that restarts this journey: it may never end"
            context.warn(path, said)


def _warn_of_no_event(program: tuple[Step, ...], path: JsonPath, context: Context) -> None:
    """Values that read the entry event of a journey that no event starts."""
    for step in program:
        empty = next((one.text for value in values_of(step) for one in paths(value) if one.keys[0] == "event"), None)
        if empty is not None:
            context.warn(path, f"{empty!r} in the step {step.id!r} is empty: no event starts this journey")


def _percent(node: Any, path: JsonPath, context: Context) -> float:
    try:
        share = float(node.removesuffix("%")) / 100 if isinstance(node, str) and node.endswith("%") else None
    except ValueError:
        share = None
    if share is None or not 0 <= share < 1:
        context.problem(path, "`holdout` is a share like 5%, below 100%")
        return 0.0
    return share


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
        context.problem(path, "`match` needs an entry by `event` or `api`")
    if isinstance(node, dict):
        keys = context.mapping(node, path, "`match`", ("event", "entry"), required=("event", "entry")) or {}
        event, entry = keys.get("event"), keys.get("entry")
        if event is None or entry is None:
            return None
        sides = ((*path, "event"), event), ((*path, "entry"), entry)
    else:
        sides = (path, node), (path, node)
    readers = [read_path(side, here, "`match`", context) for here, side in sides]
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
    value = read_path(keys["value"], (*path, "value"), "`value`", context) if "value" in keys else None
    return Goal(filter, within.ms, value) if filter is not None and within is not None else None
