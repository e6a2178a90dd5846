"""The loop of broadcasts: it starts those whose time has come, walks each audience below live traffic, and ends them.

A portion of people is read (and folded, where the audience asks something that is new), then offered in pieces that
take turns with live calls.  Every piece writes how far it came in its own commit, so after kill -9 the walk goes on
behind the last person who was offered it.  At most :data:`MAX_AHEAD` messages of one broadcast are decided and not yet
sent, unless they wait for receivers that put them off while mailers have nothing to do: nobody else waits for those.
Whoever comes into the audience behind the walk is not offered it.

Everything that decides is work (:mod:`heliograph.runtime.offering`); :meth:`Broadcaster.works` says what is to be done
next, so it can be turned by hand.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any, Final

from heliograph import decide
from heliograph.decide.broadcasts import Broadcast, broadcast_of, journey_of
from heliograph.ports import BroadcastRow, Busy
from heliograph.runtime.counting import CANCELLED, undecided, unsent
from heliograph.runtime.desk import Desk
from heliograph.runtime.dispatcher import Dispatcher
from heliograph.runtime.far_desk import FarDesk
from heliograph.runtime.meter import Meter
from heliograph.runtime.offering import Offers, Turn, Withdraw, audience_of, is_over, members_of, open_messages
from heliograph.runtime.pace import Pace
from heliograph.runtime.past import Past, Steps, keys_of, survivor
from heliograph.runtime.work import Call, Swept

MAX_AHEAD: Final = 2_000
"""Messages decided and not yet sent (design, section 6): less than a second of a fast relay's work."""
MAX_WAITING: Final = 50_000
"""The same, where mailers could send more and nothing that is decided may go."""
LEAST_ROOM: Final = 500
"""With less room than this the loop waits: a portion of three people costs as much as one of hundreds."""
PORTION: Final = 512
LIVE_PORTION: Final = 32
"""People of a portion while nobody, and while somebody calls."""
PIECE: Final = 8
"""People offered in one go: some two milliseconds that a live event may have to wait."""
YIELDED: Final = 0.1
"""Of the rest that a sweep takes while somebody calls: a fifth of the time that a portion took.  Most of that was spent
waiting for the disk, and a call waits for a piece at most."""
FETCH: Final = 32
"""States read in one go."""
WITHDRAWN: Final = 200
"""Messages of a cancelled broadcast taken back in one go."""
SILENT_MS: Final = 60_000
"""A far brain that has said nothing more of a broadcast for so long passes the rest over: somebody was offered it twice
under two keys."""
BURST_MS: Final = 1_000
"""A rate may catch up by so much."""
BUSY_PAUSE_S: Final = 0.5
LONGEST_SLEEP_S: Final = 1.0
"""The wall clock may be set: look again at least this often."""


