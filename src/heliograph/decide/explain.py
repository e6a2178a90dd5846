"""Why something did or did not happen, for any person and any journey or broadcast.

Three sources, asked in this order: the state (where a run is now), the journal (what was decided, and why not), and the
conditions as they stand (the first one that fails, the value seen, when time alone could turn it).  The answer is
JSON-able; ``sentence`` says it in plain English.
"""

from collections.abc import Sequence
from typing import Any, Final, TypeAlias

import msgspec

from heliograph.decide.broadcasts import broadcast_of
from heliograph.decide.conditions import Condition, EventFilter, Explanation, first_failing
from heliograph.decide.context import latest_events
from heliograph.decide.explain_mail import mail_fact, mail_words, places_of
from heliograph.decide.journeys.program import Journey
from heliograph.decide.journeys.schedules import timer
from heliograph.decide.journeys.telling import doing, end_reason, entry_words, offer_refusal, refusal
from heliograph.decide.plan import Plan
from heliograph.decide.state import Run, State
from heliograph.decide.times import iso
from heliograph.decide.turn import Person
from heliograph.events.event import Event

Journal: TypeAlias = Sequence[tuple[int, str, dict[str, Any]]]
"""(at, kind of fact, data), newest first."""

Answer: TypeAlias = dict[str, Any]
"""``status`` (a word), ``sentence``, and what goes with them."""

MOST_MAILS: Final = 5
"""Mails of one run that a sentence tells."""
NOBODY = "Nothing is known of this person: no event has arrived."


# -- journeys --


def explain_journey(state: State | None, plan: Plan, journey: str, now: int, journal: Journal = ()) -> Answer:
    """Where the person is in a journey, or why not in it.

    ``status``: unknown_journey, unknown_person, active, holdout, ended, refused, not_entered.  ``condition``: the tree
    of the condition that decides entry, ``failing`` its first failing leaf with ``seen`` and ``could_turn_true_at``.
    ``facts``: what was decided for this journey, newest first.
    """
    compiled = plan.journeys.get(journey) or plan.removed.get(journey)
    facts = [fact for fact in journal if fact[2].get("journey") == journey]
    if broadcast_of(journey):
        return _with_facts({"journey": journey, **_broadcast(state, plan, journey, now, facts)}, facts)
    if compiled is None:
        return {"journey": journey, "status": "unknown_journey", "sentence": f"There is no journey {journey!r}."}
    answer = {"journey": journey, "version": compiled.version, **_journey(state, plan, compiled, now, facts)}
    if journey in plan.removed:
        answer["sentence"] += " The project no longer has this journey: nobody enters it, and runs under way go on."
    return _with_facts(answer, facts)


def _with_facts(answer: Answer, facts: Journal) -> Answer:
    return {**answer, "facts": [{"at": at, "kind": kind, **data} for at, kind, data in facts[:20]]}


def _journey(state: State | None, plan: Plan, journey: Journey, now: int, facts: Journal) -> Answer:
    if state is None or not state.plan_version:
        return {"status": "unknown_person", "sentence": NOBODY}
    active = [run for run in state.runs.values() if run.journey == journey.name]
    if active:
        run = max(active, key=lambda one: one.entered_at)
        return _active(state, plan, run, now, facts)
    decided = _last_decision(state, journey.name, facts)
    if decided is None:
        return _not_entered(state, plan, journey, now)
    at, kind, data = decided
    if kind == "run_ended":
        answer = {"status": "ended", "since": at, "sentence": _ended(at, data, facts), "run": data}
    else:
        tree = _tree(journey.entry.condition, state, plan, now) if data.get("reason") == "if_false" else {}
        said = _refused(journey, at, data)
        answer = {"status": "refused", "since": at, "reason": data.get("reason"), "sentence": said, **tree}
    return _later_event(state, journey, at, answer)


def _last_decision(state: State, journey: str, facts: Journal) -> tuple[int, str, dict[str, Any]] | None:
    """The newest refusal or end: from the journal, or, for runs that came along with a merge, from the state."""
    found = [fact for fact in facts if fact[1] in ("run_refused", "run_ended")]
    for run in state.ended:
        if run.journey == journey:
            data = {"run_id": run.run_id, "entry_key": run.entry_key, "reason": run.reason, "step_id": run.step}
            found.append((run.ended_at, "run_ended", {"journey": journey, **data, "by": run.by}))
    if journey in state.refused:
        found.append(_refused_again(state.refused[journey].at, journey, facts))
    return max(found, key=lambda fact: fact[0], default=None)


