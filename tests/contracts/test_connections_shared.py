"""The law of connections that many machines share: at no instant do all parts together exceed what a receiver allows,
and none waits for ever."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heliograph.adapters.memory import MemoryStore
from heliograph.adapters.memory.share import MemoryShare
from heliograph.deliver.limits import Receiver, Shaping
from heliograph.deliver.rates import NEVER
from heliograph.deliver.routes import DirectRoute, Reach, Routes
from heliograph.runtime import mailwire
from heliograph.runtime.clock import ManualClock
from heliograph.runtime.crank import HandMailer
from heliograph.runtime.dispatcher import Dispatcher
from heliograph.runtime.meter import Meter
from heliograph.runtime.sharing import Sharing
from heliograph.runtime.traffic_parts import BETWEEN_MS, TURN_MS, division

T0 = 1_000_000 * TURN_MS + BETWEEN_MS


@given(limit=st.integers(1, 40), machines=st.integers(1, 40), now=st.integers(0, 1 << 45))
def test_parts_are_all_of_it_and_no_more_and_everybody_has_a_turn(limit: int, machines: int, now: int) -> None:
    parts = [division(machines, rank, now).connections(limit) for rank in range(machines)]
    between = limit < machines and now % TURN_MS < BETWEEN_MS
    assert sum(parts) == (0 if between else limit)
    turns = range(now, now + machines * TURN_MS, TURN_MS // 3)
    had = [max(division(machines, rank, at).connections(limit) for at in turns) for rank in range(machines)]
    assert min(had) >= 1


@given(
    limit=st.integers(1, 9),
    machines=st.integers(1, 12),
    skew=st.integers(0, BETWEEN_MS - 1),
    at=st.integers(0, TURN_MS),
)
def test_clocks_that_differ_give_nothing_twice(limit: int, machines: int, skew: int, at: int) -> None:
    """Of any two machines; one of them is behind."""
    for late in range(machines):
        clocks = [T0 + at - (skew if rank == late else 0) for rank in range(machines)]
        parts = [division(machines, rank, clocks[rank]).connections(limit) for rank in range(machines)]
        assert sum(parts) <= limit


class Machine:
    """A dispatcher, and what its mailer was told."""

    def __init__(self, name: str, world: "World") -> None:
        self.clock = world.clock
        self.sharing = Sharing(world.place, machine=name, workers=lambda: world.names, mono=world.clock.now)
        reach = {"slow": Reach(3, 6.0, 20), "free": Reach(0, 0.0, 50)}
        routes = Routes(direct=DirectRoute(), receivers=reach)
        shaping = Shaping(receivers={"slow": Receiver(domains=("slow.example",), connection_limit=3)})
        nobody: Any = None
        self.dispatcher = Dispatcher(
            MemoryStore(), world.clock, Meter(), put=nobody, current=nobody, render_context=nobody, templates=dict,
            settings=mailwire.MailerSettings(routes=routes, senders={}, base_url="", link_keys={}), shaping=shaping,
            sharing=self.sharing,
        )  # fmt: skip
        self.mailer = HandMailer(1, 10)
        self.dispatcher.welcome(self.mailer, 10)

    def reach(self, receiver: str) -> Reach:
        """As the mailer was told last."""
        told: dict[str, Reach] = {}
        for said in self.mailer.heard:
            match said:
                case mailwire.Setup():
                    told = said.settings.routes.receivers
                case mailwire.Reaches(receivers):
                    told = receivers
        return told[receiver]

    def may_mail(self) -> bool:
        return self.dispatcher.traffic.receiver("slow").opens(self.clock.now()) != NEVER


class World:
    def __init__(self, machines: int) -> None:
        self.clock = ManualClock(T0)
        self.place = MemoryShare(self.clock.now)
        self.names = [f"m{number}" for number in range(machines)]
        self.machines = [Machine(name, self) for name in self.names]

    def turn(self, ms: int = 1_000) -> None:
        self.clock.advance(ms)
        for machine in self.machines:
            machine.sharing.question()
            machine.dispatcher.divide()


@pytest.mark.parametrize("machines", [1, 2, 3, 5])
def test_mailers_of_all_machines_together_are_told_what_a_receiver_allows(machines: int) -> None:
    world = World(machines)
    mailed = set[str]()
    for _ in range(machines * TURN_MS // 1_000):
        world.turn()
        reaches = [machine.reach("slow") for machine in world.machines]
        assert sum(max(one.connection_limit, 0) for one in reaches) in ((3,) if machines <= 3 else (0, 3))
        assert sum(one.connections_per_s for one in reaches) == pytest.approx(6.0)
        assert {one.deliveries_per_connection for one in reaches} == {20}
        for machine, one in zip(world.machines, reaches, strict=True):
            assert machine.may_mail() == (one.connection_limit > 0), "offered only what may be connected for"
            mailed |= {machine.sharing.machine} if machine.may_mail() else set()
        assert [machine.reach("free") for machine in world.machines] == [Reach(0, 0.0, 50)] * machines
    assert mailed == set(world.names)


def test_a_machine_that_comes_takes_its_part_from_the_others() -> None:
    world = World(2)
    world.turn()
    assert [machine.reach("slow").connection_limit for machine in world.machines] == [2, 1]
    world.names.append("m9")
    world.machines.append(Machine("m9", world))
    world.turn()
    assert [machine.reach("slow").connection_limit for machine in world.machines] == [1, 1, 1]
    heard = [len(machine.mailer.heard) for machine in world.machines]
    world.turn()
    assert [len(machine.mailer.heard) for machine in world.machines] == heard, "told when it changes, and only then"
