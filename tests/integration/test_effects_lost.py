"""What the brain said is gone before a worker came; the brain is put back, says it again, and nobody misses a mail."""

import re
from pathlib import Path

import pytest

from heliograph.adapters.memory.stream import MemoryStream
from heliograph.bootstrap import scaled
from heliograph.ports import StreamRefused
from heliograph.ports.stream import EFFECTS
from heliograph.runtime import gaps
from heliograph.runtime.near_brain import NearBrain, plans_of
from tests.integration.test_scaled import Machines, call, machines, order, ready
from tests.runtime.harness import T0, until

BEFORE, GONE, AFTER = 6, 12, 5


def said(world: Machines) -> int:
    return sum(map(len, world.broker.topics[EFFECTS]))


def applied(world: Machines) -> list[int]:
    return [max(claim.offset, 0) for claim in world.store.claims()]


async def taken(world: Machines, collector: scaled.ScaledServer, *names: str, event: str = "Order Completed") -> None:
    """Events of these people, decided; each is two decisions or more (somebody takes an address)."""
    before = said(world)
    for name in names:
        assert (await call(collector, "/v1/batch", order(name, event)))[0] == 200
    each = 2 if event == "Order Completed" else 1
    await until(lambda: said(world) >= before + each * len(names))


def documented(meta: str) -> bool:
    """In the reference; words in capitals stand for any."""
    page = (Path(__file__).parents[2] / "docs/reference/postgres.md").read_text().partition("### Small values")[2]
    names = re.findall(r"`([a-z_:]+(?:@?[A-Z:]+)?)`(?:,| \|)", page)
    return any(re.fullmatch(re.sub("[A-Z]+", ".+", name), meta) for name in names)


def people(kind: str, count: int) -> list[str]:
    return [f"{kind}{number}" for number in range(count)]


@pytest.mark.parametrize("again", [True, False])
async def test_said_again_nothing_is_lost_and_skipped_only_what_is_gone(tmp_path: Path, again: bool) -> None:
    async with machines(tmp_path) as (world, receiver), world.process(scaled.COLLECT) as collector:
        await ready(collector)
        async with world.process(scaled.DELIVER):
            await taken(world, collector, *people("before", BEFORE))
            await until(lambda: len(receiver.got) == BEFORE)
            await until(lambda: applied(world) == [len(part) for part in world.broker.topics[EFFECTS]])
        await taken(world, collector, *people("gone", GONE))
        for number, part in enumerate(world.broker.topics[EFFECTS]):
            world.broker.oldest[EFFECTS, number] = len(part)
        await taken(world, collector, *people("after", AFTER))
        await taken(world, collector, *people("gone", GONE), event="Seen")  # numbers above those that are gone
        async with world.process(scaled.DELIVER) as worker:
            error = await worker.failed
            assert isinstance(error, StreamRefused) and "heliograph gap" in str(error)
        await world.brain.stop()  # so that what it says next stands behind what is there
        stream = MemoryStream(world.broker)
        done = gaps.go_on(world.store, await gaps.find(world.store, stream), again=again, by="ops", at=T0)
        if again:
            world.brain = NearBrain(stream, plans_of(world.store.plan))  # which knows nothing: an older savepoint
        expected = {*people("before", BEFORE), *people("after", AFTER), *(people("gone", GONE) if again else ())}
        async with world.process(scaled.DELIVER) as worker:
            if again:
                world.brain.start()
            await until(lambda: set(receiver.got) == {f"{name}@x.test" for name in expected})
            lost = worker.meter.registry.get_sample_value
            await until(lambda: lost("heliograph_effects_lost") == sum(gap.lost for gap in done))
            assert not worker.failed.done()
        assert set(receiver.got.values()) == {1}, "and nobody has a second one"
        assert [name for name in world.store.metas() if not documented(name)] == []
        assert bool(sum(gap.lost for gap in done)) is not again


async def test_a_process_that_collects_too_goes_on_with_that_and_says_what_to_do(tmp_path: Path) -> None:
    async with machines(tmp_path) as (world, receiver), world.process(scaled.COLLECT) as collector:
        await ready(collector)
        await taken(world, collector, *people("gone", GONE))
        for number, part in enumerate(world.broker.topics[EFFECTS]):
            world.broker.oldest[EFFECTS, number] = len(part)
        async with world.process(scaled.ALL) as server:
            await until(
                lambda: any(one.what == "delivery" and "heliograph gap" in one.why for one in server.troubles())
            )
            await until(lambda: [claim.owner for claim in world.store.claims()] == [""] * 4)
            await taken(world, server, *people("after", AFTER))
            status, _, answer = await call(server, "/readyz")
            assert (status, answer["status"]) == (200, "degraded") and "start this process again" in str(answer)
            assert (await call(server, "/api/messages"))[0] == 200
            assert not server.failed.done() and not receiver.got
        gaps.go_on(world.store, await gaps.find(world.store, MemoryStream(world.broker)), again=False, by="ops", at=T0)
        async with world.process(scaled.ALL):
            await until(lambda: set(receiver.got) == {f"{name}@x.test" for name in people("after", AFTER)})
