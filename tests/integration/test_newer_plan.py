"""While machines are updated one by one, an older collector may meet a plan that it cannot read: it takes events."""

from pathlib import Path

import msgspec
import pytest

from heliograph import bootstrap
from heliograph.adapters.memory.stream import MemoryStream
from heliograph.bootstrap import scaled
from heliograph.decide.decided import Decided, encode_decided
from heliograph.events.record import Record, Wake, decode_record
from heliograph.ports import Commit, PlanRow, Post
from heliograph.ports.stream import EFFECTS, PLAN, RECORDS
from heliograph.runtime.plan_watch import plan_of, plan_post
from tests.integration.test_scaled import Machines, call, machines, order, ready
from tests.runtime.harness import until


async def newer(world: Machines) -> PlanRow:
    """Plan 2, as a later version of Heliograph publishes it."""
    document = msgspec.json.decode(plan_of(world.broker.topics[PLAN][0][0].value).document)
    document["journeys"]["order"]["steps"].append({"telepathy": "note"})
    row = PlanRow(2, msgspec.json.encode(document), 1)
    world.store.commit(Commit(plan=row))
    world.broker.add(plan_post(row))
    return row


def versions(world: Machines) -> dict[str, int]:
    """Event id -> the plan that its record names."""
    records = [decode_record(entry.value) for part in world.broker.topics[RECORDS] for entry in part]
    return {record.id: record.plan_version for record in records}


async def test_an_older_collector_goes_on_under_the_last_plan_that_it_can_read_and_says_so(tmp_path: Path) -> None:
    async with machines(tmp_path) as (world, _), world.process(scaled.COLLECT) as collector:
        await ready(collector)
        assert (await call(collector, "/readyz"))[2]["status"] == "ok"
        await newer(world)
        await until(lambda: collector.watch.refused == 2)
        status, headers, answer = await call(collector, "/v1/batch", order("ann"))
        assert (status, headers["heliograph-durable"], answer["results"][0]["status"]) == (200, "log", "accepted")
        assert versions(world)["Order Completed-ann"] == 1
        status, _, said = await call(collector, "/readyz")
        (trouble,) = [one for one in said["troubles"] if one["what"] == "plan"]
        assert status == 200 and "plan 2 cannot be read" in trouble["why"] and "telepathy" in trouble["why"]
        assert collector.meter.registry.get_sample_value("heliograph_plan_refused") == 2
        assert not collector.failed.done()


async def test_a_plan_that_the_topic_would_not_take_is_refused_before_it_is_in_force(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("heliograph.runtime.plan_watch.LARGEST", 1_000)
    async with machines(tmp_path) as (world, _), world.process(scaled.COLLECT) as collector:
        await ready(collector)
        document = bootstrap.document_of(world.project)
        document["templates"]["note"]["text"] = "x" * 1_000
        status, _, said = await call(collector, "/api/plan", {"document": document})
        assert status == 422 and "more than the topic `plan` takes" in str(said)
        assert [version for version, _ in world.store.plans()] == [1]


async def test_an_older_collector_that_starts_then_takes_events_without_its_api(tmp_path: Path) -> None:
    async with machines(tmp_path) as (world, _):
        async with world.process(scaled.COLLECT) as first:
            await ready(first)
        await newer(world)
        async with world.process(scaled.COLLECT) as collector:
            await ready(collector)
            status, _, _ = await call(collector, "/v1/batch", order("bob"))
            assert (status, versions(world)["Order Completed-bob"]) == (200, 1)
            status, _, said = await call(collector, "/readyz")
            assert status == 200
            assert {one["what"] for one in said["troubles"]} >= {"plan", "start"}
            assert (await call(collector, "/api/profiles/bob"))[0] == 503
            assert not collector.failed.done()


async def test_an_older_process_that_does_all_of_it_goes_on_taking_events(tmp_path: Path) -> None:
    async with machines(tmp_path) as (world, _), world.process(scaled.ALL) as server:
        await ready(server)
        row = await newer(world)
        await until(lambda: server.watch.refused == 2)
        await world.brain.stop()
        record = Record("u:ann", "w", 1, 2, Wake())
        value = encode_decided(Decided(record, [], None, None, row.version))
        await MemoryStream(world.broker).appender().append([Post(EFFECTS, b"", value, 0)])
        await until(lambda: any(one.what == "delivery" and "update it" in one.why for one in server.troubles()))
        assert (await call(server, "/v1/batch", order("ann")))[0] == 200
        status, _, said = await call(server, "/readyz")
        assert (status, said["status"]) == (200, "degraded")
        assert not server.failed.done()
    async with world.process(scaled.ALL) as server:
        await ready(server)
        assert (await call(server, "/v1/batch", order("bob")))[0] == 200
        assert "start" in {one.what for one in server.troubles()} and not server.failed.done()
