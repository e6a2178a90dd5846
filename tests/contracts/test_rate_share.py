"""The law of shared rates, over machines, messages that get lost or come late, and a shared place that forgets: no
stretch of a rate's unit, and no day, ever holds more than was written.  Time is simulated; seeds are printed."""

import random
from collections import Counter
from collections.abc import Iterator

import pytest

from heliograph.adapters.memory import MemoryShare, MemoryStore
from heliograph.deliver.limits import Receiver, SenderLimits, Shaping
from heliograph.deliver.rates import DAY, Days, Pace, Rate, Sliding
from heliograph.deliver.warmup import Tier, Warmup
from heliograph.ports.cache import Answer, Ask
from heliograph.runtime.dispatcher import rank_of
from heliograph.runtime.mailwire import Done
from heliograph.runtime.outbox import Outbox
from heliograph.runtime.sharing import Sharing
from heliograph.runtime.traffic import Traffic
from heliograph.runtime.traffic_shared import SharedCounters
from tests.runtime.test_outbox import row

T0 = 20_000 * DAY - 60_000
"""A minute before midnight."""
RATE, BURST, DAILY = Rate(10, 1000), (7, 10_000), 100
LIMITS = {"receiver:r": (RATE.count, RATE.unit_ms), "sender:s:hour": BURST}


class Machine:
    """One life of one process, with a clock of its own for lengths of time."""

    def __init__(self, world: "World", name: str) -> None:
        self.world, self.name = world, name
        self.offset = world.chance.randrange(10**9)
        self.reaches = True
        self.sharing = Sharing(
            world.place, machine=name, workers=lambda: [one.name for one in world.machines], mono=self.mono
        )
        counters = SharedCounters(self.sharing)
        self.pace: Pace = counters.pace("receiver:r", RATE)
        self.burst: Sliding = counters.sliding("sender:s:hour", *BURST)
        self.days: Days = counters.days("sender:s:day", DAILY)
        self.sharing.recall = world.recall
        self.hungry = world.chance.random()
        self.asked: tuple[Ask, int] | None = None
        self.reads_at = self.fails_at = 0
        self.reply: tuple[int, Answer] | None = None

    def mono(self) -> int:
        return self.world.now + self.offset

    def wall(self) -> int:
        return self.world.now + self.world.skew

    def step(self) -> None:
        self._let_go()
        world = self.world
        if self.asked is None:
            sent = self.mono()
            self.sharing.open_apart()
            if (ask := self.sharing.question()) is not None:
                self.asked = (ask, sent)
                late = world.place.patience_ms * 3 if world.chance.random() < 0.01 else 8
                self.reads_at = world.now + world.chance.randrange(late)
                self.fails_at, self.reply = world.now + world.place.patience_ms, None
        elif self.reply is not None and self.reply[0] <= world.now < self.fails_at:
            (_, sent), answer, self.asked = self.asked, self.reply[1], None
            self.sharing.heard(answer, sent)
        elif world.now >= self.fails_at:
            if self.reply is None and world.now < self.reads_at and self.reaches:
                world.late.append((self.reads_at, self.asked[0]))
            self.asked = None
            self.sharing.failed()
        elif self.reply is None and self.reads_at <= world.now and self.reaches and not world.place.away:
            answer = world.place.answer(self.asked[0])
            lost = world.chance.random() < 0.02
            self.reply = (world.now + (10**9 if lost else world.chance.randrange(8)), answer)

    def _let_go(self) -> None:
        chance, wall = self.world.chance, self.wall()
        for name, counter in (("receiver:r", self.pace), ("sender:s:hour", self.burst), ("sender:s:day", self.days)):
            if chance.random() < self.hungry and counter.opens(wall) <= wall:
                counter.take(wall)
                self.world.gone.append((self.world.now, self.world.clock(), name))
                self.world.store[self.name] = (self.sharing.day, self.sharing.claims())


