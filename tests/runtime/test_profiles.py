"""Whose words a mail is rendered from: the newest whenever anybody can tell, else what was known last, and marked."""

import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from heliograph import decide
from heliograph.adapters.memory import SharedMemoryStore
from heliograph.adapters.memory.cache import MemoryProfiles
from heliograph.ports import Commit, StoreAway
from heliograph.ports.cache import Cached
from heliograph.runtime.meter import Meter
from heliograph.runtime.profiles import Late, Profiles, Remembered

ANN = "u:ann"
WAIT_S = 0.05


class Slow(SharedMemoryStore):
    """``answers``: cleared, whoever asks for states waits until it is set.  ``asked``: how often that was."""

    def __init__(self) -> None:
        super().__init__()
        self.answers, self.asked = threading.Event(), 0
        self.answers.set()

    def states(self, keys: Sequence[str]) -> list[bytes | None]:
        self.asked += 1
        assert self.answers.wait(60)
        if self.away:
            raise StoreAway("not now")
        return super().states(keys)


class Watched(Profiles):
    """Patient while the store answers, on a machine that has other things to do."""

    @property
    def _wait_s(self) -> float:
        return 30.0 if self._store.answers.is_set() else WAIT_S

    @_wait_s.setter
    def _wait_s(self, _: float) -> None:
        pass


class World:
    """One worker's profiles, and time by hand (ms)."""

    def __init__(self, **bounds: float) -> None:
        self.now = 1_000_000
        self.store, self.cache = Slow(), MemoryProfiles(now=lambda: self.now)
        self.at_hand, self.meter = Remembered(3, lambda: self.now), Meter()
        parts: Any = {"wait_s": WAIT_S, "oldest_s": 60.0} | bounds
        self.profiles = Watched(self.store, self.at_hand, self.cache, self.meter, **parts)

    def write(self, city: str, key: str = ANN) -> None:
        """In the store, and nowhere else."""
        self.store.commit(Commit(states={key: blob(city, key)}))

    def carry_out(self, city: str) -> None:
        """As a worker does it."""
        self.at_hand.write(ANN, blob(city))
        self.at_hand.seal()
        self.write(city)
        self.at_hand.settle()

    def put(self, rev: int, city: str) -> None:
        self.cache.put({ANN: Cached(rev, blob(city))})

    def answer(self) -> None:
        """What was asked is answered by now."""
        self.store.answers.set()
        until = time.monotonic() + 60
        while self.profiles.troubles():
            assert time.monotonic() < until
            time.sleep(0.001)

    def found(self) -> tuple[str, float | None]:
        state, age_s = self.profiles.find(ANN)
        return ("" if state is None else state.traits["city"]), age_s

    def reads(self) -> dict[str, float]:
        samples = [one for metric in self.meter.registry.collect() for one in metric.samples]
        return {s.labels["where"]: s.value for s in samples if s.name == "heliograph_render_reads_total"}


def blob(city: str, key: str = ANN, forward: str = "") -> bytes:
    state = decide.new_state(key)
    state.traits, state.forward = {"city": city}, forward
    return decide.encode_state(state)


@pytest.fixture
def world() -> Iterator[World]:
    world = World()
    yield world
    world.store.answers.set()
    world.profiles.close()


def test_a_change_is_visible_in_the_next_render_wherever_it_was_made(world: World) -> None:
    world.carry_out("Bath")
    assert world.found() == ("Bath", None)
    world.carry_out("Bonn")
    assert world.found() == ("Bonn", None)
    world.at_hand.forget()
    world.put(1, "Bremen")
    assert world.found() == ("Bremen", None)
    world.cache.renew()
    world.write("Basel")
    assert world.found() == ("Basel", None)
    assert world.reads() == {"here": 2, "cache": 1, "store": 1}


def test_a_late_store_is_stood_in_for_by_what_was_carried_out_last_and_that_is_marked(world: World) -> None:
    world.carry_out("Bath")
    world.at_hand.forget()
    world.write("Bonn")
    world.now += 12_300
    world.store.answers.clear()
    assert world.found() == ("Bath", 12.3)
    assert [one.what for one in world.profiles.troubles()] == ["profiles"]
    world.answer()
    assert world.found() == ("Bonn", None)


