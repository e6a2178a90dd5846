"""From a journey as people write it (contract, section 4) to a :class:`heliograph.decide.program.Journey`.

Nothing here raises for bad input: every problem is noted in the context with its path, and what could not be read
is left out.  The result is only used when no problem was noted.
"""

from collections.abc import Callable, Collection, Iterable
from typing import Any, Final, TypeVar

import msgspec

from heliograph.decide.conditions import Condition, EventFilter, parse_condition, parse_event_filter
from heliograph.decide.conditions.paths import event_reader, parse_event_path
from heliograph.decide.parsing import Context, JsonPath, kind_of, nearest
from heliograph.decide.program import (
    ANY,
    EXITED,
    FINISHED,
    LAST,
    Branch,
    Entry,
    EventPath,
    Exit,
    ExitEvent,
    Goal,
    IfPath,
    Journey,
    Match,
    Reader,
    Reentry,
    Send,
    Step,
    Wait,
    WaitClock,
    WaitUntil,
    successors,
)
from heliograph.decide.times import DAY, DAYS, Duration, is_zone, parse_clock, zone_names
from heliograph.events.ids import make_id

MAX_STEPS: Final = 500
"""Steps of a journey, nested ones included: ten screens of YAML."""
MAX_DEPTH: Final = 20
"""How deep steps may nest."""
MAX_EXITS: Final = 50
MAX_PATHS: Final = 50
DEFAULT_TIMEOUT: Final = Duration(90 * DAY)

KEYS: Final = frozenset(
    {"name", "topic", "priority", "entry", "exit", "goal", "holdout", "on_edit", "steps", "description"}
)
VERBS: Final = ("wait", "send", "wait_until", "branch", "exit")
LATER_VERBS: Final = frozenset({"split", "update", "emit", "webhook", "window", "coupon", "goto"})
LATER_ENTRIES: Final = frozenset({"schedule", "start", "timezone", "item", "api"})
REPEATS: Final = ("ignore", "restart", "update")

_T = TypeVar("_T")


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
    steps = _Steps(context, templates)
    start = steps.top(keys.get("steps"), (*path, "steps"))
    topic = _topic(keys.get("topic", "marketing"), (*path, "topic"), context)
    priority = context.integer(keys.get("priority", 0), (*path, "priority"), "`priority`", -1_000_000, 1_000_000)
    _on_edit(keys.get("on_edit", "pin"), (*path, "on_edit"), context)
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
        program=steps.finished(),
        start=start,
        index=dict(steps.places),
        document=document,
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


def _filter(keys: dict[str, Any], path: JsonPath, context: Context) -> EventFilter | None:
    return parse_event_filter({key: keys[key] for key in ("event", "where") if key in keys}, path, context)


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
        filter=_filter(keys, path, context) if by_event else None,
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
        return Reentry(context.choice(node, path, "`reentry`", ("always", "never")) or "always")
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
            _append(ifs, parse_condition(keys["if"], (*here, "if"), context))
        elif "event" in keys and "if" not in keys:
            filter = _filter(keys, here, context)
            match = _match(keys["match"], (*here, "match"), context, by_event) if "match" in keys else None
            if filter is not None:
                events[filter.event] = (*events.get(filter.event, ()), ExitEvent(filter, match))
        elif isinstance(item, dict):
            context.problem(here, "an exit is either an `event` (with `where`, `match`) or an `if`")
    return events, tuple(ifs)


def _append(items: list[_T], item: _T | None) -> None:
    if item is not None:
        items.append(item)


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
    filter = _filter(keys, path, context)
    value = _reader(keys["value"], (*path, "value"), "`value`", context) if "value" in keys else None
    return Goal(filter, within.ms, value) if filter is not None and within is not None else None


# -- steps --


