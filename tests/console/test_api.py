"""The API as its callers see it: ids of any shape, mistakes answered as RFC 9457 problems, near misses named."""

import contextlib
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from msgspec.structs import replace
from prometheus_client import CollectorRegistry

from heliograph.console.access import Access
from heliograph.console.app import build
from heliograph.ports import Commit, StoreAway
from heliograph.runtime.engine import EmbeddedEngine
from tests.runtime.harness import call, identify, running, send

TOKEN = "t0ken"


class Trial:
    """Stands in for the relay: keeps what a trial send would have shown to Liquid."""

    def __init__(self) -> None:
        self.seen: dict[str, Any] = {}

    async def __call__(self, template: str, address: str, context: dict[str, Any] | None) -> tuple[bool, str]:
        self.seen = context or {}
        return True, f"accepted {template} for {address}"


@contextlib.asynccontextmanager
async def caller(
    engine: EmbeddedEngine, trial: Trial | None = None, token: str = TOKEN, *, secure: bool = False
) -> AsyncIterator[Any]:
    app = build(engine, Access(TOKEN, secure=secure), registry=CollectorRegistry(), send_test=trial)
    transport = httpx.ASGITransport(app=app)  # type: ignore[arg-type]
    headers = {"authorization": f"Bearer {token}"} if token else {}
    async with httpx.AsyncClient(transport=transport, base_url="http://api.test", headers=headers) as client:
        yield client


@pytest.mark.parametrize("name", ["a/b", "a%2Fb", "a b", "ü/ñ", "a?b=c", "#", "x\\y", "😀", "../x"])
async def test_an_id_may_hold_any_character(name: str) -> None:
    async with running() as engine, caller(engine) as api:
        await send(engine, identify(name, email="ann@x.example"))
        for path in ("", "/timeline", "/why?journey=cart"):
            answer = await api.get(f"/api/profiles/{quote(name, safe='')}{path}")
            assert answer.status_code == 200, answer.text
        assert (await api.get(f"/api/profiles/{quote(name, safe='')}")).json()["profile_id"] == name


async def test_an_address_with_a_slash_can_be_suppressed() -> None:
    async with running() as engine, caller(engine) as api:
        answer = await api.put("/api/suppressions/a%2Fb%40x.example")
        assert answer.json()["address"] == "a/b@x.example"


@pytest.mark.parametrize("path", ["messages", "suppressions", "dead-letters", "segments/buyers/members"])
@pytest.mark.parametrize("cursor", ["zzz", "a" * 3000, "%00", "ks8AAAGiAwP5sbp3d21oNXJtYmVxejVqZnJkenFuc2x3eDN2cX"])
async def test_a_cursor_of_nobodys_making_is_the_callers_mistake(path: str, cursor: str) -> None:
    async with running() as engine, caller(engine) as api:
        answer = await api.get(f"/api/{path}?cursor={cursor}")
        assert answer.status_code == 400
        assert answer.json()["detail"] == "cursor: not a cursor of this list"


async def test_every_refusal_is_a_problem() -> None:
    async with running() as engine, caller(engine) as api:
        for path, status, said in [
            ("/api/messages?limit=0", 400, "limit: Expected `int` >= 1"),
            ("/api/messages?status=sen", 400, "did you mean sent?"),
            ("/api/nothing", 404, "/api/openapi.json lists them"),
            ("/api/profiles/nobody/nothing", 404, ""),
        ]:
            answer = await api.get(path)
            assert answer.status_code == status
            assert answer.headers["content-type"] == "application/problem+json"
            assert said in answer.json()["detail"]
            assert answer.json()["title"] in ("Bad Request", "Not Found")


async def test_without_the_token_the_answer_says_which_scheme() -> None:
    async with running() as engine:
        for token in ("", "wrong"):
            async with caller(engine, token=token) as api:
                answer = await api.get("/api/messages")
                assert (answer.status_code, answer.headers["www-authenticate"]) == (401, 'Bearer realm="api"')


@pytest.mark.parametrize(
    ("asked", "meant"),
    [("ann@shop.exmaple", "ann@shop.example"), ("anmarie", "annmarie"), ("bo", "bob"), ("nobody-at-all", None)],
)
async def test_near_misses_are_named(asked: str, meant: str | None) -> None:
    async with running() as engine, caller(engine) as api:
        await send(engine, identify("annmarie", email="ann@shop.example"), identify("bob", email="b@else.example"))
        answer = await api.get(f"/api/profiles/{asked}")
        assert answer.status_code == 404
        assert ("did you mean" in answer.json()["detail"]) == bool(meant)
        assert meant is None or meant in answer.json()["detail"]


