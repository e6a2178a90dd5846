"""The steps of a journey as people write them, laid out as a flat program.

A list of steps takes consecutive places; what stands inside a step (the targets of a branch, a path, a failure) is laid
out behind, and goes on where the step that holds it goes on.  A ``goto`` is only a way: when all steps are known, who
would go to it goes where it leads, and it is taken out.  Problems are noted, never raised.
"""

from collections.abc import Callable, Collection, Mapping
from typing import Any, Final

from heliograph.decide.journeys import shape, verbs, waits
from heliograph.decide.journeys.program import ANY, EXITED, FINISHED, LAST, Exit, Goto, Send, Step, moved
from heliograph.decide.journeys.verbs import Layout, Whole, append, read_filter
from heliograph.decide.parsing import Context, JsonPath, kind_of, nearest

__all__ = ["StepReader", "append", "read_filter"]

MAX_STEPS: Final = 500
"""Steps of a journey, nested ones included: ten screens of YAML."""
MAX_DEPTH: Final = 20
"""How deep steps may nest."""
LABELS: Final = -1000
"""Places from here down stand for ids that are looked up when all steps are known."""

Reader = Callable[[Layout, Any, JsonPath, Whole], Step | None]

READERS: Final[Mapping[str, Reader]] = {
    "wait": waits.read_wait,
    "window": waits.read_window,
    "send": verbs.read_send,
    "wait_until": verbs.read_wait_until,
    "branch": verbs.read_branch,
    "split": verbs.read_split,
    "update": verbs.read_update,
    "emit": verbs.read_emit,
    "webhook": verbs.read_webhook,
    "goto": verbs.read_goto,
    "exit": verbs.read_exit,
}
"""One a verb."""
BESIDE: Final[Mapping[str, tuple[str, ...]]] = {"send": ("on_failure",)}
"""What may stand beside a verb, besides ``id``."""
LATER_VERBS: Final = frozenset({"coupon"})


