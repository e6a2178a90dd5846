"""How the steps that do something, or choose, are written (those that wait for a time: ``waits``).

Problems are noted, never raised; each reader gives the step, or None when it could not be read.
"""

import re
from collections.abc import Collection
from itertools import accumulate
from typing import Any, Final, NamedTuple, Protocol, TypeVar

from heliograph.decide.conditions import EventFilter, parse_condition, parse_event_filter
from heliograph.decide.journeys.program import (
    LAST,
    Arm,
    Branch,
    Emit,
    EventPath,
    Exit,
    Goto,
    IfPath,
    Send,
    Split,
    Step,
    Update,
    WaitUntil,
    Webhook,
)
from heliograph.decide.journeys.values import Text, parse_mapping, parse_text, parse_value
from heliograph.decide.parsing import Context, JsonPath, kind_of, nearest
from heliograph.decide.times import DAY, MINUTE, SECOND, Duration
from heliograph.events.event import EVENT_NAMES, PRODUCT_EVENTS
from heliograph.events.limits import MAX_NAME_BYTES

MAX_PATHS: Final = 50
"""Arms, and paths of a ``wait_until``."""
MAX_WEIGHT: Final = 1_000_000
DEFAULT_TIMEOUT: Final = Duration(90 * DAY)
METHODS: Final = ("DELETE", "GET", "PATCH", "POST", "PUT")
REQUEST_TIMEOUT_MS: Final = 5 * SECOND
MAX_REQUEST_TIMEOUT_MS: Final = 30 * SECOND
REQUEST_WITHIN_MS: Final = 10 * MINUTE
MAX_REQUEST_WITHIN_MS: Final = DAY
"""One try, and all tries, of a request.  The network knows no ``time_scale``."""

_URL = re.compile(r"https?://[^/?#\s{}@]+")
_NAME = re.compile(r"[A-Za-z_]\w{0,63}", re.ASCII)
_T = TypeVar("_T")


class Whole(NamedTuple):
    """The step as a whole: its id, where it goes on, and the keys beside its verb."""

    id: str
    after: int
    keys: dict[str, Any]


class Layout(Protocol):
    """What readers of steps ask of who lays them out (:class:`heliograph.decide.journeys.steps.StepReader`).

    ``templates``: the known ones, None for any.  ``answers``: the names that webhooks of this journey answer to.
    ``listeners``: which messages paths listen to, to be checked when all steps are known.
    """

    context: Context
    templates: Collection[str] | None
    answers: Collection[str]
    listeners: list[tuple[str, JsonPath]]

    def target(self, node: Any, path: JsonPath, after: int) -> int: ...
    def label(self, node: Any, path: JsonPath) -> int: ...


def read_filter(keys: dict[str, Any], path: JsonPath, context: Context) -> EventFilter | None:
    return parse_event_filter({key: keys[key] for key in ("event", "where") if key in keys}, path, context)


def append(items: list[_T], item: _T | None) -> None:
    if item is not None:
        items.append(item)


# -- mail, and the end --


def read_send(layout: Layout, node: Any, path: JsonPath, whole: Whole) -> Step | None:
    template = layout.context.text(node, path, "`send`")
    if template is not None and layout.templates is not None and template not in layout.templates:
        layout.context.problem(path, f"there is no template {template!r}", nearest(template, layout.templates))
    failed = layout.target(whole.keys.get("on_failure", "continue"), (*path[:-1], "on_failure"), whole.after)
    return Send(whole.id, whole.after, template or "", failed)


def read_exit(layout: Layout, node: Any, path: JsonPath, whole: Whole) -> Step | None:
    if node is not True:
        layout.context.problem(path, "write `exit: true`")
    return Exit(whole.id)


def read_goto(layout: Layout, node: Any, path: JsonPath, whole: Whole) -> Step | None:
    return Goto(whole.id, layout.label(node, path))


# -- ways that part --


def read_wait_until(layout: Layout, node: Any, path: JsonPath, whole: Whole) -> Step | None:
    context = layout.context
    keys = context.mapping(node, path, "`wait_until`", ("any", "timeout", "else"), required=("any",)) or {}
    items = context.sequence(keys.get("any", []), (*path, "any"), "`any`", most=MAX_PATHS)
    if items is None:
        return None
    paths: list[EventPath | IfPath] = []
    for at, item in enumerate(items):
        append(paths, _path(layout, item, (*path, "any", at), whole.after))
    timeout = DEFAULT_TIMEOUT.scaled(context.time_scale)
    if "timeout" in keys:
        timeout = context.duration(keys["timeout"], (*path, "timeout"), "`timeout`", calendar=True) or timeout
    otherwise = layout.target(keys.get("else", "continue"), (*path, "else"), whole.after)
    return WaitUntil(whole.id, tuple(paths), timeout, otherwise)


