"""The suppression list over HTTP: who stopped an address and why, who let it go, and lists from elsewhere."""

from typing import Any

from msgspec.structs import replace

from heliograph.events.record import LedgerRow
from tests.console.test_api import caller
from tests.runtime.harness import T0, identify, running, send

PATH = "/api/suppressions"


async def put(api: Any, address: str, **body: Any) -> dict[str, Any]:
    answer = await api.put(f"{PATH}/{address}", json=body)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def listed(api: Any, **query: Any) -> list[dict[str, Any]]:
    """Every page of the list."""
    found: list[dict[str, Any]] = []
    while True:
        page = (await api.get(PATH, params=query)).json()
        found += page["suppressions"]
        if page["next"] is None:
            return found
        query["cursor"] = page["next"]


async def test_who_stopped_an_address_and_why_is_on_record() -> None:
    async with running() as engine, caller(engine) as api:
        word = await put(api, "Ann@X.example", reason="asked by phone", by="bea")
        assert word["address"] == "ann@x.example"
        assert [word[name] for name in ("kind", "source", "reason")] == ["manual", "bea", "asked by phone"]
        assert await listed(api) == [word]
        standing = (await api.get(f"{PATH}/ann@x.example")).json()
        assert (standing["stops"], standing["words"][0]["stopped"]) == ("all", True)


async def test_letting_a_bounce_or_complaint_go_needs_a_reason_that_is_kept() -> None:
    async with running() as engine, caller(engine) as api:
        stops = [LedgerRow("ann@x.example", topic, False, T0, "feedback", proof="550 5.1.1 gone")
                 for topic in ("!bounce", "!complaint")]  # fmt: skip
        await engine.change_ledger(stops)
        answer = await api.delete(f"{PATH}/ann@x.example")
        assert answer.status_code == 400
        assert "stopped by a bounce and a complaint: say why" in answer.json()["detail"]
        answer = await api.delete(f"{PATH}/ann@x.example", params={"kind": "bounce", "reason": "typo", "by": "bea"})
        assert answer.json()["stops"] == "marketing"
        words = {word["kind"]: word for word in answer.json()["words"]}
        assert [words["bounce"][name] for name in ("stopped", "source", "reason")] == [False, "bea", "typo"]
        assert [row["kind"] for row in await listed(api)] == ["complaint"]
        assert (await api.delete(f"{PATH}/ann@x.example?kind=bounce&reason=x")).status_code == 404


async def test_a_word_is_lifted_whatever_its_time() -> None:
    """Clocks differ: what another machine wrote may be dated ahead of ours."""
    async with running() as engine, caller(engine) as api:
        ahead = engine.clock.now() + 3_600_000
        await engine.change_ledger([LedgerRow("ann@x.example", "!manual", False, ahead)])
        assert (await api.delete(f"{PATH}/ann@x.example")).json()["stops"] == ""
        await put(api, "ann@x.example")
        assert len(await listed(api)) == 1


async def test_pages_of_one_kind_or_one_beginning_hold_each_row_once() -> None:
    async with running() as engine, caller(engine) as api:
        kinds = ("!bounce", "!manual", "!complaint")
        rows = [LedgerRow(f"a{n:03}@x.example", kinds[n % 3], False, T0) for n in range(150)]
        await engine.change_ledger(rows)
        everything = await listed(api, limit=7)
        assert [row["address"] for row in everything] == [row.address for row in rows]
        for kind in ("bounce", "manual", "complaint"):
            assert await listed(api, limit=4, kind=kind) == [row for row in everything if row["kind"] == kind]
        assert await listed(api, limit=3, prefix="A01", kind="manual") == [
            row for row in everything if row["address"].startswith("a01") and row["kind"] == "manual"
        ]
        assert await listed(api, limit=1, prefix="nobody") == []
        assert (await api.get(PATH, params={"kind": "bounces"})).status_code == 400


async def take(api: Any, *rows: dict[str, Any]) -> dict[str, Any]:
    answer = await api.post("/api/import/suppressions", json={"suppressions": list(rows)})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def test_an_export_taken_over_elsewhere_is_the_same_list() -> None:
    async with running() as one, caller(one) as api:
        for n, kind in enumerate(("manual", "bounce", "complaint") * 100):
            word = LedgerRow(f"p{n // 2}@x.example", "!" + kind, False, T0 - 1_000 + n, "feedback", proof=f"reply {n}")
            await one.change_ledger([word])
        rows = await listed(api, limit=1000)
        again = await take(api, *rows)
        assert (again["accepted"], again["known"], again["refused"]) == (0, len(rows), [])
    async with running() as other, caller(other) as api:
        assert (await take(api, *rows))["accepted"] == len(rows)
        assert await listed(api, limit=1000) == rows


async def test_an_old_list_does_not_undo_what_was_let_go_since() -> None:
    async with running() as engine, caller(engine) as api:
        await put(api, "ann@x.example")
        await api.delete(f"{PATH}/ann@x.example?by=bea")
        old = {"address": "Ann@x.example", "at": T0 - 1}
        found = await take(api, old, {"address": "no"}, {"address": "b@x.example"}, {"address": "B@x.example"})
        assert (found["accepted"], found["known"]) == (1, 1)
        assert [(one["row"], one["reason"]) for one in found["refused"]] == [
            (0, "ann@x.example was let go by bea after that"), (1, "'no' is not an email address")
        ]  # fmt: skip
        assert [row["address"] for row in await listed(api)] == ["b@x.example"]


async def test_nothing_is_stopped_from_the_future_on() -> None:
    async with running() as engine, caller(engine) as api:
        await take(api, {"address": "a@x.example", "at": engine.clock.now() + 10**9})
        assert (await listed(api))[0]["at"] <= engine.clock.now()


async def test_a_list_that_is_too_long_is_refused_whole() -> None:
    async with running() as engine, caller(engine) as api:
        rows = [{"address": f"a{n}@x.example"} for n in range(5_001)]
        answer = await api.post("/api/import/suppressions", json={"suppressions": rows})
        assert (answer.status_code, "at most 5000 a call" in answer.json()["detail"]) == (413, True)
        assert await listed(api) == []


async def test_an_import_stops_the_mail_of_whoever_holds_the_address() -> None:
    async with running() as engine, caller(engine) as api:
        await send(engine, identify("ann", email="ann@x.example"))
        await take(api, {"address": "ann@x.example", "kind": "complaint", "reason": "abuse report"})
        profile = (await api.get("/api/profiles/ann")).json()
        assert profile["consent"]["suppressed"] == ["complaint"]
        assert replace(engine.store.ledger("ann@x.example")[0], at=0) == LedgerRow(
            "ann@x.example", "!complaint", False, 0, "import", proof="abuse report"
        )
