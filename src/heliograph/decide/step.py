"""``step``: the one function that decides.

    step(state, record, plan) -> (state', effects)

It is total (what does not apply becomes a fact with a reason, never a raise), pure (no clock, no I/O, no randomness)
and deterministic: the log is the only clock.  Engine time is ``t = max(state.last_t, received_at)``; before a record is
applied, the key's own timers due at or before t fire in (due, timer id) order, each at its due instant.

One instant, in this order (design, section 5): conditions see the record; memberships in dependency order; goals;
exits; resumes; entries; every run that may go on advances until it parks; then the product's own events that came up
(``Segment Entered``, ``Email Skipped``) are decided the same way.
"""

from collections.abc import Callable
from hashlib import blake2b
from typing import Any, Final

from heliograph.decide import bounds, consent, expiry, members, merge, offers, people
from heliograph.decide.conditions.operators import fold
from heliograph.decide.effects import Duplicate, Effect, Fact
from heliograph.decide.journeys import entries, follow, hops, outcomes, requests, runs, schedules, sending, waking, walk
from heliograph.decide.journeys.program import ZONE
from heliograph.decide.plan import Plan
from heliograph.decide.state import Run, State, clear_timer, decode_state, due_timer, is_blank, seen_before
from heliograph.decide.turn import MAX_SIGNALS, Asked, Mode, Signal, Turn
from heliograph.events.event import Event
from heliograph.events.ids import digest
from heliograph.events.record import (
    HISTORICAL,
    MAX_HOPS,
    Adopt,
    Answer,
    Body,
    Enter,
    EventBody,
    Expire,
    LedgerChange,
    Link,
    ListChange,
    MergeInto,
    Offer,
    Outcome,
    Record,
    Touch,
    Unlink,
    Wake,
)

MAX_FIRED: Final = 10_000
"""Instants that one record may make up for: a loop of short waits, or an outage of weeks, some 0.3 s of work.  The
timers that are due then fire at the record's own time."""

Woken = list[tuple[Run, int]]


def step(state: State, record: Record, plan: Plan) -> tuple[State, list[Effect]]:
    """The state after ``record`` and what to do.  Consumes ``state``: use what is returned."""
    if type(record.body) is Adopt:
        return _adopt(state, record, record.body)
    turn = Turn(state, record, plan)
    if state.forward:
        _at_stub(turn, record)
    elif state.pending:
        _while_waiting(turn, record)
    else:
        _apply(turn, record)
    if turn.state.size > bounds.MAX_BLOB:
        bounds.weigh(turn)
    return turn.state, turn.effects


def _adopt(state: State, record: Record, body: Adopt) -> tuple[State, list[Effect]]:
    """Their clock stands still while they move: what came due on the way fires with the next record."""
    vacant = is_blank(state)
    fact = Fact("adopted", record.received_at, {} if vacant else {"already": True})
    return (decode_state(body.state) if vacant else state), [fact]


def _apply(turn: Turn, record: Record) -> None:
    """Time, then the record."""
    state = turn.state
    if not state.created_at:
        state.created_at = record.received_at
    t = max(state.last_t, record.received_at)
    turn.depth = 0
    if state.next_due and state.next_due <= t:
        _drain(turn, t)
    turn.t = state.last_t = t
    if 0 < state.plan_version < turn.plan.version:
        _meet_plan(turn)
    _HANDLERS[type(record.body)](turn, record, record.body)
    if turn.freed:
        sending.move_up(turn)


def _meet_plan(turn: Turn) -> None:
    """The state is of an older plan."""
    if turn.state.plan_version >= turn.plan.written:  # only broadcasts came and went
        turn.state.plan_version = turn.plan.version
        members.keep_orphans(turn)
        runs.end_removed(turn)
        return
    turn.freed = True  # the policies may be others
    members.reconcile(turn)
    moved, woken = follow.move(turn)
    runs.end_removed(turn)
    if moved:  # other exits, other paths
        _instant(turn, None, Mode.ACT, woken)
    runs.watch(turn)