def _path(layout: Layout, node: Any, path: JsonPath, after: int) -> EventPath | IfPath | None:
    context = layout.context
    keys = context.mapping(node, path, "a path", ("event", "where", "message", "if", "then"))
    if keys is None:
        return None
    if ("event" in keys) == ("if" in keys) or ("if" in keys and ("where" in keys or "message" in keys)):
        context.problem(path, "a path is either an `event` (with `where`, `message`) or an `if`")
        return None
    then = layout.target(keys.get("then", "continue"), (*path, "then"), after)
    if "if" in keys:
        condition = parse_condition(keys["if"], (*path, "if"), context)
        return IfPath(condition, then) if condition is not None else None
    message = context.text(keys.get("message", LAST), (*path, "message"), "`message`") or LAST
    if "message" in keys:
        layout.listeners.append((message, (*path, "message")))
    filter = read_filter(keys, path, context)
    return EventPath(filter, then, message) if filter is not None else None


def read_branch(layout: Layout, node: Any, path: JsonPath, whole: Whole) -> Step | None:
    context = layout.context
    items = context.sequence(node, path, "`branch`", most=MAX_PATHS)
    if items is None:
        return None
    arms: list[IfPath] = []
    otherwise = whole.after
    for at, item in enumerate(items):
        here = (*path, at)
        keys = context.mapping(item, here, "an arm", ("if", "then", "else")) or {}
        if "if" in keys and "else" not in keys:
            then = layout.target(keys.get("then", "continue"), (*here, "then"), whole.after)
            condition = parse_condition(keys["if"], (*here, "if"), context)
            append(arms, IfPath(condition, then) if condition is not None else None)
        elif keys.keys() == {"else"} and at == len(items) - 1:
            otherwise = layout.target(keys["else"], (*here, "else"), whole.after)
        elif keys:
            context.problem(here, "an arm is `if` and `then`; `else` stands alone and last")
    return Branch(whole.id, tuple(arms), otherwise)


def read_split(layout: Layout, node: Any, path: JsonPath, whole: Whole) -> Step | None:
    context = layout.context
    keys = context.mapping(node, path, "`split`", ("arms", "salt"), required=("arms",)) or {}
    salt = context.text(keys["salt"], (*path, "salt"), "`salt`") if "salt" in keys else ""
    nodes = keys.get("arms", {})
    if not isinstance(nodes, dict) or not 0 < len(nodes) <= MAX_PATHS:
        context.problem((*path, "arms"), f"`arms` is a mapping of 1 to {MAX_PATHS} names, like plain: {{weight: 50}}")
        return None
    weights, thens = [], []
    for name, arm in (arms := sorted(nodes.items(), key=lambda one: str(one[0]))):  # however a document was encoded
        here = (*path, "arms", str(name))
        context.text(name, here, "the name of an arm")
        parts = context.mapping(arm, here, "an arm", ("weight", "then"), required=("weight",)) or {}
        weights.append(_weight(parts.get("weight", 1), (*here, "weight"), context))
        thens.append(layout.target(parts.get("then", "continue"), (*here, "then"), whole.after))
    rows = zip(arms, accumulate(weights), thens, strict=True)
    return Split(whole.id, tuple(Arm(str(name), below, then) for (name, _), below, then in rows), salt or "")


def _weight(node: Any, path: JsonPath, context: Context) -> float:
    if isinstance(node, bool) or not isinstance(node, int | float) or not 0 < node <= MAX_WEIGHT:
        said = node if isinstance(node, int | float) and not isinstance(node, bool) else kind_of(node)
        context.problem(path, f"`weight` is a number above 0, at most {MAX_WEIGHT}, not {said}")
        return 1
    return node


# -- acts --


def read_update(layout: Layout, node: Any, path: JsonPath, whole: Whole) -> Step | None:
    context = layout.context
    keys = context.mapping(node, path, "`update`", ("traits",), required=("traits",)) or {}
    here = (*path, "traits")
    traits = parse_mapping(keys.get("traits", {}), here, "`traits`", context, layout.answers)
    for name, _ in traits.items:
        if name == "email":
            context.problem((*here, name), "an address comes from the person (`identify`), not from a journey")
    if "traits" in keys and not keys["traits"]:
        context.problem(here, "`traits` is empty")
    return Update(whole.id, whole.after, traits)


