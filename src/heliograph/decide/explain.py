"""Why something did or did not happen."""

from collections.abc import Sequence
from typing import Any

from heliograph.decide.plan import Plan
from heliograph.decide.state import State

Journal = Sequence[tuple[int, str, dict[str, Any]]]


def explain_journey(state: State | None, plan: Plan, journey: str, now: int, journal: Journal = ()) -> dict[str, Any]:
    return {"journey": journey, "sentence": ""}


def explain_template(state: State | None, plan: Plan, template: str, now: int, journal: Journal = ()) -> dict[str, Any]:
    return {"template": template, "sentence": ""}