class _Steps:
    """Lays steps out in a flat program.  Ids are given in the order of the document."""

    def __init__(self, context: Context, templates: Collection[str] | None) -> None:
        self.context = context
        self.templates = templates
        self.program: list[Step | None] = []
        self.places: dict[str, int] = {}
        self.paths: list[JsonPath] = []
        self.counts: dict[str, int] = {}
        self.listeners: list[tuple[str, JsonPath]] = []
        self.depth = 0
        self.start = FINISHED

    def top(self, node: Any, path: JsonPath) -> int:
        if self.context.sequence(node, path, "`steps`", most=MAX_STEPS) is None:
            return FINISHED
        self.start = self.steps(node, path, FINISHED)
        self._check_messages()
        self._warn_unreachable()
        return self.start

    def finished(self) -> tuple[Step, ...]:
        """The program; a step that could not be read is an exit (there is a problem then, and it never runs)."""
        return tuple(step or Exit("") for step in self.program)

    def steps(self, nodes: list[Any], path: JsonPath, after: int) -> int:
        """The place of the first of ``nodes``; behind the last one it goes on at ``after``."""
        if self.depth >= MAX_DEPTH or len(self.program) + len(nodes) > MAX_STEPS:
            self.context.problem(path, f"steps nest at most {MAX_DEPTH} deep, and a journey has at most {MAX_STEPS}")
            return after
        self.depth += 1
        first = len(self.program)
        self.program += [None] * len(nodes)
        self.paths += [(*path, at) for at in range(len(nodes))]
        for at, node in enumerate(nodes):
            following = first + at + 1 if at + 1 < len(nodes) else after
            self.program[first + at] = self._step(node, (*path, at), first + at, following)
        self.depth -= 1
        return first if nodes else after

    def target(self, node: Any, path: JsonPath, after: int) -> int:
        match node:
            case "continue":
                return after
            case "exit":
                return EXITED
            case list():
                return self.steps(node, path, after)
            case {"goto": _}:
                self.context.problem(path, "`goto` is not in this version")
            case _:
                shown = repr(node) if isinstance(node, str) else kind_of(node)
                hint = nearest(node, ("continue", "exit")) if isinstance(node, str) else ""
                self.context.problem(path, f"a target is `continue`, `exit` or a list of steps, not {shown}", hint)
        return after

    def _step(self, node: Any, path: JsonPath, place: int, after: int) -> Step | None:
        if not isinstance(node, dict):
            self.context.problem(path, f"a step is a mapping like `wait: PT30M`, not {kind_of(node)}")
            return None
        verb = next((key for key in node if key in VERBS or key in LATER_VERBS), None)
        if verb is None:
            self._unknown_verb(node, path)
            return None
        if verb in LATER_VERBS:
            self.context.problem((*path, verb), f"`{verb}` is not in this version")
            return None
        allowed = (verb, "id", "on_failure") if verb == "send" else (verb, "id")
        self.context.mapping(node, path, f"a `{verb}` step", allowed)
        step_id = self._id(node, verb, path, place)
        build: Callable[[Any, JsonPath, str, int, dict[str, Any]], Step | None] = getattr(self, "_" + verb)
        return build(node[verb], (*path, verb), step_id, after, node)

    def _unknown_verb(self, node: dict[Any, Any], path: JsonPath) -> None:
        word = next((key for key in node if key not in ("id", "on_failure")), "")
        self.context.unknown((*path, str(word)), word, "a step", VERBS)

    def _id(self, node: dict[str, Any], verb: str, path: JsonPath, place: int) -> str:
        self.counts[verb] = self.counts.get(verb, 0) + 1
        default = f"send-{node[verb]}" if verb == "send" else f"{verb}-{self.counts[verb]}"
        step_id = self.context.text(node.get("id", default), (*path, "id"), "`id`") or default
        if step_id in self.places:
            self.context.problem((*path, "id"), f"two steps have the id {step_id!r}: give one of them an `id`")
        if step_id in (LAST, ANY):
            self.context.problem((*path, "id"), f"{step_id!r} cannot be an id")
        self.places[step_id] = place
        return step_id

    # one method a verb: node of the verb, its path, step id, where it goes on, the whole step

    def _wait(self, node: Any, path: JsonPath, step_id: str, after: int, whole: Any) -> Step | None:
        if not isinstance(node, dict):
            duration = self.context.duration(node, path, "`wait`", calendar=True)
            return Wait(step_id, after, duration) if duration else None
        if "until" in node and len(node) == 1:
            return self._clock(node["until"], (*path, "until"), step_id, after)
        if "date" in node:
            self.context.problem((*path, "date"), "`date` is not in this version")
            return None
        keys = self.context.mapping(node, path, "`wait`", ("for", "from", "until")) or {}
        if "until" in keys or "for" not in keys:
            self.context.problem(path, "`wait` is a duration, or has either `for` or `until`")
            return None
        if "from" in keys:
            self.context.choice(keys["from"], (*path, "from"), "`from`", ("event",))
        duration = self.context.duration(keys["for"], (*path, "for"), "`for`", calendar=True)
        return Wait(step_id, after, duration, "from" in keys) if duration else None

    def _clock(self, node: Any, path: JsonPath, step_id: str, after: int) -> Step | None:
        keys = self.context.mapping(node, path, "`until`", ("time", "days", "timezone"), required=("time",)) or {}
        clock = self.context.text(keys.get("time", "00:00"), (*path, "time"), "`time`")
        try:
            parse_clock(clock or "00:00")
        except ValueError as error:
            self.context.problem((*path, "time"), str(error))
        days = self.context.sequence(keys.get("days", list(DAYS)), (*path, "days"), "`days`", most=7) or []
        for at, day in enumerate(days):
            self.context.choice(day, (*path, "days", at), "a day", DAYS)
        zone = keys.get("timezone", "person")
        if zone not in ("person", "project") and not is_zone(zone):
            hint = nearest(zone, zone_names()) if isinstance(zone, str) else ""
            self.context.problem((*path, "timezone"), "`timezone` is person, project or an IANA name", hint)
        return WaitClock(step_id, after, clock or "00:00", frozenset(map(str, days)), str(zone))

    def _send(self, node: Any, path: JsonPath, step_id: str, after: int, whole: Any) -> Step | None:
        template = self.context.text(node, path, "`send`")
        if template is not None and self.templates is not None and template not in self.templates:
            self.context.problem(path, f"there is no template {template!r}", nearest(template, self.templates))
        failed = self.target(whole.get("on_failure", "continue"), (*path[:-1], "on_failure"), after)
        return Send(step_id, after, template or "", failed)

    def _wait_until(self, node: Any, path: JsonPath, step_id: str, after: int, whole: Any) -> Step | None:
        known = ("any", "timeout", "else")
        keys = self.context.mapping(node, path, "`wait_until`", known, required=("any",)) or {}
        items = self.context.sequence(keys.get("any", []), (*path, "any"), "`any`", most=MAX_PATHS)
        if items is None:
            return None
        paths: list[EventPath | IfPath] = []
        for at, item in enumerate(items):
            _append(paths, self._path(item, (*path, "any", at), after))
        timeout = DEFAULT_TIMEOUT
        if "timeout" in keys:
            timeout = self.context.duration(keys["timeout"], (*path, "timeout"), "`timeout`", calendar=True) or timeout
        otherwise = self.target(keys.get("else", "continue"), (*path, "else"), after)
        return WaitUntil(step_id, tuple(paths), timeout, otherwise)

    def _path(self, node: Any, path: JsonPath, after: int) -> EventPath | IfPath | None:
        keys = self.context.mapping(node, path, "a path", ("event", "where", "message", "if", "then"))
        if keys is None:
            return None
        if ("event" in keys) == ("if" in keys) or ("if" in keys and ("where" in keys or "message" in keys)):
            self.context.problem(path, "a path is either an `event` (with `where`, `message`) or an `if`")
            return None
        then = self.target(keys.get("then", "continue"), (*path, "then"), after)
        if "if" in keys:
            condition = parse_condition(keys["if"], (*path, "if"), self.context)
            return IfPath(condition, then) if condition is not None else None
        message = self.context.text(keys.get("message", LAST), (*path, "message"), "`message`") or LAST
        if "message" in keys:
            self.listeners.append((message, (*path, "message")))
        filter = _filter(keys, path, self.context)
        return EventPath(filter, then, message) if filter is not None else None

    def _branch(self, node: Any, path: JsonPath, step_id: str, after: int, whole: Any) -> Step | None:
        items = self.context.sequence(node, path, "`branch`", most=MAX_PATHS)
        if items is None:
            return None
        arms: list[IfPath] = []
        otherwise = after
        for at, item in enumerate(items):
            here = (*path, at)
            keys = self.context.mapping(item, here, "an arm", ("if", "then", "else")) or {}
            if "if" in keys and "else" not in keys:
                then = self.target(keys.get("then", "continue"), (*here, "then"), after)
                condition = parse_condition(keys["if"], (*here, "if"), self.context)
                _append(arms, IfPath(condition, then) if condition is not None else None)
            elif keys.keys() == {"else"} and at == len(items) - 1:
                otherwise = self.target(keys["else"], (*here, "else"), after)
            elif keys:
                self.context.problem(here, "an arm is `if` and `then`; `else` stands alone and last")
        return Branch(step_id, tuple(arms), otherwise)

    def _exit(self, node: Any, path: JsonPath, step_id: str, after: int, whole: Any) -> Step | None:
        if node is not True:
            self.context.problem(path, "write `exit: true`")
        return Exit(step_id)

    # -- after all steps --

    def _check_messages(self) -> None:
        sends = [step.id for step in self.program if isinstance(step, Send)]
        for message, path in self.listeners:
            if message != ANY and message not in sends:
                what = f"`message` is `any` or the id of a `send` step; there is none called {message!r}"
                self.context.problem(path, what, nearest(message, [ANY, *sends]))

    def _warn_unreachable(self) -> None:
        if None in self.program:
            return
        reached: set[int] = set()
        ahead = [self.start]
        while ahead:
            at = ahead.pop()
            step = self.program[at] if at >= 0 and at not in reached else None
            if step is not None:
                reached.add(at)
                ahead += successors(step)
        for at in _first_missing(range(len(self.program)), reached, self.paths):
            self.context.warn(self.paths[at], "this step is never reached")


def _first_missing(places: Iterable[int], reached: set[int], paths: list[JsonPath]) -> list[int]:
    """Unreached places, without those nested in another one."""
    missing = [at for at in places if at not in reached]
    outer = {paths[at] for at in missing}
    return [at for at in missing if not any(paths[at][:n] in outer for n in range(len(paths[at])))]
