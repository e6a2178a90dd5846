"""The decision at the commit point."""

import msgspec
import pytest

from heliograph.deliver.commit import Stop, decide
from heliograph.events.record import LedgerRow

TOPICS = {"offers": "required", "news": "assumed"}
NOW = 1_000


class Message(msgspec.Struct):
    status: str = "queued"
    reason: str = ""
    topic: str | None = "news"
    transactional: bool = False
    not_after: int = 0


def row(topic: str, given: bool) -> LedgerRow:
    return LedgerRow("ada@people.example", topic, given, 1)


@pytest.mark.parametrize(
    ("message", "rows", "stop"),
    [
        (Message(), [], None),
        (Message(status="claimed"), [], None),
        (Message(topic=None), [], None),
        (Message(topic=None), [row("marketing", False)], Stop("cancelled", "no_consent: marketing")),
        (Message(topic="news"), [row("news", False)], Stop("cancelled", "no_consent: news")),
        (Message(topic="offers"), [], Stop("cancelled", "no_consent: offers")),
        (Message(topic="offers"), [row("offers", True)], None),
        (Message(topic="offers"), [row("offers", True), row("news", False)], None),
        (Message(), [row("!bounce", False)], Stop("cancelled", "suppressed: bounce")),
        (Message(), [row("!manual", False)], Stop("cancelled", "suppressed: manual")),
        (Message(), [row("!manual", True)], None),
        (Message(), [row("!complaint", False)], Stop("cancelled", "suppressed: complaint")),
        (Message(transactional=True, topic=None), [row("!complaint", False), row("marketing", False)], None),
        (Message(transactional=True, topic=None), [row("!bounce", False)], Stop("cancelled", "suppressed: bounce")),
        (Message(not_after=NOW), [], Stop("deferred", "missed")),
        (Message(not_after=NOW), [row("news", False)], Stop("cancelled", "no_consent: news")),
        (Message(status="deferred", reason="quiet_hours"), [], Stop("deferred", "quiet_hours")),
        (Message(status="deferred"), [row("!manual", False)], Stop("cancelled", "suppressed: manual")),
        (Message(not_after=NOW + 1), [], None),
        (Message(status="cancelled", reason="exited"), [], Stop("cancelled", "exited")),
        (Message(status="sending"), [], Stop("sending", "already sending")),
        (Message(status="sent"), [], Stop("sent", "already sent")),
    ],
)
def test_it_goes_only_when_nothing_speaks_against_it(
    message: Message, rows: list[LedgerRow], stop: Stop | None
) -> None:
    assert decide(message, rows, TOPICS, NOW) == stop


@pytest.mark.parametrize(
    ("message", "rows", "stop"),
    [
        (Message(), [], Stop("queued", "held")),
        (Message(transactional=True, topic=None), [], Stop("queued", "held")),
        (Message(), [row("news", False)], Stop("cancelled", "no_consent: news")),
        (Message(not_after=NOW), [], Stop("deferred", "missed")),
        (Message(status="sent"), [], Stop("sent", "already sent")),
    ],
)
def test_held_mail_keeps_its_status_unless_something_else_ends_it(
    message: Message, rows: list[LedgerRow], stop: Stop
) -> None:
    assert decide(message, rows, TOPICS, NOW, held=True) == stop
