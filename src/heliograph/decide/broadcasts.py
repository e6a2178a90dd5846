"""Broadcasts: one mail to an audience, decided person by person like any other.

A broadcast is a journey of one step in the plan, ``wait`` for the person's own clock if it says so and then ``send``,
under a name that no journey of a project can have.  So everything that holds for journeys holds for it: consent, caps,
quiet hours, arbitration, freshness, outcomes and ``why``.  What is its own: nobody enters by themselves, the runtime
*offers* it to each person once (:mod:`heliograph.decide.offers`), and an address gets it once, whoever holds it.
"""

import re
from collections.abc import Collection, Mapping
from datetime import date, datetime, time
from functools import lru_cache
from typing import Any, Final, TypeAlias

import msgspec

from heliograph.decide.conditions import Condition, parse_condition
from heliograph.decide.journeys.compile import journey_version
from heliograph.decide.journeys.program import FINISHED, Entry, Journey, Send, Step, WaitLocal
from heliograph.decide.parsing import Context, JsonPath, nearest
from heliograph.decide.times import DAY, HOUR, MINUTE, SECOND, iso, parse_instant, wall_instant, zone, zone_or_utc
from heliograph.events.ids import make_id

PREFIX: Final = "broadcast:"

KEYS: Final = (
    "name", "template", "topic", "audience", "at", "local_time", "rate", "holdout", "notice", "id", "description",
)  # fmt: skip
AUDIENCES: Final = ("segment", "list", "if", "everyone", "broadcast")
"""Exactly one of them says who is offered it."""
PRIORITY: Final = -1_000_000
"""Whatever a journey sends goes before a broadcast where caps or arbitration have one place for both."""
GRACE_MS: Final = HOUR
"""With ``local_time``: how long after their clock showed it somebody is still mailed."""
LEAD_MS: Final = HOUR
"""With ``local_time``: how long before the first clock in the world shows it people are offered it, so that all of them
wait for it when it comes."""
LATE_MS: Final = MINUTE
"""How long ago ``at`` may be: the writer's clock is not ours."""
FIRST_ZONE: Final = "Etc/GMT-14"
LAST_ZONE: Final = "Etc/GMT+12"
"""Where clocks show a time first, and last (their signs are POSIX's)."""
LONGEST_AHEAD: Final = 366 * DAY

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)
_RATE = re.compile(r"([1-9]\d{0,8})/([smhd])", re.ASCII)
_UNITS: Final = {"s": SECOND, "m": MINUTE, "h": HOUR, "d": DAY}
_LOCAL = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d(?::\d\d)?", re.ASCII)


def journey_of(broadcast_id: str) -> str:
    """The name of its journey, in states, messages and facts."""
    return PREFIX + broadcast_id


def broadcast_of(journey: str) -> str:
    """The id of the broadcast that this journey is, "" for any other."""
    return journey[len(PREFIX) :] if journey.startswith(PREFIX) else ""


@lru_cache(maxsize=16)
def run_id(journey: str, address: str) -> str:
    """Of the run in which this (normalised) address gets a broadcast: the same one, whoever holds the address.

    Remembered for a moment: deciding one offer asks for it three times."""
    return make_id("broadcast", broadcast_of(journey), address)


Local: TypeAlias = tuple[date, time]


class Broadcast(msgspec.Struct, frozen=True):
    """``members``: the segment, list or broadcast whose members are its audience, ``""`` when everybody is asked the
    condition of its ``journey``.  ``at``: its instant, 0 for as soon as it is started; ``local``: instead, what each
    person's own clock has to show.  ``gap_ms``: between two people, by its rate; 0 for none."""

    journey: Journey
    name: str
    notice: bool
    members: str = ""
    at: int = 0
    local: Local | None = None
    gap_ms: float = 0.0

    @property
    def starts_at(self) -> int:
        """When the first person is offered it; 0: as soon as it is started."""
        if self.local is None:
            return self.at
        return wall_instant(*self.local, zone(FIRST_ZONE)) - LEAD_MS

    @property
    def template(self) -> str:
        step = self.journey.program[-1]
        return step.template if isinstance(step, Send) else ""


