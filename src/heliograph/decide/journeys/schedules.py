"""Entries by ``schedule``: one timer for each person and journey, ``s:JOURNEY``, at its next occurrence.

It is set when a key is first decided, after a publish, and anew when the person's zone changes; when it is due the
entry is tried like any other.  A runtime that was down does not start a run for each occurrence it slept through: only
for the latest, and only within ``act_within``.
"""

from heliograph.decide.journeys.clocks import zone_name
from heliograph.decide.journeys.program import Journey
from heliograph.decide.journeys.recurrence import Schedule
from heliograph.decide.state import clear_timer, set_timer
from heliograph.decide.times import describe
from heliograph.decide.turn import Asked, Turn
from heliograph.events.ids import make_id


def timer(journey: Journey) -> str:
    return "s:" + journey.name


def set_timers(turn: Turn) -> None:
    """One for every schedule of the plan, at its first occurrence after now; those of other plans go."""
    scheduled = turn.plan.scheduled
    stale = [name for name in turn.state.timers if name[:2] == "s:" and name[2:] not in scheduled]
    for name in stale:
        clear_timer(turn.state, name)
    for journey, schedule in scheduled.values():
        set_timer(turn.state, timer(journey), schedule.after(turn.t, zone_name(turn, schedule.zone)))


def fire(turn: Turn, name: str) -> None:
    """An occurrence is due: ask for a run, unless a later one is due as well."""
    found = turn.plan.scheduled.get(name)
    if found is None:
        return
    journey, schedule = found
    zone, now = zone_name(turn, schedule.zone), max(turn.t, turn.record.received_at)
    if turn.state.plan_version < turn.plan.version and schedule.after(turn.t - 1, zone) != turn.t:
        set_timer(turn.state, timer(journey), schedule.after(turn.t, zone))
        return  # an occurrence of the schedule before: a publish has changed it, and the sweep has not come by yet
    latest = schedule.latest(now, turn.t, zone)
    if latest > turn.t:
        turn.fact("run_refused", journey=name, entry_key="", reason="missed", until=latest)
        set_timer(turn.state, timer(journey), latest)
        return
    _ask(turn, journey, schedule, zone, now)


def _ask(turn: Turn, journey: Journey, schedule: Schedule, zone: str, now: int) -> None:
    set_timer(turn.state, timer(journey), schedule.after(turn.t, zone))
    if now - turn.t > turn.plan.act_within_ms:
        limit = describe(turn.plan.act_within_ms)
        turn.fact("run_refused", journey=journey.name, entry_key="", reason="too_late", limit=limit)
        return
    turn.asked.append(Asked(journey, None, make_id("schedule", journey.name, turn.t)))
