"""Mailers of the simulator, and the receivers behind them: slow, out of order, mortal."""

import random
from typing import Protocol

from heliograph.runtime import mailwire
from heliograph.runtime.clock import ManualClock
from heliograph.runtime.crank import Crank, HandMailer


class Books(Protocol):
    """Whoever wants to know what receivers took."""

    def taken(self, message_id: str) -> None: ...


class SimMailer:
    """Offers wait, some of them are asked for, some of those come back, in any order.  ``careful``: nothing is lost."""

    def __init__(self, hand: HandMailer, *, careful: bool = False) -> None:
        self.hand = hand
        self.careful = careful
        self.jobs: list[mailwire.Job] = []
        self.flying: list[str] = []

    @property
    def busy(self) -> bool:
        return bool(self.jobs or self.flying or self.hand.heard)

    def act(self, crank: Crank, clock: ManualClock, watch: Books, chance: random.Random) -> None:
        self._listen()
        if self.flying and (not self.jobs or chance.random() < 0.5):
            self._report(self.flying.pop(chance.randrange(len(self.flying))), crank, clock, watch, chance)
        elif self.jobs:
            self._ask(crank, clock, watch, chance)

    def _listen(self) -> None:
        for message in self.hand.heard:
            if isinstance(message, mailwire.Offer):
                self.jobs += message.jobs
        self.hand.heard.clear()

    def _ask(self, crank: Crank, clock: ManualClock, watch: Books, chance: random.Random) -> None:
        count = chance.randrange(1, 4)
        asked, self.jobs = self.jobs[:count], self.jobs[count:]
        skipped = [job for job in asked if chance.random() < 0.02]
        self._say(crank, [mailwire.Done(job.message_id, "skipped", "missing: x", clock.now()) for job in skipped])
        ids = [job.message_id for job in asked if job not in skipped]
        if not ids:
            return
        crank.dispatcher.hear(self.hand, mailwire.AskCommit(self.hand.epoch, ids))
        for message in [one for one in self.hand.heard if isinstance(one, mailwire.Verdicts)]:
            self.hand.heard.remove(message)
            self.flying += message.go
            self._say(crank, [mailwire.Done(one, "stopped", why, clock.now()) for one, why in message.stop])

    def _report(self, message_id: str, crank: Crank, clock: ManualClock, watch: Books, chance: random.Random) -> None:
        kind = "sent" if self.careful else chance.choices(("sent", "retry", "bounced", "unknown"), (92, 4, 2, 2))[0]
        if kind == "sent" or (kind == "unknown" and chance.random() < 0.5):
            watch.taken(message_id)
        dead = kind == "bounced" and chance.random() < 0.3
        self._say(crank, [mailwire.Done(message_id, kind, kind, clock.now(), suppress=dead)])

    def _say(self, crank: Crank, done: list[mailwire.Done]) -> None:
        if done:
            crank.dispatcher.hear(self.hand, mailwire.Report(self.hand.epoch, done))

    def die(self, watch: Books, chance: random.Random) -> None:
        """Of what was past its commit point, some was taken by the receiver."""
        for message_id in self.flying:
            if chance.random() < 0.5:
                watch.taken(message_id)
        self.flying.clear()
