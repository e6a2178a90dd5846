"""Several machines in one process: HTTP in, log, a brain elsewhere, store, real mailer processes, SMTP out."""

import asyncio
import contextlib
import functools
import json
import re
import threading
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from prometheus_client import generate_latest

from heliograph import bootstrap, config, decide
from heliograph.adapters.memory.cache import MemoryProfiles
from heliograph.adapters.memory.shared import SharedMemoryStore
from heliograph.adapters.memory.stream import MemoryBroker, MemoryStream
from heliograph.bootstrap import scaled
from heliograph.bootstrap.backstage import SameStage
from heliograph.bootstrap.world import World
from heliograph.ports import PlanRow
from heliograph.runtime.near_brain import NearBrain, plans_of
from tests.integration.test_kill9 import JOURNEY, KEY, TOKEN, Receiver, write_project
from tests.runtime import harness

PARTITIONS = 4
until = functools.partial(harness.until, patience_s=60)


class Machines:
    """A broker, a store and a brain; :meth:`process` starts one more server on them."""

    def __init__(self, folder: Path, receiver: Receiver) -> None:
        self.broker = MemoryBroker(PARTITIONS)
        self.store = SharedMemoryStore()
        self.folder = folder
        self.project = write_project(folder / "project", receiver.port)
        kafka = config.KafkaSetting(brokers="in-memory:1", partitions=PARTITIONS)
        self.settings = replace(
            config.load(self.project, {}, port=0), kafka=kafka, postgres=config.PostgresSetting(lease="PT1S")
        )
        self._names = iter(range(100))
        self.caches: list[MemoryProfiles] = []
        self.brain = NearBrain(MemoryStream(self.broker), plans_of(self._plan))

    def _plan(self, version: int | None) -> PlanRow | None:
        return self.store.plan(version)

    def process(self, role: str, **options: Any) -> "contextlib.AbstractAsyncContextManager[scaled.ScaledServer]":
        name = f"machine-{next(self._names)}"
        cache = MemoryProfiles()
        self.caches.append(cache)
        world = World(
            stream=lambda: MemoryStream(self.broker), store=self.store.beside, cache=lambda: cache,
            stage=SameStage, owner=name,
        )  # fmt: skip
        settings = options.pop("settings", self.settings)
        data = options.pop("data", self.folder / name)
        return scaled.running(
            settings, data=data, document=lambda: bootstrap.document_of(self.project), role=role, world=world, **options
        )


@contextlib.asynccontextmanager
async def machines(folder: Path) -> AsyncIterator[tuple[Machines, Receiver]]:
    receiver = Receiver()
    async with await receiver.listen():
        world = Machines(folder, receiver)
        world.brain.start()
        ticking = asyncio.create_task(ticks(world.brain))
        try:
            yield world, receiver
        finally:
            ticking.cancel()
            await world.brain.stop()


