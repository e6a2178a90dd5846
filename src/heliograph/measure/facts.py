"""Facts as rows: what one record led to, for tables that are asked with SQL.

A row follows from the record and its facts alone, never from when or how often it is loaded; and every table keeps one
row of what is equal (facts, events) or a least and a greatest of what belongs together (messages, runs).  So rows may
come twice, late and in any order, from the log of one machine or from a topic that repeats itself: the tables say the
same.  Times are ms UTC, money is in millionths.
"""

import struct
from collections.abc import Callable, Iterable
from hashlib import blake2b
from typing import Any, Final, TypeAlias

import msgspec

from heliograph.decide.broadcasts import broadcast_of
from heliograph.decide.conditions.amounts import micros
from heliograph.decide.effects import Fact
from heliograph.events.record import Answer, Enter, EventBody, Offer, Outcome, Record, Wake

FACTS: Final = "raw_facts"
EVENTS: Final = "raw_events"
MESSAGES: Final = "raw_messages"
RUNS: Final = "raw_runs"

BY_RUNTIME: Final = frozenset({"cancel_too_late"})
"""Facts that no brain said: they are numbered apart, so that both sources number the others alike."""
OUTCOMES: Final = (
    "sent", "delivered", "opened", "clicked", "bounced", "complained", "unsubscribed", "skipped", "expired",
    "cancelled", "unknown", "missed",
)  # fmt: skip
MACHINE_OUTCOMES: Final = ("opened", "clicked")
"""What scanners and mail proxies do has columns of its own, and none in what people did."""
MONEY: Final = ("revenue", "total", "value")
"""Properties that say what an event is worth, in this order (Segment's spec for e-commerce)."""
MAX_CURRENCY: Final = 8

MESSAGE_NAMES: Final = ("workspace", "message_id", "key", "journey", "broadcast_id", "run_id", "step_id", "template")
MESSAGE_TIMES: Final = (
    "caused_at", "decided_at", "deferred_at", *(f"{kind}_at" for kind in OUTCOMES),
    *(f"machine_{kind}_at" for kind in MACHINE_OUTCOMES),
)  # fmt: skip
COLUMNS: Final[dict[str, tuple[str, ...]]] = {
    FACTS: (
        "workspace", "at", "kind", "key", "journey", "version", "run_id", "step_id", "template", "message_id",
        "broadcast_id", "arm", "reason", "what", "outcome", "machine", "segment", "value", "currency", "data",
        "record_id", "received_at", "partition", "position", "id",
    ),
    EVENTS: (
        "workspace", "event_id", "type", "name", "key", "user_id", "anonymous_id", "occurred_at", "received_at",
        "historical", "value", "currency", "properties", "partition", "position", "rank",
    ),
    MESSAGES: MESSAGE_NAMES + MESSAGE_TIMES,
    RUNS: (
        "workspace", "run_id", "key", "journey", "version", "broadcast_id", "arm", "entry_key", "cause", "trigger",
        "caused_at", "started_at", "ended_at", "end_reason", "goal_at", "value", "currency",
    ),
}  # fmt: skip
"""Table -> its columns, in the order of the tuples of :data:`Rows`."""

Rows: TypeAlias = dict[str, list[tuple[Any, ...]]]
"""Table -> rows."""

_TIME_AT: Final = {name: place for place, name in enumerate(MESSAGE_TIMES)}
_DECISIONS: Final = {
    "message_decided": "decided_at",
    "message_deferred": "deferred_at",
    "message_skipped": "skipped_at",
}
_TRIGGERS: Final[dict[type, str]] = {Wake: "time", Enter: "API", Offer: "broadcast", Answer: "webhook"}
_FIRST_COME: Final = (1 << 56) - 1
_NUMBER: Final = struct.Struct(">qI")
_APART: Final = 1 << 20
_json = msgspec.json.Encoder(order=None).encode


class Told(msgspec.Struct, frozen=True, gc=False):
    """A record at its place in its log, and the facts that it led to, in order."""

    position: int
    record: Record
    facts: list[Fact]


def rows_of(partition: int, told: Iterable[Told]) -> Rows:
    """The rows of these records."""
    rows: Rows = {table: [] for table in COLUMNS}
    for one in told:
        record = one.record
        if isinstance(record.body, EventBody):
            rows[EVENTS].append(_event(partition, one.position, record, record.body))
        said, apart = 0, _APART
        for fact in one.facts:
            number = apart if fact.kind in BY_RUNTIME else said
            apart, said = (apart + 1, said) if fact.kind in BY_RUNTIME else (apart, said + 1)
            rows[FACTS].append(_fact(partition, one.position, record, fact, number))
            if (more := _MORE.get(fact.kind)) is not None:
                table, row = more(record, fact)
                rows[table].append(row)
    return rows