class Broadcaster:
    """``heard``: a number that grows with every call from outside."""

    def __init__(
        self,
        desk: Desk,
        meter: Meter,
        put: Callable[..., None],
        mail: Dispatcher,
        *,
        heard: Callable[[], int],
        now: Callable[[], int],
    ) -> None:
        self._desk, self._store, self._meter, self._put, self._now = desk, desk.store, meter, put, now
        self._mail = mail
        self._pace = Pace(heard)
        self._stirred, self._free = asyncio.Event(), asyncio.Event()
        self._far = isinstance(desk, FarDesk)
        self._left: dict[str, tuple[int, int]] = {}
        """People of whom the brain has said nothing, and since when they are so many."""
        self._next_at: dict[str, float] = {}
        """When the rate of a broadcast lets the next person in."""
        self.stir()

    # -- the loop --

    def hold(self) -> None:
        """A plan is being switched: until :meth:`stir`, what is in force and what the store says may differ."""
        self._free.clear()

    def stir(self) -> None:
        """Something of a broadcast has changed."""
        self._free.set()
        self._stirred.set()

    async def run(self) -> None:
        while True:
            self._stirred.clear()
            busy = False
            for broadcast_id in self.order():
                await self._free.wait()
                busy = await self._turn(broadcast_id) or busy
            if not busy:
                await self._sleep()

    def order(self) -> list[str]:
        """Those that something may have to be done for, service notices first, then the oldest."""
        if not self._desk.planned:
            return []
        held = [broadcast_of(journey) for journey in self._desk.holds.all()]
        known = self._desk.plan.broadcasts
        rows = [self._desk.broadcast(name) for name in dict.fromkeys([*known, *filter(None, held)])]
        found = [row for row in rows if row is not None and row.status not in ("draft", "finished")]

        def rank(row: BroadcastRow) -> tuple[bool, int, str]:
            broadcast = known.get(row.broadcast_id)
            return broadcast is None or not broadcast.notice, row.created_at, row.broadcast_id

        return [row.broadcast_id for row in sorted(found, key=rank)]

    async def _turn(self, broadcast_id: str) -> bool:
        """Whether there was anything to do."""
        notice = self._is_notice(broadcast_id)
        portion = LIVE_PORTION if self._pace.live() and not notice else PORTION
        works = await self._pace.drive(self.works(broadcast_id, portion))
        if not works:
            return False
        began = time.perf_counter()
        try:
            self._put(*works)
            await asyncio.gather(*(work.done for work in works))
        except Busy:
            await asyncio.sleep(BUSY_PAUSE_S)
            return True
        self.spent(broadcast_id, works)
        if not notice:
            await self._pace.rest(YIELDED * (time.perf_counter() - began))
        return True

    def _is_notice(self, broadcast_id: str) -> bool:
        broadcast = self._desk.plan.broadcasts.get(broadcast_id)
        return broadcast is not None and broadcast.notice

    async def _sleep(self) -> None:
        first = self.next_at()
        seconds = LONGEST_SLEEP_S if first is None else (first - self._now()) / 1000
        try:
            async with asyncio.timeout(min(max(seconds, 0.001), LONGEST_SLEEP_S)):
                await self._stirred.wait()
        except TimeoutError:
            pass

    def next_at(self) -> int | None:
        """The next instant at which time alone lets a broadcast go on (ms)."""
        found: list[float] = []
        for broadcast_id in self.order():
            row = self._desk.broadcast(broadcast_id)
            if row is not None and row.status == "scheduled":
                found.append(row.starts_at)
            elif row is not None and row.status == "running" and not row.through:
                found.append(self._next_at.get(broadcast_id, 0.0))
        ahead = [at for at in found if at > self._now()]
        return int(min(ahead)) + 1 if ahead else None

    # -- what is to be done --

    def works(self, broadcast_id: str, portion: int) -> Steps[list[Call[Any]]]:
        """The next work for one broadcast, none when it has to wait for something.  All of it is to be done in order
        before this is asked again."""
        row, broadcast = self._desk.broadcast(broadcast_id), self._desk.plan.broadcasts.get(broadcast_id)
        if row is None or row.status in ("draft", "finished"):
            return []
        if row.status == "cancelled":
            return self._withdrawal(row)
        if broadcast is None or row.status == "paused" or self._desk.holds.held(broadcast.journey.name):
            return []
        if row.status == "scheduled":
            due = row.starts_at <= self._now()
            return [Turn(broadcast_id, audience_of(broadcast, self._store))] if due else []
        if row.through and not row.again:
            return [Turn(broadcast_id)] if is_over(row) and self._told(row) else []
        room = self._room(row, broadcast)
        return (yield from self._portion(row, broadcast, min(portion, room))) if room > 0 else []

    def _withdrawal(self, row: BroadcastRow) -> list[Call[Any]]:
        if not self._desk.holds.held(journey_of(row.broadcast_id)):
            return []
        found: list[str] = []
        for status in ("queued", "deferred"):
            if row.messages.get(status) and len(found) < WITHDRAWN:
                rows, _ = self._store.messages(broadcast=row.broadcast_id, status=status, limit=WITHDRAWN)
                found += [one.message_id for one in rows]
        if found or not open_messages(row):
            return [Withdraw(row.broadcast_id, found, row.reason or CANCELLED)]
        return []

    def _room(self, row: BroadcastRow, broadcast: Broadcast) -> int:
        """How many people may be offered it now."""
        ahead = unsent(row) + (undecided(row) if self._far else 0)
        room = MAX_AHEAD - ahead
        if room < LEAST_ROOM:
            room = min(LEAST_ROOM, MAX_WAITING - ahead)
            if room <= 0 or not self._idle():
                return 0
        if broadcast.gap_ms:
            since = self._now() - self._next_at.setdefault(row.broadcast_id, self._now())
            room = min(room, int(min(since, BURST_MS) / broadcast.gap_ms) + 1 if since >= 0 else 0)
        return room

    def _told(self, row: BroadcastRow) -> bool:
        """Where the brain is far: whether it has said what became of everybody, or nothing more for a while."""
        if not self._far:
            return True
        left, now = undecided(row), self._now()
        before, since = self._left.get(row.broadcast_id, (-1, now))
        if left != before:
            before, since = self._left[row.broadcast_id] = left, now
        return not left or now - since >= SILENT_MS

    def _idle(self) -> bool:
        """Whether mailers could take more, and nothing that waits may go."""
        able = any(mailer.credit > 0 for mailer in self._mail.mailers.values())
        return able and self._mail.outbox.stuck(self._now())

    def spent(self, broadcast_id: str, works: Sequence[Call[Any]]) -> None:
        """A portion was offered: its rate counts those who entered."""
        offers = [work for work in works if isinstance(work, Offers)]
        broadcast = self._desk.plan.broadcasts.get(broadcast_id)
        if broadcast is not None and broadcast.gap_ms:
            begin = max(self._next_at.get(broadcast_id, 0.0), self._now() - BURST_MS)
            self._next_at[broadcast_id] = begin + sum(work.entered for work in offers) * broadcast.gap_ms
        self._meter.count("broadcast_people_total", by=sum(work.offered for work in offers))

    def _portion(self, row: BroadcastRow, broadcast: Broadcast, limit: int) -> Steps[list[Call[Any]]]:
        plan, store, name = self._desk.plan, self._store, row.broadcast_id
        again = row.again[:limit]
        keys: list[str] = []
        if not row.through and (members := members_of(broadcast, store)):
            keys = [key for key, _ in store.members(members, limit, after=row.after)[0]]
        elif not row.through:
            keys = store.keys(row.after, limit)
        items = yield from fold_offers(self._desk, plan, broadcast, [*again, *keys])
        works: list[Call[Any]] = []
        if again:
            works.append(Offers(name, items[: len(again)], row.after, row.after, plan.version, again=again))
        place = row.after
        for at in range(len(again), len(items), PIECE):
            piece = items[at : at + PIECE]
            works.append(Offers(name, piece, place, piece[-1].key, plan.version))
            place = piece[-1].key
        if len(keys) < limit and not row.through:
            works.append(Offers(name, (), place, place, plan.version, through=True))
        return works


def fold_offers(desk: Desk, plan: decide.Plan, broadcast: Broadcast, keys: Sequence[str]) -> Steps[list[Swept]]:
    """Each of these keys, with what its person lacks of the past where the audience asks for it."""
    if not decide.asks_fresh(plan, broadcast):
        return [Swept(key) for key in keys]
    past, found = Past(desk.store, plan), []
    for at, key in enumerate(keys):
        if at % FETCH == 0:
            desk.fetch(keys[at : at + FETCH])
        state = survivor(key, desk.state)
        if state is None or not plan.fresh.lacking(state.swept):
            found.append(Swept(key))
        else:
            known = frozenset(keys_of(state))  # now: while this folds, the person lives on
            folds = yield from past.fold(state)
            found.append(Swept(key, folds, known))
        yield
    return found
