"""How the processes of a deployment act as one, besides what the log tells each of them: evidence for the circuit
breaker and for warm-ups goes round, connections are divided, and what the dead left is cleared away."""

import asyncio
from collections.abc import Callable
from typing import Final

from heliograph.ports import Clock, Hold, SharedStore
from heliograph.runtime.breaker import MailBreaker, Seen
from heliograph.runtime.dispatcher import Dispatcher
from heliograph.runtime.evidence import Batch, Evidence, Keep
from heliograph.runtime.holds import BREAKER
from heliograph.runtime.sharing import Sharing
from heliograph.runtime.traffic_kept import of_the_dead, of_the_past
from heliograph.runtime.work import Work

BEAT_S: Final = 2.0
"""How late a judgement is at most, twice this: some hundred mails of a journey that does badly."""
TIDY_BEATS: Final = 1_800
"""An hour."""


class Together:
    """``sharing``: of a process that mails; one that does not (None) says what it saw and judges nothing."""

    def __init__(
        self,
        store: SharedStore,
        owner: str,
        put: Callable[[Work], None],
        breaker: MailBreaker,
        dispatcher: Dispatcher,
        holds: Callable[[], dict[str, Hold]],
        clock: Clock,
        sharing: Sharing | None,
    ) -> None:
        self._store, self._owner, self._put, self._breaker = store, owner, put, breaker
        self._traffic, self._divide = dispatcher.traffic, dispatcher.divide
        self._holds, self._clock, self._sharing = holds, clock, sharing
        self._evidence = Evidence(store, owner, put, None if sharing is None else self._told)
        self._traffic.told = self._evidence.warmed
        self._beats = 0

    def saw(self, seen: Seen) -> None:
        """What a commit of this process brought."""
        self._evidence.saw(seen)

    def _told(self, batch: Batch) -> None:
        now = self._clock.now()
        self._breaker.judge(batch.seen())
        for sender, what, count in batch.warmed:
            self._traffic.elsewhere(sender, what, count, now)

    async def turn(self) -> None:
        """Tell, and hear.  :class:`~heliograph.ports.StoreAway`."""
        self._breaker.held_elsewhere(name for name, hold in self._holds().items() if hold.by == BREAKER)
        self._divide()
        self._evidence.beat()
        await self._evidence.look()
        if self._sharing is not None and self._beats % TIDY_BEATS == 0:
            gone = await asyncio.to_thread(self._outdated, self._sharing.day)
            self._put(Keep(lambda: self._traffic.meta(self._clock.now()) | dict.fromkeys(gone)))
        self._beats += 1

    def _outdated(self, day: int) -> list[str]:
        """What the traffic took over when it was made goes from where it was in the commit that writes it as ours."""
        dead = () if self._beats else of_the_dead(self._store, self._store.claims(), self._owner, self._clock.now())
        return [*dead, *of_the_past(self._store, day)]

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self.turn()
            await asyncio.sleep(BEAT_S)
