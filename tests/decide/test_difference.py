"""What `plan` says about the steps of an edited journey."""

from typing import Any

import pytest

from heliograph import decide
from heliograph.decide.journeys.difference import parts_changed, steps_changed
from tests.decide.driver import journey, plan_document
from tests.decide.test_edits import EDITS, LINE


def compiled(steps: list[dict[str, Any]], **parts: Any) -> Any:
    return decide.compile_plan(plan_document([journey(steps=steps, **parts)]), 1).journeys["j"]


@pytest.mark.parametrize(
    ("edit", "told"),
    [
        ("insert", [("new", "inserted")]),
        ("delete", [("here", "deleted")]),
        ("shorten", [("here", "changed")]),
        ("rename", [("pause", "inserted"), ("c", "changed"), ("here", "deleted")]),
        ("branch", [("fork", "changed")]),
        ("weights", [("lot", "changed")]),
    ],
)
def test_each_edit_is_told_by_the_steps_it_touches(edit: str, told: list[tuple[str, str]]) -> None:
    old, new = EDITS[edit]
    assert steps_changed(compiled(old), compiled(new)) == told


def test_steps_that_changed_places_are_told_and_those_around_them_are_not() -> None:
    told = steps_changed(compiled(LINE), compiled(EDITS["reorder"][1]))
    assert {what for _, what in told} == {"reordered"} and {"before", "a", "here"}.isdisjoint(dict(told))


def test_a_step_inside_another_one_is_a_step_of_its_own() -> None:
    def fork(*inside: dict[str, Any]) -> list[dict[str, Any]]:
        return [{"branch": [{"if": {"everyone": True}, "then": list(inside)}], "id": "fork"}]

    old, new = compiled(fork({"send": "a"})), compiled(fork({"send": "a"}, {"wait": "PT1H", "id": "pause"}))
    assert steps_changed(old, new) == [("pause", "inserted")]


def test_other_parts_are_named() -> None:
    goal = {"event": "Order Completed", "within": "P3D"}
    assert parts_changed(compiled(LINE), compiled(LINE, goal=goal, on_edit="follow")) == ["goal", "on_edit"]
    assert steps_changed(compiled(LINE), compiled(LINE, goal=goal)) == []
