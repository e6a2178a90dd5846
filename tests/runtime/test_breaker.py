"""The circuit breaker in the engine: a journey that does badly is held, says so, and goes on when somebody lets it."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

from heliograph.deliver.breaker import Rules
from heliograph.events.record import Outcome
from heliograph.ports import MessageRow
from heliograph.runtime import mailwire
from heliograph.runtime.breaker import MailBreaker, Sample, Seen
from heliograph.runtime.clock import ManualClock
from heliograph.runtime.engine import EmbeddedEngine
from heliograph.runtime.holds import BREAKER
from heliograph.runtime.meter import Meter
from tests.integration.test_engine_mail import socket as socket
from tests.runtime.harness import T0, PuppetMailer, call, identify, messages, running, send, until

RULES = Rules(least=24)
DEAD = "550 5.1.1 no such user"


class Mailing:
    """An engine and a mailer that reports what a test says, address by address."""

    def __init__(self, engine: EmbeddedEngine, mailer: PuppetMailer) -> None:
        self.engine, self.mailer = engine, mailer
        self.people = 0

    async def enter(self, count: int, event: str = "Signed Up") -> None:
        users = [f"p{n}" for n in range(self.people, self.people + count)]
        self.people += count
        await send(self.engine, *(identify(u, email=f"{u}@r{int(u[1:]) % 4}.example") for u in users))
        await send(self.engine, *(call(event, u) for u in users))

    async def mail(self, count: int, bad: int = 0, kind: str = "bounced", reason: str = DEAD) -> None:
        """So many of those that are offered are mailed, the first of them badly."""
        done = 0
        while done < count:
            for message_id in await passed(self.mailer):
                told = (kind, reason) if done < bad else ("sent", "250 Ok")
                self.mailer.report(message_id, *told, suppress=told == ("bounced", DEAD))
                done += 1
        assert done == count
        await until(lambda: self.engine.dispatcher.outbox.claimed == 0)


async def test_it_holds_what_bounces_says_so_and_needs_fresh_evidence_afterwards(socket: Path) -> None:
    async with running(socket=socket, breaker=RULES) as engine:
        mailing = Mailing(engine, await PuppetMailer.connect(socket, credit=100))
        await mailing.enter(24)
        await mailing.mail(24, bad=8)
        await until(engine.holds)
        hold = engine.holds()["welcome"]
        assert hold.by == BREAKER and " mails bounced within PT1H (limit 5 %), " in hold.reason
        assert engine.meter.registry.get_sample_value("heliograph_breaker_open_total", {"kind": "bounced"}) == 1
        await mailing.enter(24)
        assert len(messages(engine, status="queued")) == 24, "people enter, their mail waits"
        assert isinstance(engine.clock, ManualClock)
        engine.clock.advance(1)
        await engine.lift("welcome")
        await mailing.mail(24, bad=1)
        assert engine.holds() == {}, "33 % of 24 and one of 24: the first is no evidence any more"
        await mailing.enter(8)
        await mailing.mail(8, bad=8)
        await until(engine.holds)
        await mailing.mailer.close()


async def test_policy_about_us_is_a_failure_and_not_a_bounce(socket: Path) -> None:
    async with running(socket=socket, breaker=RULES) as engine:
        mailing = Mailing(engine, await PuppetMailer.connect(socket, credit=100))
        await mailing.enter(24)
        await mailing.mail(24, bad=5, reason="550 5.7.26 unauthenticated")
        assert engine.holds() == {}, "21 %, of 25 % allowed"
        await mailing.enter(8)
        await mailing.mail(8, bad=8, reason="550 5.7.26 unauthenticated")
        await until(engine.holds)
        assert "were refused or lost" in engine.holds()["welcome"].reason
        await mailing.mailer.close()


async def test_transactional_mail_is_never_held_on_statistics(socket: Path) -> None:
    async with running(socket=socket, breaker=RULES) as engine:
        mailing = Mailing(engine, await PuppetMailer.connect(socket, credit=100))
        await mailing.enter(60, "Order Completed")
        await mailing.mail(60, bad=60)
        await send(engine, call("X"))
        assert engine.holds() == {}
        await mailing.mailer.close()


async def test_complaints_that_come_later_count_and_so_do_late_bounces(socket: Path) -> None:
    async with running(socket=socket, breaker=RULES) as engine:
        mailing = Mailing(engine, await PuppetMailer.connect(socket, credit=100))
        await mailing.enter(60)
        await mailing.mail(60)
        rows = messages(engine)
        await engine.feedback([Outcome(row.message_id, "complained", T0) for row in rows[:4]])
        assert engine.holds() == {}, "four are chance"
        await engine.feedback([Outcome(row.message_id, "complained", T0) for row in rows[4:8]])
        await until(engine.holds)
        assert "brought complaints within P1D" in engine.holds()["welcome"].reason
        await mailing.mailer.close()


async def test_without_rules_nothing_is_held(socket: Path) -> None:
    async with running(socket=socket) as engine:
        mailing = Mailing(engine, await PuppetMailer.connect(socket, credit=100))
        await mailing.enter(60)
        await mailing.mail(60, bad=60)
        await send(engine, call("X"))
        assert engine.holds() == {}
        await mailing.mailer.close()


def row(number: int, **fields: Any) -> MessageRow:
    given: dict[str, Any] = {
        "message_id": f"m{number}", "key": "u:a", "journey": "j", "journey_version": "1", "run_id": "r", "step_id": "s",
        "template": "t", "template_version": "1", "topic": None, "transactional": False, "status": "sent", "reason": "",
        "address": f"a@{number % 3}.example", "created_at": T0, "sent_at": T0, **fields,
    }  # fmt: skip
    return MessageRow(**given)


def test_a_hold_that_is_on_its_way_is_asked_for_once_and_what_is_let_go_begins_anew() -> None:
    asked: list[tuple[str, Callable[[str], None]]] = []
    held: set[str] = set()
    breaker = MailBreaker(
        RULES, ManualClock(T0), Meter(), held=held.__contains__, hold=lambda name, _, done: asked.append((name, done))
    )

    def bounce(count: int) -> int:
        for n in range(count):
            breaker.heard([Sample(row(n), "bounced")])
        return len(asked)

    assert bounce(100) == 1, "it is decided soon"
    ((name, done),) = asked
    held.add(name)
    done(name)
    assert bounce(100) == 1
    held.clear()
    assert bounce(23) == 1, "let go: only what comes from now on is evidence"
    assert bounce(1) == 2


def test_what_another_process_held_begins_anew_here_too_when_it_is_let_go() -> None:
    asked: list[str] = []
    held: set[str] = set()
    breaker = MailBreaker(
        RULES, ManualClock(T0), Meter(), held=held.__contains__, hold=lambda name, *_: asked.append(name)
    )
    for n in range(23):
        breaker.heard([Sample(row(n), "bounced")])
    held.add("j")  # the other one had seen one more
    breaker.held_elsewhere(["j"])
    held.clear()
    for n in range(23):
        breaker.heard([Sample(row(n), "bounced")])
    assert not asked
    breaker.judge(Seen({("j", "1.example", "bounced"): 1}, {}))
    assert asked == ["j"], "what others saw counts like our own"


def test_the_troubles_of_some_seconds_are_a_share_of_all_mail_of_these_seconds() -> None:
    held: list[str] = []
    breaker = MailBreaker(
        RULES, ManualClock(T0), Meter(), held=lambda _: False, hold=lambda name, *_: held.append(name)
    )
    breaker.judge(Seen({("j", "1.example", "bounced"): 3, ("j", "1.example", "sent"): 97}, {}))
    breaker.judge(Seen({("j", "1.example", "bounced"): 5, ("j", "1.example", "sent"): 200}, {}))
    assert not held, "8 of 305, never 8 of 105"
    breaker.judge(Seen({("j", "1.example", "bounced"): 12}, {}))
    assert held == ["j"]


def test_receivers_are_told_apart_by_who_takes_their_mail() -> None:
    """Three domains, one receiver: it alone refuses, and the campaign goes on."""
    held: list[str] = []
    breaker = MailBreaker(
        RULES, ManualClock(T0), Meter(), held=lambda _: False, hold=lambda name, *_: held.append(name),
        receiver=lambda domain: "big" if domain.endswith(".example") else domain,
    )  # fmt: skip
    breaker.heard([Sample(row(n, address=f"a@{n % 5}.test"), "sent") for n in range(60)])
    breaker.heard([Sample(row(n), "failed") for n in range(40)])
    assert not held


async def test_a_broadcast_is_paused_and_nobody_else_is_offered_it(socket: Path) -> None:
    async with running(socket=socket, breaker=RULES) as engine:
        users = [f"p{n}" for n in range(60)]
        await send(engine, *(identify(user, email=f"{user}@r{n % 4}.example") for n, user in enumerate(users)))
        broadcast = await engine.create_broadcast({"name": "x", "template": "welcome", "audience": {"everyone": True}})
        mailer = await PuppetMailer.connect(socket, credit=8)
        broadcast_id = broadcast.broadcast_id
        refusing = asyncio.create_task(refuse_all(mailer))
        await until(engine.holds)
        await until(lambda: engine.broadcast(broadcast_id).status == "paused")  # type: ignore[union-attr]
        paused = engine.broadcast(broadcast_id)
        assert paused is not None and "mails bounced within PT1H" in paused.reason
        assert len(messages(engine, status="bounced")) < 60 and messages(engine, status="queued")
        resumed = await engine.move_broadcast(broadcast_id, "resume")
        assert resumed.status == "running" and engine.holds() == {}
        refusing.cancel()
        await mailer.close()


async def refuse_all(mailer: PuppetMailer) -> None:
    """Whatever is offered is mailed and bounces; until cancelled."""
    while True:
        for message_id in await passed(mailer):
            mailer.report(message_id, "bounced", DEAD, suppress=True)


async def passed(mailer: PuppetMailer) -> list[str]:
    """The ids that passed their commit point, of those that were asked for; everything that is offered is asked for,
    and what is stopped is given back."""
    while True:
        message = await mailer.hear((mailwire.Offer, mailwire.Verdicts))  # type: ignore[arg-type]
        if isinstance(message, mailwire.Verdicts):
            for message_id, why in message.stop:
                mailer.report(message_id, "stopped", why)
            return message.go
        mailer._say(mailwire.AskCommit(mailer.epoch, [job.message_id for job in message.jobs]))