# -- timers --


def _drain(turn: Turn, t: int) -> None:
    state, fired = turn.state, 0
    while (found := due_timer(state, t)) is not None:
        due, timer = found
        fired += 1
        if fired == MAX_FIRED:
            turn.fact("cut", what="timers", limit=MAX_FIRED)
            due = t  # and so whatever is set from now on is not due yet
        turn.t = state.last_t = max(due, state.last_t)
        clear_timer(state, timer)
        woken = _fire(turn, timer)
        while timer[:2] == "r:" and (found := due_timer(state, due)) is not None and found[1][:2] == "r:":
            clear_timer(state, found[1])  # waits that end together go on by priority
            woken += _fire(turn, found[1])
        _instant(turn, None, Mode.ACT, woken)


def _fire(turn: Turn, timer: str) -> Woken:
    """What this timer wakes: a segment to look at, a run, or just the conditions that runs watch."""
    kind, _, name = timer.partition(":")
    if kind == "c" and (segment := turn.plan.timers.get(timer)) is not None:
        turn.touch((segment,))
    elif kind == "r" and (run := turn.state.runs.get(name)) is not None:
        return [(run, _FIRED)]
    elif kind == "p":
        return [(run, _PLANNED) for run in sending.due(turn)]
    elif kind == "s":
        schedules.fire(turn, name)
    return []


_FIRED: Final = -100
"""In place of a place: the run's timer is due, and where it goes on is asked after the exits."""
_PLANNED: Final = -101
"""The same for a message that was held back until now."""


# -- one instant --


def _instant(turn: Turn, signal: Signal | None, mode: Mode, woken: Woken) -> None:
    """Decide a signal (or the passing of time) and every product event that comes of it."""
    turn.began.clear()
    turn.order = 0
    _settle(turn, signal, mode, woken)
    decided = 0
    while turn.signals or turn.touched:
        if decided >= MAX_SIGNALS:
            turn.fact("cut", what="signals", limit=MAX_SIGNALS)
            turn.signals.clear()
            break
        decided += 1
        if turn.signals:
            following = turn.signals.pop(0)
            _settle(turn, following, following.mode, [])
        else:  # a broadcast that somebody gets is a membership
            _settle(turn, None, mode, [])
    if turn.freed:
        sending.move_up(turn)


def _settle(turn: Turn, signal: Signal | None, mode: Mode, woken: Woken) -> None:
    state, plan = turn.state, turn.plan
    state.size += bounds.STEP_BYTES
    if signal is not None:
        members.observe(turn, signal.event, signal.mark)
    turned = members.update(turn, mode) if turn.touched else []
    if signal is not None and signal.name in plan.remembered:
        members.remember(turn, signal.name, signal.event)
    if turn.moved:
        woken = woken + _shift(turn, mode)
    if state.runs or state.ended:
        woken = _move(turn, signal, mode, woken)
    started: Woken = []
    if turned or turn.asked or (signal is not None and signal.name in plan.entries_by_event):
        started = entries.enter(turn, signal, turned, mode)
    if woken or started:
        for run, place in _by_priority(turn, woken + started):
            if run.run_id in state.runs:
                walk.advance(turn, run, place)
    if state.runs:
        runs.watch(turn)


def _shift(turn: Turn, mode: Mode) -> Woken:
    """Traits changed that clocks go by."""
    if ZONE in turn.moved:
        schedules.set_timers(turn)
    woken = [(run, _FIRED) for run in waking.shift(turn, mode)]
    turn.moved.clear()
    return woken


def _by_priority(turn: Turn, going: Woken) -> Woken:
    """Who goes first has the better chance of a place under the caps."""
    return going if len(going) < 2 else sorted(going, key=lambda one: (-turn.priority(one[0]), one[0].journey))


