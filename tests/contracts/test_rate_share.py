"""The law of shared rates, over machines, messages that get lost or come late, and a shared place that forgets: no
stretch of a rate's unit, and no day, ever holds more than was written.  Time is simulated; seeds are printed."""

import random
from collections import Counter
from collections.abc import Iterator

import pytest

from heliograph.adapters.memory import MemoryShare
from heliograph.deliver.rates import DAY, Days, Pace, Rate, Sliding
from heliograph.ports.cache import Answer, Ask
from heliograph.runtime.sharing import Sharing
from heliograph.runtime.traffic_shared import SharedCounters

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


def set_back(world: World) -> None:
    """The shared clock is set back, by no more than to the day before yesterday's midnight."""
    world.set_by -= world.chance.choice([20, 900, 5_000, 60_000])


TROUBLE = [forget, another_run, come_and_go, cut_off, cut_off, skew, World.new_life]


@pytest.mark.parametrize("seed", range(24))
def test_no_unit_holds_more_than_was_written_whatever_happens(seed: int) -> None:
    world = World(seed)
    world.go(150_000, trouble=0.002)
    limits = {name: limit for name, (limit, _) in LIMITS.items()} | {"sender:s:day": DAILY}
    worst = world.worst()
    assert all(worst[name] <= limits[name] for name in limits), f"seed {seed}: {worst}"
    assert len(world.gone) > 100, f"seed {seed}: nothing went"
