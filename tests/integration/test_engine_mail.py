"""From a decision to its outcome: offers, the commit point, reports, lost mailers, restarts."""

import asyncio
import contextlib
import re
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from heliograph.adapters.memory import MemoryStore
from heliograph.adapters.rocksdb import RocksStore
from heliograph.deliver.routes import single
from heliograph.events.record import LedgerRow, Outcome
from heliograph.ports import MessageRow, Store
from heliograph.render import compile_template
from heliograph.runtime import mailwire
from heliograph.runtime.clock import ManualClock
from heliograph.runtime.engine import EmbeddedEngine
from heliograph.runtime.feedback import MAX_RESENDS
from heliograph.runtime.mailer import wall_ms
from heliograph.runtime.mailwire import MailerSender, MailerSettings
from tests.runtime.harness import (
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
from tests.smtp_servers import DROP, Receiver, listening

ADDRESS = "ann@example.com"


@pytest.fixture(params=["memory", "rocksdb"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    made: Store = MemoryStore() if request.param == "memory" else RocksStore(tmp_path / "data")
    yield made
    made.close()


@pytest.fixture
def socket() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder) / "s"


@contextlib.asynccontextmanager
async def mailing(store: Store, socket: Path, **options: object) -> AsyncIterator[tuple[EmbeddedEngine, PuppetMailer]]:
    """An engine and one mailer with room for ten messages."""
    async with running(store, socket=socket, **options) as engine:  # type: ignore[arg-type]
        mailer = await PuppetMailer.connect(socket)
        yield engine, mailer
        await mailer.close()


async def order(engine: EmbeddedEngine, user: str = "ann") -> None:
    await send(engine, identify(user, email=f"{user}@example.com"), call("Order Completed", user))


def only(engine: EmbeddedEngine) -> MessageRow:
    (row,) = messages(engine)
    return row


def kinds(engine: EmbeddedEngine) -> list[str]:
    return [kind for kind, _, _ in only(engine).outcomes]


def status(engine: EmbeddedEngine) -> str:
    return only(engine).status


async def test_a_message_is_offered_passes_its_commit_point_and_is_sent(store: Store, socket: Path) -> None:
    async with mailing(store, socket) as (engine, mailer):
        await order(engine)
        job = await mailer.job()
        assert (job.address, job.template, job.attempt) == (ADDRESS, "confirmation", 1)
        assert job.context["profile"]["email"] == ADDRESS
        assert status(engine) == "queued"
        assert (await mailer.ask(job.message_id)).go == [job.message_id]
        assert status(engine) == "sending", "written before the verdict leaves"
        await advance(engine, 5)
        mailer.report(job.message_id, "sent", "250 2.0.0 ok", T0 + 5)
        await until(lambda: status(engine) == "sent")
        row = only(engine)
        assert (row.sent_at, row.reason, row.outcomes) == (T0 + 5, "250 2.0.0 ok", [("sent", T0 + 5, False)])
        await until(lambda: engine.journey_counts()["confirmation"]["finished"] == 1)
        assert engine.journey_counts()["confirmation"]["sent"] == 1


async def test_an_exit_before_the_commit_point_always_wins(store: Store, socket: Path) -> None:
    async with mailing(store, socket) as (engine, mailer):
        await send(engine, identify(email=ADDRESS), call("Product Added", cart_id="c1"))
        await advance(engine, HOUR)
        job = await mailer.job()
        await send(engine, call("Order Completed"))
        assert (await mailer.ask(job.message_id)).stop[0][0] == job.message_id
        row = store.message(job.message_id)
        assert row is not None and row.status == "cancelled"


async def test_a_cancel_after_the_commit_point_is_recorded_as_too_late(store: Store, socket: Path) -> None:
    async with mailing(store, socket) as (engine, mailer):
        await send(engine, identify(email=ADDRESS), call("Product Added", cart_id="c1"))
        await advance(engine, HOUR)
        job = await mailer.job()
        assert (await mailer.ask(job.message_id)).go
        await send(engine, call("Order Completed"))
        row = store.message(job.message_id)
        assert row is not None and row.status == "sending"
        assert "cancel_too_late" in [fact.kind for fact in store.journal("u:ann")]


async def test_an_unsubscribe_is_read_at_the_commit_point(store: Store, socket: Path) -> None:
    async with mailing(store, socket) as (engine, mailer):
        await send(engine, identify(email=ADDRESS), call("Signed Up"))
        job = await mailer.job()
        await engine.change_ledger([LedgerRow(ADDRESS, "offers", False, T0)])
        verdicts = await mailer.ask(job.message_id)
        assert (verdicts.go, status(engine)) == ([], "cancelled")


async def test_stale_mail_expires(store: Store, socket: Path) -> None:
    document = shop()
    document["templates"]["confirmation"]["freshness_ms"] = HOUR
    clock = ManualClock(T0)
    async with running(store, clock, document, socket=socket) as engine:
        await order(engine)
        assert only(engine).not_after == T0 + HOUR
        clock.advance(2 * HOUR)
        mailer = await PuppetMailer.connect(socket)
        await until(lambda: status(engine) == "expired")
        await mailer.close()
        assert only(engine).reason == "stale"


async def test_a_message_that_cannot_be_rendered_is_skipped_with_its_reason(store: Store, socket: Path) -> None:
    async with mailing(store, socket) as (engine, mailer):
        await order(engine)
        job = await mailer.job()
        mailer.report(job.message_id, "skipped", "missing: profile.firstName")
        await until(lambda: status(engine) == "skipped")
        assert only(engine).reason == "missing: profile.firstName"


async def test_a_temporary_refusal_is_tried_again_later(store: Store, socket: Path) -> None:
    async with mailing(store, socket) as (engine, mailer):
        await order(engine)
        job = await mailer.job()
        await mailer.ask(job.message_id)
        mailer.report(job.message_id, "retry", "451 4.3.0 later", T0)
        await until(lambda: status(engine) == "queued")
        row = only(engine)
        assert row.reason == "451 4.3.0 later" and T0 < row.next_at < T0 + 60_000
        engine.clock.advance(60_000)  # type: ignore[attr-defined]
        engine.dispatcher.offer([])
        again = await mailer.job()
        assert (again.message_id, again.attempt) == (job.message_id, 2)


async def test_a_dead_mailbox_is_suppressed_and_a_policy_refusal_is_not(store: Store, socket: Path) -> None:
    async with mailing(store, socket) as (engine, mailer):
        await order(engine, "ann")
        job = await mailer.job()
        await mailer.ask(job.message_id)
        mailer.report(job.message_id, "bounced", "550 5.1.1 user unknown", suppress=True)
        await order(engine, "bob")
        job = await mailer.job()
        await mailer.ask(job.message_id)
        mailer.report(job.message_id, "bounced", "550 5.7.1 rejected by policy")
        await until(lambda: len(messages(engine, status="bounced")) == 2)
        assert [row.address for row in store.suppressions()[0]] == [ADDRESS]


async def test_what_a_lost_mailer_had_not_begun_goes_to_the_next_one(store: Store, socket: Path) -> None:
    async with mailing(store, socket) as (engine, mailer):
        await order(engine)
        job = await mailer.job()
        await mailer.close()
        other = await PuppetMailer.connect(socket)
        assert (await other.job()).message_id == job.message_id
        assert (await other.ask(job.message_id)).go == [job.message_id]
        await other.close()


async def test_what_a_lost_mailer_was_sending_is_unknown_and_not_sent_again(store: Store, socket: Path) -> None:
    async with mailing(store, socket) as (engine, mailer):
        await order(engine)
        job = await mailer.job()
        await mailer.ask(job.message_id)
        await mailer.close()
        await until(lambda: status(engine) == "unknown")
        await order(engine, "bob")
        other = await PuppetMailer.connect(socket)
        assert (await other.job()).address == "bob@example.com"
        await other.close()


async def test_a_template_may_choose_to_be_sent_twice_rather_than_never(store: Store, socket: Path) -> None:
    document = shop()
    document["templates"]["confirmation"] = template("confirmation", on_unknown="resend")
    async with running(store, None, document, socket=socket) as engine:
        mailer = await PuppetMailer.connect(socket)
        await order(engine)
        job = await mailer.job()
        await mailer.ask(job.message_id)
        await mailer.close()
        other = await PuppetMailer.connect(socket)
        again = await other.job()
        assert (again.message_id, again.attempt) == (job.message_id, 2)
        assert ("unknown", T0, False) in only(engine).outcomes
        await other.close()


@pytest.mark.parametrize("choice", ["hold", "resend"])
async def test_a_receiver_that_drops_after_the_dot_gets_so_many_copies_and_no_more(
    choice: str, store: Store, socket: Path
) -> None:
    """A real mailer and a real receiver that takes every message and never says so."""
    document = shop()
    page = {"subject": "Thanks", "sender": "default", "class": "transactional", "on_unknown": choice}
    document["templates"]["confirmation"] = compile_template("confirmation", page, "<p>Thanks.</p>", "html", None)
    receiver = Receiver(rules={"dot": DROP})
    async with listening(receiver):
        senders = {"default": MailerSender(from_="Shop <shop@shop.example>", postal_address="1 Quay Street")}
        settings = MailerSettings(single(receiver.url), senders, "http://127.0.0.1:8080", {"1": b"k" * 32})
        clock = ManualClock(wall_ms())  # the mailer has its own
        async with running(store, clock, document, socket=socket, mail_settings=settings) as engine:
            command = (sys.executable, "-m", "heliograph.runtime.mailer", "--socket", str(socket))
            mailer = await asyncio.create_subprocess_exec(*command)
            await order(engine)
            copies = 1 if choice == "hold" else 1 + MAX_RESENDS
            for copy in range(1, copies + 1):
                await until(lambda copy=copy: kinds(engine).count("unknown") == copy)
                await advance(engine, HOUR)
                engine.dispatcher.offer(())  # look again: the clock has moved
            row = only(engine)
            mailer.kill()
            await mailer.wait()
    assert row.status == "unknown"
    assert [kind for kind, _, _ in row.outcomes] == (["unknown", "resent"] * copies)[:-1]
    headers = [re.search(rb"^Message-ID: (.*)\r$", mail.data, re.M | re.I) for mail in receiver.mails]
    assert len(headers) == copies and len({found.group(1) for found in headers if found}) == 1


async def test_an_answer_under_an_old_lease_is_ignored(store: Store, socket: Path) -> None:
    async with mailing(store, socket) as (engine, mailer):
        await order(engine)
        job = await mailer.job()
        other = await PuppetMailer.connect(socket)
        assert (await other.ask(job.message_id)).stop == [(job.message_id, "not yours")]
        other.report(job.message_id, "sent")
        mailer.epoch += 10
        mailer.report(job.message_id, "sent")
        await send(engine, call("X"))
        assert status(engine) == "queued"
        await other.close()


async def test_a_restart_buries_what_was_sending_and_offers_what_was_queued(store: Store, socket: Path) -> None:
    async with mailing(store, socket) as (engine, mailer):
        await order(engine, "ann")
        job = await mailer.job()
        await mailer.ask(job.message_id)
        await order(engine, "bob")
        await mailer.job()
    async with mailing(store, socket) as (engine, mailer):
        assert (await mailer.job()).address == "bob@example.com"
        await until(lambda: [row.address for row in messages(engine, status="unknown")] == [ADDRESS])


async def test_offers_stay_within_the_credit(store: Store, socket: Path) -> None:
    async with running(store, socket=socket) as engine:
        mailer = await PuppetMailer.connect(socket, credit=2)
        people = [f"p{n}" for n in range(5)]
        await send(engine, *(identify(p, email=f"{p}@x.test") for p in people))
        await send(engine, *(call("Order Completed", p) for p in people))
        offer: mailwire.Offer = await mailer.hear(mailwire.Offer)
        assert len(offer.jobs) == 2 and len(engine.dispatcher.outbox) == 3
        mailer.report(offer.jobs[0].message_id, "skipped", "missing: x")
        assert len((await mailer.hear(mailwire.Offer)).jobs) == 1
        await mailer.close()


async def test_the_next_message_uses_the_template_of_the_new_plan(store: Store, socket: Path) -> None:
    async with mailing(store, socket) as (engine, mailer):
        document = shop()
        document["templates"]["confirmation"]["version"] = "00000002"
        await engine.publish(document)
        templates: mailwire.Templates = await mailer.hear(mailwire.Templates)
        assert "00000002" in [one["version"] for one in templates.templates]
        await order(engine)
        assert (await mailer.job()).template_version == "00000002"


async def test_feedback_moves_the_status_and_is_kept(store: Store, socket: Path) -> None:
    async with mailing(store, socket) as (engine, mailer):
        await order(engine)
        job = await mailer.job()
        await mailer.ask(job.message_id)
        mailer.report(job.message_id, "sent")
        await until(lambda: status(engine) == "sent")
        await engine.feedback([Outcome(job.message_id, "delivered", T0 + 1), Outcome(job.message_id, "opened", T0 + 2)])
        await engine.feedback([Outcome(job.message_id, "delivered", T0 + 3)])
        row = only(engine)
        assert row.status == "delivered"
        assert [kind for kind, _, _ in row.outcomes] == ["sent", "delivered", "opened"]
        await engine.feedback([Outcome(job.message_id, "complained", T0 + 4)])
        assert [one.topic for one in store.suppressions()[0]] == ["!complaint"]


async def test_a_drain_lets_the_mailer_finish(store: Store, socket: Path) -> None:
    async with running(store, socket=socket) as engine:
        mailer = await PuppetMailer.connect(socket)
        await order(engine)
        job = await mailer.job()
        await mailer.ask(job.message_id)
        stopping = asyncio.create_task(engine.stop(5))
        await mailer.hear(mailwire.Drain)
        mailer.report(job.message_id, "sent")
        await mailer.close()
        await stopping
        assert [row.status for row in store.messages()[0]] == ["sent"]