def _move(turn: Turn, signal: Signal | None, mode: Mode, woken: Woken) -> Woken:
    """Goals, exits, resumes of the runs there are; those that go on."""
    if signal is not None and mode is not Mode.HISTORY:
        runs.mark_goals(turn, signal)
    if mode is not Mode.HISTORY:
        runs.leave(turn, signal)
    ready: Woken = []
    for run, place in woken:
        if run.run_id in turn.state.runs:
            ready += _goes_on(turn, run, place)
    return ready + runs.resume(turn, signal, mode, {run.run_id for run, _ in ready} if ready else ())


def _goes_on(turn: Turn, run: Run, place: int) -> Woken:
    if place == _FIRED:
        return waking.fire(turn, run)
    return sending.again(turn, run) if place == _PLANNED else [(run, place)]


# -- records --


def _event(turn: Turn, record: Record, body: EventBody) -> None:
    wanted = people.unlinked(turn.state, body.event)
    if wanted and people.ask(turn, wanted) and people.park(turn, record):
        return
    if turn.state.pending:  # the record is larger than all that may be parked
        people.give_up(turn)
    _decide(turn, body)


def _decide(turn: Turn, body: EventBody) -> None:
    state, event = turn.state, body.event
    turn.depth = body.depth
    mark = blake2b(event.event_id.encode(), digest_size=8).digest()
    waiting: Woken = [(run, _FIRED) for run in hops.heard(turn, event.event_id)] if body.depth else []
    if seen_before(state, mark, turn.t):
        turn.emit(Duplicate(event.event_id))
        if waiting:
            _instant(turn, None, Mode.ACT, waiting)
        return
    mode = _mode(turn, event)
    if mode is None and body.depth:  # nothing of our own is too late to be true
        mode = Mode.LATE
    if mode is None:
        turn.fact("late", event_id=event.event_id, name=event.name, why="history_only")
        return
    if not state.plan_version:
        members.baseline(turn)
    number = int.from_bytes(mark, "big")
    if not body.depth:  # what journeys do to somebody is no sign of life
        if event.occurred_at > state.last_seen:
            state.last_seen = event.occurred_at
        state.heard_at = turn.t
    context, identifies = event.context, event.type == "identify"
    if identifies or body.rows or "traits" in context or "timezone" in context:
        mark_of_trait = hops.own_mark(number, body.depth) if body.depth else number
        people.learn(turn, event, mark_of_trait, body.rows)
    if identifies and "consent" in context:
        consent.hear_person(turn, event)
    name = event.name if event.name.isascii() else fold(event.name)
    _instant(turn, Signal(event, name, number, mode) if name else None, mode, waiting)


def _mode(turn: Turn, event: Event) -> Mode | None:
    """What an event of this age may do; None: go to history only."""
    if event.historical:
        return Mode.HISTORY
    age = turn.t - event.occurred_at
    if age <= turn.plan.act_within_ms:
        return Mode.ACT
    return Mode.LATE if age <= turn.plan.allowed_lateness_ms else None


def _outcome(turn: Turn, _record: Record, body: Outcome) -> None:
    """Also of somebody who was forgotten, and clicks in an old mail."""
    if not turn.state.plan_version and not body.machine:
        members.baseline(turn)
    turn.state.heard_at = turn.t
    woken = outcomes.take_outcome(turn, body)
    signal = turn.signals.pop(0) if turn.signals else None
    _instant(turn, signal, Mode.ACT, woken)


def _enter(turn: Turn, _record: Record, body: Enter) -> None:
    """The API asks; the id of the event it gives makes a second try the same one."""
    state, event = turn.state, body.event
    journey = turn.plan.journeys.get(body.journey)
    if journey is None or not journey.entry.api:
        turn.fact("run_refused", journey=body.journey, entry_key="", reason="no_api_entry")
        return
    if seen_before(state, digest("enter", journey.name, event.event_id)[:8], turn.t):
        turn.emit(Duplicate(event.event_id))
        return
    if not state.plan_version:
        members.baseline(turn)
    state.heard_at = turn.t
    turn.asked.append(Asked(journey, event, event.event_id))
    _instant(turn, None, _mode(turn, event) or Mode.LATE, [])


