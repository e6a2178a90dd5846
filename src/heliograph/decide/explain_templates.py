"""Why a template was, or was not, mailed to somebody, over all journeys and broadcasts that send it."""

from collections.abc import Iterable
from typing import Any, Final

from heliograph.decide import consent
from heliograph.decide.broadcasts import broadcast_of
from heliograph.decide.explain import NOBODY, Answer, Journal, explain_journey
from heliograph.decide.explain_mail import mail_fact, mail_words, reason_words
from heliograph.decide.journeys.program import Journey
from heliograph.decide.plan import Plan, templates_of
from heliograph.decide.state import State
from heliograph.decide.turn import Person


def explain_template(state: State | None, plan: Plan, template: str, now: int, journal: Journal = ()) -> Answer:
    """What became of this template for the person, or what stands before it.

    ``status``: unknown_template, unknown_person, unused, decided (there is a message), or that of the journey that is
    nearest.  ``messages``: newest first.  ``refusal``: why no such mail would be sent right now, if it would not.
    """
    if template not in plan.templates:
        said = f"There is no template {template!r}."
        return {"template": template, "status": "unknown_template", "sentence": said}
    if state is None or not state.plan_version:
        return {"template": template, "status": "unknown_person", "sentence": NOBODY}
    mails = _mails_of(template, journal)
    every = (*plan.journeys.values(), *(one.journey for one in plan.broadcasts.values()))
    journeys = [one for one in every if template in templates_of(one)]
    refusal = _refusal_now(state, plan, template, journeys)
    answer: Answer = {"template": template, "messages": mails, "refusal": refusal}
    told = [explain_journey(state, plan, one.name, now, journal) for one in journeys]
    if mails:
        return {**answer, "status": "decided", "sentence": _mail_sentence(mails[0], told), "journeys": told}
    if not journeys:
        return {**answer, "status": "unused", "sentence": f"Nothing sends the template {template!r}."}
    nearest = min(told, key=lambda one: _NEARNESS.index(one["status"]))
    said = " ".join(f"{one['journey']}: {one['sentence']}" for one in told)
    if refusal:
        said += f" Even then there would be no mail now: {reason_words(refusal)}."
    return {**answer, **{k: v for k, v in nearest.items() if k != "sentence"}, "sentence": said, "journeys": told}


def _mails_of(template: str, journal: Journal) -> list[dict[str, Any]]:
    """What was decided about its mails and came of them, newest first.  What comes behind the end of a run (a bounce, a
    broadcast taken back) names the message alone."""
    mails = [mail for mail in map(mail_fact, journal) if mail]
    named = {mail["message_id"]: mail["template"] for mail in mails if mail["template"]}
    told = [{**mail, "template": named.get(mail["message_id"], "")} for mail in mails]
    return [mail for mail in told if mail["template"] == template]


def _mail_sentence(latest: dict[str, Any], told: list[Answer]) -> str:
    """What became of the latest mail, and what happened in its journeys after it was decided."""
    broadcast = broadcast_of(latest["journey"])
    whose = f"broadcast {broadcast!r}" if broadcast else f"journey {latest['journey']!r}"
    said = f"The latest mail {latest['message_id']} ({whose}) {mail_words(latest)}."
    since = [one for one in told if one.get("since", 0) > latest["at"] and one["status"] != "ended"]
    return " ".join([said, *(f"Since then: {one['journey']}: {one['sentence']}" for one in since)])


_NEARNESS: Final = ("active", "holdout", "refused", "ended", "not_entered", "unknown_person", "unknown_journey")


def _refusal_now(state: State, plan: Plan, template: str, journeys: Iterable[Journey]) -> str:
    transactional = plan.templates[template].get("class") == "transactional"
    topics = [journey.topic for journey in journeys] or ["marketing"]
    person = Person(state, plan)
    reasons = [consent.refusal(person, topic, transactional=transactional) for topic in topics]
    return reasons[0] if all(reasons) else ""
