"""Several workers: partitions that move while mail is under way, and one judgement of what comes back."""

import asyncio
from typing import Any

import pytest

from heliograph.deliver.breaker import Rules
from heliograph.deliver.limits import SenderLimits, Shaping
from heliograph.events.record import Outcome
from heliograph.runtime import mailwire
from heliograph.runtime.crank import HandMailer
from heliograph.runtime.holds import BREAKER
from tests.runtime.harness import T0, until
from tests.runtime.several import Several, names


@pytest.mark.parametrize("seed", range(4))
async def test_partitions_that_move_while_mail_is_under_way_lose_and_repeat_nothing(seed: int) -> None:
    """One worker, a second beside it, the first goes, comes back, the second goes: each time in the middle of mail."""
    world, everybody = Several(seed), list(names(160))
    async with world.running():  # the seed is in the name of the test
        await world.start("one", mailers=2)
        await world.sign_up(*everybody[:40])
        await until(lambda: world.rows("sending"))
        await world.start("two", mailers=2)
        await world.sign_up(*everybody[40:80])
        await world.shared_out()
        await until(lambda: len(world.rows("sent", "bounced")) > 45)
        await world.stop("one")
        await world.sign_up(*everybody[80:120])
        await world.start("three", mailers=2)
        await until(lambda: len(world.rows("sent", "bounced")) > 85)
        await world.sign_up(*everybody[120:])
        await world.stop("two")
        await world.ended(160)
        assert {row.key for row in world.rows()} == {f"u:{name}" for name in everybody}
        assert set(world.wire.values()) == {1}, "nobody had it twice"
        assert len(world.wire) == 160


async def test_whoever_lost_a_partition_offers_none_of_its_mail_and_fetches_none() -> None:
    """All of it was at hand before; what is queued since stands in the store beside its own."""
    world = Several()
    async with world.running():
        one = await world.start("one", mailers=0)
        await world.sign_up(*names(20))
        await until(lambda: len(one.dispatcher.outbox) == 20)
        await world.start("two", mailers=0)
        await world.shared_out()
        await world.sign_up(*(f"q{number}" for number in range(20)))
        await until(lambda: len(world.rows("queued")) == 40)
        hand = HandMailer(one.dispatcher.next_epoch(), 100)
        one.dispatcher.welcome(hand, 100)
        own = {row.message_id for row in world.rows() if one._desk.is_mine(row.key)}
        await until(lambda: len(hand.held) == len(own))
        await asyncio.sleep(0.05)
        jobs = [job.message_id for said in hand.heard if isinstance(said, mailwire.Offer) for job in said.jobs]
        assert sorted(jobs) == sorted(own) and 0 < len(own) < 40
        one.dispatcher.lost(hand)


async def test_what_is_queued_by_whoever_lost_a_partition_is_mailed_by_whoever_has_it(seed: int = 7) -> None:
    """The first worker has no mailer: all of it waits there, and what became another's goes from there, and only it."""
    world = Several(seed)
    async with world.running():
        await world.start("one", mailers=0)
        await world.sign_up(*names(40))
        await until(lambda: len(world.rows("queued")) == 40)
        two = await world.start("two", mailers=1)
        await world.shared_out()
        theirs = {row.message_id for row in world.rows() if two._desk.is_mine(row.key)}
        await until(lambda: {row.message_id for row in world.rows("sent", "bounced")} == theirs)
        assert 0 < len(theirs) < 40 and set(world.wire) == theirs
        await world.stop("one")
        await world.ended(40)
        assert set(world.wire.values()) == {1}


async def test_who_is_stopped_while_it_gives_partitions_back_waits_for_their_mail_too() -> None:
    world = Several()
    async with world.running():
        one = await world.start("one", mailers=0)
        hand = HandMailer(one.dispatcher.next_epoch(), 100)
        one.dispatcher.welcome(hand, 100)
        await world.sign_up(*names(20))
        await until(lambda: len(hand.held) == 20)
        one.dispatcher.hear(hand, mailwire.AskCommit(hand.epoch, list(hand.held)))
        await until(lambda: len(world.rows("sending")) == 20)
        await world.start("two", mailers=0)
        await until(lambda: len(world.has("one")) < world.partitions)
        kept = {row.message_id for row in world.rows() if one._desk.partition_of(row.key) in world.has("one")}
        stopping = asyncio.create_task(world.stop("one"))
        for some in (kept, hand.held.keys() - kept):
            assert some
            await asyncio.sleep(0.1)
            done = [mailwire.Done(name, "sent", "250 ok", T0) for name in some]
            one.dispatcher.hear(hand, mailwire.Report(hand.epoch, done))
        await stopping
        await until(lambda: len(world.has("two")) == world.partitions)
        assert len(world.rows("sent")) == 20


RULES = Rules(least=40, bounces=0.5, failures=0.9)


async def judged(world: Several, **options: Any) -> None:
    """Two workers that mail to half of 60 people each, a collector, and everything told round."""
    for name in ("one", "two"):
        await world.start(name, breaker=RULES, **options)
    await world.start("collector", delivers=False, breaker=RULES, **options)
    await until(lambda: all(world.has(name) for name in ("one", "two")))
    await world.shared_out()
    await world.turn()
    await world.sign_up(*names(60))
    await world.ended(60)
    await world.turn()


async def test_complaints_that_come_in_at_a_collector_hold_the_mail_of_all_workers() -> None:
    """Neither worker sent as many mails as the breaker asks for, and neither took a complaint."""
    world = Several()
    async with world.running():
        await judged(world)
        sent = world.rows("sent")
        halves = [sum(world.engines[name]._desk.is_mine(row.key) for row in sent) for name in ("one", "two")]
        assert max(halves) < RULES.least <= sum(halves)
        complaints = [Outcome(row.message_id, "complained", T0) for row in sent[:8]]
        await world.engines["collector"].feedback(complaints)
        assert not world.store.metas("hold@") and not world.engines["one"].holds()
        for name in ("one", "two"):
            await world.turned(lambda name=name: bool(world.engines[name].holds()))
            assert world.engines[name].holds()["welcome"].by == BREAKER
            assert "brought complaints" in world.engines[name].holds()["welcome"].reason
        await world.sign_up("late")
        await until(lambda: world.rows("queued"))
        await asyncio.sleep(0.05)
        assert [row.key for row in world.rows("queued")] == ["u:late"]
        await world.turn()
        await world.engines["collector"].lift("welcome")
        await world.ended(61)
        await world.turn()
        assert not world.engines["one"].holds() and not world.engines["two"].holds(), "only fresh evidence counts"


async def test_a_warm_up_hears_of_what_others_sent_and_of_complaints_wherever_they_came_in() -> None:
    world = Several()
    async with world.running():
        await judged(world, shaping=Shaping(senders={"default": SenderLimits(tiers=((0, 200), (0, 400)))}))
        sent = world.rows("sent")
        await world.engines["collector"].feedback([Outcome(row.message_id, "complained", T0) for row in sent[:3]])
        for name in ("one", "two"):
            await world.turned(lambda name=name: days(world, name) == [(60, 3)])


def days(world: Several, name: str) -> list[tuple[int, int]]:
    told = world.engines[name].traffic()["senders"]["default"]["warmup"]["days"]
    return [(day["sent"], day["complained"]) for day in told]
