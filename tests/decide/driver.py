"""A world small enough to read: states in a dict, one log, a virtual clock, and a mailer that answers when told.

Records are decided in log order; the hops of a record right behind it.  Every state goes through its encoding, so a
test that passes here has also shown that nothing lives outside the blob.
"""

from collections import deque
from typing import Any

from heliograph import decide
from heliograph.decide.conditions import LeafIndex
from heliograph.decide.effects import (
    CallWebhook,
    CancelMessage,
    ChangeLedger,
    DecideMessage,
    DropWebhook,
    Duplicate,
    Effect,
    Fact,
    Hop,
    IndexEmail,
    SetMembership,
)
from heliograph.events.event import EVENT_NAMES, Event
from heliograph.events.identity import email_of, key_of
from heliograph.events.record import (
    Answer,
    Body,
    Enter,
    EventBody,
    LedgerChange,
    LedgerRow,
    ListChange,
    Outcome,
    Record,
    Touch,
    Wake,
)

T0 = 1_790_000_000_000
"""Monday 21 September 2026, 14:13:20 UTC."""
SECOND, MINUTE, HOUR, DAY = 1000, 60_000, 3_600_000, 86_400_000

TEMPLATE = {"version": "v1", "class": "marketing", "freshness_ms": None, "last": []}


def plan_document(
    journeys: list[dict[str, Any]] | None = None,
    segments: dict[str, Any] | None = None,
    *,
    templates: dict[str, dict[str, Any]] | None = None,
    topics: dict[str, str] | None = None,
    policies: dict[str, Any] | None = None,
    **project: Any,
) -> dict[str, Any]:
    """A document with a template for every ``send``; ``segments``: name -> condition."""
    templates = {name: {**TEMPLATE, "name": name, **more} for name, more in (templates or {}).items()}
    for name in _sent(journeys or []):
        templates.setdefault(name, {**TEMPLATE, "name": name})
    return {
        "format": 1,
        "tzdata": "2026.1",
        "project": {"name": "shop", "timezone": "Europe/London", "time_scale": 1, **project},
        "policies": {"topics": {name: {"consent": rule} for name, rule in (topics or {}).items()}, **(policies or {})},
        "segments": {name: {"name": name, "if": condition} for name, condition in (segments or {}).items()},
        "journeys": {journey["name"]: journey for journey in journeys or []},
        "templates": templates,
        "schemas": {},
    }


def _sent(node: Any) -> list[str]:
    if isinstance(node, dict):
        own = [node["send"]] if isinstance(node.get("send"), str) else []
        return own + [name for value in node.values() for name in _sent(value)]
    return [name for value in node for name in _sent(value)] if isinstance(node, list) else []


def journey(name: str = "j", **parts: Any) -> dict[str, Any]:
    return {"name": name, "entry": {"event": "Start"}, "steps": [{"send": "mail"}], **parts}


