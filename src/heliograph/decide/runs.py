"""Runs: how a person passes through a journey.

States of an active run, by the step it is at::

    wait, wait until   timer r:<run> due     -> next step
    send               first outcome         -> next step, or on_failure
    wait_until         event, if, or timer   -> the path's target
    (held out)         timer r:<run>         -> ends, when goal.within is over

Everything happens at an *instant*, in this order (design, section 5): goals, exits, resumes, entries, then each run
advances until it parks.  A second timer, ``x:<run>``, marks the next instant at which time alone may turn a condition
that the run is watching (exits, and the paths of a ``wait_until``).
"""

from collections.abc import Callable
from typing import Any, Final

from heliograph.decide import bounds, consent, members
from heliograph.decide.conditions import Condition
from heliograph.decide.conditions.operators import index_keys
from heliograph.decide.effects import CancelMessage, DecideMessage
from heliograph.decide.program import (
    ANY,
    EXITED,
    LAST,
    Branch,
    EventPath,
    Exit,
    ExitEvent,
    IfPath,
    Journey,
    Send,
    Step,
    Wait,
    WaitClock,
    WaitUntil,
    watched,
)
from heliograph.decide.state import (
    MAX_ENDED,
    MAX_RUN_BYTES,
    Ended,
    Run,
    clear_timer,
    pack,
    room_for_event,
    set_timer,
    unpack,
)
from heliograph.decide.times import Duration, next_time, shift, zone_or_utc
from heliograph.decide.turn import Mode, Signal, Turn
from heliograph.events.event import PRODUCT_EVENTS, Event
from heliograph.events.ids import make_id

MAX_STEPS: Final = 64
"""Steps of one run within one instant; beyond it the run ends as ``loop_cut`` (design, section 5)."""
FIRST_VISIT: Final = 1
"""No step of this version leads back, so each is visited once."""

_MAIL_EVENTS: Final = frozenset(name for name in PRODUCT_EVENTS if name.startswith("Email "))


def wait_timer(run: Run) -> str:
    return "r:" + run.run_id


def watch_timer(run: Run) -> str:
    return "x:" + run.run_id


# -- one instant: goals, exits, resumes --


def mark_goals(turn: Turn, signal: Signal) -> None:
    """A goal marks a run, active or ended, and never ends it."""
    if signal.name not in turn.plan.goal_events:
        return
    for run in known(turn):
        journey = turn.plan.all_journeys.get((run.journey, run.version))
        goal = journey.goal if journey is not None else None
        if goal is None or run.converted or signal.event.event_id == run.cause or not _concerns(turn, run, signal):
            continue
        late = signal.event.occurred_at - run.started_at
        if 0 <= late <= goal.within_ms and goal.filter.matches(signal.event):
            run.converted = True
            value = _amount(goal.value(signal.event)) if goal.value is not None else None
            turn.fact("goal", journey=run.journey, run_id=run.run_id, value=value, held_out=run.held_out)


def known(turn: Turn) -> list[Run | Ended]:
    """Active runs, and those that ended lately."""
    return [*turn.state.runs.values(), *turn.state.ended]


def _amount(value: Any) -> Any:
    return value if isinstance(value, int | float | str) and not isinstance(value, bool) else None


def _concerns(turn: Turn, run: Run | Ended, signal: Signal) -> bool:
    """An event does not act on a run that it (or a later event of this instant) started."""
    started, _ = turn.began.get(run.run_id, (-1, -1))
    return started < signal.order


def leave(turn: Turn, signal: Signal | None) -> None:
    """End the runs whose exit this event, or the person as it now is, satisfies."""
    for run in list(turn.state.runs.values()):
        journey = turn.journey(run)
        if journey is None:
            continue
        if signal is not None and _concerns(turn, run, signal) and (exit := _exit_event(journey, run, signal)):
            by = {"event": exit.filter.text, "event_id": signal.event.event_id}
            end(turn, run, "exited", by | ({"match": exit.match.text} if exit.match else {}))
        elif turn.began.get(run.run_id, (-1, -1))[0] < 0:
            met = next((asked for asked in journey.exit_ifs if asked.truth(turn.person, turn.t)), None)
            if met is not None:
                end(turn, run, "exited", {"if": met.text})


def _exit_event(journey: Journey, run: Run, signal: Signal) -> ExitEvent | None:
    event = signal.event
    for exit in journey.exit_events.get(signal.name, ()):
        if exit.filter.matches(event) and (exit.match is None or _matches(exit, run, event)):
            return exit
    return None


