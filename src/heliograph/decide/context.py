"""What others see of a person: templates (contract, section 6) and the API."""

from typing import Any

from heliograph.decide import consent
from heliograph.decide.broadcasts import broadcast_of
from heliograph.decide.plan import Plan
from heliograph.decide.state import Ended, Run, State, unpack
from heliograph.decide.times import iso
from heliograph.decide.turn import Person
from heliograph.events.event import Event
from heliograph.events.identity import profile_id


def render_context(state: State, plan: Plan, run_id: str, now: int) -> dict[str, Any] | None:
    """The names that Liquid knows, without ``urls``: profile, event, trigger, run, last, webhook, now.  Instants are
    ms.

    ``event`` and ``trigger`` are None where there is none; ``last`` holds lists, newest first.  None when the person
    has no such run any more.
    """
    run = state.runs.get(run_id) or next((ended for ended in state.ended if ended.run_id == run_id), None)
    if run is None:
        return None
    last = latest_events(state)
    return {
        "profile": _profile(state, plan),
        "event": _view_or_none(_entry_event(run, last)),
        "trigger": _view_or_none(unpack(run.trigger)) if isinstance(run, Run) else None,
        "run": {"key": run.entry_key, "journey": run.journey, "entered_at": run.entered_at},
        "last": {name: [event_view(event) for event in events] for name, events in last.items()},
        "webhook": run.data if isinstance(run, Run) else {},
        "now": now,
    }


def words(state: State, plan: Plan, run: Run) -> dict[str, Any]:
    """What values of journeys see (:mod:`heliograph.decide.journeys.values`): profile, event, trigger, run, webhook;
    instants as RFC 3339."""
    return {
        "profile": _profile(state, plan),
        "event": _said(unpack(run.event)),
        "trigger": _said(unpack(run.trigger)),
        "run": {"key": run.entry_key, "journey": run.journey, "entered_at": iso(run.entered_at)},
        "webhook": run.data,
    }


def _said(event: Event | None) -> dict[str, Any] | None:
    return None if event is None else {**event_view(event), "occurred_at": iso(event.occurred_at)}


def _view_or_none(event: Event | None) -> dict[str, Any] | None:
    return None if event is None else event_view(event)


def _profile(state: State, plan: Plan) -> dict[str, Any]:
    """Traits by their own names; ``id`` and ``email`` are ours, and ``timezone`` is the one that holds."""
    reserved = {"id": profile_id(state.key), "email": state.address or None, "timezone": Person(state, plan).timezone}
    return {**state.traits, **reserved}


def _entry_event(run: Run | Ended, last: dict[str, list[Event]]) -> Event | None:
    """Of a run that ended, the event is only there while it is among the latest of its name."""
    if isinstance(run, Run):
        return unpack(run.event)
    return next((event for events in last.values() for event in events if event.event_id == run.cause), None)


def latest_events(state: State) -> dict[str, list[Event]]:
    """The remembered events by name, newest first."""
    return {
        name: [event for row in reversed(rows) if (event := unpack(row[2])) is not None]
        for name, rows in state.last.items()
    }


def event_view(event: Event) -> dict[str, Any]:
    """An event as Liquid knows it."""
    return {
        "name": event.name,
        "properties": event.properties,
        "context": event.context,
        "occurred_at": event.occurred_at,
    }


def profile_view(state: State, plan: Plan, now: int) -> dict[str, Any]:
    """For the API: who this is, JSON-able.  Instants are ms."""
    return {
        "profile_id": profile_id(state.key),
        "email": state.address or None,
        "traits": state.traits,
        "timezone": Person(state, plan).timezone,
        "segments": [
            {"name": name, "since": since} for name, since in sorted(state.members.items()) if not broadcast_of(name)
        ],
        "broadcasts": [
            {"broadcast_id": broadcast_of(name), "since": since}
            for name, since in sorted(state.members.items(), key=lambda one: -one[1])
            if broadcast_of(name)
        ],
        "runs": [*_active_runs(state, now), *_ended_runs(state)],
        "consent": consent.view(state, plan.topics),
        "ids": [profile_id(key) for key in state.links],
        "first_seen_at": state.created_at,
        "last_seen_at": state.last_seen,
    }


def _active_runs(state: State, now: int) -> list[dict[str, Any]]:
    """Newest first.  ``until``: when time alone moves it on."""
    runs = sorted(state.runs.values(), key=lambda run: (-run.entered_at, run.run_id))
    return [
        {
            **_run(run),
            "status": "holdout" if run.held_out else "active",
            "step_since": run.since,
            "until": state.timers.get("r:" + run.run_id) or run.planned_at or None,
            "message_id": run.message_id or None,
        }
        for run in runs
    ]


def _ended_runs(state: State) -> list[dict[str, Any]]:
    newest_first = reversed(state.ended)
    return [{**_run(run), "status": run.reason, "ended_at": run.ended_at, "by": run.by} for run in newest_first]


def _run(run: Run | Ended) -> dict[str, Any]:
    return {
        "run_id": run.run_id,
        "journey": run.journey,
        "version": run.version,
        "key": run.entry_key,
        "entered_at": run.entered_at,
        "step": run.step,
        "converted": run.converted,
    }
