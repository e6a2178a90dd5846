"""How ``entry`` is written: by event, by segment, by schedule or by the API.  Problems are noted, never raised."""

import re
from datetime import datetime
from typing import Any, Final

from heliograph.decide.conditions import parse_condition
from heliograph.decide.conditions.paths import event_reader, parse_event_path
from heliograph.decide.journeys.program import Entry, Reader, Reentry
from heliograph.decide.journeys.recurrence import Schedule
from heliograph.decide.journeys.rrule import parse_rule
from heliograph.decide.journeys.verbs import read_filter
from heliograph.decide.journeys.waits import read_zone
from heliograph.decide.parsing import Context, JsonPath, nearest

KINDS: Final = ("event", "segment", "schedule", "api")
"""Exactly one of them starts runs."""
ONLY: Final = {
    "where": ("event",),
    "key": ("event", "api"),
    "on_repeat": ("event", "api"),
    "start": ("schedule",),
    "timezone": ("schedule",),
}
"""What goes with some kinds only."""
LATER: Final = frozenset({"item"})
REPEATS: Final = ("ignore", "restart", "update")

_KEYS: Final = (*KINDS, *ONLY, "if", "reentry")
_START = re.compile(r"(?:19[7-9]\d|2[01]\d\d)-\d\d-\d\d(?:T\d\d:\d\d(?::\d\d)?)?", re.ASCII)


def read_entry(node: Any, path: JsonPath, context: Context) -> Entry | None:
    later = LATER.intersection(node) if isinstance(node, dict) else ()
    for key in sorted(later):
        context.problem((*path, key), f"`{key}` is not in this version")
    keys = None if later else context.mapping(node, path, "`entry`", _KEYS)
    if keys is None:
        return None
    kinds = [kind for kind in KINDS if kind in keys]
    if len(kinds) != 1:
        context.problem(path, f"`entry` needs just one of {', '.join(f'`{kind}`' for kind in KINDS)}")
        return None
    kind = kinds[0]
    for key, fitting in ONLY.items():
        if key in keys and kind not in fitting:
            context.problem((*path, key), f"`{key}` needs an entry by {' or '.join(f'`{one}`' for one in fitting)}")
    on_repeat = keys.get("on_repeat", "ignore")
    return Entry(
        filter=read_filter(keys, path, context) if kind == "event" else None,
        segment=_segment(keys["segment"], (*path, "segment"), context) if kind == "segment" else "",
        key=read_path(keys["key"], (*path, "key"), "`key`", context) if "key" in keys else None,
        key_path=str(keys.get("key", "")),
        on_repeat=context.choice(on_repeat, (*path, "on_repeat"), "`on_repeat`", REPEATS) or "ignore",
        condition=parse_condition(keys["if"], (*path, "if"), context) if "if" in keys else None,
        reentry=_reentry(keys.get("reentry", "always"), (*path, "reentry"), context),
        schedule=_schedule(keys, path, context) if kind == "schedule" else None,
        api=_api(keys["api"], (*path, "api"), context) if kind == "api" else False,
    )


def read_path(node: Any, path: JsonPath, what: str, context: Context) -> Reader | None:
    """What stands at a path of an event."""
    text = context.text(node, path, what)
    if text is None:
        return None
    try:
        return event_reader(parse_event_path(text))
    except ValueError as error:
        context.problem(path, f"{what}: {error}")
        return None


def _segment(node: Any, path: JsonPath, context: Context) -> str:
    name = context.text(node, path, "`segment`")
    if name is not None and name not in context.segments:
        context.problem(path, f"there is no segment {name!r}", nearest(name, context.segments))
    return name or ""


def _api(node: Any, path: JsonPath, context: Context) -> bool:
    if node is not True:
        context.problem(path, "write `api: true`")
    return True


def _reentry(node: Any, path: JsonPath, context: Context) -> Reentry:
    if not isinstance(node, dict):
        return Reentry(context.choice(node, path, "`reentry` (or {after: P1D})", ("always", "never")) or "always")
    keys = context.mapping(node, path, "`reentry`", ("after",), required=("after",)) or {}
    after = context.duration(keys["after"], (*path, "after"), "`after`") if "after" in keys else None
    return Reentry("after", after.ms if after else 0)


def _schedule(keys: dict[str, Any], path: JsonPath, context: Context) -> Schedule | None:
    text = context.text(keys["schedule"], (*path, "schedule"), "`schedule`")
    zone = read_zone(keys.get("timezone", "person"), (*path, "timezone"), context)
    start = _start(keys["start"], (*path, "start"), context) if "start" in keys else None
    if text is None or ("start" in keys and start is None):
        return None
    try:
        return Schedule(parse_rule(text, start), zone, text)
    except ValueError as error:
        context.problem((*path, "schedule"), f"`schedule`: {error}")
        return None


def _start(node: Any, path: JsonPath, context: Context) -> datetime | None:
    text = context.text(node, path, "`start`")
    if text is None:
        return None
    try:
        if not _START.fullmatch(text):
            raise ValueError
        return datetime.fromisoformat(text)
    except ValueError:
        context.problem(path, f"`start` is a time on the clock, like 2026-11-02T09:00, not {text!r}")
        return None
