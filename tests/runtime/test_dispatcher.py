"""The dispatcher beside everything that may happen between two of its steps."""

import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from heliograph import decide
from heliograph.adapters.memory import MemoryStore
from heliograph.adapters.schema import JsonSchema
from heliograph.deliver.routes import Routes
from heliograph.events.record import Outcome, Record
from heliograph.ports import Store, steady_ms
from heliograph.runtime import mailwire
from heliograph.runtime.clock import ManualClock
from heliograph.runtime.crank import Crank, HandMailer
from heliograph.runtime.dispatcher import Dispatcher
from heliograph.runtime.meter import Meter
from heliograph.runtime.publishing import prepare
from heliograph.runtime.sweeper import switch_plan
from heliograph.runtime.traffic_view import in_flight
from heliograph.runtime.work import Work
from tests.runtime.harness import (
    DAY,
    MINUTE,
    T0,
    PuppetMailer,
    call,
    identify,
    messages,
    running,
    send,
    shop,
    template,
    until,
)


def crank(store: Store | None = None, document: dict[str, Any] | None = None) -> Crank:
    """The shop, published."""
    made = Crank(
        store or MemoryStore(), ManualClock(T0), compile_schema=JsonSchema, load_template=lambda _compiled: None
    )
    made.publish(document or shop())
    return made


def order(shop: Crank, *users: str) -> None:
    for user in users:
        shop.collect([identify(user, email=f"{user}@{user}.example"), call("Order Completed", user)])


def heard(mailer: HandMailer) -> list[mailwire.FromEngine]:
    found = list(mailer.heard)
    mailer.heard.clear()
    return found


def offered(mailer: HandMailer) -> list[mailwire.Job]:
    return [job for one in heard(mailer) if isinstance(one, mailwire.Offer) for job in one.jobs]


def report(mailer: HandMailer, job: mailwire.Job, kind: str) -> mailwire.Report:
    return mailwire.Report(mailer.epoch, [mailwire.Done(job.message_id, kind, kind, T0, code=0, stage="")])


def test_mailers_know_a_template_before_they_are_offered_a_message_of_it() -> None:
    """A plan is in force from its commit on; whoever published it is told behind that, and so may be much mail."""
    shop_ = crank()
    mailer = shop_.mailer()
    heard(mailer)
    document = shop()
    document["templates"]["confirmation"] = template("confirmation", version="00000002", **{"class": "transactional"})
    new = prepare(document, shop_.plan, set(), None, JsonSchema, lambda _compiled: None, ())
    shop_.do(switch_plan(new, shop_.plan, shop_.store))
    order(shop_, "ann")
    shop_.offer()
    shop_.dispatcher.plan_changed()
    told, offer = heard(mailer)
    assert isinstance(told, mailwire.Templates) and isinstance(offer, mailwire.Offer)
    assert [job.template_version for job in offer.jobs] == ["00000002"]
    assert {"00000002"} == {one["version"] for one in told.templates if one["name"] == "confirmation"}


def test_a_message_given_to_another_before_its_first_mailer_was_buried_stays_with_the_other() -> None:
    """A mailer reports and dies; its report is on disk, and what it reported is with another when it is buried."""
    shop_ = crank()
    works: list[Work] = []
    dispatcher = shop_.dispatcher
    first = shop_.mailer(credit=1)
    order(shop_, "ann")
    shop_.offer()
    (job,) = offered(first)
    dispatcher.hear(first, mailwire.AskCommit(first.epoch, [job.message_id]))
    dispatcher._put = works.append
    dispatcher.hear(first, report(first, job, "retry"))
    dispatcher.lost(first)
    took, buried = works
    dispatcher._put = shop_.do
    shop_.do(took)
    assert isinstance(shop_.clock, ManualClock)
    shop_.clock.advance(MINUTE)
    second = shop_.mailer(credit=5)
    shop_.offer()
    assert [one.message_id for one in offered(second)] == [job.message_id]
    shop_.do(buried)
    shop_.offer()
    assert offered(second) == [], "nobody is offered what somebody has"
    dispatcher.hear(second, mailwire.AskCommit(second.epoch, [job.message_id]))
    dispatcher.hear(second, report(second, job, "sent"))
    assert second.credit == 5 and not second.held and not dispatcher.outbox.claims
    assert in_flight(dispatcher.traffic) == {}