def _refused_again(at: int, journey: str, facts: Journal) -> tuple[int, str, dict[str, Any]]:
    """A condition that goes on failing is told once: what the journal said then, at the time of the last refusal."""
    told = next((data for _, kind, data in facts if kind == "run_refused" and data.get("reason") == "if_false"), {})
    return at, "run_refused", {"journey": journey, "reason": "if_false", **told}


def _later_event(state: State, journey: Journey, at: int, answer: Answer) -> Answer:
    """When an entry event came after that decision and was not meant, that is the news."""
    filter = journey.entry.filter
    latest = next(iter(latest_events(state).get(filter.event, [])), None) if filter is not None else None
    if filter is None or latest is None or latest.occurred_at <= at or filter.matches(latest):
        return answer
    news = _not_meant(filter, latest)
    return {**news, "since": latest.occurred_at, "sentence": f"{news['sentence']} Before that: {answer['sentence']}"}


def _active(state: State, plan: Plan, run: Run, now: int, facts: Journal) -> Answer:
    journey = plan.all_journeys.get((run.journey, run.version))
    step = journey.step(run.step) if journey is not None else None
    until = state.timers.get("r:" + run.run_id)
    view: Answer = {"run_id": run.run_id, "key": run.entry_key, "entered_at": run.entered_at, "step": run.step}
    view["until"] = until or run.planned_at or None
    if run.planned_at and journey is not None:
        view["places"] = places_of(state, plan, run, journey.topic, now)
    since = f"since {iso(run.entered_at)}"
    if run.held_out:
        said = f"Held out {since}: gets no mail and is only watched for the goal, until {iso(until or 0)}."
        return {"status": "holdout", "since": run.entered_at, "sentence": said, "run": view}
    said = " ".join(
        [f"In the journey {since}, {doing(run, step, until, view.get('places', []))}.", *_mails(run.run_id, facts)]
    )
    return {"status": "active", "since": run.entered_at, "sentence": said, "run": view}


def _ended(at: int, data: dict[str, Any], facts: Journal) -> str:
    step = f" at the step {data['step_id']!r}" if data.get("step_id") else ""
    said = f"The last run ended at {iso(at)}{step}: {end_reason({**data, **_missed_date(data, facts)})}."
    return " ".join([said, *_mails(data.get("run_id", ""), facts)])


def _missed_date(data: dict[str, Any], facts: Journal) -> dict[str, Any]:
    """The fact that a run waited for no date any more at the step where it ended, if that is so."""
    where = data.get("run_id"), data.get("step_id"), "missed"
    steps = (fact for _, kind, fact in facts if kind == "run_step")
    found = next((fact for fact in steps if (fact["run_id"], fact["step_id"], fact["what"]) == where), None)
    return {} if found is None or data.get("reason") != "exited" else {"missed": found}


def _mails(run_id: str, facts: Journal) -> list[str]:
    """What became of the latest mails of a run, oldest first."""
    mails = [mail for mail in map(mail_fact, facts) if mail and mail["run_id"] == run_id]
    told = list({mail["message_id"]: mail for mail in reversed(mails)}.values())
    earlier = len(told) - MOST_MAILS
    return [
        *([f"There are {earlier} earlier mails."] if earlier > 0 else []),
        *(f"The mail {mail['template']!r} {mail_words(mail)}." for mail in told[-MOST_MAILS:]),
    ]


def _refused(journey: Journey, at: int, data: dict[str, Any]) -> str:
    return f"The latest {entry_words(journey)} started no run (at {iso(at)}): {refusal(journey, data)}."


def _not_entered(state: State, plan: Plan, journey: Journey, now: int) -> Answer:
    entry = journey.entry
    if entry.schedule is not None or entry.api:
        return _not_asked(state, journey)
    if entry.filter is None:
        return _not_by_segment(state, plan, entry.segment, now)
    seen = latest_events(state).get(entry.filter.event, [])
    if not seen:
        said = f'The entry event "{entry.filter.event}" was never seen for this person.'
        return {"status": "not_entered", "reason": "no_event", "sentence": said}
    if not entry.filter.matches(seen[0]):
        return _not_meant(entry.filter, seen[0])
    why = "was imported, and imports start nothing" if seen[0].historical else "came before this journey was published"
    said = f'The latest "{entry.filter.event}" ({iso(seen[0].occurred_at)}) {why}.'
    return {"status": "not_entered", "reason": "before", "sentence": said}


def _not_asked(state: State, journey: Journey) -> Answer:
    """By schedule or by the API."""
    if journey.entry.schedule is None:
        said = "Only the API starts this journey, and it has not asked for this person."
        return {"status": "not_entered", "reason": "not_asked", "sentence": said}
    due = state.timers.get(timer(journey))
    when = f"the next occurrence is {iso(due)}" if due is not None else "there is no occurrence any more"
    said = f"Starts by schedule ({journey.entry.schedule.text}); {when}."
    return {"status": "not_entered", "reason": "not_due", "sentence": said, "could_turn_true_at": due}


