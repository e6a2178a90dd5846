"""Recorded histories: a log, the plans it was decided under, and what was decided then.

A history is what ``step`` must decide for ever: msgpack, compressed, a file per example in ``tests/replays/histories``.
What is compared are decisions, not encodings: :func:`essence` names the fields of an effect that somebody would notice,
:func:`view` those of a state; fields that are added later change nothing.
"""

import zlib
from pathlib import Path
from typing import Any

import msgspec

from heliograph import decide
from heliograph.decide import effects as fx
from heliograph.decide.times import iso
from heliograph.events.record import Record, decode_record

FOLDER = Path(__file__).parent / "histories"
FACT_FIELDS = ("journey", "run_id", "segment", "message_id", "reason", "what", "arm", "kind", "until", "topic", "given")
"""Of a fact's data, what its meaning hangs on."""

Essence = list[Any]


class History(msgspec.Struct):
    """``plans``: (version, document) as they came into force.  ``log``: encoded records in order.  ``decided``: the
    essence of each record's effects.  ``states``: key -> :func:`view` at the end."""

    plans: list[tuple[int, bytes]]
    log: list[bytes]
    decided: list[list[Essence]]
    states: dict[str, Any]


def save(history: History, name: str) -> int:
    """Its size in bytes."""
    data = zlib.compress(msgspec.msgpack.encode(history), 9)
    FOLDER.mkdir(exist_ok=True)
    return (FOLDER / f"{name}.bin").write_bytes(data)


def load(file: Path) -> History:
    return msgspec.msgpack.decode(zlib.decompress(file.read_bytes()), type=History)


def essence(effect: fx.Effect) -> Essence:
    match effect:
        case fx.DecideMessage():
            told = (effect.message_id, effect.template, effect.topic, effect.address, effect.status, effect.reason)
            return ["message", *told, effect.created_at, effect.not_before, effect.not_after]
        case fx.CancelMessage(message_id, reason, at):
            return ["cancel", message_id, reason, at]
        case fx.CallWebhook():
            return ["webhook", effect.request_id, effect.url, effect.method, effect.body, effect.give_up_at]
        case fx.DropWebhook(request_id):
            return ["drop", request_id]
        case fx.Hop(record):
            return ["hop", type(record.body).__name__, record.key, record.id]
        case fx.SetMembership(segment, on, at):
            return ["member", segment, on, at]
        case fx.ChangeLedger(rows):
            return ["ledger", *[[row.address, row.topic, row.given, row.at] for row in rows]]
        case fx.IndexEmail(address, on):
            return ["email", address, on]
        case fx.Duplicate(event_id):
            return ["duplicate", event_id]
        case fx.Fact(kind, at, data):
            return ["fact", kind, at, {name: data[name] for name in FACT_FIELDS if name in data}]


def view(state: decide.State) -> dict[str, Any]:
    """What a state means, JSON-able."""
    runs = [
        [run.run_id, run.journey, run.entry_key, run.step, run.held_out, run.converted, run.message_id, run.arms]
        for run in sorted(state.runs.values(), key=lambda run: run.run_id)
    ]
    return {
        "forward": state.forward,
        "links": state.links,
        "traits": state.traits,
        "address": state.address,
        "consent": {topic: word.given for topic, word in state.consent.items()},
        "members": state.members,
        "runs": runs,
        "ended": [[run.run_id, run.reason, run.ended_at, run.converted] for run in state.ended],
        "entered": state.entered,
        "timers": state.timers,
        "slots": [[slot.at, slot.message_id, slot.topic, slot.sent] for slot in state.slots],
        "origin": state.origin,
    }


class Difference(AssertionError):
    """The same log was decided otherwise."""


def replay(history: History) -> tuple[list[list[Essence]], dict[str, Any]]:
    """What today's code decides: the essences of each record, and the views at the end."""
    plans = dict(history.plans)
    plan = decide.compile_plan(msgspec.json.decode(plans[1]), 1)
    states: dict[str, decide.State] = {}
    decided: list[list[Essence]] = []
    for data in history.log:
        record = decode_record(data)
        if record.plan_version > plan.version:
            plan = decide.compile_plan(msgspec.json.decode(plans[record.plan_version]), record.plan_version)
        state, effects = decide.step(states.get(record.key) or decide.new_state(record.key), record, plan)
        states[record.key] = state
        if decide.is_blank(state):
            del states[record.key]
        decided.append([plain(essence(effect)) for effect in effects])
    return decided, {key: plain(view(state)) for key, state in sorted(states.items())}


def plain(value: Any) -> Any:
    """As it comes back from a file."""
    return msgspec.msgpack.decode(msgspec.msgpack.encode(value))


def told(record: Record, number: int) -> str:
    event = getattr(record.body, "event", None)
    name = getattr(event, "name", "") or type(record.body).__name__
    return f"record {number} ({name} of {record.key} at {iso(record.received_at)}, plan {record.plan_version})"
