"""A bounded pool of connections to one relay or one site, and the commit points of what waits for them.

A parcel goes *waiting* -> *asked* (its commit point is being passed) -> *cleared* (it may go) -> on a carrier.  Only as
many are asked for as there is room on open connections, so few messages are past their commit point at any moment:
two for each connection.  One ask is open at a time; what comes meanwhile is asked together, at most
:attr:`Limits.commit`.

A new connection is opened rather than queueing behind a busy one, up to the bound; only then parcels are pipelined
behind others.  When the relay cannot be reached at all, what waits gets a ``retry`` with the reason, and the next
attempt backs off.

A pool with a :class:`Share` has neighbours: it opens only what the share allows, closes an idle connection when another
pool needs one, and gives up busy ones, message by message, while it has more than its part and others wait.
"""

import asyncio
import ssl
from collections import deque
from collections.abc import Mapping, Sequence

from heliograph.adapters.smtp.carrier import MAIL, Carrier
from heliograph.adapters.smtp.limits import Limits
from heliograph.adapters.smtp.neighbours import Share, Way
from heliograph.adapters.smtp.opening import CannotOpen, Opener, Session
from heliograph.adapters.smtp.trust import Trust
from heliograph.adapters.smtp.url import Relay
from heliograph.deliver.routes import Reach
from heliograph.ports import Courier, Parcel, Verdict

CLOCK_GRAIN_S = 0.005
"""Timers of the event loop may fire this much before the clock says so."""