def read_emit(layout: Layout, node: Any, path: JsonPath, whole: Whole) -> Step | None:
    context = layout.context
    keys = context.mapping(node, path, "`emit`", ("event", "properties"), required=("event",)) or {}
    event = context.text(keys["event"], (*path, "event"), "`event`") if "event" in keys else ""
    if event in PRODUCT_EVENTS or event in EVENT_NAMES.values():
        context.problem((*path, "event"), f"{event!r} only happens by itself: give the event a name of your own")
    elif event and ("{{" in event or len(event.encode()) > MAX_NAME_BYTES):
        context.problem((*path, "event"), f"the name of an event is fixed text of at most {MAX_NAME_BYTES} bytes")
    properties = keys.get("properties", {})
    values = parse_mapping(properties, (*path, "properties"), "`properties`", context, layout.answers)
    return Emit(whole.id, whole.after, event or "", values)


def read_webhook(layout: Layout, node: Any, path: JsonPath, whole: Whole) -> Step | None:
    context = layout.context
    known = ("url", "method", "json", "as", "timeout", "within", "else")
    keys = context.mapping(node, path, "`webhook`", known, required=("url",)) or {}
    method = context.choice(keys.get("method", "POST"), (*path, "method"), "`method`", METHODS) or "POST"
    json = parse_value(keys["json"], (*path, "json"), context, layout.answers) if "json" in keys else None
    if json is not None and method == "GET":
        context.problem((*path, "json"), "a GET has no body: put what varies in the `url`, or write `method: POST`")
    return Webhook(
        id=whole.id,
        next=whole.after,
        url=_url(layout, keys.get("url", "https://x"), (*path, "url")),
        method=method,
        json=json,
        name=_answer_name(keys["as"], (*path, "as"), context) if "as" in keys else "",
        timeout_ms=_limit(keys, "timeout", path, context, REQUEST_TIMEOUT_MS, MAX_REQUEST_TIMEOUT_MS),
        within_ms=_limit(keys, "within", path, context, REQUEST_WITHIN_MS, MAX_REQUEST_WITHIN_MS),
        otherwise=layout.target(keys.get("else", "continue"), (*path, "else"), whole.after),
    )


def _url(layout: Layout, node: Any, path: JsonPath) -> Text:
    context = layout.context
    text = context.text(node, path, "`url`")
    if text is None:
        return Text(())
    url = parse_text(text, path, context, layout.answers)
    host = _URL.match(text)
    plain = [part for part in url.parts if isinstance(part, str)]
    behind = text[host.end() : host.end() + 1] if host is not None else ""
    if host is None or behind not in (("/", "?") if len(url.parts) > 1 else ("", "/", "?", "#")):
        what = "`url` is like https://crm.example/hook; `{{ path }}` may stand behind the host, a login nowhere"
        context.problem(path, what)
    elif any(letter.isspace() or not letter.isprintable() for part in plain for letter in part):
        context.problem(path, "`url` has a blank in it: write %20")
    return url


def _answer_name(node: Any, path: JsonPath, context: Context) -> str:
    name = context.text(node, path, "`as`") or ""
    if name and not _NAME.fullmatch(name):
        context.problem(path, "`as` is a name of letters, digits and `_`: templates read it as `webhook.NAME`")
    return name


def _limit(keys: dict[str, Any], name: str, path: JsonPath, context: Context, default: int, most: int) -> int:
    if name not in keys:
        return default
    duration = context.duration(keys[name], (*path, name), f"`{name}`", scaled=False)
    if duration is not None and duration.ms > most:
        context.problem((*path, name), f"`{name}` is at most {most // SECOND} seconds")
    return duration.ms if duration is not None else default


def answer_names(node: Any) -> frozenset[str]:
    """The ``as`` of every webhook in a list of steps."""
    names, ahead = set(), [node]
    while ahead:
        one = ahead.pop()
        if isinstance(one, dict):
            webhook = one.get("webhook")
            if isinstance(webhook, dict) and isinstance(webhook.get("as"), str):
                names.add(webhook["as"])
            ahead += one.values()
        elif isinstance(one, list):
            ahead += one
    return frozenset(names)
