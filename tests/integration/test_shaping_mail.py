"""Shaping from end to end of the engine: which way, how many, what a restart remembers, what becomes too late."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from heliograph.adapters.memory import MemoryStore
from heliograph.deliver.limits import RelayLimits, SenderLimits, Shaping
from heliograph.events.record import Outcome
from heliograph.ports import Commit, StoreFull
from heliograph.runtime import mailwire
from heliograph.runtime.clock import ManualClock
from heliograph.runtime.engine import EmbeddedEngine
from heliograph.runtime.traffic import Traffic
from heliograph.runtime.traffic_kept import kept_in
from heliograph.runtime.traffic_view import view
from tests.runtime.harness import (
    DAY,
    HOUR,
    T0,
    PuppetMailer,
    advance,
    call,
    identify,
    messages,
    running,
    send,
    shop,
    template,
    until,
)

TWO_RELAYS = Shaping(relays={"default": RelayLimits(), "backup": RelayLimits()})


@pytest.fixture
def socket() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder) / "s"


async def order(engine: EmbeddedEngine, *users: str) -> None:
    for user in users:
        await send(engine, identify(user, email=f"{user}@example.com"), call("Order Completed", user))


async def carried(
    mailer: PuppetMailer, job: mailwire.Job, kind: str = "sent", code: int = 250, stage: str = "dot"
) -> None:
    """It passed its commit point, and this is what came of it."""
    assert (await mailer.ask(job.message_id)).go == [job.message_id]
    said = mailwire.Done(job.message_id, kind, f"{code} as told", T0, code=code, stage=stage)
    mailer._say(mailwire.Report(mailer.epoch, [said]))


async def test_what_one_relay_cannot_take_goes_to_another_at_once_and_is_no_attempt(socket: Path) -> None:
    async with running(socket=socket, shaping=TWO_RELAYS) as engine:
        mailer = await PuppetMailer.connect(socket, credit=1)
        await order(engine, "ann")
        job = await mailer.job()
        assert job.receiver == "example.com" and job.attempt == 1
        await carried(mailer, job, "retry", 0, "connect")
        again = await mailer.job()
        assert again.message_id == job.message_id and again.attempt == 1
        assert {job.route, again.route} == {"default", "backup"}
        await carried(mailer, again, "retry", 0, "connect")
        await until(lambda: messages(engine)[0].attempt == 1)
        assert messages(engine)[0].next_at > T0, "none works: now it is an attempt, and waits"
        assert not any(relay["works"] for relay in engine.traffic()["relays"].values())
        await mailer.close()


async def test_a_day_that_is_used_up_stays_so_across_a_restart(socket: Path) -> None:
    shaping = Shaping(senders={"default": SenderLimits(max_messages_per_day=2)})
    store, clock = MemoryStore(), ManualClock(T0)
    async with running(store, clock, socket=socket, shaping=shaping) as engine:
        mailer = await PuppetMailer.connect(socket, credit=1)
        await order(engine, "ann", "bob", "cy")
        for _ in range(2):
            await carried(mailer, await mailer.job())
        await until(lambda: len(messages(engine, status="sent")) == 2)
        (waiting,) = messages(engine, status="queued")
        await until(lambda: engine.waiting_for(waiting.message_id) == "sender default: its limits")
        await mailer.close()
    async with running(store, clock, shop(), socket=socket.with_name("t"), shaping=shaping) as engine:
        mailer = await PuppetMailer.connect(socket.with_name("t"), credit=5)
        await until(lambda: engine.waiting_for(waiting.message_id))
        assert engine.traffic()["senders"]["default"]["sent_today"] == 2
        clock.advance(DAY - T0 % DAY)
        engine.dispatcher.resync()  # wakes it: the clock of this test does not
        job = await mailer.job()
        assert job.message_id == waiting.message_id
        await mailer.close()


async def test_what_a_receiver_holds_up_too_long_is_decided_again_at_that_moment(socket: Path) -> None:
    templates = shop()["templates"] | {"confirmation": template("confirmation", freshness_ms=HOUR)}
    async with running(document=shop(templates=templates), socket=socket) as engine:
        mailer = await PuppetMailer.connect(socket)
        engine.dispatcher.traffic.receiver("example.com").suspend(T0 + 5 * HOUR, "421 not now")
        await order(engine, "ann")
        await until(lambda: engine.waiting_for(messages(engine)[0].message_id))
        await advance(engine, HOUR)
        engine.dispatcher.resync()  # wakes it: the clock of this test does not
        await until(lambda: messages(engine)[0].status == "expired")
        assert messages(engine)[0].reason == "stale"
        await mailer.close()


async def test_a_complaint_that_comes_later_counts_for_the_warm_up_of_its_sender(socket: Path) -> None:
    shaping = Shaping(senders={"default": SenderLimits(tiers=())})
    async with running(socket=socket, shaping=shaping) as engine:
        mailer = await PuppetMailer.connect(socket, credit=1)
        await order(engine, "ann")
        job = await mailer.job()
        await carried(mailer, job)
        await until(lambda: messages(engine, status="sent"))
        for _ in range(2):
            await engine.feedback([Outcome(job.message_id, "complained", T0, "arf")])
        (today,) = engine.traffic()["senders"]["default"]["warmup"]["days"]
        assert (today["sent"], today["complained"]) == (1, 1), "said twice, counted once"
        await mailer.close()


async def test_what_a_day_has_used_is_written_although_the_commit_that_held_it_was_undone(socket: Path) -> None:
    shaping = Shaping(senders={"default": SenderLimits(max_messages_per_day=2)})
    store, clock = Refusing(), ManualClock(T0)
    async with running(store, clock, socket=socket, shaping=shaping, full_pause_s=0.01) as engine:
        mailer = await PuppetMailer.connect(socket, credit=1)
        await order(engine, "ann", "bob", "cy")
        job = await mailer.job()
        store.refusals = 3
        await carried(mailer, job)
        await until(lambda: len(messages(engine, status="sent")) == 1)
        assert not store.refusals
        await mailer.close()
    restarted = Traffic(shaping, rank=lambda _row: 0, sender=lambda _row: "default", kept=kept_in(store, shared=False))
    assert view(restarted, T0)["senders"]["default"]["sent_today"] >= 1


class Refusing(MemoryStore):
    """Its disk is full so many times."""

    refusals = 0

    def commit(self, commit: Commit, *, sync: bool = True) -> None:
        if self.refusals:
            self.refusals -= 1
            raise StoreFull("no space left on device")
        super().commit(commit, sync=sync)
