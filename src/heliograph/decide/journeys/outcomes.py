"""What became of a message: a fact, one of the product's own events, and the end of the parking of a ``send``."""

from typing import Final

from heliograph.decide import members, pressure
from heliograph.decide.broadcasts import broadcast_of
from heliograph.decide.effects import CancelMessage
from heliograph.decide.journeys import runs, sending
from heliograph.decide.journeys.program import Send
from heliograph.decide.state import Ended, Run
from heliograph.decide.turn import Mode, Turn
from heliograph.events.record import Outcome

FIRST_OUTCOMES: Final = frozenset({"sent", "skipped", "bounced", "expired", "cancelled", "unknown"})
"""What ends the parking of a ``send``."""
FAILURES: Final = frozenset({"skipped", "bounced", "expired"})
"""Outcomes that take ``on_failure``."""
UNSENT: Final = frozenset({"skipped", "expired", "cancelled"})
"""Nothing of it ever left: whose broadcast ends so is none of those who got it."""
STALE: Final = "stale"
"""The property of an outcome that says what of the mail was not the newest when it was rendered: name -> seconds."""
OUTCOME_EVENTS: Final = {
    "sent": "Email Sent",
    "delivered": "Email Delivered",
    "opened": "Email Opened",
    "clicked": "Email Clicked",
    "bounced": "Email Bounced",
    "complained": "Email Complained",
    "unsubscribed": "Email Unsubscribed",
    "skipped": "Email Skipped",
}


def take_outcome(turn: Turn, outcome: Outcome) -> list[tuple[Run, int]]:
    """Note what became of a message; the run that waited for it and where it goes on."""
    found = _of_message(turn, outcome.message_id)
    names = {"message_id": outcome.message_id, **_names(turn, found, outcome.message_id)}
    fact = {**names, "kind": outcome.kind, "reason": outcome.reason}
    stale = {STALE: outcome.properties[STALE]} if STALE in outcome.properties else {}
    turn.fact("message_outcome", **fact, **({"machine": True} if outcome.machine else {}), **stale)
    if outcome.machine:
        return []
    at = min(outcome.at, turn.t)
    pressure.settle(turn, outcome.message_id, outcome.kind, at)
    if outcome.kind in UNSENT and found is not None and broadcast_of(found.journey):
        members.leave_broadcast(turn, found.journey)
    if outcome.kind == "missed":
        run = found if isinstance(found, Run) else None
        return sending.missed(turn, run, outcome.message_id, outcome.at, outcome.reason)
    if (name := OUTCOME_EVENTS.get(outcome.kind)) is not None:
        properties = {**outcome.properties, **names, "reason": outcome.reason}
        members.product_event(turn, name, properties, at, Mode.ACT, outcome.message_id)
    if not isinstance(found, Run) or not found.sending or found.message_id != outcome.message_id:
        return []
    if outcome.kind not in FIRST_OUTCOMES:
        return []
    found.sending = False
    if found.planned_at:  # heard of an earlier copy: there is nothing left to decide again
        found.planned_at = 0
        pressure.leave(turn, found.message_id)
        turn.emit(CancelMessage(found.message_id, outcome.kind, turn.t))
    journey = turn.journey(found)
    step = journey.step(found.step) if journey is not None else None
    if not isinstance(step, Send):
        runs.end(turn, found, runs.gone(found))
        return []
    runs.step_fact(turn, found, outcome.kind)
    return [(found, step.on_failure if outcome.kind in FAILURES else step.next)]


def _of_message(turn: Turn, message_id: str) -> Run | Ended | None:
    return next((run for run in runs.known(turn) if runs.step_of(run, message_id) is not None), None)


def _names(turn: Turn, run: Run | Ended | None, message_id: str) -> dict[str, str]:
    if run is None:
        return {}
    step_id = runs.step_of(run, message_id) or ""
    journey = turn.plan.all_journeys.get((run.journey, run.version))
    step = journey.step(step_id) if journey is not None else None
    template = step.template if isinstance(step, Send) else ""
    return {"journey": run.journey, "run_id": run.run_id, "step_id": step_id, "template": template}
