"""What was imported triggers nothing, and neither does anything that follows from it."""

from heliograph.events.record import HISTORICAL, LedgerChange
from heliograph.ports import Arrival
from tests.runtime.harness import call, identify, messages, running, send, shop

SHARED = "desk@example.com"


def news_readers() -> dict:
    """A mail to everybody who turns into a reader of the news."""
    document = shop()
    document["segments"]["readers"] = {"name": "readers", "if": {"in_topic": "news"}}
    document["journeys"]["hello-reader"] = {
        "topic": "news", "entry": {"segment": "readers"}, "steps": [{"send": "welcome"}],
    }  # fmt: skip
    return document


def consents(*, imported: bool) -> Arrival:
    context = {"consent": {"categoryPreferences": {"news": True}}, "historical": imported}
    return call("Identified", "bob", type="identify", traits={"email": SHARED}, context=context)


async def test_an_imported_consent_mails_nobody_else_who_holds_the_address() -> None:
    async with running(document=news_readers()) as engine:
        await send(engine, identify("ann", email=SHARED))
        await send(engine, consents(imported=True))
        told = [record for _, record in engine.store.log() if isinstance(record.body, LedgerChange)]
        assert [(record.key, record.flags) for record in told] == [("u:ann", HISTORICAL)]
        assert {key for key, _ in engine.store.members("readers")[0]} == {"u:ann", "u:bob"}
        assert messages(engine) == []


async def test_a_consent_given_now_acts_for_everybody_who_holds_the_address() -> None:
    async with running(document=news_readers()) as engine:
        await send(engine, identify("ann", email=SHARED))
        await send(engine, consents(imported=False))
        assert {row.key for row in messages(engine)} == {"u:ann", "u:bob"}
