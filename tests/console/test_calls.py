"""Entries by API and the list of webhooks that wait, as their callers see them."""

from typing import Any

import pytest

from heliograph.adapters.memory import MemoryCaller
from heliograph.ports import Commit, HttpReply, HttpRequest
from tests.console.test_api import caller
from tests.contracts.samples import request, requests
from tests.runtime.harness import HOUR, T0, call, identify, messages, running, send, shop, template, until

RUNS = "/api/journeys/invite/runs"


def document(**entry: Any) -> dict[str, Any]:
    base = shop()
    invite = {"topic": "offers", "entry": {"api": True, **entry}, "steps": [{"send": "invite"}]}
    journeys = {**base["journeys"], "invite": invite}
    return {**base, "journeys": journeys, "templates": {**base["templates"], "invite": template("invite")}}


async def enter(api: Any, status: int = 200, **body: Any) -> dict[str, Any]:
    answer = await api.post(RUNS, json=body)
    assert answer.status_code == status, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def test_who_is_asked_in_has_a_run_and_its_mail_when_the_answer_comes() -> None:
    async with running(document=document()) as engine, caller(engine) as api:
        await send(engine, identify("ann", email="ann@x.example"))
        found = await enter(api, profile="ann@x.example", properties={"code": "X1"}, event_id="c1")
        (mail,) = messages(engine)
        assert (found["status"], found["run_id"], found["reason"]) == ("started", mail.run_id, "")
        assert (found["profile_id"], found["arm"], found["event_id"]) == ("ann", "treated", "c1")
        context = engine.render_context(mail)
        assert context is not None and context["event"]["properties"] == {"code": "X1"}


async def test_a_call_that_is_made_again_starts_nothing_again() -> None:
    async with running(document=document()) as engine, caller(engine) as api:
        first = await enter(api, user_id="ann", event_id="c1")
        again = await enter(api, user_id="ann", event_id="c1")
        assert (again["status"], again["run_id"]) == ("duplicate", first["run_id"])
        third = await enter(api, user_id="ann")
        assert (third["status"], third["run_id"] != first["run_id"]) == ("started", True)
        assert engine.journey_counts()["invite"]["started"] == 2


async def test_a_user_id_may_be_new_a_profile_may_not() -> None:
    async with running(document=document()) as engine, caller(engine) as api:
        assert "did you mean" not in (await enter(api, 404, profile="new@x.example"))["detail"]
        found = await enter(api, user_id="new")
        assert (found["status"], found["profile_id"]) == ("started", "new")
        assert engine.state("u:new") is not None
        await enter(api, 200, profile="new")
        await enter(api, 400, profile="new", user_id="new")
        await enter(api, 400)
        await enter(api, 400, user_id=" ")


async def test_an_old_id_leads_to_the_survivor() -> None:
    async with running(document=document()) as engine, caller(engine) as api:
        await send(engine, call("Product Viewed", None, anonymous="browser"))
        await send(engine, identify("ann", anonymous="browser"))
        assert (await enter(api, profile="anon:browser"))["profile_id"] == "ann"


async def test_a_refusal_says_why_each_time() -> None:
    condition = {"trait": {"path": "vip", "is": True}}
    async with running(document=document(**{"if": condition})) as engine, caller(engine) as api:
        for _ in range(2):
            found = await enter(api, user_id="ann")
            assert (found["status"], found["reason"], found["run_id"]) == ("refused", "if_false", None)
        await send(engine, identify("ann", vip=True))
        assert (await enter(api, user_id="ann"))["status"] == "started"


async def test_a_key_is_read_from_the_properties() -> None:
    async with running(document=document(key="properties.invoice")) as engine, caller(engine) as api:
        found = await enter(api, user_id="ann")
        assert (found["status"], found["reason"], found["detail"]) == (
            "refused",
            "no_key",
            {"path": "properties.invoice"},
        )
        assert (await enter(api, user_id="ann", properties={"invoice": 7}))["entry_key"] == "7"


async def test_what_cannot_be_entered_says_so() -> None:
    async with running(document=document()) as engine, caller(engine) as api:
        answer = await api.post("/api/journeys/invit/runs", json={"user_id": "ann"})
        assert (answer.status_code, "did you mean invite?" in answer.json()["detail"]) == (404, True)
        answer = await api.post("/api/journeys/cart/runs", json={"user_id": "ann"})
        assert answer.status_code == 409 and "by event 'Product Added', not by API" in answer.json()["detail"]
        assert (await enter(api, 400, user_id="ann", properties={"x": "y" * 40_000}))["detail"]
        await enter(api, 400, user_id="ann", event_id="e" * 101)
        await enter(api, 400, user_id="ann", propertys={})
        assert engine.store.last_position() == 0


async def test_only_the_token_may() -> None:
    async with running(document=document()) as engine, caller(engine, token="wrong") as api:
        await enter(api, 401, user_id="ann")


async def test_webhooks_that_wait_are_listed_without_their_secrets() -> None:
    async def fail(_request: HttpRequest) -> HttpReply:
        return HttpReply(503, {}, b"")

    url = "https://me:secret@crm.test/hook?token=secret"
    async with running(caller=MemoryCaller({url: fail})) as engine, caller(engine) as api:
        rows = [request(f"r{n}", url=url, key="u:ann", created_at=T0, give_up_at=T0 + HOUR) for n in range(3)]
        engine.store.commit(requests(*rows))
        engine.webhooks.settled(rows, ())
        await until(lambda: all(one.tries for one in engine.outstanding(10)))
        answer = await api.get("/api/webhooks?status=pending&limit=2")
        found = answer.json()["webhooks"]
        assert [one["request_id"] for one in found] == ["r0", "r1"]
        assert "secret" not in answer.text
        assert (found[0]["url"], found[0]["profile_id"]) == ("https://crm.test/hook", "ann")
        assert (found[0]["tries"], found[0]["reason"]) == (1, "503 Service Unavailable")
        assert (await api.get("/api/webhooks?status=done")).status_code == 400
        engine.store.commit(Commit(requests={row.request_id: None for row in rows}))


@pytest.mark.parametrize("depth", [300, 50_000])
async def test_what_nests_without_end_is_the_callers_mistake(depth: int) -> None:
    steps = '[{"branch":[{"if":{"everyone":true},"then":' * depth + '[{"exit":true}]' + "}]}]" * depth
    journey = '{"name":"deep","entry":{"event":"X"},"steps":' + steps + "}"
    body = '{"dry_run":true,"document":{"journeys":{"deep":' + journey + "}}}"
    async with running(document=document()) as engine, caller(engine) as api:
        answer = await api.post("/api/plan", content=body, headers={"content-type": "application/json"})
        assert (answer.status_code, "nests deeper" in answer.text) == (400, True), answer.text[:500]
        await enter(api, user_id="ann")