class Pool:
    """A :class:`heliograph.ports.Transport` over SMTP.  Lives in one event loop; see the module for its workings.

    ``way``: a relay, or what else opens connections.  ``trust`` stands in for the system's certificates.
    """

    def __init__(
        self,
        way: Relay | Way,
        courier: Courier,
        limits: Limits | None = None,
        trust: ssl.SSLContext | Trust | None = None,
        share: Share | None = None,
    ) -> None:
        self._courier = courier
        self._limits = limits or Limits()
        trust = trust if isinstance(trust, Trust) else Trust(given=trust)
        self._way = Opener(way, self._limits, trust) if isinstance(way, Relay) else way
        self._share = share
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[Parcel] = deque()
        self._asked: dict[str, Parcel] = {}
        self._cleared: deque[Parcel] = deque()
        self._moved: set[str] = set()
        self._carriers: set[Carrier] = set()
        self._idle: dict[Carrier, None] = {}
        self._half: dict[Carrier, None] = {}
        self._retiring: Carrier | None = None  # one at a time is given up for others
        self._opening: set[asyncio.Task[None]] = set()
        self._failures = 0
        self._blocked_until = 0.0
        self._scheduled = False
        self._closing = False
        self._quiet = asyncio.Event()

    # -- Transport --

    @property
    def waiting(self) -> int:
        """Parcels posted and not yet asked for."""
        return len(self._waiting)

    @property
    def connections(self) -> int:
        """Open ones."""
        return len(self._carriers)

    @property
    def resting(self) -> bool:
        """Nothing is here, and nothing need be remembered."""
        if self._waiting or self._asked or self._cleared or self._carriers or self._opening:
            return False
        return self._loop.time() >= self._blocked_until

    def room(self, route: str = "", receiver: str = "") -> int:
        return self._limits.ahead * self._limits.connections - len(self._waiting)

    def post(self, parcel: Parcel) -> None:
        self._waiting.append(parcel)
        self._soon()

    def decided(self, go: Sequence[str], stop: Sequence[str]) -> None:
        asked, self._asked = self._asked, {}
        self._cleared.extend(asked[message_id] for message_id in go if message_id in asked)
        self._dispatch()
        self._soon()

    def reach(self, receivers: Mapping[str, Reach]) -> None:
        """A relay has its own connections to receivers."""

    async def close(self, grace_s: float) -> None:
        self._closing = True
        self._waiting.clear()
        self._turn()
        try:
            async with asyncio.timeout(grace_s):
                await self._quiet.wait()
        except TimeoutError:
            self._cut()
        for task in self._opening:
            task.cancel()
        leaving = list(self._carriers)
        for carrier in leaving:
            carrier.leave()
        await asyncio.gather(*self._opening, return_exceptions=True)
        await asyncio.gather(*(carrier.closed.wait() for carrier in leaving))

    # -- for its neighbours --

    def stir(self) -> None:
        """There may be a connection for us."""
        self._soon()

    def shed(self) -> bool:
        """Close a connection that nobody needs; False when there is none."""
        if len(self._idle) <= len(self._asked) + len(self._cleared):
            return False
        next(iter(self._idle)).leave()
        return True

    # -- Owner, for carriers --

    def delivered(self, parcel: Parcel, verdict: Verdict) -> None:
        self._moved.discard(parcel.message_id)
        self._courier.delivered(parcel, verdict)

    def returned(self, parcel: Parcel, verdict: Verdict) -> None:
        """Once: a kept connection may have been closed in our absence; a second time there is something wrong."""
        if parcel.message_id in self._moved or self._closing:
            self.delivered(parcel, verdict)
            return
        self._moved.add(parcel.message_id)
        self._cleared.appendleft(parcel)
        self._soon()

    def untouched(self, parcel: Parcel) -> None:
        self._cleared.appendleft(parcel)
        self._soon()

    def freed(self, carrier: Carrier) -> None:
        if self._share is not None and self._retiring is None and self._share.crowded:
            self._retiring = carrier
            carrier.retire()
        self._place(carrier)
        self._dispatch()
        self._soon()

    def gone(self, carrier: Carrier) -> None:
        self._carriers.discard(carrier)
        self._idle.pop(carrier, None)
        self._half.pop(carrier, None)
        if carrier is self._retiring:
            self._retiring = None
        if self._share is not None:
            self._share.give_back()
        self._soon()

    # -- the turn of the loop --

    def _soon(self) -> None:
        """Once per turn of the event loop, so that what happens in one turn is asked for together."""
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._turn)

    def _turn(self) -> None:
        self._scheduled = False
        self._dispatch()
        self._ask()
        self._open_more()
        if self._share is not None and self._share.wanted:
            self.shed()
        if self._closing and not (self._asked or self._cleared or any(c.load for c in self._carriers)):
            self._quiet.set()

    def _dispatch(self) -> None:
        while self._cleared and (self._idle or self._half):
            carrier = next(reversed(self._idle)) if self._idle else next(iter(self._half))
            carrier.take(self._cleared.popleft())
            self._place(carrier)

    def _ask(self) -> None:
        if self._asked or not self._waiting or self._closing:
            return
        count = min(self._limits.commit, len(self._waiting), self._free())
        if count > 0:
            parcels = [self._waiting.popleft() for _ in range(count)]
            self._asked = {parcel.message_id: parcel for parcel in parcels}
            self._courier.ask(list(self._asked))

    def _free(self) -> int:
        """Places for parcels past their commit point.  The place behind another counts only when no connection can be
        added."""
        places = len(self._idle)
        if self._bounded():
            places += sum(carrier.room - 1 for carrier in self._idle) + len(self._half)
        return places - len(self._cleared)

    def _place(self, carrier: Carrier) -> None:
        self._idle.pop(carrier, None)
        self._half.pop(carrier, None)
        if carrier not in self._carriers:
            return
        if carrier.room:
            (self._half if carrier.load else self._idle)[carrier] = None
        elif carrier.spent and not carrier.load:
            carrier.leave()

    # -- connections --

    def _bounded(self) -> bool:
        count = len(self._carriers) + len(self._opening)
        if count >= self._limits.connections or self._loop.time() < self._blocked_until:
            return True
        return self._share is not None and self._share.full

    def _open_more(self) -> None:
        wanted = len(self._cleared) + len(self._waiting) - len(self._idle) - len(self._opening)
        while wanted > 0 and not self._bounded():
            if self._share is not None:
                self._share.take()
            task = self._loop.create_task(self._open())
            self._opening.add(task)
            task.add_done_callback(self._opened)
            wanted -= 1
        if wanted > 0 and self._share is not None and self._share.full:
            self._share.want()

    async def _open(self) -> None:
        task = asyncio.current_task()
        try:
            session = await self._way.open()
        except CannotOpen as error:
            self._failed(error, task)
        except Exception as error:  # whatever it is, what waits must hear of it
            self._failed(CannotOpen("unreachable", f"{self._way}: {error!r}"), task)
        else:
            self._joined(session)

    def _opened(self, task: asyncio.Task[None]) -> None:
        self._opening.discard(task)
        self._soon()

    def _joined(self, session: Session) -> None:
        self._failures, self._blocked_until = 0, 0.0
        carrier = Carrier(session, self, self._limits)
        self._carriers.add(carrier)
        self._place(carrier)

    def _failed(self, error: CannotOpen, task: asyncio.Task[None] | None) -> None:
        """``task``: the attempt, which is over: several may fail in one turn, before any of them is done."""
        self._opening = {other for other in self._opening if other is not task}
        if self._share is not None:
            self._share.give_back()
        now = self._loop.time()
        if now >= self._blocked_until:
            pause = min(self._limits.backoff_first_s * 2 ** min(self._failures, 30), self._limits.backoff_longest_s)
            self._failures += 1
            self._blocked_until = now + pause
            self._loop.call_later(pause + CLOCK_GRAIN_S, self._soon)
        if not self._carriers and not self._opening:
            self._give_up(error)

    def _give_up(self, error: CannotOpen) -> None:
        code = error.reply.code if error.reply else 0
        verdict = Verdict("retry", code, error.enhanced, str(error), "connect")
        stranded = [*self._cleared, *self._waiting]
        self._cleared.clear()
        self._waiting.clear()
        for parcel in stranded:
            self.delivered(parcel, verdict)

    def _cut(self) -> None:
        """The grace is over."""
        self._asked.clear()
        for carrier in [carrier for carrier in self._carriers if carrier.load]:
            carrier.cut("cut off: the time for draining is over")
        while self._cleared:
            self.delivered(self._cleared.popleft(), Verdict("retry", 0, "", "not begun before the drain ended", MAIL))
