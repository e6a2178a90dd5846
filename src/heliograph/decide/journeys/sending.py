"""The step ``send``: a message is decided, held back or not sent, with the reason.

::

    enter_send -> refused             -> skipped
               -> arbitrating         -> deferred until the candidates are compared
               -> no place now        -> deferred until there is one, or skipped when that is too late
               -> queued              -> the mailers have it; parked until an outcome
    again      -> the same questions once more, and whether the journey's `if` still holds

A message that is held back lives in its run (``planned_at``) and holds its slot; :func:`due` finds those whose instant
has come, the best first, and :func:`move_up` lets the others take what became free.
"""

from collections.abc import Collection
from typing import Any, Final

import msgspec

from heliograph.decide import consent, members, pressure
from heliograph.decide.broadcasts import broadcast_of
from heliograph.decide.broadcasts import run_id as broadcast_run_id
from heliograph.decide.effects import CancelMessage, DecideMessage
from heliograph.decide.journeys import runs
from heliograph.decide.journeys.program import Journey, Send
from heliograph.decide.state import Run
from heliograph.decide.times import DAY, MINUTE, SECOND
from heliograph.decide.turn import Mode, Turn
from heliograph.events.ids import make_id

LONGEST_RETRY: Final = DAY
"""How far ahead a mailer, whose clock is its own, may put the next attempt."""
TO_CANCEL: Final = SECOND
"""How long a message that found no place waits for the word whether another one was cancelled in time."""
MAX_AT_ONCE: Final = 20
"""How often a run may come to one ``send`` beyond once a minute: what a loop that never rests can do to somebody."""


class Mail(msgspec.Struct, frozen=True):
    """The open message of a run."""

    run: Run
    journey: Journey
    step: Send
    template: dict[str, Any]

    @property
    def transactional(self) -> bool:
        return self.template.get("class") == "transactional"

    @property
    def stale_at(self) -> int:
        """From this instant on it is not worth sending, counted from when it was first decided; 0: never."""
        freshness = self.template.get("freshness_ms")
        return self.run.decided_at + freshness if isinstance(freshness, int) else 0

    @property
    def names(self) -> dict[str, Any]:
        return {
            "message_id": self.run.message_id,
            "journey": self.run.journey,
            "run_id": self.run.run_id,
            "step_id": self.step.id,
            "template": self.step.template,
        }


def visit(run: Run, step_id: str) -> int:
    """Count another visit of a step that sends, from 1."""
    count = run.visits.get(step_id, int(step_id in run.messages)) + 1
    if count > 1:
        run.visits[step_id] = count
    return count


def enter_send(turn: Turn, run: Run, journey: Journey, step: Send) -> int | None:
    count = visit(run, step.id)
    minutes = (turn.t - run.entered_at) * turn.plan.time_scale / MINUTE
    if count > MAX_AT_ONCE + minutes:
        turn.fact("cut", what="mails", limit=MAX_AT_ONCE)
        runs.end(turn, run, "loop_cut")
        return None
    run.message_id = _message_id(turn, run, step.id, count)
    run.messages[step.id] = run.message_id
    run.decided_at, run.ready_at = turn.t, 0
    mail = Mail(run, journey, step, turn.plan.templates.get(step.template) or {})
    if reason := _refusal(turn, mail):
        return _skip(turn, mail, reason)
    if (until := _arbitration(turn, mail)) > turn.t:
        return _hold(turn, mail, until, "arbitrating", with_slot=False)
    return _place(turn, mail)


def _message_id(turn: Turn, run: Run, step_id: str, count: int) -> str:
    """Of a broadcast it follows from the present address: one address gets one, whoever holds it, since whenever."""
    owner = run.run_id
    if broadcast_of(run.journey) and turn.state.address:
        owner = broadcast_run_id(run.journey, turn.state.address)
    return make_id("message", owner, step_id, count)


def again(turn: Turn, run: Run, why: str = "", before: Collection[str] = ()) -> list[tuple[Run, int]]:
    """Decide the open message of this run once more; the run when it may go on.

    ``why``: what a mailer said of it.  ``before``: messages whose places it need not mind.
    """
    run.planned_at = 0
    mail = _open_mail(turn, run)
    if mail is None:
        runs.end(turn, run, runs.gone(run))
        return []
    _readdress(turn, mail)
    asked = mail.journey.entry.condition
    reason = _refusal(turn, mail)
    if not reason and asked is not None and not asked.truth(turn.person, turn.t):
        reason = "if_false"
    following = _skip(turn, mail, reason) if reason else _place(turn, mail, why, before)
    return [] if following is None else [(run, following)]


