"""Pausing and resuming a journey's mail over HTTP."""

from heliograph.runtime.holds import BREAKER
from tests.console.test_api import caller
from tests.runtime.harness import T0, call, identify, messages, running, send

PAUSE, RESUME = "/api/journeys/welcome/pause", "/api/journeys/welcome/resume"


async def test_a_paused_journey_says_since_when_by_whom_and_why() -> None:
    async with running() as engine, caller(engine) as api:
        answer = await api.post(PAUSE, json={"reason": "wrong picture", "by": "bea"})
        said = {"reason": "wrong picture", "by": "bea", "at": T0}
        assert answer.json() == {"journey": "welcome", "paused": said, "was": None}
        journeys = {one["name"]: one["paused"] for one in (await api.get("/api/journeys")).json()["journeys"]}
        assert (journeys["welcome"], journeys["cart"]) == (said, None)
        await send(engine, identify("ann", email="ann@x.example"), call("Signed Up"))
        assert [row.status for row in messages(engine)] == ["queued"]
        (message,) = (await api.get("/api/messages")).json()["messages"]
        assert message["waits_for"] == "paused by bea"
        assert (await api.post(RESUME)).json() == {"journey": "welcome", "paused": None, "was": said}
        assert (await api.post(RESUME)).json()["was"] is None


async def test_what_the_breaker_paused_is_resumed_by_hand() -> None:
    async with running() as engine, caller(engine) as api:
        await engine.hold("welcome", "7 % bounced", BREAKER)
        assert (await api.post(RESUME)).json()["was"]["by"] == "breaker"
        assert engine.holds() == {}


async def test_what_cannot_be_paused_says_so() -> None:
    async with running() as engine, caller(engine) as api:
        answer = await api.post("/api/journeys/welcom/pause")
        assert (answer.status_code, "did you mean welcome?" in answer.json()["detail"]) == (404, True)
        answer = await api.post("/api/journeys/broadcast:bf/pause")
        assert (answer.status_code, "/api/broadcasts/bf/pause" in answer.json()["detail"]) == (409, True)
        notice = {"id": "bf", "name": "BF", "template": "welcome", "audience": {"everyone": True}}
        assert (await api.post("/api/broadcasts", json=notice, params={"draft": True})).status_code == 201
        said = (await api.post("/api/journeys/bf/pause")).json()["detail"]
        assert said == "'bf' is a broadcast: heliograph broadcasts pause | resume bf"
        assert (await api.post(PAUSE, json={"why": "x"})).status_code == 400
        assert engine.holds() == {}
