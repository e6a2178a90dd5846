"""The steps of a journey as people write them, laid out as a flat program.

A list of steps takes consecutive places; what stands inside a step (the targets of a branch, a path, a failure) is laid
out behind, and goes on where the step that holds it goes on.  Problems are noted, never raised.
"""

from collections.abc import Callable, Collection, Iterable
from typing import Any, Final, TypeVar

from heliograph.decide.conditions import EventFilter, parse_condition, parse_event_filter
from heliograph.decide.journeys.program import (
    ANY,
    EXITED,
    FINISHED,
    LAST,
    Branch,
    EventPath,
    Exit,
    IfPath,
    Send,
    Step,
    Wait,
    WaitClock,
    WaitUntil,
    successors,
)
from heliograph.decide.parsing import Context, JsonPath, kind_of, nearest
from heliograph.decide.times import DAY, DAYS, Duration, is_zone, parse_clock, zone_names

MAX_STEPS: Final = 500
"""Steps of a journey, nested ones included: ten screens of YAML."""
MAX_DEPTH: Final = 20
"""How deep steps may nest."""
MAX_PATHS: Final = 50
DEFAULT_TIMEOUT: Final = Duration(90 * DAY)
VERBS: Final = ("wait", "send", "wait_until", "branch", "exit")
LATER_VERBS: Final = frozenset({"split", "update", "emit", "webhook", "window", "coupon", "goto"})

_T = TypeVar("_T")


def read_filter(keys: dict[str, Any], path: JsonPath, context: Context) -> EventFilter | None:
    return parse_event_filter({key: keys[key] for key in ("event", "where") if key in keys}, path, context)


def append(items: list[_T], item: _T | None) -> None:
    if item is not None:
        items.append(item)


class StepReader:
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
            append(paths, self._path(item, (*path, "any", at), after))
        timeout = DEFAULT_TIMEOUT.scaled(self.context.time_scale)
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
        filter = read_filter(keys, path, self.context)
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
                append(arms, IfPath(condition, then) if condition is not None else None)
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