def _fact(partition: int, position: int, record: Record, fact: Fact, number: int) -> tuple[Any, ...]:
    said, outcome = fact.data, _outcome(record, fact)
    if outcome is not None:
        said = {**said, "at": outcome.at, **({"properties": outcome.properties} if outcome.properties else {})}
    get, data = said.get, _json(said)
    journey = _text(get("journey"))
    is_goal = fact.kind == "goal"
    return (
        record.workspace, fact.at, fact.kind, record.key, journey, _text(get("version")), _text(get("run_id")),
        _text(get("step_id")), _text(get("template")), _text(get("message_id")), broadcast_of(journey),
        _text(get("arm")), _text(get("reason")), _text(get("what")),
        _text(get("kind")) if fact.kind == "message_outcome" else "", bool(get("machine")), _text(get("segment")),
        amount(get("value")) if is_goal else None, _currency(record) if is_goal else "", data.decode(),
        record.id, record.received_at, partition, position, _fact_id(record, number, data),
    )  # fmt: skip


def _fact_id(record: Record, number: int, data: bytes) -> int:
    """The same whenever and wherever this record is decided again; 64 bits beside kind, journey and instant."""
    said = b"\0".join((record.key.encode(), record.id.encode(), _NUMBER.pack(record.received_at, number), data))
    return int.from_bytes(blake2b(said, digest_size=8).digest(), "big")


def _event(partition: int, position: int, record: Record, body: EventBody) -> tuple[Any, ...]:
    """``rank``: of what is one event, the row of who got it last, and of those the first to come."""
    event = body.event
    rank = (body.hops << 56) | (_FIRST_COME - record.received_at)
    return (
        record.workspace, event.event_id, event.type, event.name, record.key, event.user_id or "",
        event.anonymous_id or "", event.occurred_at, record.received_at, event.historical, _worth(event.properties),
        _currency(record), _json(event.properties).decode(), partition, position, rank,
    )  # fmt: skip


def _message(record: Record, fact: Fact) -> tuple[str, tuple[Any, ...]]:
    """A row that knows one instant of a message."""
    get = fact.data.get
    times: list[int | None] = [None] * len(MESSAGE_TIMES)
    journey = _text(get("journey"))
    if fact.kind in _DECISIONS:
        times[_TIME_AT[_DECISIONS[fact.kind]]] = fact.at
        times[_TIME_AT["caused_at"]] = record.received_at
    elif (place := _TIME_AT.get(_outcome_column(fact))) is not None:
        outcome = _outcome(record, fact)
        times[place] = fact.at if outcome is None or outcome.kind == "missed" else outcome.at
    names = (
        record.workspace, _text(get("message_id")), record.key, journey, broadcast_of(journey),
        _text(get("run_id")), _text(get("step_id")), _text(get("template")),
    )  # fmt: skip
    return MESSAGES, (*names, *times)


def _outcome_column(fact: Fact) -> str:
    return ("machine_" if fact.data.get("machine") else "") + f"{fact.data.get('kind')}_at"


def _run(record: Record, fact: Fact) -> tuple[str, tuple[Any, ...]]:
    """A row that knows the beginning, the end or the goal of a run."""
    get, kind = fact.data.get, fact.kind
    started, goal, ended = kind == "run_started", kind == "goal", kind == "run_ended"
    journey = _text(get("journey"))
    return RUNS, (
        record.workspace, _text(get("run_id")), record.key, journey, _text(get("version")), broadcast_of(journey),
        _text(get("arm")), _text(get("entry_key")), _text(get("cause")), _trigger(record) if started else "",
        record.received_at if started else None, fact.at if started else None, fact.at if ended else None,
        _text(get("reason")) if ended else "", fact.at if goal else None, amount(get("value")) if goal else None,
        _currency(record) if goal else "",
    )  # fmt: skip


_MORE: Final[dict[str, Callable[[Record, Fact], tuple[str, tuple[Any, ...]]]]] = {
    "message_decided": _message,
    "message_deferred": _message,
    "message_skipped": _message,
    "message_outcome": _message,
    "run_started": _run,
    "run_ended": _run,
    "goal": _run,
}
"""Kinds of fact that tell of something with a row of its own."""


def _outcome(record: Record, fact: Fact) -> Outcome | None:
    """What a mailer or a reader reported, when that is what this fact is about."""
    body = record.body
    if fact.kind != "message_outcome" or not isinstance(body, Outcome):
        return None
    return body if body.message_id == fact.data.get("message_id") and body.kind == fact.data.get("kind") else None


def _trigger(record: Record) -> str:
    """What began a run: the name of the event, or what else came."""
    body = record.body
    if isinstance(body, EventBody):
        return body.event.name
    return _TRIGGERS.get(type(body), type(body).__name__)


def amount(value: Any) -> int | None:
    """A number, or a text that is one, in millionths."""
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            return None
    return micros(value)


def _worth(properties: dict[str, Any]) -> int | None:
    found = (amount(properties[name]) for name in MONEY if name in properties)
    return next((worth for worth in found if worth is not None), None)


def _currency(record: Record) -> str:
    """ISO 4217 as the event has it."""
    body = record.body
    said = body.event.properties.get("currency") if isinstance(body, EventBody) else None
    return said.upper() if isinstance(said, str) and len(said) <= MAX_CURRENCY else ""


def _text(value: Any) -> str:
    return value if isinstance(value, str) else "" if value is None else str(value)
