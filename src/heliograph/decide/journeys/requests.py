"""``webhook``: a request to somebody else's server, and the run that waits for what it comes to.

``step`` only says what is to be asked (:class:`~heliograph.decide.effects.CallWebhook`) and parks the run; the runtime
tries until somebody answers or ``give_up_at``, and the :class:`~heliograph.events.record.Answer` moves the run on.  A
timer a little behind that is the safety net: no run waits for ever.
"""

from typing import Any, Final
from urllib.parse import quote

import msgspec

from heliograph.decide import bounds
from heliograph.decide.context import words
from heliograph.decide.effects import CallWebhook
from heliograph.decide.journeys.clocks import step_fact, wait_timer
from heliograph.decide.journeys.hops import MAX_TOLD, count
from heliograph.decide.journeys.program import Journey, Webhook
from heliograph.decide.journeys.values import MISSING, depth, fill, fill_text
from heliograph.decide.state import Run, set_timer, size_of
from heliograph.decide.times import MINUTE
from heliograph.decide.turn import Turn
from heliograph.events.ids import make_id
from heliograph.events.limits import MAX_DEPTH, MAX_EVENT_BYTES
from heliograph.events.record import Answer

MAX_DATA: Final = 16 * 1024
"""Encoded answers that one run keeps."""
NET_MS: Final = MINUTE
"""How long after a request was given up its run still waits for word of that."""


def enter_webhook(turn: Turn, run: Run, _journey: Journey, step: Webhook) -> int | None:
    missing: list[str] = []
    scope = words(turn.state, turn.plan, run)
    url = fill_text(step.url, scope, missing, _escape)
    body = _body(step, scope, missing)
    if missing:
        step_fact(turn, run, "missing", paths=sorted(set(missing))[:MAX_TOLD])
    if url is MISSING or body is MISSING:
        return _fail(turn, run, step, f"missing: {missing[0]}")
    if len(step.url.parts) > 1 and _climbs(url):
        return _fail(turn, run, step, "unsafe_url")
    if len(body) > MAX_EVENT_BYTES:
        return _fail(turn, run, step, "too_large")
    run.awaits = make_id("request", run.run_id, step.id, count(run, step.id))
    now = max(turn.t, turn.record.received_at)  # a timer may be late: the network has all its time from now on
    give_up_at = now + step.within_ms
    turn.emit(
        CallWebhook(
            request_id=run.awaits,
            run_id=run.run_id,
            journey=run.journey,
            step_id=step.id,
            url=url,
            method=step.method,
            body=body,
            timeout_ms=step.timeout_ms,
            give_up_at=give_up_at,
        )
    )
    set_timer(turn.state, wait_timer(run), give_up_at + NET_MS)
    step_fact(turn, run, "calling", request_id=run.awaits, until=give_up_at)
    return None


def _escape(text: str) -> str:
    return quote(text, safe="")


def _climbs(url: str) -> bool:
    """A part of the path is ``.`` or ``..``: everybody on the way removes it, with the part before it, and the request
    goes to an address that nobody wrote.  Escaping does not help: ``%2E`` is the same character (RFC 3986, 6.2.2)."""
    path = url.partition("?")[0].partition("#")[0]
    return any(part in (".", "..") for part in path.split("/"))


def _body(step: Webhook, scope: dict[str, Any], missing: list[str]) -> Any:
    """JSON, :data:`MISSING` when that is one value which is not there."""
    if step.json is None:
        return b""
    body = fill(step.json, scope, missing)
    return body if body is MISSING else msgspec.json.encode(body)


def _fail(turn: Turn, run: Run, step: Webhook, reason: str) -> int:
    step_fact(turn, run, "failed", reason=reason)
    return step.otherwise


def answered(turn: Turn, answer: Answer) -> list[tuple[Run, int]]:
    """The run that waited for this answer and where it goes on."""
    awaited = (run for run in turn.state.runs.values() if run.awaits and run.awaits == answer.request_id)
    run = next(awaited, None)
    journey = turn.journey(run) if run is not None else None
    step = journey.step(run.step) if journey is not None and run is not None else None
    names = {"journey": run.journey, "run_id": run.run_id, "step_id": run.step} if run is not None else {}
    said = {"ok": answer.ok, "status": answer.status, "reason": answer.reason[:200]}
    turn.fact("webhook_answered", request_id=answer.request_id, **said, **names)
    if run is None or not isinstance(step, Webhook):
        return []
    run.awaits = ""
    if not answer.ok:
        return [(run, _fail(turn, run, step, answer.reason[:200] or f"status {answer.status}"))]
    if not _keep(turn, run, step, answer.body):
        return [(run, _fail(turn, run, step, "answer_too_large"))]
    step_fact(turn, run, "answered", status=answer.status)
    return [(run, step.next)]


def _keep(turn: Turn, run: Run, step: Webhook, body: Any) -> bool:
    """Keep what was answered; False when there is no room for it."""
    if not step.name or body is None:
        return True
    size = size_of(body) + len(step.name)
    others = sum(size_of(value) for name, value in run.data.items() if name != step.name)
    if others + size > MAX_DATA or depth(body) > MAX_DEPTH or not bounds.room(turn, size):
        turn.fact("cut", what="answer", limit=MAX_DATA)
        return False
    run.data[step.name] = body
    return True
