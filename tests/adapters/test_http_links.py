"""Links of our mails: reading changes nothing, a withdrawal is written before its 200, machines are flagged."""

import re
from typing import Any

import pytest

from heliograph.events.record import LedgerRow
from heliograph.ports import Busy, Commit, MessageRow, StoreAway
from heliograph.render.links import Claims, Kind, sign
from tests.adapters.http_harness import LINK_KEYS, Answer, call, door
from tests.fakes import FakeEngine

PERSON = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130 Safari/537.36"
TOPICS = {"offers": {"consent": "required"}, "news": {"consent": "assumed"}}
MESSAGE = MessageRow(
    message_id="m1", key="u:1", journey="j", journey_version="v", run_id="r", step_id="s", template="t",
    template_version="v", topic="offers", transactional=False, address="ann@example.com", status="sent", reason="",
    created_at=1, sent_at=1_000_000,
)  # fmt: skip


@pytest.fixture
def engine() -> FakeEngine:
    engine = FakeEngine(TOPICS)
    engine.clock.at = 1_060_000
    engine.store.commit(Commit(messages={"m1": MESSAGE}))
    return engine


async def follow(
    engine: FakeEngine, kind: Kind, method: str = "GET", body: bytes = b"", agent: str = PERSON, **claims: Any
) -> Answer:
    said = Claims(**{"message_id": "m1", "key": "u:1", "address": "ann@example.com", "topic": "offers"} | claims)
    path = f"/{kind}/{sign(kind, said, LINK_KEYS)}"
    return await call(door(engine), path, body, method=method, headers={"user-agent": agent}, auth=None)


def consent(engine: FakeEngine) -> dict[str, bool]:
    return {row.topic: row.given for row in engine.store.ledger("ann@example.com")}


# -- /u/ --


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_looking_at_an_unsubscribe_link_changes_nothing(engine: FakeEngine, method: str) -> None:
    answer = await follow(engine, "u", method)
    assert answer.status == 200
    assert not consent(engine)
    assert not engine.outcomes
    assert ('<form method="post">' in answer.text) == (method == "GET")


@pytest.mark.parametrize(
    "body",
    [
        b"List-Unsubscribe=One-Click",
        b'--x\r\nContent-Disposition: form-data; name="List-Unsubscribe"\r\n\r\nOne-Click\r\n--x--\r\n',
    ],
)
async def test_one_click_withdraws_the_topic_of_the_message(engine: FakeEngine, body: bytes) -> None:
    answer = await follow(engine, "u", "POST", body)
    assert answer.status == 200
    (row,) = engine.store.ledger("ann@example.com")
    assert (row.topic, row.given, row.source, row.at) == ("offers", False, "one-click", 1_060_000)
    assert [(o.message_id, o.kind) for o in engine.outcomes] == [("m1", "unsubscribed")]


async def test_the_button_of_the_page_withdraws_too_and_no_body_is_needed(engine: FakeEngine) -> None:
    assert (await follow(engine, "u", "POST")).status == 200
    assert consent(engine) == {"offers": False}


async def test_a_message_without_a_topic_is_of_the_implicit_one(engine: FakeEngine) -> None:
    await follow(engine, "u", "POST", topic=None)
    assert consent(engine) == {"marketing": False}


async def test_a_withdrawal_that_cannot_be_written_is_not_confirmed(engine: FakeEngine) -> None:
    engine.busy = Busy("the disk refuses", 2)
    answer = await follow(engine, "u", "POST", b"List-Unsubscribe=One-Click")
    assert (answer.status, answer.headers["retry-after"]) == (503, "2")


@pytest.mark.parametrize("kind", ["u", "p", "c"])
async def test_a_damaged_link_is_404_on_a_page(engine: FakeEngine, kind: str) -> None:
    answer = await call(door(engine), f"/{kind}/abc", method="GET", auth=None)
    assert (answer.status, "does not work" in answer.text) == (404, True)


async def test_a_link_of_one_kind_is_none_of_another(engine: FakeEngine) -> None:
    token = sign("c", Claims("m1", "u:1", "ann@example.com", "offers", "https://shop.example/"), LINK_KEYS)
    assert (await call(door(engine), f"/u/{token}", method="POST", auth=None)).status == 404


# -- /p/ --


def boxes(answer: Answer) -> dict[str, bool]:
    found = re.findall(r'name="on" value="([^"]+)"( checked)?', answer.text)
    return {topic: bool(checked) for topic, checked in found}


async def test_preferences_show_what_holds(engine: FakeEngine) -> None:
    assert boxes(await follow(engine, "p")) == {"marketing": True, "offers": False, "news": True}
    engine.store.commit(Commit(ledger={("ann@example.com", "news"): LedgerRow("ann@example.com", "news", False, 5)}))
    assert boxes(await follow(engine, "p")) == {"marketing": True, "offers": False, "news": False}


