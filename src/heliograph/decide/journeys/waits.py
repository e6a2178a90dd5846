"""How the steps that wait for a time are written: ``wait`` in its four forms, and ``window``.

Problems are noted, never raised; each reader gives the step, or None when it could not be read.
"""

from collections.abc import Collection
from typing import Any, Final

from heliograph.decide.conditions.paths import parse_path
from heliograph.decide.journeys.program import Step, Wait, WaitClock, WaitDate, Window
from heliograph.decide.journeys.verbs import Layout, Whole
from heliograph.decide.parsing import Context, JsonPath, nearest
from heliograph.decide.times import DAYS, HOUR, Duration, is_zone, parse_clock, zone_names

GRACE: Final = Duration(HOUR)
"""How long after its instant a date still counts, unless `grace` says otherwise: longer than a restart takes."""


def read_wait(layout: Layout, node: Any, path: JsonPath, whole: Whole) -> Step | None:
    context = layout.context
    if not isinstance(node, dict):
        duration = context.duration(node, path, "`wait`", calendar=True)
        return Wait(whole.id, whole.after, duration) if duration else None
    if "date" in node:
        return _date(layout, node, path, whole)
    if "until" in node and len(node) == 1:
        return _clock(context, node["until"], (*path, "until"), whole)
    keys = context.mapping(node, path, "`wait`", ("for", "from", "until", "date")) or {}
    if "until" in keys or "for" not in keys:
        context.problem(path, "`wait` is a duration, or has one of `for`, `until` and `date`")
        return None
    if "from" in keys:
        context.choice(keys["from"], (*path, "from"), "`from`", ("event",))
    duration = context.duration(keys["for"], (*path, "for"), "`for`", calendar=True)
    return Wait(whole.id, whole.after, duration, "from" in keys) if duration else None


def _clock(context: Context, node: Any, path: JsonPath, whole: Whole) -> Step | None:
    keys = context.mapping(node, path, "`until`", ("time", "days", "timezone"), required=("time",)) or {}
    clock = read_clock(keys.get("time", "00:00"), (*path, "time"), "`time`", context)
    return WaitClock(whole.id, whole.after, clock, *_days_and_zone(keys, path, context))


def _date(layout: Layout, node: Any, path: JsonPath, whole: Whole) -> Step | None:
    context = layout.context
    keys = context.mapping(node, path, "`wait`", ("date", "offset", "grace", "else")) or {}
    otherwise = layout.target(keys.get("else", "exit"), (*path, "else"), whole.after)
    offset, grace = Duration(), GRACE.scaled(context.time_scale)
    if "offset" in keys:
        given = context.duration(keys["offset"], (*path, "offset"), "`offset`", calendar=True, signed=True, zero=True)
        offset = given or offset
    if "grace" in keys:
        grace = context.duration(keys["grace"], (*path, "grace"), "`grace`", zero=True) or Duration()
    text = context.text(keys["date"], (*path, "date"), "`date`")
    context.own_trait(text, (*path, "date"))
    try:
        trait = parse_path(text) if text is not None else None
        if trait is not None and trait.starred:
            raise ValueError(f"one date is waited for: {text!r} has a `*`")
    except ValueError as error:
        context.problem((*path, "date"), str(error))
        return None
    return WaitDate(whole.id, whole.after, trait, offset, grace.ms, otherwise) if trait is not None else None


def read_window(layout: Layout, node: Any, path: JsonPath, whole: Whole) -> Step | None:
    context = layout.context
    known = ("from", "to", "days", "timezone")
    keys = context.mapping(node, path, "`window`", known, required=("from", "to")) or {}
    start = read_clock(keys.get("from", "00:00"), (*path, "from"), "`from`", context)
    end = read_clock(keys.get("to", "23:59"), (*path, "to"), "`to`", context)
    if parse_clock(start) == parse_clock(end):
        context.problem(path, "`from` and `to` are the same: a window that is always open is no window")
    return Window(whole.id, whole.after, start, end, *_days_and_zone(keys, path, context))


def read_clock(node: Any, path: JsonPath, what: str, context: Context) -> str:
    """A time of day; midnight, with a problem, for anything else."""
    clock = context.text(node, path, what) or "00:00"
    try:
        parse_clock(clock)
    except ValueError as error:
        context.problem(path, str(error))
        return "00:00"
    return clock


def _days_and_zone(keys: dict[str, Any], path: JsonPath, context: Context) -> tuple[frozenset[str], str]:
    days: Collection[Any] = context.sequence(keys.get("days", list(DAYS)), (*path, "days"), "`days`", most=7) or []
    for at, day in enumerate(days):
        context.choice(day, (*path, "days", at), "a day", DAYS)
    return frozenset(map(str, days)), read_zone(keys.get("timezone", "person"), (*path, "timezone"), context)


def read_zone(node: Any, path: JsonPath, context: Context) -> str:
    """``person``, ``project`` or a zone."""
    if node not in ("person", "project") and not is_zone(node):
        hint = nearest(node, zone_names()) if isinstance(node, str) else ""
        context.problem(path, "`timezone` is person, project or an IANA name", hint)
    return str(node)