def _open_mail(turn: Turn, run: Run) -> Mail | None:
    """None when its step is no longer there."""
    journey = turn.journey(run)
    step = journey.step(run.step) if journey is not None else None
    if journey is None or not isinstance(step, Send):
        return None
    return Mail(run, journey, step, turn.plan.templates.get(step.template) or {})


def _refusal(turn: Turn, mail: Mail) -> str:
    if not mail.template:
        return f"no_template: {mail.step.template}"
    return consent.refusal(turn.person, mail.journey.topic, transactional=mail.transactional)


def _readdress(turn: Turn, mail: Mail) -> None:
    """A broadcast was put off for one address, and the person has another one now: that one gets it instead, once,
    whoever holds it."""
    run, step_id = mail.run, mail.step.id
    if not broadcast_of(run.journey) or not turn.state.address:
        return
    if run.message_id != (present := _message_id(turn, run, step_id, 1)):
        pressure.vacate(turn, run.message_id)
        turn.emit(CancelMessage(run.message_id, "address_changed", turn.t))
        run.message_id = run.messages[step_id] = present


def _arbitration(turn: Turn, mail: Mail) -> int:
    """When the candidates of this moment are compared; the first one opens the window, 0 without any."""
    policies, state = turn.plan.policies, turn.state
    if not policies.arbitrate_ms or mail.transactional or not policies.caps_on(mail.journey.topic):
        return 0
    if state.compare_at <= turn.t:
        state.compare_at = turn.t + policies.arbitrate_ms
    return state.compare_at


def _place(turn: Turn, mail: Mail, why: str = "", before: Collection[str] = ()) -> int | None:
    """Queue it, or hold it back until it has a place."""
    earliest = max(turn.t, mail.run.ready_at)
    if mail.transactional:
        return _hold(turn, mail, earliest, "", why) if earliest > turn.t else _queue(turn, mail, why)
    topic, run = mail.journey.topic, mail.run
    place = pressure.place(turn, topic, run.message_id, run.decided_at, earliest, before=before)
    if place.refused and _cancelling(turn):
        now = max(turn.t, turn.record.received_at)  # a timer may be late: nothing comes of the word before this record
        return _hold(turn, mail, now + TO_CANCEL, place.reason, with_slot=False)
    if place.refused:
        return _skip(turn, mail, place.reason, until=place.at, held_by=place.held_by)
    if place.at > turn.t:
        return _hold(turn, mail, place.at, place.reason, why)
    return _queue(turn, mail, why)


def _cancelling(turn: Turn) -> bool:
    """Whether this very record cancels a message that holds a place: it may be free in a moment."""
    cancelled = {one.message_id for one in turn.effects if isinstance(one, CancelMessage)}
    return any(not slot.sent and slot.message_id in cancelled for slot in turn.state.slots)


# -- what comes of it --


def _queue(turn: Turn, mail: Mail, why: str) -> int | None:
    if mail.stale_at and turn.t >= mail.stale_at:
        return _expire(turn, mail, why)
    bounds = [mail.stale_at]
    if not mail.transactional:
        pressure.take(turn, mail.journey.topic, mail.run.message_id, turn.t)
        bounds.append(pressure.quiet_from(turn, turn.t))
    mail.run.sending, mail.run.planned_at = True, 0
    if broadcast_of(mail.run.journey):
        members.join_broadcast(turn, mail.run.journey)
    _decide(turn, mail, "queued", not_after=min((at for at in bounds if at), default=0))
    turn.fact("message_decided", **mail.names)
    return None


def _hold(turn: Turn, mail: Mail, until: int, reason: str, why: str = "", *, with_slot: bool = True) -> int | None:
    """Until then it lives in its run; its slot keeps its place, where it is known already."""
    if mail.stale_at and until >= mail.stale_at:
        return _expire(turn, mail, why, until=until, because=reason)
    run, reason = mail.run, reason or why
    if with_slot and not mail.transactional:
        pressure.take(turn, mail.journey.topic, run.message_id, until)
    run.sending, run.planned_at = True, until
    pressure.wind(turn.state)
    _decide(turn, mail, "deferred", reason, not_before=until)
    turn.fact("message_deferred", **mail.names, until=until, reason=reason)
    return None


