"""Broadcasts over HTTP: made once, looked at, moved, and refused with the place of each mistake."""

from typing import Any

import pytest

from heliograph.runtime.engine import EmbeddedEngine
from tests.console.test_api import caller
from tests.runtime.harness import identify, messages, running, send, shop, template, until

PATH = "/api/broadcasts"
NEWS = {"id": "bf", "name": "Black Friday", "template": "news", "audience": {"everyone": True}}


def document() -> dict[str, Any]:
    base = shop()
    return {**base, "templates": {**base["templates"], "news": template("news"), "recall": recall()}}


def recall() -> dict[str, Any]:
    return {**template("recall"), "class": "transactional"}


async def people(engine: EmbeddedEngine, count: int) -> None:
    for n in range(count):
        await send(engine, identify(f"p{n}", email=f"p{n}@x.example"))
    await send(engine, identify("nobody"))


async def make(api: Any, status: int = 201, draft: bool = False, **keys: Any) -> dict[str, Any]:
    answer = await api.post(PATH, json={**NEWS, **keys}, params={"draft": draft})
    assert answer.status_code == status, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def look(api: Any, broadcast_id: str = "bf") -> dict[str, Any]:
    found: dict[str, Any] = (await api.get(f"{PATH}/{broadcast_id}")).json()
    return found


async def test_it_is_offered_to_everybody_and_counted() -> None:
    async with running(document=document()) as engine, caller(engine) as api:
        await people(engine, 5)
        made = await make(api)
        assert (made["broadcast_id"], made["name"], made["document"]) == ("bf", "Black Friday", NEWS)
        await until(lambda: len(messages(engine)) == 5)
        progress = (await look(api))["progress"]
        assert progress["messages"] == {"queued": 5}
        assert (progress["people"]["offered"], progress["people"]["refused"]) == (6, {"no_address": 1})
        found = (await api.get("/api/messages?broadcast=bf")).json()["messages"]
        assert {(one["broadcast_id"], one["journey"]) for one in found} == {("bf", None)}
        assert "broadcast:bf" not in (await api.get("/api/journeys")).text


async def test_the_same_call_again_makes_nothing_again() -> None:
    async with running(document=document()) as engine, caller(engine) as api:
        await people(engine, 2)
        await make(api)
        again = await make(api, 200)
        assert again["broadcast_id"] == "bf"
        assert "another broadcast with the id 'bf'" in (await make(api, 409, name="Other"))["detail"]
        assert len((await api.get(PATH)).json()["broadcasts"]) == 1


async def test_mistakes_are_named_with_their_place() -> None:
    async with running(document=document()) as engine, caller(engine) as api:
        audience = {"if": {"all": [{"trait": {"path": "vip", "iss": True}}]}}
        refused = await make(api, 422, template="nwes", audience=audience, topc="offers", rate="fast")
        problems = {one["path"]: one["message"] for one in refused["problems"]}
        assert "did you mean news?" in problems["template"]
        assert {"topc", "rate"} <= problems.keys()
        assert any(path.startswith("audience.if.all.0") for path in problems)
        preview = await api.post(f"{PATH}/preview", json={**NEWS, "template": "nwes"})
        assert (preview.status_code, preview.json()["problems"][0]["path"]) == (422, "template")
        assert (await api.get(PATH)).json()["broadcasts"] == []


async def test_a_preview_counts_and_makes_nothing() -> None:
    async with running(document=document()) as engine, caller(engine) as api:
        await people(engine, 5)
        found = (await api.post(f"{PATH}/preview", json=NEWS)).json()
        assert found == {"total": 6, "exact": False, "looked_at": 6, "addressed": 5}
        assert (await api.post("/api/import/lists/fair", json={"people": ["p1", "nobody"]})).status_code == 200
        found = (await api.post(f"{PATH}/preview", json={**NEWS, "audience": {"list": "fair"}})).json()
        assert found == {"total": 2, "exact": True, "looked_at": 2, "addressed": 1}
        assert (await api.get(PATH)).json()["broadcasts"] == []


async def test_its_verbs_and_when_they_mean_nothing() -> None:
    async with running(document=document()) as engine, caller(engine) as api:
        await people(engine, 3)

        async def move(verb: str, status: int = 200, **body: Any) -> Any:
            answer = await api.post(f"{PATH}/bf/{verb}", json=body)
            assert answer.status_code == status, answer.text
            return answer.json()

        assert (await make(api, draft=True))["status"] == "draft"
        assert "it is draft" in (await move("pause", 409))["detail"]
        assert (await move("start"))["status"] == "running"
        await until(lambda: len(messages(engine)) == 3)
        paused = await move("pause", reason="wrong price")
        assert (paused["status"], paused["reason"]) == ("paused", "wrong price")
        assert (await move("resume"))["status"] == "running"
        assert (await move("cancel", reason="sold out"))["status"] == "cancelled"
        await until(lambda: {row.status for row in messages(engine)} == {"cancelled"})
        assert "it is cancelled" in (await move("resume", 409))["detail"]
        await move("forget", 400)


async def test_one_that_is_not_there_names_the_nearest() -> None:
    async with running(document=document()) as engine, caller(engine) as api:
        await make(api, id="black-friday")
        for answer in (await api.get(f"{PATH}/black-fridy"), await api.post(f"{PATH}/black-fridy/pause")):
            assert (answer.status_code, "did you mean black-friday?" in answer.json()["detail"]) == (404, True)


@pytest.mark.parametrize("limit", [1, 3])
async def test_pages_hold_each_once_newest_first(limit: int) -> None:
    async with running(document=document()) as engine, caller(engine) as api:
        for n in range(7):
            await make(api, id=f"b{n}", draft=True)
        found, cursor = [], None
        while True:
            page = (await api.get(PATH, params={"limit": limit, **({"cursor": cursor} if cursor else {})})).json()
            found += [one["broadcast_id"] for one in page["broadcasts"]]
            cursor = page["next"]
            if cursor is None:
                break
        assert sorted(found) == [f"b{n}" for n in range(7)]
        assert (await api.get(f"{PATH}?cursor=zzz")).status_code == 400


async def test_a_service_notice_needs_a_transactional_template() -> None:
    async with running(document=document()) as engine, caller(engine) as api:
        assert "class: transactional" in (await make(api, 422, notice=True))["detail"]
        assert (await make(api, notice=True, template="recall"))["status"] == "running"
