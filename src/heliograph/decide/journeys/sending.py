"""The step ``send``: a message is decided, or not, with the reason."""

from typing import Any

from heliograph.decide import consent, members
from heliograph.decide.effects import DecideMessage
from heliograph.decide.journeys.program import Journey, Send
from heliograph.decide.state import Run
from heliograph.decide.turn import Mode, Turn
from heliograph.events.ids import make_id


def visit(run: Run, step_id: str) -> int:
    """Count another visit of a step that sends, from 1."""
    count = run.visits.get(step_id, int(step_id in run.messages)) + 1
    if count > 1:
        run.visits[step_id] = count
    return count


def enter_send(turn: Turn, run: Run, journey: Journey, step: Send) -> int | None:
    template = turn.plan.templates.get(step.template)
    transactional = template is not None and template.get("class") == "transactional"
    reason = consent.refusal(turn.person, journey.topic, transactional=transactional)
    if template is None:
        reason = f"no_template: {step.template}"
    run.message_id = make_id("message", run.run_id, step.id, visit(run, step.id))
    run.messages[step.id] = run.message_id
    freshness = (template or {}).get("freshness_ms")
    turn.emit(
        DecideMessage(
            message_id=run.message_id,
            run_id=run.run_id,
            journey=run.journey,
            journey_version=run.version,
            step_id=step.id,
            template=step.template,
            topic=None if transactional else journey.topic,
            transactional=transactional,
            address=turn.state.address,
            created_at=turn.t,
            status="skipped" if reason else "queued",
            reason=reason,
            not_after=turn.t + freshness if isinstance(freshness, int) else 0,
        )
    )
    if reason:
        return _skip(turn, run, step, reason)
    run.sending = True
    turn.fact("message_decided", **_mail(run, step))
    return None


def _skip(turn: Turn, run: Run, step: Send, reason: str) -> int:
    """No mail, decided here: an outcome at once."""
    about = {**_mail(run, step), "reason": reason}
    turn.fact("message_skipped", **about)
    members.product_event(turn, "Email Skipped", about, turn.t, Mode.ACT, run.message_id)
    return step.on_failure


def _mail(run: Run, step: Send) -> dict[str, Any]:
    return {
        "message_id": run.message_id,
        "journey": run.journey,
        "run_id": run.run_id,
        "step_id": step.id,
        "template": step.template,
    }