def _skip(turn: Turn, mail: Mail, reason: str, **more: Any) -> int:
    """No mail, decided here: an outcome at once."""
    about = {**mail.names, "reason": reason}
    _close(turn, mail, "skipped", reason)
    turn.fact("message_skipped", **about, **more)
    members.product_event(turn, "Email Skipped", about, turn.t, Mode.ACT, mail.run.message_id)
    return mail.step.on_failure


def _expire(turn: Turn, mail: Mail, why: str, **more: Any) -> int:
    """It is stale, or would be by the time it may go."""
    reason = f"stale: {why}" if why else "stale"
    _close(turn, mail, "expired", reason)
    turn.fact("message_outcome", **mail.names, kind="expired", reason=reason, **more)
    return mail.step.on_failure


def _close(turn: Turn, mail: Mail, status: str, reason: str) -> None:
    pressure.vacate(turn, mail.run.message_id)
    mail.run.sending, mail.run.planned_at = False, 0
    _decide(turn, mail, status, reason)


def _decide(turn: Turn, mail: Mail, status: str, reason: str = "", *, not_before: int = 0, not_after: int = 0) -> None:
    run = mail.run
    turn.emit(
        DecideMessage(
            message_id=run.message_id,
            run_id=run.run_id,
            journey=run.journey,
            journey_version=run.version,
            step_id=mail.step.id,
            template=mail.step.template,
            topic=None if mail.transactional else mail.journey.topic,
            transactional=mail.transactional,
            address=turn.state.address,
            created_at=run.decided_at,
            status=status,
            reason=reason,
            not_before=not_before,
            not_after=not_after,
        )
    )


# -- messages that wait --


def due(turn: Turn) -> list[Run]:
    """The runs whose message is to be decided now, by priority, then as they came.  Their places are open to the best
    of them: none is in the way of another."""
    found = [run for run in pressure.waiting(turn.state) if run.planned_at <= turn.t]
    found.sort(key=lambda run: (-turn.priority(run), run.decided_at, run.message_id))
    for run in found:
        run.planned_at = 0
        pressure.vacate(turn, run.message_id)
    pressure.wind(turn.state)
    turn.freed = True
    return found


def move_up(turn: Turn) -> None:
    """Slots were given back: whoever waits for one takes an earlier place if there is one, in the order of the plans.
    Nobody moves back."""
    turn.freed = False
    runs_waiting = [run for run in pressure.waiting(turn.state) if run.planned_at > turn.t]
    runs_waiting.sort(key=lambda run: (run.planned_at, -turn.priority(run), run.decided_at, run.message_id))
    for run in runs_waiting:
        mail = _open_mail(turn, run)
        if mail is not None and not mail.transactional and not _compared_later(turn, mail):
            _move_up(turn, mail)


def _compared_later(turn: Turn, mail: Mail) -> bool:
    caps = turn.plan.policies.caps_on(mail.journey.topic)
    return bool(caps) and not pressure.holds_slot(turn.state, mail.run.message_id)


def _move_up(turn: Turn, mail: Mail) -> None:
    run = mail.run
    place = pressure.place(turn, mail.journey.topic, run.message_id, run.decided_at, max(turn.t, run.ready_at))
    if place.refused or place.at >= run.planned_at:
        return
    if place.at > turn.t and not (mail.stale_at and place.at >= mail.stale_at):
        _hold(turn, mail, place.at, place.reason, "next_attempt")
        return
    # It may go, or a publish has made it stale: either is decided at its own instant, which is now.
    pressure.take(turn, mail.journey.topic, run.message_id, turn.t)
    run.planned_at = turn.t
    pressure.wind(turn.state)


def missed(turn: Turn, run: Run | None, message_id: str, earliest: int, why: str) -> list[tuple[Run, int]]:
    """A mailer could not keep to ``not_after``: decide again.  A message that no run waits for ends here.

    Those who wait made their plans behind this message, so it goes before them; they see at their own instants.
    """
    if run is None or not run.sending or run.message_id != message_id or run.planned_at:
        turn.emit(CancelMessage(message_id, "run_gone", turn.t))
        return []
    run.ready_at = min(earliest, turn.t + LONGEST_RETRY)
    turn.freed = True
    return again(turn, run, why, [one.message_id for one in pressure.waiting(turn.state)])