async def ticks(brain: NearBrain) -> None:
    """A timer is a wake-up in the log."""
    while True:
        await brain.wake(time.time_ns() // 1_000_000)
        await asyncio.sleep(0.05)


def fetch(url: str, body: Any = None) -> tuple[int, dict[str, str], Any]:
    data = None if body is None else json.dumps(body).encode()
    headers = {"authorization": f"Bearer {TOKEN}", "content-type": "application/json"}
    request = urllib.request.Request(url, data, headers)
    try:
        with urllib.request.urlopen(request) as answer:
            return answer.status, {k.lower(): v for k, v in answer.headers.items()}, json.loads(answer.read() or b"{}")
    except urllib.error.HTTPError as error:
        return error.code, {k.lower(): v for k, v in error.headers.items()}, json.loads(error.read())


async def call(server: scaled.ScaledServer, path: str, body: Any = None) -> tuple[int, dict[str, str], Any]:
    return await asyncio.to_thread(fetch, server.url + path, body)


def order(name: str, event: str = "Order Completed") -> dict[str, Any]:
    return {"writeKey": KEY, "batch": [{"type": "track", "event": event, "userId": name, "messageId": f"{event}-{name}",
            "properties": {"order_id": name}, "context": {"traits": {"email": f"{name}@x.test"}}}]}  # fmt: skip


async def ready(server: scaled.ScaledServer) -> None:
    await until(lambda: server.watch.published is not None)


async def test_an_event_at_one_machine_is_a_mail_from_another(tmp_path: Path) -> None:
    async with (
        machines(tmp_path) as (world, receiver),
        world.process(scaled.COLLECT) as collector,
        world.process(scaled.DELIVER) as worker,
    ):
        await ready(collector)
        status, headers, answer = await call(collector, "/v1/batch", order("ann"))
        assert (status, headers["heliograph-durable"]) == (200, "log")
        assert answer["results"][0]["status"] == "accepted"
        await until(lambda: receiver.got["ann@x.test"])
        for server in (collector, worker):
            status, _, profile = await call(server, f"/api/profiles/ann?after={answer['position']}")
            assert (status, profile["traits"]["email"]) == (200, "ann@x.test")

        async def statuses() -> list[str]:
            _, _, found = await call(collector, "/api/messages")
            return [one["status"] for one in found["messages"]]

        async with asyncio.timeout(60):
            while await statuses() != ["sent"]:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        await call(collector, "/v1/batch", order("ann"))
        await call(collector, "/v1/batch", order("bob", "Timer Set"))
        await until(lambda: receiver.got["bob@x.test"])
        assert receiver.got["ann@x.test"] == 1  # the brain knew the second one


async def test_one_process_may_do_all_of_it(tmp_path: Path) -> None:
    async with machines(tmp_path) as (world, receiver), world.process(scaled.ALL) as server:
        await ready(server)
        for number in range(30):
            await call(server, "/v1/batch", order(f"p{number}"))
        await until(lambda: sum(receiver.got.values()) == 30)
        assert set(receiver.got.values()) == {1}
        status, _, said = await call(server, "/readyz")
        assert (status, said["status"]) == (200, "ok")


class LateStore:
    """A worker whose partitions have just changed hands, with mail of ann's that waits; the store does not tell who
    somebody is until ``answers`` is set."""

    def __init__(self, world: Machines, server: scaled.ScaledServer) -> None:
        assert server.backs.engine is not None
        self.engine, self.world, self.server = server.backs.engine, world, server
        self.answers, self._states = threading.Event(), self.engine.store.states

    def states(self, keys: Sequence[str]) -> list[bytes | None]:
        if threading.current_thread().name.startswith("heliograph-profiles"):
            self.answers.wait(120)
        return self._states(keys)

    async def begin(self) -> None:
        await call(self.server, "/api/journeys/order/pause", {})
        await call(self.server, "/v1/batch", order("ann"))
        blobs, cache = self.engine._desk.blobs, self.world.caches[0]
        await until(lambda: self.statuses() == ["queued"] and cache.get({"u:ann": 0}) and blobs.settled("u:ann"))
        self.engine._desk.forget()
        cache.renew()
        self.engine.store.states = self.states  # type: ignore[method-assign]

    def statuses(self) -> list[str]:
        return [row.status for row in self.world.store.messages(key="u:ann")[0]]


async def test_mail_of_somebody_whom_the_store_is_late_to_tell_is_rendered_from_what_was_known_last_and_says_so(
    tmp_path: Path,
) -> None:
    async with machines(tmp_path) as (world, receiver), world.process(scaled.ALL) as server:
        await ready(server)
        late = LateStore(world, server)
        await late.begin()
        assert (await call(server, "/api/journeys/order/resume", {}))[0] == 200
        await until(lambda: receiver.got["ann@x.test"])
        late.answers.set()
        await call(server, "/v1/batch", order("bob"))
        for name, marked in (("ann", True), ("bob", False)):
            await until(lambda name=name: outcomes(world, name))
            (sent,) = outcomes(world, name)
            assert sent["kind"] == "sent"
            assert ("stale" in sent) is marked
            assert not marked or 0 < sent["stale"]["profile"] < 60
            (why,) = (await call(server, f"/api/profiles/{name}/why?template=note"))[2:]
            assert ("(its profile was " in json.dumps(why)) is marked


def outcomes(world: Machines, name: str) -> list[dict[str, Any]]:
    return [row.data for row in world.store.journal(f"u:{name}") if row.kind == "message_outcome"]


async def test_mail_of_somebody_of_whom_only_something_too_old_is_known_waits_and_is_not_given_up(
    tmp_path: Path,
) -> None:
    """What was known last has no run yet; that is no reason to cancel."""
    async with machines(tmp_path) as (world, receiver), world.process(scaled.ALL) as server:
        await ready(server)
        late = LateStore(world, server)
        await late.begin()
        world.caches[0].broken = True
        late.engine._desk.blobs.note("u:ann", decide.encode_state(decide.new_state("u:ann")))
        await call(server, "/api/journeys/order/resume", {})
        await until(lambda: "profiles" in [one.what for one in server.troubles()])
        await asyncio.sleep(0.5)
        await call(server, "/v1/batch", order("bob"))
        await until(lambda: receiver.got["bob@x.test"])
        assert late.statuses() == ["queued"]
        late.answers.set()
        await until(lambda: receiver.got["ann@x.test"])


async def test_a_read_waits_for_what_was_collected_and_says_so_when_it_does_not_come(tmp_path: Path) -> None:
    async with machines(tmp_path) as (world, _), world.process(scaled.ALL) as server:
        await ready(server)
        await world.brain.stop()
        _, _, answer = await call(server, "/v1/batch", order("ann"))
        began = time.monotonic()
        status, _, said = await call(server, f"/api/profiles/ann?after={answer['position']}")
        assert status == 504
        assert "ask again" in said["detail"]
        assert time.monotonic() - began > 4
        status, _, said = await call(server, "/api/profiles/ann?after=nonsense")
        assert (status, said["detail"]) == (
            400,
            "after: this is no position; take it from the answer of a collect call",
        )


async def test_a_brain_that_does_not_answer_is_told_by_the_collector(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("heliograph.runtime.lag.LATE_S", 0.5)
    async with machines(tmp_path) as (world, _), world.process(scaled.ALL) as server:
        await ready(server)
        await world.brain.stop()
        await call(server, "/v1/batch", order("ann"))
        await until(lambda: [one.what for one in server.troubles()] == ["decisions"])
        assert "decided_lag_seconds" in generate_latest(server.meter.registry).decode()
        assert (await call(server, "/readyz"))[2]["status"] == "degraded"
        world.brain = NearBrain(MemoryStream(world.broker), plans_of(world.store.plan))
        world.brain.start()
        await until(lambda: not server.troubles())


async def test_a_process_that_delivers_takes_no_events(tmp_path: Path) -> None:
    async with machines(tmp_path) as (world, _), world.process(scaled.DELIVER) as worker:
        status, headers, said = await call(worker, "/v1/batch", order("ann"))
        assert (status, headers["retry-after"]) == (503, "60")
        assert "--role collect" in said["detail"]
        assert (await call(worker, "/readyz"))[0] == 200


async def test_while_the_log_is_away_events_are_on_disk_and_decided_afterwards(tmp_path: Path) -> None:
    async with (
        machines(tmp_path) as (world, receiver),
        world.process(scaled.COLLECT) as collector,
        world.process(scaled.DELIVER),
    ):
        await ready(collector)
        brain = world.brain
        await brain.stop()
        world.broker.away = True
        answers = [await call(collector, "/v1/batch", order(f"p{number}")) for number in range(10)]
        assert {(status, headers["heliograph-durable"]) for status, headers, _ in answers} == {(200, "spool")}
        _, _, said = await call(collector, "/readyz")
        assert said["status"] == "degraded"
        assert any("this machine's disk" in one["means"] for one in said["troubles"])
        world.broker.away = False
        world.brain = NearBrain(MemoryStream(world.broker), plans_of(world.store.plan))
        world.brain.start()
        await until(lambda: sum(receiver.got.values()) == 10)
        assert set(receiver.got.values()) == {1}
        await until(lambda: not collector.funnel.spooling)
        assert (await call(collector, "/v1/batch", order("last")))[1]["heliograph-durable"] == "log"


async def test_a_plan_published_at_one_machine_is_in_force_at_all(tmp_path: Path) -> None:
    async with (
        machines(tmp_path) as (world, receiver),
        world.process(scaled.COLLECT) as first,
        world.process(scaled.COLLECT) as second,
        world.process(scaled.DELIVER),
    ):
        await ready(second)
        document = bootstrap.document_of(world.project)
        document["journeys"]["hello"] = {"entry": {"event": "Signed Up"}, "steps": [{"send": "note"}]}
        document["templates"]["note"]["html"] = document["templates"]["note"]["html"].replace("Order", "Hello")
        status, _, said = await call(first, "/api/plan", {"document": document})
        assert (status, said["version"]) == (200, 2)
        await until(lambda: (first.watch.version, second.watch.version) == (2, 2))
        _, _, plan = await call(second, "/api/plan")
        assert plan["version"] == 2
        body = {"type": "track", "event": "Signed Up", "userId": "ann", "properties": {"order_id": "x"},
                "context": {"traits": {"email": "ann@x.test"}}}  # fmt: skip
        await call(second, "/v1/batch", {"writeKey": KEY, "batch": [body]})
        await until(lambda: receiver.got["ann@x.test"])


async def test_an_unsubscribe_at_one_machine_stops_the_mail_of_another(tmp_path: Path) -> None:
    async with machines(tmp_path) as (world, receiver):
        slow = JOURNEY.format(event="Timer Set", wait="  - wait: PT5S\n")  # the word comes before it, on any machine
        (world.project / "journeys/timer.yaml").write_text(slow)
        async with world.process(scaled.COLLECT) as collector, world.process(scaled.DELIVER):
            await ready(collector)
            await call(collector, "/v1/batch", order("ann", "Timer Set"))
            status, _, _ = await asyncio.to_thread(put, collector.url + "/api/suppressions/ann%40x.test")
            assert status == 200
            await call(collector, "/v1/batch", order("bob", "Timer Set"))
            await until(lambda: receiver.got["bob@x.test"])
            await until(
                lambda: [row.status for row in world.store.messages(key="u:ann")[0]] in (["skipped"], ["cancelled"])
            )
            assert not receiver.got["ann@x.test"]


def put(url: str) -> tuple[int, Any, Any]:
    headers = {"authorization": f"Bearer {TOKEN}", "content-type": "application/json"}
    request = urllib.request.Request(url, b"{}", headers, method="PUT")
    with urllib.request.urlopen(request) as answer:
        return answer.status, None, json.loads(answer.read())


async def test_an_entry_by_api_is_answered_with_its_decision(tmp_path: Path) -> None:
    async with machines(tmp_path) as (world, _), world.process(scaled.ALL) as server:
        await ready(server)
        _, _, answer = await call(server, "/v1/batch", order("ann"))
        await call(server, f"/api/profiles/ann?after={answer['position']}")
        document = bootstrap.document_of(world.project)
        document["journeys"]["asked"] = {"entry": {"api": True}, "steps": [{"wait": "PT1H"}]}
        assert (await call(server, "/api/plan", {"document": document}))[0] == 200
        status, _, said = await call(server, "/api/journeys/asked/runs", {"profile": "ann"})
        assert (status, said.get("status")) == (200, "started"), said


async def test_what_a_schema_rejects_is_kept_for_repair(tmp_path: Path) -> None:
    async with machines(tmp_path) as (world, receiver), world.process(scaled.ALL) as server:
        await ready(server)
        document = bootstrap.document_of(world.project)
        document["schemas"] = {"Order Completed": {"type": "object", "required": ["currency"]}}
        assert (await call(server, "/api/plan", {"document": document}))[0] == 200
        await until(lambda: server.watch.version == 2)
        _, _, answer = await call(server, "/v1/batch", order("ann"))
        assert answer["results"][0]["status"] == "dead_letter"

        async def letters() -> list[Any]:
            return (await call(server, "/api/dead-letters"))[2]["dead_letters"]

        async with asyncio.timeout(60):
            while not await letters():  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        (letter,) = await letters()
        fixed = json.loads(letter["payload"])
        fixed["properties"]["currency"] = "EUR"
        body = {"ids": [letter["id"]], "repaired": {letter["id"]: fixed}}
        _, _, said = await call(server, "/api/dead-letters/replay", body)
        assert said["results"][0]["status"] == "accepted"
        await until(lambda: receiver.got["ann@x.test"])


async def test_a_process_starts_while_the_store_is_away_and_takes_events(tmp_path: Path) -> None:
    async with machines(tmp_path) as (world, _):
        async with world.process(scaled.ALL) as server:
            await ready(server)
        world.store.away = True
        async with world.process(scaled.COLLECT) as collector:
            await ready(collector)
            status, headers, _ = await call(collector, "/v1/batch", order("ann"))
            assert (status, headers["heliograph-durable"]) == (200, "log")


async def test_a_process_starts_while_the_log_is_away_and_works_when_it_is_there(tmp_path: Path) -> None:
    async with machines(tmp_path) as (world, receiver):
        await world.brain.stop()
        world.broker.away = True
        async with world.process(scaled.ALL) as server:
            status, _, said = await call(server, "/readyz")
            assert (status, "brokers are away" in said["detail"]) == (503, True)
            assert (await call(server, "/v1/batch", order("ann")))[0] == 503
            world.broker.away = False
            world.brain = NearBrain(MemoryStream(world.broker), plans_of(world.store.plan))
            world.brain.start()
            await ready(server)
            assert (await call(server, "/v1/batch", order("ann")))[0] == 200
            await until(lambda: receiver.got["ann@x.test"])


async def test_a_webhook_that_a_run_waits_for_is_asked_once_by_whoever_has_the_person(tmp_path: Path) -> None:
    asked: list[str] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        asked.append(re.findall(rb"webhook-id: (\S+)", head, re.IGNORECASE)[0].decode())
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}")
        await writer.drain()
        writer.close()

    site = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = site.sockets[0].getsockname()[1]
    async with (
        site,
        machines(tmp_path) as (world, receiver),
        world.process(scaled.COLLECT) as collector,
        world.process(scaled.DELIVER),
        world.process(scaled.DELIVER),
    ):
        await ready(collector)
        document = bootstrap.document_of(world.project)
        ask = {"webhook": {"url": f"http://127.0.0.1:{port}/", "method": "POST", "json": {"a": 1}, "as": "crm"}}
        document["journeys"]["ask"] = {"entry": {"event": "Asked", "key": "properties.order_id"},
                                       "steps": [ask, {"send": "note"}]}  # fmt: skip
        assert (await call(collector, "/api/plan", {"document": document}))[0] == 200
        await until(lambda: collector.watch.version == 2)
        for number in range(8):
            await call(collector, "/v1/batch", order(f"p{number}", "Asked"))
        await until(lambda: sum(receiver.got.values()) == 8)
        assert len(asked) == len(set(asked)) == 8