def _matches(exit: ExitEvent, run: Run, event: Event) -> bool:
    entry = unpack(run.event)
    if entry is None or exit.match is None:
        return False
    ours, theirs = (
        {key for key in index_keys(value) if key is not None}
        for value in (exit.match.entry(entry), exit.match.event(event))
    )
    return bool(ours & theirs)


def resume(turn: Turn, signal: Signal | None, mode: Mode) -> list[tuple[Run, int]]:
    """The runs whose ``wait_until`` ends now, and where they go on."""
    ready = []
    for run in turn.state.runs.values():
        journey = turn.journey(run)
        step = journey.step(run.step) if journey is not None and not run.held_out else None
        if not isinstance(step, WaitUntil):
            continue
        path = _path_taken(turn, run, step, signal)
        if path is None:
            continue
        if mode is not Mode.ACT:
            turn.fact("run_step", journey=run.journey, run_id=run.run_id, step_id=run.step, what="too_late")
            continue
        if isinstance(path, EventPath) and signal is not None:
            _keep_trigger(turn, run, signal.event)
        step_fact(turn, run, "resumed", by=path.filter.text if isinstance(path, EventPath) else path.condition.text)
        ready.append((run, path.then))
    return ready


def _keep_trigger(turn: Turn, run: Run, event: Event) -> None:
    run.trigger = b""
    if room_for_event(turn.state, data := pack(event)) and bounds.room(turn, len(data)):
        run.trigger = data
    else:
        turn.fact("cut", what="trigger", limit=MAX_RUN_BYTES)


def _path_taken(turn: Turn, run: Run, step: WaitUntil, signal: Signal | None) -> EventPath | IfPath | None:
    _, began = turn.began.get(run.run_id, (-1, -1))
    for path in step.paths:
        if isinstance(path, IfPath):
            if path.condition.truth(turn.person, turn.t):
                return path
        elif signal is not None and began < signal.order and _is_meant(run, path, signal.event):
            return path
    return None


def _is_meant(run: Run, path: EventPath, event: Event) -> bool:
    if not path.filter.matches(event):
        return False
    return event.name not in _MAIL_EVENTS or _own_message(run, path.message, event)


def _own_message(run: Run, which: str, event: Event) -> bool:
    message_id = event.properties.get("message_id")
    if which == ANY:
        return message_id in run.messages.values()
    return bool(message_id) and message_id == (run.message_id if which == LAST else run.messages.get(which))


# -- timers --


def fire(turn: Turn, run: Run) -> list[tuple[Run, int]]:
    """The wait of a run is over: where it goes on."""
    journey = turn.journey(run)
    step = journey.step(run.step) if journey is not None else None
    if run.held_out:
        end(turn, run, "held_out")
        return []
    match step:
        case Wait() | WaitClock():
            step_fact(turn, run, "resumed")
            return [(run, step.next)]
        case WaitUntil():
            step_fact(turn, run, "timed_out")
            return [(run, step.otherwise)]
    if journey is None or step is None:
        end(turn, run, "journey_removed")
    return []


def watch(turn: Turn) -> None:
    """Set the timers of the conditions that runs are watching."""
    for run in turn.state.runs.values():
        journey = turn.journey(run)
        if journey is not None and not journey.timed:
            continue
        asked = _watched(journey, run) if journey is not None else ()
        flips = [condition.next_flip(turn.person, turn.t) for condition in asked if condition.timed]
        set_timer(turn.state, watch_timer(run), min((flip for flip in flips if flip is not None), default=None))


def _watched(journey: Journey, run: Run) -> tuple[Condition, ...]:
    step = journey.step(run.step)
    return watched(journey.exit_ifs, () if step is None or run.held_out else (step,))


# -- advancing --


def advance(turn: Turn, run: Run, place: int) -> None:
    """Go on from ``place`` until the run parks or ends."""
    journey = turn.journey(run)
    if journey is None:
        end(turn, run, "journey_removed")
        return
    clear_timer(turn.state, wait_timer(run))
    for _ in range(MAX_STEPS):
        if place < 0:
            end(turn, run, "exited" if place == EXITED else "finished", {"step": run.step} if place == EXITED else {})
            return
        step = journey.program[place]
        run.step, run.since = step.id, turn.t
        turn.began[run.run_id] = (turn.began.get(run.run_id, (-1, -1))[0], turn.next_order())
        following = _ENTER[type(step)](turn, run, journey, step)
        if following is None:
            return
        place = following
    turn.fact("cut", what="steps", limit=MAX_STEPS)
    end(turn, run, "loop_cut")


