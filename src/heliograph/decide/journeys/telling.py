"""What a run is doing, why it ended and why none began, in plain English: for ``why`` and for people who debug."""

from typing import Any
from urllib.parse import urlsplit

from heliograph.decide.journeys.program import (
    Emit,
    EventPath,
    Journey,
    Send,
    Step,
    Update,
    Wait,
    WaitClock,
    WaitDate,
    WaitLocal,
    WaitUntil,
    Webhook,
    Window,
)
from heliograph.decide.journeys.values import Text
from heliograph.decide.state import Run
from heliograph.decide.times import describe, iso


def doing(run: Run, step: Step | None, until: int | None, places: list[dict[str, Any]]) -> str:
    """``until``: when its timer is due.  ``places``: what its message waits for (:mod:`heliograph.decide.pressure`)."""
    return f"at the step {run.step!r}{_doing(run, step, iso(until or 0), places)}"


def _doing(run: Run, step: Step | None, until: str, places: list[dict[str, Any]]) -> str:
    match step:
        case Send() if run.planned_at:
            held = "".join(f"; {one['sentence']}" for one in places)
            return f": the message {run.message_id} waits until {iso(run.planned_at)}{held}"
        case Send():
            return f": the message {run.message_id} is decided and its delivery is not finished"
        case WaitUntil():
            paths = [path.filter.text if isinstance(path, EventPath) else path.condition.text for path in step.paths]
            return f": waits for {' or '.join(paths)}, at most until {until}"
        case Wait() | WaitClock() | WaitLocal():
            return f": waits until {until}"
        case WaitDate():
            return f": waits for {_date(step)}, which is {until}"
        case Window():
            days = "" if len(step.days) == 7 else f" ({', '.join(sorted(step.days))})"
            return f": waits until {until}, when the clock is between {step.start} and {step.end}{days}"
        case Update():
            return ": its traits are being written, and it goes on when that is decided"
        case Emit():
            return f": {step.event!r} is under way, and it goes on when that is decided"
        case Webhook():
            return f": has asked {_host(step.url)} and waits for the answer, at most until {until}"
    return ""


def _date(step: WaitDate) -> str:
    trait = f"the date in {step.path.text!r}"
    if not step.offset.sign:
        return trait
    return f"{describe(step.offset)} {'before' if step.offset.sign < 0 else 'after'} {trait}"


def _host(url: Text) -> str:
    """The host of an address, which has no hole in it."""
    return urlsplit(next((part for part in url.parts if isinstance(part, str)), "")).netloc or "somebody"


def end_reason(data: dict[str, Any]) -> str:
    """From the data of ``run_ended``."""
    by = data.get("by") or {}
    match data.get("reason"):
        case "exited" if "event" in by:
            match_text = f" with the same {by['match']}" if "match" in by else ""
            return f"{by['event']} came{match_text}, which is an exit"
        case "exited" if "if" in by:
            return f"the exit condition held: {by['if']}"
        case "exited" if "missed" in data and by.get("step") == data.get("step_id"):
            return _no_date(data["missed"])
        case "exited":
            return "an `exit` was reached"
        case "finished":
            return "its last step was done"
        case "restarted":
            return "the entry event came again and began it anew"
        case "merged":
            return "the person turned out to be somebody whose earlier run went on"
        case "held_out":
            return "it was held out of all mail"
        case "loop_cut":
            return "it went round a loop without a pause"
        case "journey_removed":
            return "this version of the journey was removed"
        case "cancelled":
            return "the broadcast was cancelled"
    return str(data.get("reason"))


def _no_date(missed: dict[str, Any]) -> str:
    """From the fact that a date was not waited for."""
    if missed["reason"] == "no_date":
        return f"there was no date in {missed['trait']!r}"
    return f"the time to wait for in {missed['trait']!r} was over ({iso(missed['date'])})"


def entry_words(journey: Journey) -> str:
    """What starts a journey."""
    entry = journey.entry
    if entry.filter is not None:
        return f'"{entry.filter.event}"'
    if entry.schedule is not None:
        return f"occurrence of {entry.schedule.text}"
    return "call of the API" if entry.api else repr(entry.segment)


def offer_refusal(data: dict[str, Any]) -> str:
    """From the data of ``run_refused`` of a broadcast."""
    match data.get("reason"):
        case "if_false" if "condition" in data:
            return f"not in its audience then: {data['condition']}; seen: {data['seen'] or 'nothing'}"
        case "if_false":
            return "not in its audience then"
        case "no_address":
            return "no email address was known"
        case "too_late":
            return f"the person's clock had shown its time at {iso(data['at'])}, more than an hour before"
        case "holdout" | "global_holdout":
            return "held out of it by lot"
        case "already_offered":
            return "it had come by before"
        case "over":
            return "it had been cancelled"
        case "state_full":
            return "the person has as many active runs as there may be"
    return str(data.get("reason"))


def refusal(journey: Journey, data: dict[str, Any]) -> str:
    """From the data of ``run_refused``."""
    key = f" for {data['entry_key']!r}" if data.get("entry_key") else ""
    match data.get("reason"):
        case "no_key":
            return f"the event had no value at {data.get('path')}, which is the journey's key"
        case "too_late" if journey.entry.schedule is not None:
            return f"the server came to it more than {data.get('limit')} after it was due"
        case "too_late":
            return f"it arrived more than {data.get('limit')} after it occurred"
        case "missed":
            return f"when the server came to it, the next one ({iso(data['until'])}) was due as well"
        case "no_api_entry":
            return "the API does not start this journey: its `entry` would have to be `api: true`"
        case "already_active":
            return f"a run{key} was active already"
        case "if_false":
            said = f": {data['condition']}; seen: {data['seen'] or 'nothing'}" if "condition" in data else ""
            return f"`if` was false{said}"
        case "reentry" if "until" in data:
            return f"the last entry{key} was at {iso(data['entered_at'])}, the next may be from {iso(data['until'])}"
        case "reentry":
            return f"entered{key} at {iso(data['entered_at'])}, and the journey takes everybody once"
        case "state_full":
            return "the person has as many active runs as there may be"
    return str(data.get("reason"))
