"""Which events are meant: a name and a ``where`` over the event's own paths."""

from collections.abc import Callable, Hashable
from typing import Any, Final

import msgspec

from heliograph.decide.conditions.instants import INSTANT_OPERATORS, InstantCheck, parse_instant_check
from heliograph.decide.conditions.model import Explanation
from heliograph.decide.conditions.operators import OPERATORS, Check, fold, parse_check, show
from heliograph.decide.conditions.paths import Path, event_reader, event_test, parse_event_path
from heliograph.decide.parsing import Context, JsonPath
from heliograph.events.event import Event

MAX_WHERE: Final = 20
"""Paths in one ``where``."""


class PathChecks(msgspec.Struct, frozen=True):
    """All the checks on one path of an event."""

    path: Path
    checks: tuple[Check, ...]

    @property
    def text(self) -> str:
        return f"{self.path.text} {' and '.join(check.text for check in self.checks)}"

    @property
    def canonical(self) -> list[Any]:
        return [self.path.canonical, sorted((check.canonical for check in self.checks), key=repr)]

    @property
    def keys(self) -> frozenset[Hashable] | None:
        """Index keys of which the value must have one, when an equality says so."""
        equality = self.equality
        return None if equality is None else equality.keys

    @property
    def equality(self) -> Check | None:
        return next((check for check in self.checks if check.keys and not check.negated), None)


class EventFilter(msgspec.Struct, frozen=True):
    """Events of this name for which every ``where`` holds.  ``matches`` is total."""

    event: str
    where: tuple[PathChecks, ...]
    asked: tuple[tuple[Callable[[Event], bool], bool], ...]
    """Per check: the question to the event, and the answer that satisfies it."""

    @property
    def text(self) -> str:
        conditions = " and ".join(part.text for part in self.where)
        return f'"{self.event}"' + (f" where {conditions}" if conditions else "")

    @property
    def canonical(self) -> list[Any]:
        return [self.event, sorted((part.canonical for part in self.where), key=repr)]

    def matches(self, event: Event) -> bool:
        if event.name != self.event and fold(event.name) != self.event:
            return False
        for test, wanted in self.asked:  # noqa: SIM110 - a generator costs more than what it asks
            if test(event) is not wanted:
                return False
        return True

    def beyond(self, known: Path | None) -> "EventFilter | None":
        """What is left to ask of an event of this name; None when there is nothing.  ``known``: the path whose text
        was found to be one of :attr:`PathChecks.keys`."""
        left = [
            event_test_of(part.path, check)
            for part in self.where
            for check in part.checks
            if part.path != known or check is not part.equality
        ]
        return msgspec.structs.replace(self, asked=tuple(left)) if left else None

    def explain(self, event: Event) -> Explanation:
        """Which part of it the event fails, with the value seen."""
        named = fold(event.name) == self.event
        parts = [Explanation(text=f'the event is "{self.event}"', truth=named, kind="event", seen=show(event.name))]
        for part in self.where:
            value = event_reader(part.path)(event)
            for check in part.checks:
                truth = event_test(part.path, check.test)(event) is not check.negated
                text = f"{part.path.text} {check.text}"
                parts.append(Explanation(text=text, truth=truth, kind="where", seen=show(value)))
        return Explanation(text=self.text, truth=all(part.truth for part in parts), kind="all", parts=tuple(parts))


def parse_event_filter(node: Any, path: JsonPath, context: Context) -> EventFilter | None:
    """``{event: NAME, where: {...}}``; None after noting why not."""
    fields = context.mapping(node, path, "an event", ("event", "where"), required=("event",))
    return None if fields is None else read_event_filter(fields, path, context)


def read_event_filter(fields: dict[str, Any], path: JsonPath, context: Context) -> EventFilter | None:
    """The filter in the ``event`` and ``where`` of a mapping that may hold other keys too."""
    if "event" not in fields:
        return None
    name = context.text(fields["event"], (*path, "event"), "`event`")
    where = _read_where(fields.get("where", {}), (*path, "where"), context)
    return None if name is None or where is None else make_filter(fold(name), where)


def make_filter(name: str, where: list[PathChecks]) -> EventFilter:
    return EventFilter(
        name, tuple(where), tuple(event_test_of(part.path, check) for part in where for check in part.checks)
    )


def event_test_of(path: Path, check: Check) -> tuple[Callable[[Event], bool], bool]:
    return event_test(path, check.test), not check.negated


def _read_where(node: Any, path: JsonPath, context: Context) -> list[PathChecks] | None:
    if not isinstance(node, dict):
        context.problem(path, "`where` is a mapping of paths to values or operators")
        return None
    if len(node) > MAX_WHERE:
        context.problem(path, f"`where` has at most {MAX_WHERE} paths")
        return None
    parts = [_read_path_checks(key, value, (*path, str(key)), context) for key, value in node.items()]
    return [part for part in parts if part is not None] if None not in parts else None


def _read_path_checks(key: Any, value: Any, path: JsonPath, context: Context) -> PathChecks | None:
    event_path = read_path(key, path, context, parse_event_path)
    if isinstance(value, list):
        context.problem(path, "a list is no value to be equal to: write `{in: [...]}`")
        return None
    bare = not isinstance(value, dict)
    checks, _ = read_checks({"is": value} if bare else value, path, context, instants=False, bare=bare)
    return None if event_path is None or not checks else PathChecks(event_path, tuple(checks))


def read_path(
    node: Any, place: JsonPath, context: Context, parse: Callable[[str], Path] = parse_event_path
) -> Path | None:
    """The path that a text names; None after noting why not."""
    if (text := context.text(node, place, "a path")) is None:
        return None
    try:
        return parse(text)
    except ValueError as error:
        context.problem(place, str(error))
        return None


def read_checks(
    operators: dict[str, Any], path: JsonPath, context: Context, *, instants: bool, bare: bool = False
) -> tuple[list[Check], list[InstantCheck]]:
    """The operators of one node; empty lists after noting what is wrong with any of them.

    ``instants``: whether dates may be compared with now.  ``bare``: nobody wrote the ``is`` of this scalar.
    """
    words = {*OPERATORS, "ignore_case", *(INSTANT_OPERATORS if instants else ())}
    before = len(context.problems)
    ignore_case = False
    if "ignore_case" in operators:
        ignore_case = bool(context.boolean(operators["ignore_case"], (*path, "ignore_case"), "`ignore_case`"))
    checks: list[Check] = []
    dates: list[InstantCheck] = []
    for word, operand in operators.items():
        place = path if bare else (*path, str(word))
        if word in OPERATORS:
            check = parse_check(word, operand, place, context, ignore_case=ignore_case)
            checks += [check] if check else []
        elif word in INSTANT_OPERATORS and instants:
            date = parse_instant_check(word, operand, place, context)
            dates += [date] if date else []
        elif word in INSTANT_OPERATORS:
            context.problem(place, f"`{word}` is for traits only")
        elif word != "ignore_case":
            context.unknown(place, word, "the table of operators", words)
    if not checks and not dates and len(context.problems) == before:
        context.problem(path, "an operator is missing, like `is`, `in`, `gt` or `exists`")
    return (checks, dates) if len(context.problems) == before else ([], [])