def test_and_by_what_anybody_put_into_the_cache_before_it_began_anew(world: World) -> None:
    """The one that was known more lately."""
    world.carry_out("Bath")
    world.at_hand.forget()
    world.now += 5_000
    world.put(7, "Bonn")
    world.cache.renew()
    world.now += 2_000
    world.store.answers.clear()
    assert world.found() == ("Bonn", 2.0)


def test_what_the_store_said_is_what_is_known_last(world: World) -> None:
    world.write("Bath")
    assert world.found() == ("Bath", None)
    world.now += 1_000
    world.store.answers.clear()
    assert world.found() == ("Bath", 1.0)


def test_what_is_too_old_is_waited_for(world: World) -> None:
    world.carry_out("Bath")
    world.at_hand.clear()
    world.now += 60_001
    world.store.answers.clear()
    with pytest.raises(Late):
        world.found()
    assert world.reads() == {"late": 1}


def test_whoever_is_unknown_is_waited_for(world: World) -> None:
    world.store.answers.clear()
    with pytest.raises(Late):
        world.found()


def test_a_store_that_says_it_is_away_is_not_stood_in_for(world: World) -> None:
    """No mail passes its commit point without it: it would only be older when it goes."""
    world.carry_out("Bath")
    world.at_hand.forget()
    world.store.away = True
    with pytest.raises(StoreAway) as caught:
        world.found()
    assert not isinstance(caught.value, Late)


def test_while_an_answer_is_overdue_the_store_is_not_asked_again(world: World) -> None:
    world.carry_out("Bath")
    world.at_hand.forget()
    world.store.answers.clear()
    asked = world.store.asked
    for _ in range(50):
        assert world.found()[0] == "Bath"
        with pytest.raises(Late):
            world.profiles.find("u:nobody")
    assert world.store.asked == asked + 1


def test_where_every_answer_is_late_what_it_said_is_known_the_next_time(world: World) -> None:
    world.write("Bath")
    world.store.answers.clear()
    with pytest.raises(Late):
        world.found()
    world.answer()
    world.store.answers.clear()
    world.now += 1_000
    assert world.found() == ("Bath", 1.0)


def test_who_went_meanwhile_is_not_brought_back_by_an_answer_that_is_late(world: World) -> None:
    world.write("Bath")
    world.store.answers.clear()
    with pytest.raises(Late):
        world.found()
    world.now += 1_000
    world.at_hand.note(ANN, False)
    world.answer()
    world.store.answers.clear()
    with pytest.raises(Late):
        world.found()


def test_a_read_that_failed_behind_time_spoils_no_later_one(world: World) -> None:
    world.carry_out("Bath")
    world.at_hand.forget()
    world.store.answers.clear()
    assert world.found()[0] == "Bath"
    world.store.away = True
    world.answer()
    with pytest.raises(StoreAway):
        world.profiles.stored(ANN)
    world.store.away = False
    assert world.found() == ("Bath", None)


def test_who_was_merged_is_as_old_as_the_oldest_word_on_the_way(world: World) -> None:
    world.at_hand.note("a:1", blob("", "a:1", forward=ANN))
    world.now += 3_000
    world.at_hand.note(ANN, blob("Bath"))
    world.now += 1_000
    world.store.answers.clear()
    state, age_s = world.profiles.find("a:1")
    assert state is not None and (state.key, age_s) == (ANN, 4.0)


def test_who_is_gone_is_not_brought_back(world: World) -> None:
    world.carry_out("Bath")
    world.at_hand.write(ANN, False)
    assert world.found() == ("", None)
    world.at_hand.seal()
    world.at_hand.settle()
    world.at_hand.forget()
    world.store.answers.clear()
    with pytest.raises(Late):
        world.found()


def test_what_is_remembered_is_bounded(world: World) -> None:
    for number in range(10):
        world.at_hand.note(f"u:{number}", b"x")
    assert [number for number in range(10) if world.at_hand.last(f"u:{number}")] == [7, 8, 9]