def judge(node: Any, context: Context, templates: Mapping[str, dict[str, Any]], now: int) -> Broadcast | None:
    """A broadcast that somebody is about to start, against the plan in force; problems are noted in ``context``.
    Whether its list or its earlier broadcast is there, the caller knows."""
    found = read_broadcast("new", node, (), context, templates)
    if found is None:
        return None
    last = wall_instant(*found.local, zone(LAST_ZONE)) + GRACE_MS if found.local is not None else found.at
    if last and last < now - LATE_MS:
        where = " everywhere" if found.local is not None else ""
        context.problem(("at",), f"`at` is over{where}; it is {iso(now)} now")
    if found.starts_at > now + LONGEST_AHEAD:
        context.problem(("at",), "`at` is more than a year ahead")
    return found


def read_broadcast(
    broadcast_id: str, node: Any, path: JsonPath, context: Context, templates: Mapping[str, dict[str, Any]] | None
) -> Broadcast | None:
    """``templates``: None takes any (of one that is under way).  Problems are noted, never raised; what is returned is
    only sound when there were none."""
    keys = context.mapping(node, path, "a broadcast", KEYS, required=("name", "template", "audience"))
    if keys is None:
        return None
    name = context.text(keys.get("name", "-"), (*path, "name"), "`name`")
    notice = _flag(keys, "notice", path, context)
    local_time = _flag(keys, "local_time", path, context)
    if "id" in keys and not (isinstance(keys["id"], str) and _ID.fullmatch(keys["id"])):
        context.problem((*path, "id"), "`id` is at most 64 letters, digits, `-`, `_` or `.`, like october-news")
    template = _template(keys.get("template", "-"), notice, (*path, "template"), context, templates)
    members, condition = _audience(keys.get("audience", {"everyone": True}), (*path, "audience"), context)
    at, local = _at(keys, local_time, path, context)
    for key in ("topic", "holdout") if notice else ():
        if key in keys:
            context.problem((*path, key), f"a service notice goes to everybody it concerns: it has no `{key}`")
    if local_time and "rate" in keys:
        context.problem((*path, "rate"), "`rate` would keep people past their local time: take one of the two")
    gap_ms = _gap(keys["rate"], (*path, "rate"), context) if "rate" in keys else 0.0
    holdout = context.share(keys["holdout"], (*path, "holdout"), "`holdout`") if "holdout" in keys else None
    journey = _journey(broadcast_id, node, _topic(keys.get("topic", "marketing"), (*path, "topic"), context),
                       condition, holdout or 0.0, template, local)  # fmt: skip
    return Broadcast(journey, name or "", notice, members, at, local, gap_ms)


def _journey(
    broadcast_id: str, document: dict[str, Any], topic: str, condition: Condition | None, holdout: float,
    template: str, local: Local | None,
) -> Journey:  # fmt: skip
    send = Send("send", FINISHED, template, FINISHED)
    program: tuple[Step, ...] = (send,) if local is None else (WaitLocal("wait", 1, *local), send)
    return Journey(
        name=journey_of(broadcast_id),
        version=journey_version(document),
        topic=topic,
        priority=PRIORITY,
        entry=Entry(None, condition=condition),
        exit_events={},
        exit_ifs=(),
        goal=None,
        holdout=holdout,
        program=program,
        start=0,
        index={step.id: place for place, step in enumerate(program)},
        document=document,
        timed=False,
    )


# -- its keys --


def _flag(keys: dict[str, Any], name: str, path: JsonPath, context: Context) -> bool:
    return bool(context.boolean(keys.get(name, False), (*path, name), f"`{name}`"))


def _template(
    node: Any, notice: bool, path: JsonPath, context: Context, templates: Mapping[str, dict[str, Any]] | None
) -> str:
    name = context.text(node, path, "`template`")
    if name is None or templates is None:
        return name or ""
    template = templates.get(name)
    if template is None:
        context.problem(path, f"there is no template {name!r}", nearest(name, templates))
    elif notice and template.get("class") != "transactional":
        said = f"a service notice needs a template of `class: transactional`, and {name!r} is marketing"
        context.problem(path, said)
    elif not notice and template.get("class") == "transactional":
        said = f"{name!r} is transactional: mail that ignores consent and caps is a service notice, say `notice: true`"
        context.problem(path, said)
    return name