class World:
    """``journal``, ``messages``, ``members``, ``ledger``: what a runtime would keep.  ``now`` only moves forward."""

    def __init__(self, document: dict[str, Any] | None = None, *, now: int = T0) -> None:
        self.plan = decide.compile_plan(document or plan_document(), 1)
        self.now = now
        self.blobs: dict[str, bytes] = {}
        self.log: list[Record] = []
        self.effects: list[tuple[str, Effect]] = []
        self.journal: dict[str, list[tuple[int, str, dict[str, Any]]]] = {}
        self.messages: dict[str, DecideMessage] = {}
        self.status: dict[str, str] = {}
        self.owner: dict[str, str] = {}
        self.members: dict[tuple[str, str], int] = {}
        self.ledger: dict[tuple[str, str], LedgerRow] = {}
        self.holders: dict[str, set[str]] = {}
        self.requests: dict[str, CallWebhook] = {}
        self.count = 0
        self._hops: deque[Record] = deque()
        self._deciding = False

    # -- the world acts --

    def publish(self, document: dict[str, Any], *, touch: bool = True) -> None:
        """Marked as a server does it; ``touch``: and the sweep comes by everybody."""
        old, plan = self.plan, decide.compile_plan(document, self.plan.version + 1)
        self.plan = plan.marked(decide.marks_after(plan, old, 0))
        for key in list(self.blobs) if touch else []:
            self.sweep(key)

    def sweep(self, key: str = "u:1") -> None:
        """Bring this person what the log says about conditions that are new to them."""
        state = decide.decode_state(self.blobs[key])
        folding = decide.Folding(
            LeafIndex([self.plan.leaves.leaves[leaf] for leaf in self.plan.fresh.lacking(state.swept)])
        )
        for record in self.log:
            if isinstance(record.body, EventBody) and record.key in (key, *state.links):
                folding.take(record.body.event)
        self.append(key, Touch(self.plan.version, folding.states))

    def track(self, name: str, user: str | None = "1", **more: Any) -> Event:
        """``at``: when it occurred; ``id``: the event id; ``anon``; ``context``; the rest are properties."""
        return self.call("track", name, user, **more)

    def identify(self, user: str | None = "1", traits: dict[str, Any] | None = None, **more: Any) -> Event:
        return self.call("identify", "", user, traits=traits or {}, **more)

    def alias(self, user: str, previous: str) -> Event:
        return self.call("alias", "", user, previous=previous)

    def call(self, type: str, name: str, user: str | None, **more: Any) -> Event:
        self.count += 1
        event = Event(
            more.pop("id", f"e{self.count}"),
            type,
            name or EVENT_NAMES.get(type, ""),
            min(more.pop("at", self.now), self.now),
            user_id=user,
            anonymous_id=more.pop("anon", None),
            previous_id=more.pop("previous", None),
            traits=more.pop("traits", {}),
            context=more.pop("context", {}),
            properties=more,
        )
        self.post(event)
        return event

    def post(self, event: Event) -> None:
        key = key_of(event)
        assert key is not None
        address = email_of(event)
        rows = [row for (held, _), row in self.ledger.items() if held == address]
        self.append(key, EventBody(event, rows), event.event_id)

    def append(self, key: str, body: Body, id: str | None = None) -> None:
        self.feed(Record(key, id or f"r{len(self.log)}.{len(self._hops)}", self.now, self.plan.version, body))

    def feed(self, *records: Record) -> None:
        """Decide records and what follows from them; several stand in the log before the hops of the first."""
        self._hops.extend(records)
        while self._hops and not self._deciding:
            self._deciding = True
            self._decide(self._hops.popleft())
            self._deciding = False

    def advance(self, ms: int) -> None:
        """Let time pass, firing every deadline at its instant."""
        until = self.now + ms
        while (due := self.next_due()) is not None and due[0] <= until:
            self.now = max(self.now, due[0])
            self.append(due[1], Wake())
        self.now = until

    def outcome(self, message_id: str, kind: str, **more: Any) -> None:
        if kind not in ("opened", "clicked"):
            self.status[message_id] = kind if kind != "missed" else "deferred"
        self.append(self.owner[message_id], Outcome(message_id, kind, self.now, **more))

    def enter(self, name: str, user: str = "1", *, id: str = "", at: int | None = None, **properties: Any) -> None:
        """The API asks somebody into a journey."""
        self.count += 1
        event = Event(id or f"e{self.count}", "track", "Asked", at or self.now, user_id=user, properties=properties)
        self.append(f"u:{user}", Enter(name, event))

    def answer(self, body: Any = None, *, ok: bool = True, **more: Any) -> CallWebhook:
        """The one request that is open comes to this."""
        ((request_id, request),) = self.requests.items()
        del self.requests[request_id]
        owner = self.owner[request_id]
        self.append(owner, Answer(request_id, ok, more.pop("status", 200 if ok else 500), body, **more))
        return request

    def deliver(self) -> list[str]:
        """The mailer sends what is queued; the templates it sent."""
        sent = [message_id for message_id, status in self.status.items() if status == "queued"]
        for message_id in sent:
            self.outcome(message_id, "sent")
        return [self.messages[message_id].template for message_id in sent]

    def say(self, address: str, topic: str, given: bool) -> None:
        """A word in the ledger, from a link or the API."""
        self._say(LedgerRow(address, topic, given, self.now, "page"))

    def put_on_list(self, key: str, name: str, on: bool = True) -> None:
        self.append(key, ListChange(name, on, self.now))

    # -- what there is --

    def state(self, key: str = "u:1") -> decide.State:
        state = decide.decode_state(self.blobs[key])
        return self.state(state.forward) if state.forward else state

    def facts(self, kind: str, key: str = "u:1") -> list[dict[str, Any]]:
        return [data for _, found, data in self.journal.get(key, []) if found == kind]

    def queued(self) -> list[str]:
        return [self.messages[message_id].template for message_id, status in self.status.items() if status == "queued"]

    def skipped(self) -> list[str]:
        return [message.reason for message in self.messages.values() if message.status == "skipped"]

    def runs(self, key: str = "u:1") -> list[tuple[str, str]]:
        return sorted((run.journey, run.step) for run in self.state(key).runs.values())

    def ended(self, key: str = "u:1") -> list[str]:
        return [run.reason for run in self.state(key).ended]

    def segments(self, key: str = "u:1") -> list[str]:
        return sorted(name for name, holder in self.members if holder == key)

    def next_due(self) -> tuple[int, str] | None:
        dues = ((decide.deadline(decide.decode_state(blob)), key) for key, blob in self.blobs.items())
        return min(((due, key) for due, key in dues if due is not None), default=None)

    # -- carrying out --

    def _decide(self, record: Record) -> None:
        self.log.append(record)
        blob = self.blobs.get(record.key)
        state = decide.decode_state(blob) if blob else decide.new_state(record.key)
        state, effects = decide.step(state, record, self.plan)
        self.blobs[record.key] = decide.encode_state(state)
        if decide.is_blank(state):
            del self.blobs[record.key]
        for effect in effects:
            self.effects.append((record.key, effect))
            self._carry_out(record.key, effect)

    def _carry_out(self, key: str, effect: Effect) -> None:
        match effect:
            case Hop(record):
                self._hops.append(record)
            case Fact(kind, at, data):
                self.journal.setdefault(key, []).append((at, kind, data))
            case DecideMessage() if self._is_anothers(key, effect.message_id):
                if effect.status in ("queued", "deferred"):
                    self.append(key, Outcome(effect.message_id, "skipped", self.now, "same_address"))
            case DecideMessage():
                assert self.status.get(effect.message_id, "deferred") == "deferred", "decided twice"
                self.messages[effect.message_id] = effect
                self.status[effect.message_id] = effect.status
                self.owner[effect.message_id] = key
            case CancelMessage(message_id, reason):
                if self.status[message_id] in ("queued", "deferred"):
                    self.status[message_id] = "cancelled"
                    self.append(self.owner[message_id], Outcome(message_id, "cancelled", self.now, reason))
            case CallWebhook():
                self.requests[effect.request_id] = effect
                self.owner[effect.request_id] = key
            case DropWebhook(request_id):
                self.requests.pop(request_id, None)
            case SetMembership(name, True, at):
                self.members[name, key] = at
            case SetMembership(name):
                self.members.pop((name, key), None)
            case IndexEmail(address, on):
                holders = self.holders.setdefault(address, set())
                (holders.add if on else holders.discard)(key)
            case ChangeLedger(rows):
                for row in rows:
                    self._say(row)
            case Duplicate():
                pass

    def _is_anothers(self, key: str, message_id: str) -> bool:
        """A broadcast to this address was decided for somebody else."""
        owner = self.owner.get(message_id)
        return owner is not None and self.state(owner).key != key

    def _say(self, row: LedgerRow) -> None:
        old = self.ledger.get((row.address, row.topic))
        if old is not None and (old.at, not old.given) >= (row.at, not row.given):
            return
        self.ledger[row.address, row.topic] = row
        for key in sorted(self.holders.get(row.address, ())):
            self.append(key, LedgerChange([row]))
