"""Held mail: it waits through everything, and goes when it is let go."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from heliograph.adapters.memory import MemoryStore
from heliograph.adapters.rocksdb import RocksStore
from heliograph.ports import Hold, Store, StoreFull
from heliograph.runtime.clock import ManualClock
from heliograph.runtime.holds import BREAKER, Holds
from tests.integration.test_engine_mail import ADDRESS, mailing, only, order, status
from tests.integration.test_engine_mail import socket as socket
from tests.runtime.harness import HOUR, T0, PuppetMailer, call, identify, messages, running, send, shop, until


@pytest.fixture(params=["memory", "rocksdb"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    made: Store = MemoryStore() if request.param == "memory" else RocksStore(tmp_path / "data")
    yield made
    made.close()


async def test_held_mail_is_not_offered_and_goes_when_it_is_let_go(store: Store, socket: Path) -> None:
    async with mailing(store, socket) as (engine, mailer):
        hold = await engine.hold("welcome", "the picture is broken", "ann")
        assert hold == Hold("welcome", "the picture is broken", "ann", T0)
        await send(engine, identify(email=ADDRESS), call("Signed Up"))
        await order(engine)
        assert (await mailer.job()).template == "confirmation", "other journeys' mail goes on"
        assert [row.status for row in messages(engine)] == ["queued", "queued"], "people enter all the same"
        assert await engine.lift("welcome") == hold
        assert (await mailer.job()).template == "welcome"
        assert engine.holds() == {}
        assert await engine.lift("welcome") is None


async def test_what_a_mailer_has_already_is_stopped_and_stays_queued(store: Store, socket: Path) -> None:
    async with mailing(store, socket) as (engine, mailer):
        await order(engine)
        job = await mailer.job()
        await engine.hold("confirmation", "wrong price")
        verdicts = await mailer.ask(job.message_id)
        assert (verdicts.go, verdicts.stop) == ([], [(job.message_id, "held")])
        mailer.report(job.message_id, "stopped", "held")
        await until(lambda: engine.dispatcher.outbox.claimed == 0)
        assert status(engine) == "queued"
        await engine.lift("confirmation")
        again = await mailer.job()
        assert (again.message_id, again.attempt) == (job.message_id, 1)
        assert (await mailer.ask(job.message_id)).go == [job.message_id]


async def test_a_hold_survives_a_restart(store: Store, socket: Path) -> None:
    async with running(store) as engine:
        await engine.hold("confirmation", "wrong price", "bob")
        await order(engine)
    async with mailing(store, socket) as (engine, mailer):
        assert engine.holds() == {"confirmation": Hold("confirmation", "wrong price", "bob", T0)}
        assert not engine.dispatcher.offer_slice()
        await engine.lift("confirmation")
        assert (await mailer.job()).template == "confirmation"


async def test_what_became_stale_while_it_was_held_is_dropped_when_it_is_let_go(store: Store, socket: Path) -> None:
    document, clock = shop(), ManualClock(T0)
    document["templates"]["confirmation"]["freshness_ms"] = HOUR
    async with running(store, clock, document, socket=socket) as engine:
        mailer = await PuppetMailer.connect(socket)
        await engine.hold("confirmation", "wrong price")
        await order(engine)
        clock.advance(2 * HOUR)
        await engine.lift("confirmation")
        await until(lambda: status(engine) == "expired")
        await until(lambda: engine.journey_counts()["confirmation"]["active"] == 0)
        assert only(engine).reason == "stale"
        await mailer.close()


async def test_only_what_exists_can_be_held(store: Store) -> None:
    async with running(store) as engine:
        with pytest.raises(LookupError, match="no journey is called 'welcom'"):
            await engine.hold("welcom", "a typo")
        with pytest.raises(LookupError, match="no journey is called 'broadcast:nope'"):
            await engine.hold("broadcast:nope", "there is none")


async def test_a_second_reason_replaces_the_first_but_the_breaker_never_a_person(store: Store) -> None:
    async with running(store) as engine:
        assert isinstance(engine.clock, ManualClock)
        await engine.hold("welcome", "7 % bounced", BREAKER)
        engine.clock.advance(HOUR)
        assert await engine.hold("welcome", "I am looking at it", "ann") == Hold(
            "welcome", "I am looking at it", "ann", T0
        )
        await engine.hold("welcome", "9 % bounced", BREAKER)
        assert engine.holds()["welcome"].by == "ann"


async def test_a_hold_that_could_not_be_written_never_was() -> None:
    class Full(MemoryStore):
        full = False

        def commit(self, commit: object, *, sync: bool = True) -> None:
            if self.full:
                raise StoreFull("no space left")
            super().commit(commit, sync=sync)  # type: ignore[arg-type]

    store = Full()
    async with running(store, full_pause_s=0.01) as engine:
        store.full = True
        with pytest.raises(Exception, match="disk is full"):
            await engine.hold("welcome", "x")
        assert engine.holds() == {} == Holds.load(store).all()
        store.full = False
        await until(lambda: engine.ready)
