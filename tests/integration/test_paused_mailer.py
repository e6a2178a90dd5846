"""A mailer that is paused (SIGSTOP, a machine that swaps, a VM that is moved) past the lease of its worker writes
nothing when it wakes: a real process, a real socket, a real receiver."""

import asyncio
import os
import signal
from pathlib import Path

from heliograph.runtime import mailwire
from heliograph.runtime.mailwire import AskCommit, Offer, Setup, Verdicts
from tests.integration.test_mailer import Engine, job, mailer
from tests.smtp_servers import Receiver, listening

PAUSE_S = 0.5


class Leased(Engine):
    """Answers asks for ``valid_ms``; the first one finds the mailer paused for longer than that."""

    def __init__(self, valid_ms: int) -> None:
        super().__init__()
        self.valid_ms, self.pid, self.paused = valid_ms, 0, asyncio.Event()

    def set_up(self, url: str, *parts: object, **more: object) -> None:
        frames: list[mailwire.FromEngine] = []
        say, self.say = self.say, frames.append  # type: ignore[method-assign]
        super().set_up(url, *parts, **more)  # type: ignore[arg-type]
        self.say = say  # type: ignore[method-assign]
        (setup,) = frames
        assert isinstance(setup, Setup)
        say(Setup(setup.epoch, setup.settings, setup.templates, leased=True))

    def hear(self, message: mailwire.FromMailer) -> None:
        if not isinstance(message, AskCommit):
            super().hear(message)
            return
        self.asked.append(message.message_ids)
        if self.pid:
            os.kill(self.pid, signal.SIGSTOP)
            asyncio.get_running_loop().call_later(PAUSE_S, os.kill, self.pid, signal.SIGCONT)
            self.pid = 0
        self.say(Verdicts(message.message_ids, [], self.valid_ms))


async def test_a_mailer_that_was_paused_past_the_lease_writes_nothing_and_says_so(tmp_path: Path) -> None:
    engine = Leased(valid_ms=int(PAUSE_S * 500))
    async with listening(Receiver()) as receiver, mailer(engine, tmp_path) as process:
        engine.pid = process.pid
        engine.set_up(receiver.url, connections=1)
        engine.say(Offer([job(0)]))
        await engine.until(lambda: bool(engine.done))
        assert [(done.kind, done.stage) for done in engine.done.values()] == [("retry", "data")]
        assert "lease" in engine.done["m0"].reason
        assert not receiver.mails
        engine.valid_ms = 60_000
        engine.say(Offer([job(1)]))
        await engine.until(lambda: len(engine.done) == 2)
    assert engine.done["m1"].kind == "sent"
    assert len(receiver.accepted) == 1


async def test_while_the_lease_lasts_a_pause_costs_nothing(tmp_path: Path) -> None:
    engine = Leased(valid_ms=60_000)
    async with listening(Receiver()) as receiver, mailer(engine, tmp_path) as process:
        engine.pid = process.pid
        engine.set_up(receiver.url, connections=1)
        engine.say(Offer([job(0)]))
        await engine.until(lambda: bool(engine.done))
    assert engine.done["m0"].kind == "sent" and len(receiver.accepted) == 1