def test_what_is_too_late_is_ended_once_however_long_that_takes_to_be_written() -> None:
    """A disk that is full undoes commits for hours, and each time everything is read from the store again."""
    document = shop()
    document["templates"]["confirmation"] = template("confirmation", freshness_ms=MINUTE, **{"class": "transactional"})
    shop_ = crank(document=document)
    order(shop_, "ann", "bob")
    shop_.mailer()
    works: list[Work] = []
    shop_.dispatcher._put = works.append
    assert isinstance(shop_.clock, ManualClock)
    shop_.clock.advance(2 * MINUTE)
    for _ in range(5):
        while shop_.offer():
            pass
        shop_.dispatcher.resync()
    assert sum(work.records for work in works) == 2
    shop_.dispatcher._put = shop_.do
    for work in works:
        shop_.do(work)
    assert {row.status for row in shop_.store.messages()[0]} == {"expired"}
    assert not shop_.dispatcher.judging.ending


def test_a_mailer_whose_clock_is_ahead_puts_nothing_off_for_long() -> None:
    shop_ = crank()
    mailer = shop_.mailer()
    order(shop_, "ann")
    shop_.offer()
    (job,) = offered(mailer)
    shop_.dispatcher.hear(mailer, mailwire.AskCommit(mailer.epoch, [job.message_id]))
    done = mailwire.Done(job.message_id, "retry", "451 later", T0 + 400 * DAY, code=451, stage="rcpt")
    shop_.dispatcher.hear(mailer, mailwire.Report(mailer.epoch, [done]))
    (row,) = shop_.store.messages()[0]
    assert row.status == "queued" and T0 < row.next_at < T0 + MINUTE


async def test_a_person_whose_outcome_cannot_be_decided_costs_nobody_theirs(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bug in deciding: each message has its outcome on disk, and the mailer its credit."""
    step = decide.step

    def poisoned(state: decide.State, record: Record, plan: decide.Plan) -> Any:
        if record.key == "u:bob" and isinstance(record.body, Outcome):
            raise RuntimeError("a bug")
        return step(state, record, plan)

    with tempfile.TemporaryDirectory() as folder:
        socket = Path(folder) / "s"
        async with running(socket=socket) as engine:
            monkeypatch.setattr(decide, "step", poisoned)
            mailer = await PuppetMailer.connect(socket, credit=3)
            users = ("ann", "bob", "cy")
            await send(engine, *(identify(user, email=f"{user}@example.com") for user in users))
            await send(engine, *(call("Order Completed", user) for user in users))
            jobs = (await mailer.hear(mailwire.Offer)).jobs
            assert len((await mailer.ask(*(job.message_id for job in jobs))).go) == 3
            done = [mailwire.Done(job.message_id, "sent", "250 ok", T0, code=250, stage="dot") for job in jobs]
            mailer._say(mailwire.Report(mailer.epoch, done))
            await until(lambda: not engine.dispatcher.outbox.claims)
            assert {row.status for row in messages(engine)} == {"sent"} and len(messages(engine)) == 3
            assert [one.credit for one in engine.dispatcher.mailers.values()] == [3]
            assert engine.journey_counts()["confirmation"]["finished"] == 2
            await mailer.close()


async def test_a_breaker_that_opens_at_the_end_of_a_broadcast_leaves_no_hold_behind() -> None:
    async with running() as engine:
        await send(engine, identify("ann", plan="free"))
        row = await engine.create_broadcast({"name": "b", "template": "welcome", "audience": {"everyone": True}})
        await until(lambda: engine.store.broadcast(row.broadcast_id).status == "finished")  # type: ignore[union-attr]
        engine._trip(f"broadcast:{row.broadcast_id}", "too many bounces", lambda _journey: None)
        engine._trip("welcome", "too many bounces", lambda _journey: None)
        await until(engine.holds)
        assert engine.holds().keys() == {"welcome"}


def test_leave_to_send_is_good_as_long_as_the_lease_under_which_it_was_asked_for() -> None:
    """A lease that is renewed between ask and answer may be without the partition of these very people."""
    lease, asked = SimpleNamespace(until=0), list[Any]()
    nobody: Any = None
    dispatcher = Dispatcher(
        MemoryStore(), ManualClock(T0), Meter(), put=asked.append, current=nobody, render_context=nobody,
        templates=dict, settings=mailwire.MailerSettings(routes=Routes(), senders={}, base_url="", link_keys={}),
        until=lambda: lease.until,
    )  # fmt: skip
    mailer = HandMailer(1, 10)
    lease.until = steady_ms() + 5_000
    dispatcher.hear(mailer, mailwire.AskCommit(1, ["m"]))
    lease.until += 60_000
    (work,) = asked
    work._answer(["m"], [])
    (verdicts,) = [said for said in mailer.heard if isinstance(said, mailwire.Verdicts)]
    assert 0 < verdicts.valid_ms <= 5_000
