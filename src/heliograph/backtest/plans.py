"""The plans of one backtest: the draft within the published plan, and that plan as it is.

Each comes twice.  The *warm* one decides what came before the window: it knows the same conditions, because its
journeys stand among the pinned ones, which nobody enters any more.  Then, at the beginning of the window, comes what a
publish does: the same parts with the next version, so that everybody is reconciled with it in silence.
"""

from typing import Any, Final

import msgspec

from heliograph import decide
from heliograph.runtime.publishing import completed, sends

Document = dict[str, Any]

UNKNOWN_TEMPLATE: Final[dict[str, Any]] = {
    "version": "draft", "subject": "", "preheader": "", "html": "", "text": "", "sender": "default",
    "class": "marketing", "freshness_ms": None, "on_unknown": "hold", "last": [], "paths": [],
}  # fmt: skip
"""What stands for a template that the published plan does not have: marketing, always fresh, needs nothing."""


class Draft(msgspec.Struct, frozen=True):
    """A journey as written, by its name."""

    name: str
    journey: Document


class Lane(msgspec.Struct, frozen=True):
    """One side of a comparison: the plan before the window and the plan within."""

    warm: decide.Plan
    plan: decide.Plan


class Plans(msgspec.Struct, frozen=True):
    """``live`` is None when the published plan has no journey of the draft's name.  ``assumed``: templates that it
    does not have."""

    name: str
    base: int
    draft: Lane
    live: Lane | None
    assumed: tuple[str, ...]

    @property
    def unchanged(self) -> bool:
        """The draft is the published version."""
        version = self.draft.plan.journeys[self.name].version
        return self.live is not None and self.live.plan.journeys[self.name].version == version


def compile_plans(published: Document, version: int, draft: Draft) -> Plans:
    """``published`` has this ``version``; :class:`~heliograph.decide.PlanErrors` when the draft does not fit it."""
    written = decide.as_written(published)
    document, assumed = with_draft(written, draft)
    live = _lane(written, version) if draft.name in written.get("journeys", {}) else None
    return Plans(draft.name, version, _lane(document, version), live, assumed)


def with_draft(published: Document, draft: Draft) -> tuple[Document, tuple[str, ...]]:
    """The published document with the draft in it, and the templates that had to be assumed."""
    templates = published.get("templates", {})
    assumed = sorted({name for name in sends(draft.journey) if name not in templates})
    document = {
        **published,
        "journeys": {**published.get("journeys", {}), draft.name: draft.journey},
        "templates": {**templates, **{name: {**UNKNOWN_TEMPLATE, "name": name} for name in assumed}},
    }
    return document, tuple(assumed)


def _lane(document: Document, version: int) -> Lane:
    journeys = document.get("journeys", {})
    pinned = {f"{name}@{decide.journey_version(text)}": text for name, text in journeys.items()}
    plan = decide.compile_plan(document, version + 1)
    return Lane(decide.compile_plan({**document, "journeys": {}, "pinned": pinned}, version), plan)


def beside(published: Document, version: int, draft: Draft) -> tuple[decide.Plan, decide.Plan]:
    """The plan in force, and the one that publishing the draft on top of it would give: people are where they are, and
    what the draft asks for the first time is fresh."""
    live = decide.compile_plan(published, version)
    document, _ = with_draft(decide.as_written(published), draft)
    under_way = {tuple(label.rpartition("@")[::2]) for label in published.get("pinned", {})}
    plan = decide.compile_plan(completed(document, published, under_way), version + 1)
    return live, plan.marked(decide.marks_after(plan, live, 0))
