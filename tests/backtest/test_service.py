"""Trials at a server's side: one of a kind at a time, and none that outlives who asked for it."""

import asyncio
import signal
from pathlib import Path
from typing import Any

import msgspec
import pytest

from heliograph.backtest import service
from heliograph.backtest.service import TrialService
from heliograph.console.trials import BacktestRequest, ShadowRequest, TrialBusy, TrialRefused
from heliograph.runtime.clock import ManualClock, SystemClock
from tests.backtest.kit import CART, DAY, HOUR, PLAIN, T0, World
from tests.runtime.harness import call, identify

ASKED = BacktestRequest("cart", CART)


@pytest.fixture
def world(tmp_path: Path) -> World:
    world = World(tmp_path / "data", PLAIN)
    world.send(identify("ann", email="ann@x.test"), call("Product Added", "ann", cart_id="c"))
    world.advance(HOUR)
    return world


def serving(world: World) -> TrialService:
    return TrialService(world.folder, ManualClock(T0 + DAY))


async def test_one_backtest_at_a_time_beside_the_owner_of_the_folder(world: World) -> None:
    trials = serving(world)
    lines = await trials.backtest(ASKED)
    with pytest.raises(TrialBusy, match="one at a time"):
        await trials.backtest(ASKED)
    words = [msgspec.json.decode(line) async for line in lines]
    assert (words[0]["say"], words[-1]["say"]) == ("progress", "report")
    assert words[-1]["report"]["draft"]["started"] == 1
    again = [line async for line in await trials.backtest(ASKED)]
    assert msgspec.json.decode(again[-1]) == words[-1]
    world.close()


async def test_who_stops_listening_ends_it(world: World) -> None:
    trials = serving(world)
    lines: Any = await trials.backtest(ASKED)
    await anext(lines)
    process = trials._backtest._process  # type: ignore[union-attr]
    await lines.aclose()
    assert process.poll() is not None
    assert [line async for line in await trials.backtest(ASKED)]
    world.close()


async def test_who_goes_away_before_the_first_word_ends_it(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[service.Child] = []
    line = service.Child.line

    async def noted(child: service.Child) -> bytes:
        started.append(child)
        return await line(child)

    monkeypatch.setattr(service.Child, "line", noted)
    asking = asyncio.create_task(serving(world).backtest(ASKED))
    while not started:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    assert await asyncio.to_thread(started[0]._process.wait, 20) == -signal.SIGKILL
    await started[0].end()
    world.close()


async def test_a_server_without_a_folder_says_so() -> None:
    with pytest.raises(TrialRefused, match="start it with --data"):
        await TrialService(None, SystemClock()).backtest(ASKED)


async def test_a_draft_with_mistakes_frees_the_place(world: World) -> None:
    trials = serving(world)
    for _ in range(2):
        with pytest.raises(TrialRefused, match="does not fit") as refused:
            await trials.backtest(BacktestRequest("cart", {"entry": {"event": "X"}}))
        assert refused.value.problems
    with pytest.raises(TrialRefused, match="empty"):
        await trials.backtest(BacktestRequest("cart", CART, until="2020-01-01T00:00:00Z", since="2021-01-01T00:00:00Z"))
    world.close()


async def test_a_listener_hears_that_it_goes_on(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "HEARTBEAT_S", 0.001)
    line = service.Child.line

    async def slow(child: service.Child) -> bytes:
        await asyncio.sleep(0.05)
        return await line(child)

    monkeypatch.setattr(service.Child, "line", slow)
    lines = [line async for line in await serving(world).backtest(ASKED)]
    assert b"\n" in lines
    assert msgspec.json.decode([line for line in lines if line.strip()][-1])["say"] == "report"
    world.close()


async def test_a_report_that_nobody_reads_frees_the_place(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "UNHEARD_S", 0.05)
    trials = serving(world)
    await trials.backtest(ASKED)
    async with asyncio.timeout(20):
        while trials._backtest is None or trials._backtest.alive:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    await trials.stop()
    world.close()


async def test_a_shadow_ends_by_itself_and_with_the_server(world: World) -> None:
    trials = TrialService(world.folder, SystemClock())
    assert trials.shadowing() is None
    found = await trials.shadow(ShadowRequest("cart", CART, lasts="PT1S"))
    assert (found["journey"], found["ended"]) == ("cart", "")
    with pytest.raises(TrialBusy):
        await trials.shadow(ShadowRequest("cart", CART))
    async with asyncio.timeout(60):
        while not (trials.shadowing() or {})["ended"]:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    assert (trials.shadowing() or {})["ended"] == "its time is over"
    await trials.shadow(ShadowRequest("cart", CART))
    await trials.stop()
    assert (trials.shadowing() or {})["ended"] == "it was ended"
    with pytest.raises(TrialRefused, match="at most P1D"):
        await trials.shadow(ShadowRequest("cart", CART, lasts="P2D"))
    world.close()
