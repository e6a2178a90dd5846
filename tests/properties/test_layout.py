"""The flat program does what the nested document says: a run passes the steps that a reader with a finger would."""

from typing import Any

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from heliograph.decide import PlanErrors, compile_plan
from heliograph.decide.journeys.program import EXITED, Goto, successors
from tests.decide.driver import DAY, World, journey, plan_document

TRAITS = ("x", "y")
IDS = [f"s{n}" for n in range(12)]
GOTOS = st.sampled_from(IDS).map(lambda step_id: {"goto": step_id})


def steps_of(targets: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Lists of steps whose inner targets are these; ids come later."""
    asks = st.sampled_from(TRAITS).map(lambda name: {"trait": {"path": name, "is": True}})
    branch = st.tuples(st.lists(st.tuples(asks, targets), min_size=1, max_size=2), targets).map(
        lambda drawn: {"branch": [*({"if": ask, "then": then} for ask, then in drawn[0]), {"else": drawn[1]}]}
    )
    split = targets.map(lambda then: {"split": {"arms": {"only": {"weight": 1, "then": then}}}})
    until = st.tuples(asks, targets, targets).map(
        lambda drawn: {"wait_until": {"any": [{"if": drawn[0], "then": drawn[1]}], "timeout": "P1D", "else": drawn[2]}}
    )
    wait = st.just({"wait": "P1D"})
    return st.lists(wait | wait | branch | split | until | GOTOS | st.just({"exit": True}), min_size=1, max_size=3)


LEAVES = st.sampled_from(["continue", "exit"]) | GOTOS
DOCUMENTS = st.recursive(steps_of(LEAVES), lambda inner: steps_of(LEAVES | inner), max_leaves=6)


def named(node: Any, names: Any) -> Any:
    """The same document with an id for each step, in its order."""
    if isinstance(node, list) and all(isinstance(one, dict) and "if" not in one and "else" not in one for one in node):
        return [{**{verb: named(said, names) for verb, said in step.items()}, "id": next(names)} for step in node]
    if isinstance(node, list):
        return [named(one, names) for one in node]
    return {key: named(value, names) for key, value in node.items()} if isinstance(node, dict) else node


class Finger:
    """Reads the document as it stands: after the last step of a list, on behind the step that holds it."""

    def __init__(self, document: list[Any], traits: dict[str, bool]) -> None:
        self.traits, self.behind, self.steps = traits, {}, {}
        self.first = self.lay(document, None)

    def lay(self, steps: Any, after: str | None) -> str | None:
        if not isinstance(steps, list):
            return after if steps == "continue" else "!" if steps == "exit" else steps["goto"]
        ids = [step["id"] for step in steps]
        for step, following in zip(steps, [*ids[1:], after], strict=True):
            self.steps[step["id"]], self.behind[step["id"]] = step, following
            match step:
                case {"branch": arms}:
                    step["to"] = [self.lay(arm.get("then", arm.get("else")), following) for arm in arms]
                case {"split": {"arms": {"only": arm}}}:
                    step["to"] = self.lay(arm["then"], following)
                case {"wait_until": {"any": [path], "else": otherwise}}:
                    step["to"] = [self.lay(path["then"], following), self.lay(otherwise, following)]
        return ids[0] if ids else after

    def holds(self, condition: Any) -> bool:
        return self.traits[condition["trait"]["path"]]

    def rest(self, at: str | None, moved: bool) -> str | None:
        """Where somebody sent to ``at`` comes to rest, None when the run ends.  ``moved``: a wait there is over."""
        for _ in range(64):
            if at in (None, "!"):
                return None
            step = self.steps[at]
            match step:
                case {"wait": _}:
                    if not moved:
                        return at
                    at, moved = self.behind[at], False
                case {"wait_until": {"any": [path]}}:
                    if not self.holds(path["if"]) and not moved:
                        return at
                    at, moved = step["to"][0 if self.holds(path["if"]) else 1], False
                case {"branch": arms}:
                    true = (place for place, arm in enumerate(arms) if "else" in arm or self.holds(arm["if"]))
                    at = step["to"][next(true)]
                case {"split": _}:
                    at = step["to"]
                case {"goto": to}:
                    at = to
                case {"exit": _}:
                    return None
        return None


@settings(max_examples=200, deadline=None)
@given(DOCUMENTS, st.tuples(st.booleans(), st.booleans()))
def test_a_run_passes_the_steps_that_the_document_says(drawn: Any, flags: tuple[bool, bool]) -> None:
    names = iter(IDS)
    try:
        document = named(drawn, names)
    except (RuntimeError, StopIteration):
        assume(False)
    traits = dict(zip(TRAITS, flags, strict=True))
    try:
        compiled = compile_plan(plan_document([journey(steps=document)]), 1).journeys["j"]
    except PlanErrors:
        assume(False)  # it leads to a step that is not there, or goes round for ever
    for step in compiled.program:
        assert not isinstance(step, Goto)
        assert all(EXITED <= place < len(compiled.program) for place in successors(step))
    world = World(plan_document([journey(steps=document)]))
    world.identify(traits=traits)
    world.track("Start")
    finger = Finger(document, traits)
    at = finger.rest(finger.first, False)
    for _ in range(8):
        assert [step for _, step in world.runs()] == ([at] if at is not None else [])
        if at is None:
            break
        world.advance(DAY)
        at = finger.rest(at, True)