class StepReader:
    """Lays steps out in a flat program.  Ids are given in the order of the document.

    ``places``: id -> place in :attr:`program`; ``explicit``: the ids that are written; ``written``: id -> where in the
    document its step is, in the order of the document.
    """

    def __init__(self, context: Context, templates: Collection[str] | None) -> None:
        self.context = context
        self.templates = templates
        self.answers: Collection[str] = ()
        self.listeners: list[tuple[str, JsonPath]] = []
        self.program: tuple[Step, ...] = ()
        self.places: dict[str, int] = {}
        self.explicit: set[str] = set()
        self.written: dict[str, JsonPath] = {}
        self._steps: list[Step | None] = []
        self._paths: list[JsonPath] = []
        self._counts: dict[str, int] = {}
        self._labels: list[tuple[str, JsonPath]] = []
        self._depth = 0

    def top(self, node: Any, path: JsonPath) -> int:
        """Read all steps; the place of the first."""
        if self.context.sequence(node, path, "`steps`", most=MAX_STEPS) is None:
            return FINISHED
        self.answers = verbs.answer_names(node)
        start = self.steps(node, path, FINISHED)
        self._look_up_labels()
        self._check_messages()
        readable = [step for step in self._steps if step is not None]
        if len(readable) == len(self._steps):
            shape.judge(readable, start, self._paths, self.context)
        return self._take_out_gotos(start)

    # -- laying out --

    def steps(self, nodes: list[Any], path: JsonPath, after: int) -> int:
        """The place of the first of ``nodes``; behind the last one it goes on at ``after``."""
        if self._depth >= MAX_DEPTH or len(self._steps) + len(nodes) > MAX_STEPS:
            self.context.problem(path, f"steps nest at most {MAX_DEPTH} deep, and a journey has at most {MAX_STEPS}")
            return after
        self._depth += 1
        first = len(self._steps)
        self._steps += [None] * len(nodes)
        self._paths += [(*path, at) for at in range(len(nodes))]
        for at, node in enumerate(nodes):
            following = first + at + 1 if at + 1 < len(nodes) else after
            self._steps[first + at] = self._step(node, (*path, at), first + at, following)
        self._depth -= 1
        return first if nodes else after

    def target(self, node: Any, path: JsonPath, after: int) -> int:
        match node:
            case "continue":
                return after
            case "exit":
                return EXITED
            case list():
                return self.steps(node, path, after)
            case {"goto": step_id, **more} if not more:
                return self.label(step_id, (*path, "goto"))
        shown = repr(node) if isinstance(node, str) else kind_of(node)
        hint = nearest(node, ("continue", "exit")) if isinstance(node, str) else ""
        what = f"a target is `continue`, `exit`, `goto: ID` or a list of steps, not {shown}"
        self.context.problem(path, what, hint)
        return after

    def label(self, node: Any, path: JsonPath) -> int:
        """In place of the place of a step that may not have been read yet."""
        step_id = self.context.text(node, path, "`goto`")
        if step_id is None:
            return FINISHED
        self._labels.append((step_id, path))
        return LABELS - len(self._labels) + 1

    def _step(self, node: Any, path: JsonPath, place: int, after: int) -> Step | None:
        if not isinstance(node, dict):
            self.context.problem(path, f"a step is a mapping like `wait: PT30M`, not {kind_of(node)}")
            return None
        verb = next((key for key in node if key in READERS or key in LATER_VERBS), None)
        if verb is None:
            self._unknown_verb(node, path)
            return None
        if verb in LATER_VERBS:
            self.context.problem((*path, verb), f"`{verb}` is not in this version")
            return None
        beside = BESIDE.get(verb, ())
        others = [key for key in node if key in READERS and key != verb]
        for other in others:
            said = f"one step does one thing, and this one has a `{verb}`: put `- {other}` on a line of its own"
            self.context.problem((*path, other), said)
        self.context.mapping(node, path, f"a `{verb}` step", (verb, "id", *beside, *others))
        step_id = self._id(node, verb, path, place)
        return READERS[verb](self, node[verb], (*path, verb), Whole(step_id, after, node))

    def _unknown_verb(self, node: dict[Any, Any], path: JsonPath) -> None:
        word = next((key for key in node if key not in ("id", "on_failure")), "")
        self.context.unknown((*path, str(word)), word, "a step", READERS)

    def _id(self, node: dict[str, Any], verb: str, path: JsonPath, place: int) -> str:
        self._counts[verb] = self._counts.get(verb, 0) + 1
        default = f"send-{node[verb]}" if verb == "send" else f"{verb}-{self._counts[verb]}"
        step_id = self.context.text(node.get("id", default), (*path, "id"), "`id`") or default
        if step_id in self.places:
            self.context.problem((*path, "id"), f"two steps have the id {step_id!r}: give one of them an `id`")
        if step_id in (LAST, ANY):
            self.context.problem((*path, "id"), f"{step_id!r} cannot be an id")
        if "id" in node:
            self.explicit.add(step_id)
        self.places[step_id] = place
        self.written[step_id] = path
        return step_id

    # -- when all steps are known --

    def _look_up_labels(self) -> None:
        found = [self._of_label(step_id, path) for step_id, path in self._labels]
        self._steps = [
            moved(step, lambda place: found[LABELS - place] if place <= LABELS else place) if step else None
            for step in self._steps
        ]

    def _of_label(self, step_id: str, path: JsonPath) -> int:
        if step_id not in self.places:
            what = f"no step has the id {step_id!r}"
            self.context.problem(path, what, nearest(step_id, self.places))
        return self.places.get(step_id, FINISHED)

    def _check_messages(self) -> None:
        sends = [step.id for step in self._steps if isinstance(step, Send)]
        for message, path in self.listeners:
            if message != ANY and message not in sends:
                what = f"`message` is `any` or the id of a `send` step; there is none called {message!r}"
                self.context.problem(path, what, nearest(message, [ANY, *sends]))

    def _take_out_gotos(self, start: int) -> int:
        """The program; a step that could not be read is an exit (there is a problem then, and it never runs)."""
        steps = [step or Exit("") for step in self._steps]
        numbers: dict[int, int] = {}
        for at, step in enumerate(steps):
            if not isinstance(step, Goto):
                numbers[at] = len(numbers)

        def real(place: int) -> int:
            for _ in steps:
                step = steps[place] if place >= 0 else None
                if not isinstance(step, Goto):
                    break
                place = step.next
            return numbers.get(place, FINISHED) if place >= 0 else place

        self.program = tuple(moved(steps[at], real) for at in numbers)
        self.places = {step_id: numbers[at] for step_id, at in self.places.items() if at in numbers}
        self.explicit &= self.places.keys()
        return real(start)
