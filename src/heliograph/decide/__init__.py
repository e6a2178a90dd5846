"""THE BRAIN: ``step(state, record, plan) -> (state', effects)``, pure, total, deterministic.

How to read this package.  ``step`` is the order of one decision; ``state`` all that is remembered of a person and its
encoding; ``plan`` everything published, compiled, with its indexes; ``effects`` what a decision asks of the world.
A decision passes through ``people`` (identity, traits, ``merge``), ``consent``, ``conditions`` and ``segments`` (the
language), ``members`` (memberships) and ``journeys`` (entries, runs, steps, messages).  ``fresh`` says what a publish
made new and for whom it still lacks its past.  ``expiry`` forgets visitors who never came back, ``bounds`` keeps one
blob within 256 KB.
``context`` is what templates see, ``explain`` why something did or did not happen.

Absences: no clock, no random number, no I/O, no log line, no driver.
"""

from heliograph.decide.context import profile_view, render_context
from heliograph.decide.document import as_written
from heliograph.decide.expiry import IDLE_MS, is_idle
from heliograph.decide.explain import explain_journey
from heliograph.decide.explain_templates import explain_template
from heliograph.decide.fresh import Folding, asks_fresh, marks_after
from heliograph.decide.journeys.compile import journey_version
from heliograph.decide.journeys.outcomes import OUTCOME_EVENTS
from heliograph.decide.members import product_id
from heliograph.decide.offers import HELD_OUT, was_offered
from heliograph.decide.parsing import Problem
from heliograph.decide.plan import Plan, PlanErrors, compile_plan, templates_of
from heliograph.decide.pressure import next_quiet
from heliograph.decide.state import State, StateTooNew, deadline, decode_state, encode_state, is_blank, new_state
from heliograph.decide.step import step
from heliograph.decide.turn import Person

__all__ = [  # noqa: RUF022 - a table of contents
    # deciding
    "step", "deadline", "Folding", "OUTCOME_EVENTS", "product_id",
    # states
    "Person", "State", "StateTooNew", "new_state", "encode_state", "decode_state", "is_blank", "is_idle", "IDLE_MS",
    # plans
    "Plan", "PlanErrors", "Problem", "compile_plan", "as_written", "marks_after", "journey_version", "templates_of",
    # broadcasts
    "HELD_OUT", "was_offered", "asks_fresh",
    # reading
    "render_context", "profile_view", "next_quiet", "explain_journey", "explain_template",
]  # fmt: skip