def _answer(turn: Turn, _record: Record, body: Answer) -> None:
    _instant(turn, None, Mode.ACT, requests.answered(turn, body))


def _ledger(turn: Turn, record: Record, body: LedgerChange) -> None:
    consent.hear_ledger(turn, body.rows)
    _instant(turn, None, _mode_of(record), [])


def _mode_of(record: Record) -> Mode:
    """What follows from an import triggers nothing either."""
    return Mode.HISTORY if record.flags & HISTORICAL else Mode.ACT


def _list(turn: Turn, _record: Record, body: ListChange) -> None:
    if not turn.state.plan_version:
        members.baseline(turn)
    turn.state.heard_at = turn.t
    members.change_list(turn, body)
    _instant(turn, None, Mode.HISTORY, [])


def _touch(turn: Turn, _record: Record, body: Touch) -> None:
    """Reconciled already, if it had to be; what history adds may end a wait or a run."""
    members.take_folds(turn, body.plan, body.folds)
    if turn.state.runs:
        _instant(turn, None, Mode.ACT, [])


def _offer(turn: Turn, _record: Record, body: Offer) -> None:
    """A broadcast comes by, with what its conditions lack of the past."""
    if not turn.state.plan_version:
        members.baseline(turn)
    members.take_folds(turn, body.plan, body.folds)
    woken = offers.take(turn, body.broadcast)
    if turn.state.runs:
        _instant(turn, None, Mode.ACT, woken)


def _wake(turn: Turn, _record: Record, _body: Wake) -> None:
    """The timers have fired."""


def _expire(turn: Turn, _record: Record, body: Expire) -> None:
    expiry.forget(turn, body.idle_ms)


def _link(turn: Turn, _record: Record, body: Link) -> None:
    people.answer(turn, body)


def _unlink(turn: Turn, _record: Record, body: Unlink) -> None:
    people.unlink(turn, body.source)


def _merge_into(turn: Turn, record: Record, body: MergeInto) -> None:
    if merge.take_over(turn, body):
        _instant(turn, None, _mode_of(record), [])
    if not turn.state.pending:
        _decide_parked(turn)


_HANDLERS: Final[dict[type[Body], Callable[[Turn, Record, Any], None]]] = {
    EventBody: _event,
    Wake: _wake,
    Link: _link,
    Unlink: _unlink,
    MergeInto: _merge_into,
    Outcome: _outcome,
    LedgerChange: _ledger,
    Touch: _touch,
    ListChange: _list,
    Expire: _expire,
    Enter: _enter,
    Answer: _answer,
    Offer: _offer,
}


# -- keys that wait, and keys that were merged --


def _while_waiting(turn: Turn, record: Record) -> None:
    """Answers and requests are dealt with at once; everything else waits behind what waits already."""
    if isinstance(record.body, MergeInto | Link | Unlink):
        _apply(turn, record)
    elif not isinstance(record.body, Wake | Expire) and not people.park(turn, record):
        people.give_up(turn)
        _decide_parked(turn)
        step_on = _while_waiting if turn.state.pending else _apply
        step_on(turn, record)


def _decide_parked(turn: Turn) -> None:
    """In order, each at its own time; if one of them has to wait again, so do those behind it."""
    waiting = people.take_parked(turn.state)
    for at, record in enumerate(waiting):
        _apply(turn, record)
        if turn.state.pending:
            for behind in waiting[at + 1 :]:
                _while_waiting(turn, behind)
            return


def _at_stub(turn: Turn, record: Record) -> None:
    """Hand on what arrives; time, sweeps and news about devices are nothing to a stub."""
    state = turn.state
    turn.t = state.last_t = max(state.last_t, record.received_at)
    if isinstance(record.body, Link):
        people.answer(turn, record.body)
    elif not people.forward(turn, record, state.forward):
        turn.fact("cut", what="hops", limit=MAX_HOPS, forward=state.forward)
        state.forward = ""
        _apply(turn, record)
