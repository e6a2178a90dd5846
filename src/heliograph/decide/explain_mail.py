"""Why a message waits, goes or does not, in plain English."""

from typing import Any, Final, TypeAlias

from heliograph.decide.plan import Plan
from heliograph.decide.pressure import MAX_HOLDERS, holders
from heliograph.decide.state import Run, Slot, State
from heliograph.decide.times import iso

Fact: TypeAlias = tuple[int, str, dict[str, Any]]
"""(at, kind, data)."""


def places_of(state: State, plan: Plan, run: Run, topic: str, now: int) -> list[dict[str, Any]]:
    """For each cap that has no place for this message now: which messages hold them."""
    found = []
    for cap in plan.policies.caps_on(topic):
        near = holders(state, cap, run.message_id, now, now)
        if len(near) >= min(cap.max, MAX_HOLDERS):
            sentence = f"the places of the cap {cap.text} are held by {', '.join(map(_held, near))}"
            held = [{"message_id": one.message_id, "at": one.at, "sent": one.sent} for one in near]
            found.append({"cap": cap.text, "held_by": held, "sentence": sentence})
    return found


def _held(slot: Slot) -> str:
    return f"{slot.message_id} ({'sent' if slot.sent else 'not sent yet, planned for'} {iso(slot.at)})"


def mail_fact(fact: Fact) -> dict[str, Any] | None:
    """A fact about a message as (at, message_id, run_id, journey, template, kind, reason, held_by)."""
    at, kind, data = fact
    if (
        kind not in ("message_skipped", "message_outcome", "message_decided", "message_deferred")
        or "template" not in data
        or data.get("machine")
    ):
        return None
    word = _WORDS.get(kind, data.get("kind", ""))
    names = {name: data.get(name, "") for name in ("message_id", "run_id", "journey", "step_id", "template", "reason")}
    stale = {"stale": data["stale"]} if data.get("stale") else {}
    return {"at": at, "kind": word, **names, "held_by": data.get("held_by", []), **stale}


_WORDS: Final = {"message_skipped": "skipped", "message_decided": "queued", "message_deferred": "deferred"}


def mail_words(mail: dict[str, Any]) -> str:
    why = f": {reason_words(mail['reason'])}" if mail["reason"] else ""
    held = f" (its places: {', '.join(mail['held_by'])})" if mail.get("held_by") else ""
    old = "".join(f" (its {what} was {age:g} s old)" for what, age in mail.get("stale", {}).items())
    return f"{_KINDS.get(mail['kind'], mail['kind'])} at {iso(mail['at'])}{why}{held}{old}"


_KINDS: Final = {
    "queued": "was decided",
    "deferred": "was held back",
    "missed": "could not be sent in time and was decided again",
    "sent": "was sent",
    "delivered": "was delivered",
    "opened": "was opened",
    "clicked": "was clicked",
    "skipped": "was skipped",
    "bounced": "bounced",
    "expired": "expired",
    "cancelled": "was cancelled",
    "unknown": "may or may not have been sent (the connection broke)",
    "complained": "brought a complaint",
    "unsubscribed": "brought an unsubscribe",
}


def reason_words(reason: str) -> str:
    """A reason of a skip in plain English, the reason itself where there is nothing to add."""
    kind, _, what = reason.partition(": ")
    match kind:
        case "no_address":
            return "no email address is known"
        case "no_consent":
            return f"no consent for the topic {what!r}"
        case "suppressed":
            return f"the address is suppressed ({what})"
        case "missing":
            return f"the template needs {what}, which has no value"
        case "no_template":
            return f"the template {what!r} is not in the plan any more"
        case "stale":
            return "it was older than its freshness, or would have been" + (f" ({what})" if what else "")
        case "cap":
            return f"at most {what}, says a cap"
        case "quiet_hours":
            return "these are quiet hours"
        case "arbitrating":
            return "it is compared with others that come in these minutes"
        case "if_false":
            return "the journey's `if` no longer held"
        case "same_address":
            return "somebody else with this address gets it"
        case "address_changed":
            return "it was put off, and the person had another address by then"
    return reason
