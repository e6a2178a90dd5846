"""Messages over HTTP: of a broadcast or a journey, and what somebody says of those whose fate is unknown."""

import contextlib
from collections.abc import AsyncIterator
from typing import Any

from msgspec.structs import replace

from heliograph.adapters.memory import MemoryStore
from heliograph.decide.broadcasts import journey_of
from heliograph.ports import Commit
from heliograph.runtime.engine import EmbeddedEngine
from tests.console.test_api import caller
from tests.runtime.harness import T0, call, identify, messages, running, send


@contextlib.asynccontextmanager
async def unknown(*people: str) -> AsyncIterator[tuple[EmbeddedEngine, list[str]]]:
    """A server that is started again after a message to each of them was sent and never answered; the messages' ids."""
    store = MemoryStore()
    async with running(store) as engine:
        for name in people:
            await send(engine, identify(name, email=f"{name}@x.example"), call("Order Completed", name))
        rows = {row.key: row for row in messages(engine)}
    lost = [
        replace(rows[f"u:{name}"], status="unknown", reason="the connection broke behind the final dot", attempt=1,
                sending_at=T0, outcomes=[("unknown", T0, False)])
        for name in people
    ]  # fmt: skip
    store.commit(Commit(messages={row.message_id: row for row in lost}))
    async with running(store) as engine:
        yield engine, [row.message_id for row in lost]


async def settle(api: Any, ids: list[str], action: str, reason: str = "maillog of mx1") -> Any:
    return await api.post("/api/messages/settle", json={"ids": ids, "action": action, "reason": reason, "by": "bea"})


async def test_an_unknown_message_is_settled_with_a_reason() -> None:
    async with unknown("ann", "bob", "cyd") as (engine, ids), caller(engine) as api:
        listed = (await api.get("/api/messages?status=unknown")).json()["messages"]
        assert {(one["unknown_at"], one["settled"], one["attempt"]) for one in listed} == {(T0, "", 1)}
        done = {"sent": "released", "resend": "resent", "drop": "dropped"}
        for name, (action, result) in zip(ids, done.items(), strict=True):
            answer = await settle(api, [name], action)
            assert answer.json()["results"] == [{"message_id": name, "result": result, "reason": "bea: maillog of mx1"}]
        found = {name: (await api.get(f"/api/messages/{name}")).json() for name in ids}
        assert [found[name]["status"] for name in ids] == ["sent", "queued", "unknown"]
        assert [found[name]["settled"] for name in ids] == ["sent", "resend", "drop"]
        assert (await settle(api, ["nobody"], "drop")).json()["results"][0]["result"] == "not_found"


async def test_settling_needs_a_reason_and_an_action_that_there_is() -> None:
    async with unknown("ann") as (engine, ids), caller(engine) as api:
        assert "a reason is needed" in (await settle(api, ids, "sent", " ")).json()["detail"]
        assert (await settle(api, ids, "forget")).status_code == 400
        assert (await settle(api, ids * 1_001, "drop")).status_code == 400
        assert messages(engine)[0].status == "unknown"


async def test_the_messages_of_a_broadcast_are_its_own() -> None:
    async with unknown("ann") as (engine, _), caller(engine) as api:
        (row,) = messages(engine)
        mine = [replace(row, message_id=f"m{n}", journey=journey_of("bf"), status=status, created_at=T0 + n)
                for n, status in enumerate(("sent", "bounced", "sent"))]  # fmt: skip
        engine.store.commit(Commit(messages={one.message_id: one for one in mine}))
        found = (await api.get("/api/messages?broadcast=bf")).json()["messages"]
        assert [(one["message_id"], one["broadcast_id"], one["journey"]) for one in found] == [
            ("m2", "bf", None), ("m1", "bf", None), ("m0", "bf", None)
        ]  # fmt: skip
        found = (await api.get("/api/messages?broadcast=bf&status=bounced")).json()["messages"]
        assert [one["message_id"] for one in found] == ["m1"]
        (other,) = (await api.get("/api/messages?status=unknown")).json()["messages"]
        assert (other["broadcast_id"], other["journey"]) == (None, "confirmation")
        assert (await api.get("/api/messages?broadcast=no")).json() == {"messages": [], "next": None}
