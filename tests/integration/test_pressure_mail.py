"""Messages that wait: their rows, what a mailer could not send in time, and restarts in between."""

import asyncio
import contextlib
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from heliograph.adapters.memory import MemoryStore
from heliograph.adapters.rocksdb import RocksStore
from heliograph.deliver.routes import single
from heliograph.events.record import LedgerRow
from heliograph.ports import MessageRow, Store
from heliograph.render import compile_template
from heliograph.runtime.clock import ManualClock
from heliograph.runtime.engine import EmbeddedEngine
from heliograph.runtime.mailer import wall_ms
from heliograph.runtime.mailwire import MailerSender, MailerSettings
from tests.runtime.harness import (
    DAY,
    HOUR,
    MINUTE,
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
from tests.smtp_servers import Receiver, listening

ADDRESS = "ann@example.com"
EVENING, MORNING = 6 * HOUR - 6 * MINUTE - 40_000, 17 * HOUR - 6 * MINUTE - 40_000
"""From T0, which is 15:06:40, to 21:00 and to 08:00 of the next day."""


@pytest.fixture(params=["memory", "rocksdb"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    made: Store = MemoryStore() if request.param == "memory" else RocksStore(tmp_path / "data")
    yield made
    made.close()


@pytest.fixture
def socket() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder) / "s"


def document(*, freshness_ms: int | None = None, **policies: Any) -> dict[str, Any]:
    """The shop at night: at most one mail a day, and a `hello` that may be mailed again and again."""
    found = shop()
    found["policies"] = {
        **found["policies"],
        "caps": [{"max": 1, "per": "P1D", "when_exceeded": "defer", "defer_for": "P7D"}],
        "quiet_hours": {"from": "21:00", "to": "08:00"},
        **policies,
    }
    entry = {"event": "Hello", "key": "properties.n"}
    found["journeys"]["hello"] = {"topic": "offers", "entry": entry, "steps": [{"send": "hello"}]}
    found["templates"]["hello"] = template("hello", freshness_ms=freshness_ms)
    return found


@contextlib.asynccontextmanager
async def mailing(
    store: Store, socket: Path, clock: ManualClock, plan: dict[str, Any] | None = None
) -> AsyncIterator[tuple[EmbeddedEngine, PuppetMailer]]:
    async with running(store, clock, plan or document(), socket=socket) as engine:
        mailer = await PuppetMailer.connect(socket)
        yield engine, mailer
        await mailer.close()


async def hello(engine: EmbeddedEngine, n: int) -> None:
    await send(engine, identify("ann", email=ADDRESS), call("Hello", "ann", n=n))


def row(engine: EmbeddedEngine, which: int = 0) -> MessageRow:
    """In the order in which they were decided."""
    return sorted(messages(engine), key=lambda one: (one.created_at, one.status != "sent"))[which]


async def deliver(mailer: PuppetMailer, at: int) -> str:
    job = await mailer.job()
    assert (await mailer.ask(job.message_id)).go == [job.message_id]
    mailer.report(job.message_id, "sent", "250 ok", at)
    return job.message_id


async def look_again(engine: EmbeddedEngine, ms: int) -> None:
    await advance(engine, ms)
    engine.dispatcher.offer(())


async def test_a_deferred_row_is_queued_when_its_time_has_come(store: Store, socket: Path) -> None:
    clock = ManualClock(T0)
    async with mailing(store, socket, clock) as (engine, mailer):
        await hello(engine, 1)
        await deliver(mailer, T0)
        await until(lambda: row(engine).status == "sent")
        clock.advance(1)
        await hello(engine, 2)
        assert (row(engine, 1).status, row(engine, 1).reason) == ("deferred", "cap: 1 per 1 day")
        assert row(engine, 1).not_before == T0 + DAY
        await look_again(engine, DAY - 1)
        second = await mailer.job()
        assert (row(engine, 1).status, row(engine, 1).created_at) == ("queued", T0 + 1)
        assert (second.created_at, second.not_after) == (T0 + 1, T0 + DAY + EVENING)
        assert engine.journey_counts()["hello"]["active"] == 1


async def test_a_restart_in_the_middle_forgets_nobody_who_waits(store: Store, socket: Path) -> None:
    clock = ManualClock(T0)
    async with mailing(store, socket, clock) as (engine, mailer):
        await hello(engine, 1)
        await deliver(mailer, T0)
        await until(lambda: row(engine).status == "sent")
        await hello(engine, 2)
        await hello(engine, 3)
    clock.advance(DAY)
    async with mailing(store, socket, clock) as (engine, mailer):
        assert (await mailer.job()).context["event"]["properties"]["n"] == 2
        waiting = [one for one in messages(engine) if one.status == "deferred"]
        assert [one.not_before for one in waiting] == [T0 + 2 * DAY]
        await look_again(engine, HOUR)
        assert len(messages(engine, status="queued")) == 1, "what is queued still holds the place"


async def test_what_the_outbox_held_over_the_evening_waits_for_the_morning(store: Store, socket: Path) -> None:
    clock = ManualClock(T0)
    async with running(store, clock, document(), socket=socket) as engine:
        await hello(engine, 1)
        assert (row(engine).status, row(engine).not_after) == ("queued", T0 + EVENING)
        clock.advance(EVENING)
        mailer = await PuppetMailer.connect(socket)
        await until(lambda: row(engine).status == "deferred")
        assert (row(engine).reason, row(engine).not_before) == ("quiet_hours", T0 + MORNING)
        assert row(engine).outcomes == [("missed", T0 + EVENING, False)]
        await look_again(engine, MORNING - EVENING)
        await deliver(mailer, T0 + MORNING)
        await until(lambda: row(engine).status == "sent")
        await mailer.close()


async def test_the_commit_point_keeps_the_evening(store: Store, socket: Path) -> None:
    clock = ManualClock(T0)
    async with mailing(store, socket, clock) as (engine, mailer):
        await hello(engine, 1)
        job = await mailer.job()
        clock.advance(EVENING)
        assert (await mailer.ask(job.message_id)).stop == [(job.message_id, "missed")]
        mailer.report(job.message_id, "stopped", "missed")
        assert (row(engine).status, row(engine).reason) == ("deferred", "quiet_hours")
        await look_again(engine, MORNING - EVENING)
        assert await deliver(mailer, T0 + MORNING) == job.message_id


async def test_who_missed_the_night_and_asks_in_the_morning_is_offered_once_more_and_once(
    store: Store, socket: Path
) -> None:
    """It is queued again in the very commit that stopped it, while its mailer still holds it."""
    clock = ManualClock(T0)
    async with mailing(store, socket, clock) as (engine, mailer):
        await hello(engine, 1)
        job = await mailer.job()
        clock.advance(MORNING)
        assert (await mailer.ask(job.message_id)).stop == [(job.message_id, "missed")]
        assert row(engine).status == "queued"
        assert [one.credit for one in engine.dispatcher.mailers.values()] == [9], "not offered a second time meanwhile"
        other = await PuppetMailer.connect(socket)
        mailer.report(job.message_id, "stopped", "missed")
        await mailer.close()
        assert await deliver(other, T0 + MORNING) == job.message_id
        await until(lambda: row(engine).status == "sent")
        assert [kind for kind, _, _ in row(engine).outcomes] == ["missed", "sent"]
        await other.close()


async def test_a_mailer_that_finds_it_late_reports_it_missed(store: Store, socket: Path) -> None:
    clock = ManualClock(T0)
    async with mailing(store, socket, clock, document(freshness_ms=HOUR)) as (engine, mailer):
        await hello(engine, 1)
        job = await mailer.job()
        clock.advance(HOUR)
        mailer.report(job.message_id, "missed", "", T0 + HOUR)
        await until(lambda: row(engine).status == "expired")
        assert row(engine).reason == "stale"
        await until(lambda: engine.journey_counts()["hello"]["finished"] == 1)


async def test_an_attempt_that_would_fall_into_the_night_waits_for_the_morning(store: Store, socket: Path) -> None:
    clock = ManualClock(T0)
    async with mailing(store, socket, clock) as (engine, mailer):
        await hello(engine, 1)
        job = await mailer.job()
        clock.advance(EVENING - 1000)
        assert (await mailer.ask(job.message_id)).go
        mailer.report(job.message_id, "retry", "451 4.7.1 greylisted", clock.now())
        await until(lambda: row(engine).status == "deferred")
        assert (row(engine).reason, row(engine).not_before) == ("quiet_hours", T0 + MORNING)
        await look_again(engine, MORNING - EVENING + 1000)
        again = await mailer.job()
        assert (again.message_id, again.attempt) == (job.message_id, 2)


async def test_an_attempt_that_would_be_stale_expires_at_once(store: Store, socket: Path) -> None:
    clock = ManualClock(T0)
    async with mailing(store, socket, clock, document(freshness_ms=HOUR)) as (engine, mailer):
        await hello(engine, 1)
        job = await mailer.job()
        clock.advance(HOUR - 1000)
        assert (await mailer.ask(job.message_id)).go
        mailer.report(job.message_id, "retry", "451 4.7.1 greylisted", clock.now())
        await until(lambda: row(engine).status == "expired")
        assert row(engine).reason == "stale: 451 4.7.1 greylisted"


async def test_an_unsubscribe_reaches_what_waits(store: Store, socket: Path) -> None:
    clock = ManualClock(T0 + EVENING)
    async with mailing(store, socket, clock) as (engine, _):
        await hello(engine, 1)
        assert row(engine).status == "deferred"
        await engine.change_ledger([LedgerRow(ADDRESS, "offers", False, clock.now())])
        await until(lambda: row(engine).status in ("cancelled", "skipped"))
        await look_again(engine, DAY)
        assert engine.dispatcher.outbox.next_at() is None


async def test_a_place_that_a_refusal_frees_is_taken_at_once(store: Store, socket: Path) -> None:
    clock = ManualClock(T0)
    async with mailing(store, socket, clock) as (engine, mailer):
        await hello(engine, 1)
        await hello(engine, 2)
        first = await mailer.job()
        assert len(messages(engine, status="deferred")) == 1
        assert (await mailer.ask(first.message_id)).go
        mailer.report(first.message_id, "bounced", "550 5.7.1 policy")
        second = await mailer.job()
        assert second.message_id != first.message_id
        assert clock.now() == T0, "in the instant of the refusal"


async def test_mail_at_a_real_receiver_keeps_to_the_cap(store: Store, socket: Path) -> None:
    """A real mailer process: one at once, one a day later, one two days later; a drain in between."""
    plan = document()
    del plan["policies"]["quiet_hours"]  # the mailer has its own clock
    page = {"subject": "Hello", "sender": "default"}
    plan["templates"]["hello"] = compile_template("hello", page, "<p>{{ event.properties.n }}</p>", "html", None)
    start = wall_ms() - 10 * DAY
    clock, receiver = ManualClock(start), Receiver()
    arrived: list[int] = []
    async with listening(receiver):
        senders = {"default": MailerSender(from_="Shop <shop@shop.example>", postal_address="1 Quay Street")}
        settings = MailerSettings(single(receiver.url), senders, "http://127.0.0.1:8080", {"1": b"k" * 32})
        for round in range(3):
            async with running(store, clock, plan, socket=socket, mail_settings=settings) as engine:
                if not round:
                    for n in range(3):
                        await hello(engine, n)
                command = (sys.executable, "-m", "heliograph.runtime.mailer", "--socket", str(socket))
                mailer = await asyncio.create_subprocess_exec(*command)
                await until(lambda round=round: len(receiver.mails) == round + 1)  # type: ignore[misc]
                await until(lambda round=round: len(messages(engine, status="sent")) == round + 1)  # type: ignore[misc]
                arrived.append(clock.now())
                mailer.kill()
                await mailer.wait()
            clock.advance(DAY)
    assert [at - start for at in arrived] == [0, DAY, 2 * DAY]
    assert len({mail.data for mail in receiver.mails}) == 3