def _topic(node: Any, path: JsonPath, context: Context) -> str:
    topic = context.text(node, path, "`topic`")
    if topic is not None and topic not in context.topics:
        context.problem(path, f"there is no topic {topic!r}", nearest(topic, context.topics))
    return topic or "marketing"


def _audience(node: Any, path: JsonPath, context: Context) -> tuple[str, Condition | None]:
    """The name whose members it is, and the condition that they have to meet; ``("", None)``: everybody."""
    keys = context.mapping(node, path, "`audience`", AUDIENCES)
    if keys is None:
        return "", None
    if len(keys) != 1:
        context.problem(path, f"`audience` needs just one of {', '.join(f'`{kind}`' for kind in AUDIENCES)}")
        return "", None
    ((kind, value),) = keys.items()
    here = (*path, kind)
    if kind == "everyone":
        if value is not True:
            context.problem(here, "write `everyone: true`")
        return "", None
    if kind == "if":
        return "", parse_condition(value, here, context)
    name = context.text(value, here, f"`{kind}`")
    if name is None:
        return "", None
    _check_members(kind, name, here, context)
    name = journey_of(name.removeprefix(PREFIX)) if kind == "broadcast" else name
    return name, parse_condition({"in_segment": name}, here, context)


def _check_members(kind: str, name: str, path: JsonPath, context: Context) -> None:
    if kind == "segment" and name not in context.segments:
        context.problem(path, f"there is no segment {name!r}", nearest(name, context.segments))
    elif kind == "list" and name in context.segments:
        context.problem(path, f"{name!r} is a segment: write `segment: {name}`")


def _at(keys: dict[str, Any], local_time: bool, path: JsonPath, context: Context) -> tuple[int, Local | None]:
    """Its instant, or what clocks have to show."""
    here = (*path, "at")
    if "at" not in keys:
        if local_time:
            context.problem(path, "`local_time` needs `at`: a date and a time of day, like 2026-12-01T09:00")
        return 0, None
    text = context.text(keys["at"], here, "`at`") or ""
    if local_time:
        local = _local(text)
        if local is None:
            context.problem(here, "with `local_time`, `at` is what people's own clocks show, like 2026-12-01T09:00")
        return 0, local
    local = _local(text)
    at = parse_instant(text, zone_or_utc(context.timezone)) if local is None and "T" in text else None
    if local is not None:
        at = wall_instant(*local, zone_or_utc(context.timezone))
    if at is None:
        said = "`at` is an instant, like 2026-12-01T09:00:00Z, or 2026-12-01T09:00 in the project's zone"
        context.problem(here, said)
    return at or 0, None


def _local(text: str) -> Local | None:
    if not _LOCAL.fullmatch(text):
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:  # no calendar has it
        return None
    return (moment.date(), moment.time()) if 1970 <= moment.year <= 9000 else None


def _gap(node: Any, path: JsonPath, context: Context) -> float:
    found = _RATE.fullmatch(node) if isinstance(node, str) else None
    if found is None:
        context.problem(path, "`rate` is people in a time, like 50000/h (or /s, /m, /d)")
        return 0.0
    return _UNITS[found[2]] / int(found[1])


# -- what becomes of one --

MOVES: Final[Mapping[str, frozenset[str]]] = {
    "start": frozenset({"draft"}),
    "pause": frozenset({"scheduled", "running"}),
    "resume": frozenset({"paused"}),
    "cancel": frozenset({"draft", "scheduled", "running", "paused"}),
}
"""Verb -> the statuses in which it means something."""
STATUSES: Final[Mapping[str, str]] = {
    "draft": "written down; nobody is offered it before it is started",
    "scheduled": "its time has not come",
    "running": "people are offered it, or its mail is on the way",
    "paused": "nobody is offered it, and what is queued waits",
    "finished": "its whole audience was offered it and nothing of it is queued; what a cap put off may still go",
    "cancelled": "stopped for good; what was queued is cancelled",
}
LIVE: Final = frozenset({"scheduled", "running", "paused"})
"""Statuses in which it stands in the plan, whether or not anybody is on the way."""


def objection(status: str, verb: str) -> str:
    """Why the verb means nothing now, ``""`` when it does something."""
    if status in MOVES[verb]:
        return ""
    fitting: Collection[str] = sorted(MOVES[verb])
    return f"it is {status}; `{verb}` is for one that is {' or '.join(fitting)}"
