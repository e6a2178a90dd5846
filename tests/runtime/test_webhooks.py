"""The caller of webhooks in a running engine: durable, at least once, bounded, never stuck.

The step that asks is a stub here: an event named ``Hook`` asks for a request, ``Unhook`` drops it.
"""

import asyncio
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from heliograph import decide
from heliograph.adapters.memory import MemoryCaller, MemoryStore
from heliograph.adapters.rocksdb import RocksStore
from heliograph.decide.effects import CallWebhook, DropWebhook
from heliograph.events.record import Answer, EventBody
from heliograph.ports import Arrival, HttpReply, HttpRequest, RequestRow, Store
from heliograph.runtime.calls import Calls
from heliograph.runtime.clock import ManualClock
from heliograph.runtime.engine import EmbeddedEngine
from tests.runtime.harness import HOUR, MINUTE, T0, call, running, until

URL = "http://crm.test/hook"


@pytest.fixture(params=["memory", "rocksdb"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    made: Store = MemoryStore() if request.param == "memory" else RocksStore(tmp_path / "data")
    yield made
    made.close()


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> list[Answer]:
    """Answers as ``step`` hears them."""
    found: list[Answer] = []
    real = decide.step

    def step(state: Any, record: Any, plan: Any) -> Any:
        body = record.body
        if isinstance(body, Answer):
            found.append(body)
            return state, []
        state, effects = real(state, record, plan)
        if isinstance(body, EventBody) and body.event.name in ("Hook", "Unhook"):
            effects.append(asking(body.event.properties, record.received_at)[body.event.name])
        return state, effects

    monkeypatch.setattr(decide, "step", step)
    return found


def asking(properties: dict[str, Any], at: int) -> dict[str, Any]:
    name, url, life = properties["id"], properties.get("url", URL), properties.get("life", HOUR)
    return {
        "Hook": CallWebhook(name, "run", "crm", "webhook-1", url, "POST", b'{"id":"ann"}', 5_000, at + life),
        "Unhook": DropWebhook(name),
    }


class Crm:
    """A server that says what it is told to, in turn and the last for ever; it may hold its answers back."""

    def __init__(self, *replies: HttpReply | Exception) -> None:
        self.replies = list(replies) or [HttpReply(200, {}, b'{"name": "Ann"}')]
        self.gate = asyncio.Event()
        self.gate.set()
        self.open = self.most = 0

    async def __call__(self, request: HttpRequest) -> HttpReply:
        self.open += 1
        self.most = max(self.most, self.open)
        try:
            await self.gate.wait()
        finally:
            self.open -= 1
        found = self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]
        if isinstance(found, Exception):
            raise found
        return found


def world(*replies: HttpReply | Exception) -> tuple[MemoryCaller, Crm]:
    crm = Crm(*replies)
    return MemoryCaller({URL: crm}), crm


async def hook(engine: EmbeddedEngine, name: str = "r1", **properties: Any) -> None:
    await engine.collect([hooking("Hook", name, **properties)])


def hooking(event: str, name: str, **properties: Any) -> Arrival:
    arrival = call(event, id=f"{event}-{name}")
    assert arrival.event is not None
    return replace(arrival, event=replace(arrival.event, properties={"id": name, **properties}))


async def pass_time(engine: EmbeddedEngine, ms: int, *, step: int = 500) -> None:
    """Move the clock; whatever falls due on the way is done at its time."""
    assert isinstance(engine.clock, ManualClock)
    for _ in range(0, ms, step):
        engine.clock.advance(step)
        engine.webhooks.stir()
        for _ in range(5):
            await asyncio.sleep(0)


def pending(store: Store) -> list[str]:
    return [row.request_id for row in store.requests()]


async def test_an_answer_comes_back_as_a_record_and_the_request_is_gone(store: Store, heard: list[Answer]) -> None:
    caller, _ = world()
    async with running(store, caller=caller, webhook_keys=[b"k" * 32]) as engine:
        await hook(engine)
        await until(lambda: heard)
        assert heard == [Answer("r1", True, 200, {"name": "Ann"})]
        await until(lambda: not pending(store))
        (asked,) = caller.asked
        assert (asked.method, asked.url, asked.body, asked.timeout_s) == ("POST", URL, b'{"id":"ann"}', 5.0)
        assert asked.headers["webhook-id"] == "r1" and asked.headers["webhook-signature"].startswith("v1,")
        assert [record.key for _, record in store.log() if isinstance(record.body, Answer)] == ["u:ann"]
        await until(lambda: not len(engine.webhooks.calls))


async def test_a_request_is_on_disk_before_it_is_made(store: Store, heard: list[Answer]) -> None:
    seen: list[list[str]] = []

    async def look(_request: HttpRequest) -> HttpReply:
        seen.append(pending(store))
        return HttpReply(200, {}, b"")

    async with running(store, caller=MemoryCaller({URL: look})) as engine:
        await hook(engine)
        await until(lambda: heard)
    assert seen == [["r1"]]


@pytest.mark.parametrize(
    ("reply", "status", "words"),
    [
        (HttpReply(404, {}, b"{}"), 404, "404 Not Found"),
        (HttpReply(302, {"location": "http://x"}, b""), 302, "redirects are not followed"),
        (HttpReply(200, {}, b"x" * 65_537), 0, "200 with a body of more than 64 KB"),
        (ValueError("a bug"), 0, "internal"),
    ],
)
async def test_what_trying_again_does_not_mend_fails_at_once(
    heard: list[Answer], reply: HttpReply | Exception, status: int, words: str
) -> None:
    caller, _ = world(reply)
    store = MemoryStore()
    async with running(store, caller=caller) as engine:
        await hook(engine)
        await until(lambda: heard)
        assert (heard[0].ok, heard[0].status) == (False, status) and words in heard[0].reason
        await until(lambda: not pending(store))
        assert len(caller.asked) == 1


async def test_a_failure_that_may_pass_is_tried_again_under_the_same_id(store: Store, heard: list[Answer]) -> None:
    caller, _ = world(HttpReply(500, {}, b""), ConnectionError("reset"), HttpReply(200, {}, b'"ok"'))
    async with running(store, caller=caller) as engine:
        await hook(engine)
        await pass_time(engine, 10_000)
        await until(lambda: heard)
    assert heard == [Answer("r1", True, 200, "ok")]
    assert [asked.headers["webhook-id"] for asked in caller.asked] == ["r1"] * 3
    stamps = [int(asked.headers["webhook-timestamp"]) for asked in caller.asked]
    assert stamps == sorted(set(stamps)), "each try is signed at its own time"


async def test_a_receiver_that_asks_for_patience_gets_it(heard: list[Answer]) -> None:
    caller, _ = world(HttpReply(429, {"retry-after": "120"}, b""), HttpReply(200, {}, b"{}"))
    async with running(MemoryStore(), caller=caller) as engine:
        await hook(engine)
        await pass_time(engine, 119_000)
        assert len(caller.asked) == 1 and not heard
        assert [(one.tries, one.reason) for one in engine.webhooks.pending(10)] == [(1, "429 Too Many Requests")]
        await pass_time(engine, 2_000)
        await until(lambda: heard)
    assert heard[0].ok


async def test_after_the_last_try_the_answer_says_so(heard: list[Answer]) -> None:
    caller, _ = world(HttpReply(503, {}, b""))
    async with running(MemoryStore(), caller=caller) as engine:
        await hook(engine, life=10_000)
        await pass_time(engine, 20_000)
        await until(lambda: heard)
        assert heard == [Answer("r1", False, 503, reason="given up: 503 Service Unavailable")]
        assert 3 <= len(caller.asked) <= 6
        assert all(int(one.headers["webhook-timestamp"]) * 1000 < T0 + 10_000 for one in caller.asked)


async def test_a_dropped_request_is_tried_no_further(store: Store, heard: list[Answer]) -> None:
    caller, _ = world(HttpReply(500, {}, b""))
    async with running(store, caller=caller) as engine:
        await hook(engine)
        await until(lambda: caller.asked)
        await engine.collect([hooking("Unhook", "r1")])
        await pass_time(engine, MINUTE)
        assert len(caller.asked) == 1 and not pending(store) and not heard


async def test_what_is_asked_and_dropped_in_one_call_is_never_made(store: Store, heard: list[Answer]) -> None:
    caller, _ = world()
    async with running(store, caller=caller) as engine:
        await engine.collect([hooking("Hook", "r1"), hooking("Unhook", "r1")])
        await pass_time(engine, MINUTE)
    assert not caller.asked and not heard and not pending(store)


async def test_an_answer_to_what_was_dropped_meanwhile_is_nobodys(store: Store, heard: list[Answer]) -> None:
    caller, crm = world()
    crm.gate.clear()
    async with running(store, caller=caller) as engine:
        await hook(engine)
        await until(lambda: crm.open)
        await engine.collect([hooking("Unhook", "r1")])
        crm.gate.set()
        await until(lambda: not crm.open)
        await pass_time(engine, 5_000)
    assert not heard and not pending(store)


async def test_a_restart_makes_what_had_no_answer_again(store: Store, heard: list[Answer]) -> None:
    caller, crm = world()
    crm.gate.clear()
    async with running(store, caller=caller) as engine:
        for n in range(3):
            await hook(engine, f"r{n}")
        await until(lambda: crm.open == 3)
        await engine.stop(0.01)
    assert pending(store) == ["r0", "r1", "r2"] and not heard
    crm.gate.set()
    async with running(store, caller=caller):
        await until(lambda: len(heard) == 3)
        await until(lambda: not pending(store))
    assert Counter(asked.headers["webhook-id"] for asked in caller.asked) == {"r0": 2, "r1": 2, "r2": 2}


async def test_a_stop_waits_for_answers_that_are_under_way(store: Store, heard: list[Answer]) -> None:
    caller, crm = world()
    crm.gate.clear()
    async with running(store, caller=caller) as engine:
        await hook(engine)
        await until(lambda: crm.open)
        asyncio.get_running_loop().call_later(0.05, crm.gate.set)
        await engine.stop(5)
    assert heard == [Answer("r1", True, 200, {"name": "Ann"})] and not pending(store)


async def test_an_answer_outlives_a_full_disk(heard: list[Answer]) -> None:
    store = MemoryStore()
    caller, crm = world()
    crm.gate.clear()
    async with running(store, caller=caller, full_pause_s=0.01) as engine:
        await hook(engine)
        await until(lambda: crm.open)
        store.full = True
        crm.gate.set()
        await until(lambda: not engine.ready)
        assert pending(store) == ["r1"]
        store.full = False
        await until(lambda: not pending(store))
        assert engine.ready and len(caller.asked) == 1
        assert len([record for _, record in store.log() if isinstance(record.body, Answer)]) == 1


async def test_one_host_that_hangs_holds_up_nobody_else_and_is_spared(heard: list[Answer]) -> None:
    caller, crm = world()
    slow = caller.servers["http://slow.test/"] = Crm()
    slow.gate.clear()
    async with running(MemoryStore(), caller=caller) as engine:
        for n in range(100):
            await hook(engine, f"slow{n}", url="http://slow.test/")
        for n in range(50):
            await hook(engine, f"fast{n}")
        await until(lambda: len(heard) == 50)
        assert slow.most == 20 and crm.most <= 20
        slow.gate.set()
        await until(lambda: len(heard) == 150)


@pytest.mark.parametrize("bounds", [(4, 4, 2, 2), (10, 3, 4, 1), (1, 1, 1, 1)])
async def test_what_does_not_fit_into_memory_is_read_again(
    store: Store, heard: list[Answer], bounds: tuple[int, int, int, int]
) -> None:
    caller, crm = world()
    other = caller.servers["http://other.test/"] = Crm()
    async with running(store, caller=caller) as engine:
        engine.webhooks.calls = Calls(*bounds)
        works = [hooking("Hook", f"r{n}", url="http://other.test/" if n % 3 else URL) for n in range(100)]
        await asyncio.gather(*(engine.collect([work]) for work in works))
        await until(lambda: not pending(store))
        assert crm.most <= bounds[3] and other.most <= bounds[3]
    assert Counter(asked.headers["webhook-id"] for asked in caller.asked) == {f"r{n}": 1 for n in range(100)}
    assert len(heard) == 100


async def test_a_backlog_is_read_about_once_however_little_fits(
    heard: list[Answer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("heliograph.runtime.webhooks.PORTION", 5)
    caller, _ = world()
    store, read = MemoryStore(), 0

    def counted(after: str = "") -> Iterator[RequestRow]:
        nonlocal read
        for row in found(after):
            read += 1
            yield row

    found = store.requests
    monkeypatch.setattr(store, "requests", counted)
    async with running(store, caller=caller) as engine:
        engine.webhooks.calls = Calls(40, 10, 2, 2)
        await engine.collect([hooking("Hook", f"r{n:03}") for n in range(400)])
        await until(lambda: len(heard) == 400)
        await until(lambda: not engine.webhooks.calls.refused)
    assert read < 1_600


async def test_what_never_got_its_turn_is_given_up_in_time(
    store: Store, heard: list[Answer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("heliograph.runtime.webhooks.ROUND_S", 0.0)
    caller, crm = world()
    crm.gate.clear()
    async with running(store, caller=caller) as engine:
        engine.webhooks.calls = Calls(2, 2, 1, 1)
        for n in range(20):
            await hook(engine, f"r{n}", life=5_000)
        await pass_time(engine, 10_000)
        await until(lambda: len({one.request_id for one in heard}) == 19)
        assert all(not one.ok and one.reason == "given up before it was tried" for one in heard)
        crm.gate.set()
        await until(lambda: not pending(store))


async def test_a_backlog_that_nobody_can_make_in_time_is_given_up_a_few_at_a_time(
    heard: list[Answer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("heliograph.runtime.webhooks.PORTION", 40)
    monkeypatch.setattr("heliograph.runtime.webhooks.MAX_ANSWERS", 10)
    monkeypatch.setattr("heliograph.runtime.processor.SLICE_S", 0.0)  # reading is faster than deciding
    store, clock = MemoryStore(), ManualClock(T0)
    caller, crm = world()
    crm.gate.clear()
    async with running(store, caller=caller, clock=clock) as engine:
        await engine.collect([hooking("Hook", f"r{n:03}", life=MINUTE) for n in range(600)])
        await engine.stop(0)
    clock.advance(HOUR)
    most = 0
    async with running(store, caller=caller, clock=clock) as engine:
        engine.webhooks.calls = Calls(2, 2, 1, 1)
        waiting = engine.webhooks._put.__self__.waiting  # type: ignore[attr-defined]
        while pending(store):
            most = max(most, waiting.records)
            await asyncio.sleep(0)
    assert len({one.request_id for one in heard}) == 600 and 0 < most < 90


async def test_every_number_that_is_promised_is_measured(heard: list[Answer]) -> None:
    caller, _ = world(HttpReply(500, {}, b""), HttpReply(200, {}, b""))
    async with running(MemoryStore(), caller=caller) as engine:
        value = engine.meter.registry.get_sample_value

        def read(name: str, labels: dict[str, str] | None = None) -> float | None:
            return value(f"heliograph_{name}", labels)

        await hook(engine)
        await until(lambda: caller.asked)
        assert read("webhooks_waiting") == 1
        await pass_time(engine, 10_000)
        await until(lambda: heard)
        await until(lambda: read("webhooks_waiting") == 0)
        assert read("webhook_tries_total", {"verdict": "again"}) == read("webhook_tries_total", {"verdict": "ok"}) == 1
        assert read("webhooks_total", {"outcome": "ok"}) == 1
        assert read("webhook_seconds_count") == 2
