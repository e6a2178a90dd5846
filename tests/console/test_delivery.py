"""How mail is getting out, over HTTP."""

from tests.console.test_api import caller
from tests.runtime.harness import T0, call, identify, running, send


async def test_what_waits_and_what_is_paused_is_told_by_name() -> None:
    async with running() as engine, caller(engine) as api:
        await send(engine, identify("ann", email="ann@gmail.com"), call("Order Completed"))
        await engine.hold("welcome", "wrong picture", "bea")
        one_day = {"id": "bf", "name": "Black Friday", "template": "welcome", "audience": {"everyone": True}}
        await engine.create_broadcast({**one_day, "at": "2025-07-01T00:00:00Z"})
        await engine.hold("broadcast:bf", "wrong price", "bea")
        found = (await api.get("/api/delivery")).json()
        assert sum(one["queued"] for one in found["receivers"].values()) == 1
        assert all(one["works"] for one in found["relays"].values())
        pause = {"reason": "wrong picture", "by": "bea", "at": T0}
        assert found["paused"] == [
            {"journey": None, "broadcast_id": "bf", "paused": {**pause, "reason": "wrong price"}},
            {"journey": "welcome", "broadcast_id": None, "paused": pause},
        ]