async def test_an_endless_name_is_not_repeated_in_full() -> None:
    async with running() as engine, caller(engine) as api:
        assert len((await api.get("/api/profiles/" + "x" * 5000)).text) < 500


async def test_a_trial_send_shows_the_event_that_would_start_the_journey() -> None:
    trial = Trial()
    async with running() as engine, caller(engine, trial) as api:
        await send(engine, identify("ann", email="ann@x.example"))
        await send(engine, call("Order Completed", order_id="o-1"))
        await send(engine, call("Order Shipped", order_id="o-2"))
        body = {"to": "me@x.example", "profile": "ann"}
        answer = await api.post("/api/templates/confirmation/send-test", json=body)
        assert answer.json()["ok"]
        assert trial.seen["event"]["name"] == "Order Completed"
        assert trial.seen["event"]["properties"] == {"order_id": "o-1"}
        assert "occurred_at" in trial.seen["event"]


async def test_runs_that_an_event_ended_are_counted() -> None:
    async with running() as engine, caller(engine) as api:
        await send(engine, call("Product Added", cart_id="c"), call("Order Completed"))
        journeys = {one["name"]: one for one in (await api.get("/api/journeys")).json()["journeys"]}
        assert (journeys["cart"]["started"], journeys["cart"]["exited"], journeys["cart"]["active"]) == (1, 1, 0)


async def test_a_wrong_token_is_said_on_the_log_in_page() -> None:
    async with running() as engine, caller(engine, token="") as page:
        assert "not the token" not in (await page.get("/")).text
        answer = await page.post("/login", data={"token": "guess"}, follow_redirects=True)
        assert "That is not the token of this server." in answer.text


async def test_why_tells_what_mail_waits_for() -> None:
    reason = "relay.example:25: nothing listens there (connection refused)"
    async with running() as engine, caller(engine) as api:
        await send(engine, identify("ann", email="ann@x.example"), call("Signed Up"))
        (row,) = engine.store.messages()[0]
        engine.store.commit(Commit(messages={row.message_id: replace(row, reason=reason)}))
        for asked in ("journey=welcome", "template=welcome"):
            answer = await api.get(f"/api/profiles/ann/why?{asked}")
            assert f"The mail 'welcome' waits: {reason}." in answer.json()["sentence"]
        assert "waits" not in (await api.get("/api/profiles/ann/why?journey=cart")).json()["sentence"]
        await engine.hold("welcome", "wrong picture", "bea")
        answer = await api.get("/api/profiles/ann/why?journey=welcome")
        said = "The mail 'welcome' waits: welcome is paused since 2025-06-15T15:06:40Z by bea: wrong picture."
        assert said in answer.json()["sentence"]


@pytest.mark.parametrize("secure", [True, False])
async def test_a_session_travels_by_https_alone_where_the_world_comes_by_https(secure: bool) -> None:
    async with running() as engine, caller(engine, token="", secure=secure) as api:
        answer = await api.post("/login", content=f"token={TOKEN}")
        cookie = answer.headers["set-cookie"].lower()
        assert (answer.status_code, "; secure" in cookie) == (303, secure)
        assert "httponly" in cookie and "samesite=strict" in cookie


async def test_a_store_that_does_not_answer_is_a_503_and_no_error_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody(*_: object) -> None:
        raise StoreAway("no answer")

    async with running() as engine, caller(engine) as api:
        monkeypatch.setattr(engine.store, "plan", nobody)
        answer = await api.get("/api/plan")
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")
        assert "try again" in answer.json()["detail"]


async def test_a_read_may_name_the_position_of_a_call_and_waits_for_nobody_on_one_machine() -> None:
    async with running() as engine, caller(engine) as api:
        await send(engine, identify("ann"))
        assert (await api.get("/api/profiles/ann?after=0")).status_code == 200
        answer = await api.get("/api/profiles/ann?after=nonsense")
        assert (answer.status_code, "position" in answer.json()["detail"]) == (400, True)
        refused = await api.get("/api/profiles/ann?after=0", headers={"authorization": "Bearer wrong"})
        assert refused.status_code == 401