async def test_preferences_write_what_changed_and_nothing_else(engine: FakeEngine) -> None:
    body = b"shown=marketing&shown=offers&shown=news&on=marketing&on=offers"
    answer = await follow(engine, "p", "POST", body)
    assert (answer.status, "Saved" in answer.text) == (200, True)
    assert consent(engine) == {"offers": True, "news": False}
    assert boxes(answer) == {"marketing": True, "offers": True, "news": False}
    assert not engine.outcomes


async def test_nothing_at_all_withdraws_every_topic(engine: FakeEngine) -> None:
    await follow(engine, "p", "POST", b"shown=marketing&shown=offers&shown=news&on=offers&none=1")
    assert consent(engine) == {"marketing": False, "news": False}


async def test_unknown_and_unshown_topics_are_left_alone(engine: FakeEngine) -> None:
    await follow(engine, "p", "POST", b"shown=invented&on=invented&on=offers&shown=!manual")
    await follow(engine, "p", "POST", b"\xff=%ff&&&=")
    assert not consent(engine)


async def test_pages_escape_what_they_show(engine: FakeEngine) -> None:
    answer = await follow(engine, "p", address="<script>alert(1)</script>@x.example")
    assert "<script" not in answer.text
    assert "Shop &amp; Co" in answer.text
    assert "script-src" not in answer.headers["content-security-policy"]
    assert answer.headers["cache-control"] == "no-store"


# -- /c/ and /o/ --


async def test_a_click_leads_on_and_is_told(engine: FakeEngine) -> None:
    answer = await follow(engine, "c", url="https://shop.example/a?b=c&d=e#f")
    assert (answer.status, answer.headers["location"]) == (302, "https://shop.example/a?b=c&d=e#f")
    (outcome,) = engine.outcomes
    assert (outcome.kind, outcome.machine) == ("clicked", False)
    assert outcome.properties == {"url": "https://shop.example/a?b=c&d=e#f"}


async def test_a_destination_cannot_break_the_header(engine: FakeEngine) -> None:
    answer = await follow(engine, "c", url="https://shop.example/ü\r\nSet-Cookie: a=b")
    assert answer.headers["location"] == "https://shop.example/%C3%BC%0D%0ASet-Cookie:%20a=b"


async def test_a_click_leads_on_though_we_are_busy(engine: FakeEngine) -> None:
    engine.busy = Busy("full")
    assert (await follow(engine, "c", url="https://shop.example/")).status == 302


@pytest.mark.parametrize(
    ("method", "agent", "after_ms", "machine"),
    [
        ("GET", PERSON, 60_000, False),
        ("GET", PERSON, 200, True),
        ("HEAD", PERSON, 60_000, True),
        ("GET", "Mozilla/5.0", 60_000, True),
        ("GET", "", 60_000, True),
        ("GET", "Mozilla/5.0 (compatible; Googlebot/2.1)", 60_000, True),
        ("GET", "python-requests/2.32", 60_000, True),
        (
            "GET",
            "Mozilla/5.0 (Windows NT 5.1; rv:11.0) Gecko Firefox/11.0 (via ggpht.com GoogleImageProxy)",
            60_000,
            False,
        ),
    ],
)
async def test_machines_are_flagged(engine: FakeEngine, method: str, agent: str, after_ms: int, machine: bool) -> None:
    engine.clock.at = MESSAGE.sent_at + after_ms
    answer = await follow(engine, "o", method, agent=agent)
    assert answer.headers["content-type"] == "image/gif"
    assert [(o.kind, o.machine) for o in engine.outcomes] == [("opened", machine)]


async def test_a_picture_is_always_a_picture(engine: FakeEngine) -> None:
    answer = await call(door(engine), "/o/nonsense", method="GET", auth=None)
    assert (answer.status, answer.body[:6], engine.outcomes) == (200, b"GIF89a", [])


# -- a store on another machine --


async def test_while_the_store_is_away_links_lead_where_they_lead_and_a_withdrawal_asks_to_try_again(
    engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nobody(*_: object, **__: object) -> None:
        raise StoreAway("no answer")

    monkeypatch.setattr(engine.store, "message", nobody)
    monkeypatch.setattr(engine.store, "ledger", nobody)
    monkeypatch.setattr(engine, "change_ledger", nobody)
    clicked = await follow(engine, "c", url="https://shop.example/x")
    assert (clicked.status, clicked.headers["location"]) == (302, "https://shop.example/x")
    assert (await follow(engine, "o")).status == 200
    for kind, method in (("u", "POST"), ("p", "GET")):
        answer = await follow(engine, kind, method)  # type: ignore[arg-type]
        assert (answer.status, answer.headers["retry-after"]) == (503, "2")