class World:
    """Three machines and their shared place; :attr:`gone` is everything that any of them let go."""

    def __init__(self, seed: int, machines: int = 3) -> None:
        self.chance = random.Random(seed)
        self.now, self.skew, self.set_by = T0, 0, 0
        self.place = MemoryShare(self.clock)
        self.late: list[tuple[int, Ask]] = []
        self.store: dict[str, tuple[int, dict[str, int]]] = {}
        """What every life wrote with the last thing that it let go."""
        self.gone: list[tuple[int, int, str]] = []
        self.machines = [Machine(self, f"m{number}") for number in range(machines)]
        self.lives = machines

    def recall(self, day: int) -> Iterator[tuple[str, str, int]]:
        for machine, (of, claims) in self.store.items():
            if of == day:
                yield from ((name, machine, count) for name, count in claims.items())

    def clock(self) -> int:
        return self.now + self.set_by

    def go(self, ms: int, *, trouble: float = 0.0) -> None:
        end = self.now + ms
        while self.now < end:
            self.now += 7
            if self.chance.random() < trouble:
                self.chance.choice(TROUBLE)(self)
            for at, ask in [one for one in self.late if one[0] <= self.now]:
                self.late.remove((at, ask))
                self.place.answer(ask)
            for machine in self.machines:
                machine.step()

    def worst(self) -> dict[str, int]:
        """The most that any stretch of each unit, and any day, held."""
        found = dict[str, int]()
        for name, (_, unit) in LIMITS.items():
            times = [at for at, _, whose in self.gone if whose == name]
            first, most = 0, 0
            for last, at in enumerate(times):
                while times[first] <= at - unit:
                    first += 1
                most = max(most, last - first + 1)
            found[name] = most
        days = Counter(server // DAY for _, server, whose in self.gone if whose == "sender:s:day")
        return {**found, "sender:s:day": max(days.values(), default=0)}

    def sent(self, name: str, since: int) -> int:
        return sum(at >= since and whose == name for at, _, whose in self.gone)

    def new_life(self) -> None:
        """A machine dies, and another one takes its place."""
        self.lives += 1
        index = self.chance.randrange(len(self.machines))
        self.machines[index] = Machine(self, f"m{self.lives}")


def forget(world: World) -> None:
    world.place.forget()


def another_run(world: World) -> None:
    world.place.run += 1


def come_and_go(world: World) -> None:
    world.place.away = not world.place.away


def cut_off(world: World) -> None:
    machine = world.chance.choice(world.machines)
    machine.reaches = not machine.reaches


def skew(world: World) -> None:
    """Walls' clocks may say anything."""
    world.skew = world.chance.randrange(-3_600_000, 3_600_000)


TROUBLE = [forget, another_run, come_and_go, cut_off, cut_off, skew, World.new_life]


@pytest.mark.parametrize("seed", range(24))
def test_no_unit_holds_more_than_was_written_whatever_happens(seed: int) -> None:
    world = World(seed)
    world.go(150_000, trouble=0.002)
    limits = {name: limit for name, (limit, _) in LIMITS.items()} | {"sender:s:day": DAILY}
    worst = world.worst()
    assert all(worst[name] <= limits[name] for name in limits), f"seed {seed}: {worst}"
    assert len(world.gone) > 100, f"seed {seed}: nothing went"


def test_three_dispatchers_share_a_receivers_second_and_a_senders_day() -> None:
    """Through the lanes and gates of the traffic, each of three with mail for all of it; nobody's mail waits for ever,
    and what is refused goes to whoever comes next."""
    world = World(1, machines=0)
    limits = {"default": SenderLimits(max_messages_per_day=100)}
    shaping = Shaping(receivers={"r": Receiver(domains=("r.example",), max_message_rate="10/s")}, senders=limits)
    desks: list[tuple[Sharing, Traffic, Outbox]] = []
    for number in range(3):
        sharing = Sharing(world.place, machine=f"m{number}", workers=lambda: ["m0", "m1", "m2"], mono=world.clock)
        traffic = Traffic(shaping, rank=rank_of, sender=lambda _row: "default", sharing=sharing)
        sharing.granted = lambda names, traffic=traffic: traffic.granted(names, world.now)  # type: ignore[misc]
        outbox = Outbox(MemoryStore(), traffic)
        desks.append((sharing, traffic, outbox))
        for serial in range(90):
            outbox.add(row(1000 * number + serial, address=f"x{serial}@r.example"))
    times: list[int] = []
    world.now = T0 + 61_000
    for _ in range(30_000 // 5):
        world.now += 5
        for sharing, traffic, outbox in desks:
            ask, sent = sharing.question(), world.now
            if ask is not None:
                sharing.heard(world.place.answer(ask), sent)
            while (claim := outbox.claim(world.now)) is not None:
                times.append(world.now)
                outbox.done(claim.row.message_id)
                traffic.ended(claim.lane, claim.route, claim.days, Done("", "sent", "250 Ok", 0), world.now, world.now)
    assert max(sum(at <= one < at + 1000 for one in times) for at in times) <= 10
    assert len(times) == 100
    assert times[-1] - times[0] < 20_000, "a rate of 10/s reaches more than half of that"


def hungry(world: World) -> World:
    for machine in world.machines:
        machine.hungry = 1.0
    return world


def test_a_rate_reaches_most_of_what_is_written() -> None:
    world = hungry(World(3))
    world.go(40_000)
    assert world.sent("receiver:r", T0 + 20_000) >= 0.85 * RATE.count * 20
    assert world.sent("sender:s:day", T0) == DAILY


def test_out_of_reach_each_machine_keeps_to_its_part_and_comes_back() -> None:
    world = hungry(World(4))
    world.go(20_000)
    world.place.away = True
    began = world.now
    world.go(5_000)
    assert world.sent("receiver:r", began + 100) == 0, "others may have been granted the unit that has just passed"
    world.go(25_000)
    parts = RATE.count // 3 * 3
    assert 0.8 * parts * 10 <= world.sent("receiver:r", world.now - 10_000) <= parts * 10 + 1
    world.place.away = False
    world.go(10_000)
    assert world.sent("receiver:r", world.now - 5_000) >= 0.85 * RATE.count * 5
    assert world.worst()["receiver:r"] <= RATE.count


def test_without_a_shared_place_each_machine_keeps_to_its_part() -> None:
    clock, gone = World(5, machines=0), Counter[int]()
    machines = [
        Sharing(None, machine=f"m{number}", workers=lambda: ["m0", "m1", "m2"], mono=clock.clock) for number in range(3)
    ]
    paces = [SharedCounters(one).pace("receiver:r", RATE) for one in machines]
    for _ in range(20_000 // 5):
        clock.now += 5
        assert all(one.question() is None for one in machines)
        for pace in paces:
            if pace.opens(clock.now) <= clock.now:
                pace.take(clock.now)
                gone[clock.now // 1000] += 1
    assert not any(count for second, count in gone.items() if second < T0 // 1000 + 11)
    assert max(gone.values()) <= RATE.count
    assert sum(gone.values()) >= 9 * 6


def test_a_shared_clock_that_was_set_back_or_forward_grants_nothing_twice() -> None:
    """Forward it is found out by whoever knew it before: within one beat, and nothing new is granted meanwhile to who
    knows."""
    for by in (-50_000, 30_000):
        world = hungry(World(6))
        world.go(20_000)
        world.set_by += by
        world.go(20_000)
        assert world.worst()["receiver:r"] <= RATE.count, by
        assert world.sent("receiver:r", world.now - 5_000) >= 0.85 * RATE.count * 5, by


def test_every_machine_judges_a_warm_up_by_what_all_of_them_sent() -> None:
    """Each of three sends a fifth of the day's limit: together that is more than the half that a promotion asks for."""
    world = World(7, machines=0)
    machines = [
        Sharing(world.place, machine=f"m{number}", workers=lambda: ["m0", "m1", "m2"], mono=world.clock)
        for number in range(3)
    ]
    warmups = [Warmup([Tier(0, 100), Tier(0, 200)], counters=SharedCounters(one), name="sender:s") for one in machines]

    def turn(seconds: int) -> None:
        for _ in range(seconds):
            world.now += 1000
            for one in machines:
                sent, ask = world.now, one.question()
                if ask is not None:
                    one.heard(world.place.answer(ask), sent)

    turn(20)
    for warmup in warmups:
        warmup.opens(world.now)
    turn(2)
    for warmup in warmups:
        for _ in range(20):
            if warmup.opens(world.now) > world.now:
                turn(1)
            assert warmup.opens(world.now) <= world.now
            warmup.take(world.now)
            warmup.sent(world.now)
    turn(2)
    for warmup in warmups:
        assert warmup.opens(world.now) is not None
    world.now += 60_000
    turn(2)
    assert [warmup.turn(world.now)[0].sent for warmup in warmups] == [60, 60, 60]
    assert [warmup.tier for warmup in warmups] == [1, 1, 1]