def _park(turn: Turn, run: Run, due: int) -> None:
    set_timer(turn.state, wait_timer(run), due)
    step_fact(turn, run, "waiting", until=due)


def _enter_wait(turn: Turn, run: Run, _journey: Journey, step: Wait) -> int | None:
    due = _after(turn, run.started_at if step.from_event else turn.t, step.duration)
    if due <= turn.t:
        return step.next
    _park(turn, run, due)
    return None


def _after(turn: Turn, at: int, duration: Duration) -> int:
    try:
        return shift(at, duration, zone_or_utc(turn.person.timezone))
    except OverflowError:  # a calendar that ends: wait as long as the mean month says
        return at + duration.scaled(1.0000001).ms


def _enter_clock(turn: Turn, run: Run, _journey: Journey, step: WaitClock) -> int | None:
    names = {"person": turn.person.timezone, "project": turn.plan.timezone}
    due = next_time(turn.t, step.clock, step.days, zone_or_utc(names.get(step.zone, step.zone)))
    if due <= turn.t:
        return step.next
    _park(turn, run, due)
    return None


def _enter_wait_until(turn: Turn, run: Run, _journey: Journey, step: WaitUntil) -> int | None:
    for path in step.paths:
        if isinstance(path, IfPath) and path.condition.truth(turn.person, turn.t):
            step_fact(turn, run, "resumed", by=path.condition.text)
            return path.then
    _park(turn, run, _after(turn, turn.t, step.timeout))
    return None


def _enter_branch(turn: Turn, run: Run, _journey: Journey, step: Branch) -> int | None:
    for arm in step.arms:
        if arm.condition.truth(turn.person, turn.t):
            step_fact(turn, run, "branched", by=arm.condition.text)
            return arm.then
    step_fact(turn, run, "branched", by="else")
    return step.otherwise


def _enter_exit(_turn: Turn, _run: Run, _journey: Journey, _step: Exit) -> int | None:
    return EXITED


def _enter_send(turn: Turn, run: Run, journey: Journey, step: Send) -> int | None:
    template = turn.plan.templates.get(step.template)
    transactional = template is not None and template.get("class") == "transactional"
    reason = consent.refusal(turn.person, journey.topic, transactional=transactional)
    if template is None:
        reason = f"no_template: {step.template}"
    run.message_id = make_id("message", run.run_id, step.id, FIRST_VISIT)
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


_ENTER: Final[dict[type[Step], Callable[[Turn, Run, Journey, Any], int | None]]] = {
    Wait: _enter_wait,
    WaitClock: _enter_clock,
    WaitUntil: _enter_wait_until,
    Branch: _enter_branch,
    Exit: _enter_exit,
    Send: _enter_send,
}


def step_fact(turn: Turn, run: Run, what: str, **more: Any) -> None:
    turn.fact("run_step", journey=run.journey, run_id=run.run_id, step_id=run.step, what=what, **more)


# -- ending --


def end(turn: Turn, run: Run, reason: str, by: dict[str, Any] | None = None) -> None:
    """Take the run from the active ones; its open message is cancelled."""
    state = turn.state
    if run.sending:
        turn.emit(CancelMessage(run.message_id, reason, turn.t))
    clear_timer(state, wait_timer(run))
    clear_timer(state, watch_timer(run))
    del state.runs[run.run_id]
    state.ended.append(
        Ended(
            run_id=run.run_id,
            journey=run.journey,
            version=run.version,
            entry_key=run.entry_key,
            started_at=run.started_at,
            entered_at=run.entered_at,
            ended_at=turn.t,
            reason=reason,
            step=run.step,
            held_out=run.held_out,
            converted=run.converted,
            cause=run.cause,
            messages=run.messages,
            by=by or {},
        )
    )
    del state.ended[:-MAX_ENDED]
    turn.fact(
        "run_ended",
        journey=run.journey,
        version=run.version,
        run_id=run.run_id,
        entry_key=run.entry_key,
        reason=reason,
        step_id=run.step,
        **({"by": by} if by else {}),
    )


def end_removed(turn: Turn) -> None:
    """Runs of a journey version that the plan no longer has."""
    for run in [run for run in turn.state.runs.values() if turn.journey(run) is None]:
        end(turn, run, "journey_removed")
