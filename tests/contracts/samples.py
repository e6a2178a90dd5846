"""Small rows for the contract suite: only what a test cares about is spelled out."""

from typing import Any

from heliograph.events.event import Event
from heliograph.events.record import EventBody, LedgerRow, Record, Wake
from heliograph.ports import BroadcastRow, Commit, DeadLetter, JournalRow, MessageRow, RequestRow


def event(event_id: str, at: int, **properties: Any) -> Event:
    return Event(event_id=event_id, type="track", name="Product Viewed", occurred_at=at, properties=properties)


def arrival(key: str, event_id: str, at: int, received_at: int | None = None, **properties: Any) -> Record:
    body = EventBody(event(event_id, at, **properties))
    return Record(key, event_id, at if received_at is None else received_at, 1, body)


def wake(key: str, received_at: int) -> Record:
    return Record(key, f"wake-{key}-{received_at}", received_at, 1, Wake())


def message(message_id: str, created_at: int, key: str = "u:1", status: str = "queued", **fields: Any) -> MessageRow:
    return MessageRow(
        message_id=message_id, key=key, journey="cart", journey_version="v1", run_id="run", step_id="send-cart",
        template="cart", template_version="t1", topic="offers", transactional=False, address="a@example.com",
        status=status, reason="", created_at=created_at, **fields,
    )  # fmt: skip


def request(request_id: str, **fields: Any) -> RequestRow:
    values = {
        "key": "u:1", "run_id": "run", "journey": "crm", "step_id": "webhook-1", "url": "https://crm.test/hook",
        "method": "POST", "body": b'{"id":"1"}', "timeout_ms": 5_000, "give_up_at": 9, "created_at": 1, **fields,
    }  # fmt: skip
    return RequestRow(request_id=request_id, **values)


def requests(*rows: RequestRow) -> Commit:
    return Commit(requests={row.request_id: row for row in rows})


def broadcast(broadcast_id: str, created_at: int = 1, status: str = "running", **fields: Any) -> BroadcastRow:
    document = {"name": broadcast_id, "template": "news", "audience": {"everyone": True}}
    return BroadcastRow(
        broadcast_id=broadcast_id, name=broadcast_id, document=document, status=status, created_at=created_at, **fields
    )


def broadcasts(*rows: BroadcastRow) -> Commit:
    return Commit(broadcasts={row.broadcast_id: row for row in rows})


def suppression(address: str, topic: str = "!manual", given: bool = False, at: int = 1) -> LedgerRow:
    return LedgerRow(address, topic, given, at, "test")


def ledger(*rows: LedgerRow) -> Commit:
    return Commit(ledger={(row.address, row.topic): row for row in rows})


def messages(*rows: MessageRow) -> Commit:
    return Commit(messages={row.message_id: row for row in rows})


def dead_letter(id: str, at: int, payload: bytes = b"{}") -> DeadLetter:
    return DeadLetter(id=id, at=at, reason="total: is no number", event_name="Order Completed", payload=payload)


def fact(at: int, kind: str = "run_started", **data: Any) -> JournalRow:
    return JournalRow(at, kind, data)