def _not_meant(filter: EventFilter, event: Event) -> Answer:
    """The ``where`` of the entry failed on this event."""
    explanation = filter.explain(event)
    failing = _leaf(first_failing(explanation) or explanation)
    said = f'The latest "{filter.event}" ({iso(event.occurred_at)}) is not meant: {_wanted(failing)}.'
    tree = {"condition": _json(explanation), "failing": failing}
    return {"status": "not_entered", "reason": "where", "sentence": said, **tree}


def _not_by_segment(state: State, plan: Plan, name: str, now: int) -> Answer:
    if state.swept < plan.fresh.building.get(name, 0):
        said = (
            f"The segment {name!r} is still building: a condition in it is new, what this person did before has not"
            " been read yet, and nothing starts on it until then."
        )
        return {"status": "not_entered", "reason": "building", "sentence": said}
    since = state.members.get(name)
    if since is not None:
        said = (
            f"In the segment {name!r} since {iso(since)}, and nothing starts for who was in it when it or the journey"
            " was published, or came in by an import."
        )
        return {"status": "not_entered", "reason": "member_before", "sentence": said}
    segment = plan.segments.by_name.get(name)
    tree = _tree(segment.condition if segment is not None else None, state, plan, now)
    said = f"Not in the segment {name!r}"
    if failing := tree.get("failing"):
        said += f": {_wanted(failing)}"
    if tree.get("could_turn_true_at"):
        said += f"; by time alone it turns true at {iso(tree['could_turn_true_at'])}"
    return {"status": "not_entered", "reason": "segment", "sentence": said + ".", **tree}


# -- broadcasts --


def _broadcast(state: State | None, plan: Plan, name: str, now: int, facts: Journal) -> Answer:
    """Whether it came by, and what became of it; also of one that has left the plan."""
    broadcast = plan.broadcasts.get(broadcast_of(name))
    if state is None or not state.plan_version:
        return {"status": "unknown_person", "sentence": NOBODY}
    if active := [run for run in state.runs.values() if run.journey == name]:
        return _active(state, plan, active[0], now, facts)
    decided = _last_decision(state, name, facts)
    if decided is not None and decided[1] == "run_ended":
        return {"status": "ended", "since": decided[0], "sentence": _got(decided, facts), "run": decided[2]}
    if decided is not None:
        at, _, data = decided
        said = f"It came by at {iso(at)}, and there was no mail: {offer_refusal(data)}."
        return {"status": "refused", "since": at, "reason": data.get("reason"), "sentence": said}
    if broadcast is None:
        said = "It never came by this person, and it is over or there is no such broadcast."
        return {"status": "not_entered", "reason": "over", "sentence": said}
    tree = _tree(broadcast.journey.entry.condition, state, plan, now)
    failing = tree.get("failing")
    said = "It has not come by this person" + ("" if failing else " yet")
    if failing:
        said += f"; now they would not be in its audience: {_wanted(failing)}"
    return {"status": "not_entered", "reason": "not_offered", "sentence": said + ".", **tree}


def _got(ended: tuple[int, str, dict[str, Any]], facts: Journal) -> str:
    at, _, data = ended
    mails = _mails(data.get("run_id", ""), facts)
    if data.get("reason") != "finished" or not mails:
        mails.insert(0, f"It ended at {iso(at)}: {end_reason(data)}.")
    return " ".join(mails)


# -- conditions --


def _tree(condition: Condition | None, state: State, plan: Plan, now: int) -> Answer:
    """The condition as it stands now."""
    if condition is None:
        return {}
    explanation = condition.explain(Person(state, plan), now)
    failing = first_failing(explanation)
    return {
        "condition": _json(explanation),
        "failing": _leaf(failing) if failing is not None else None,
        "could_turn_true_at": explanation.turns_at if not explanation.truth else None,
    }


def _json(explanation: Explanation) -> dict[str, Any]:
    tree: dict[str, Any] = msgspec.to_builtins(explanation)
    return tree


def _leaf(failing: Explanation) -> dict[str, Any]:
    said = {"text": failing.text, "is": failing.truth, "seen": failing.seen, "could_turn_true_at": failing.turns_at}
    return {**said, "inexact": True, "exact_since": failing.exact_since} if failing.inexact else said


def _wanted(failing: dict[str, Any]) -> str:
    seen = f" (seen: {failing['seen']})" if failing["seen"] else ""
    return f"{failing['text']} is {'true' if failing['is'] else 'false'}{seen}"
