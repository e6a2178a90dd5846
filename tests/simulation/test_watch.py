"""A checker that never fails proves nothing: the production code is broken on purpose, and the watch must see it."""

import importlib
import random
from collections.abc import Callable
from typing import Any

import pytest
from msgspec.structs import replace

from heliograph.decide import people, pressure
from heliograph.decide.journeys import runs, sending
from heliograph.events.ids import make_id
from heliograph.runtime import applying, chunk, claims, counting, offering
from tests.simulation import ends, plans
from tests.simulation.watch import Broken
from tests.simulation.world import World

STEP = importlib.import_module("heliograph.decide.step")  # the name itself is the function's
RECORDS = 3_000
SEEDS = range(5)

Patch = Callable[[pytest.MonkeyPatch], None]


def forgetful(patch: pytest.MonkeyPatch) -> None:
    write, chance = people.write_trait, random.Random(1)

    def sometimes(turn: Any, name: str, *about: Any, **more: Any) -> None:
        if name != "n" or chance.random() < 0.9:
            write(turn, name, *about, **more)

    patch.setattr(people, "write_trait", sometimes)


def sends_again(patch: pytest.MonkeyPatch) -> None:
    def lose(one: chunk.Chunk, message_id: str, reason: str) -> Any:
        row = one.desk.message(message_id)
        if row is None:
            return None
        again = replace(row, status="queued", reason=reason)
        one.write_message(again)
        return again

    patch.setattr(claims, "lose", lose)


def never_quiet(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(pressure, "loud_from", lambda _turn, at: at)
    patch.setattr(pressure, "quiet_from", lambda *_: 0)


def everybody_apart(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(sending, "_message_id", lambda turn, run, *about: make_id(turn.state.key, run.run_id, *about))


def skips_some(patch: pytest.MonkeyPatch) -> None:
    offer, chance = offering.Offers._offer, random.Random(1)
    patch.setattr(offering.Offers, "_offer", lambda *about: None if chance.random() < 0.2 else offer(*about))


BREAKS: dict[str, tuple[str, Patch]] = {
    "no decision at the commit point": (
        "nothing is sent|quiet hours",
        lambda patch: patch.setattr(applying, "commit_point", nothing),
    ),
    "exits are not looked at": ("after an exit", lambda patch: patch.setattr(runs, "leave", nothing)),
    "caps are always free": ("caps are kept", lambda patch: patch.setattr(pressure, "_free_from", lambda *a: a[2])),
    "nights are days": ("quiet hours", never_quiet),
    "slots are not given back": ("a slot is held", lambda patch: patch.setattr(pressure, "vacate", nothing)),
    "repeats are news": ("once", lambda patch: patch.setattr(STEP, "seen_before", lambda *_: False)),
    "unknown mail is sent again": ("mailed twice", sends_again),
    "an address is somebody's own": ("gets a broadcast once", everybody_apart),
    "people drop out of the walk": ("nobody is left out|progress is true", skips_some),
    "what left is not counted": (
        "progress is true",
        lambda patch: patch.setattr(counting, "note_message", nothing),
    ),
    "something in a decision is chance": ("a replay decides the same", forgetful),
}
"""What is broken -> the law that must see it, and how it is broken."""


def nothing(*_: Any, **__: Any) -> None:
    """Instead of what should be done."""


@pytest.mark.parametrize("name", BREAKS)
def test_the_watch_sees_it_when(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    law, patch = BREAKS[name]
    patch(monkeypatch)
    with pytest.raises(Broken, match=law):
        for seed in SEEDS:
            world = World(seed, list(plans.FEATURES), RECORDS)
            while world.watch.position < RECORDS and world.true < world.end_at:
                world.step()
            world.settle()
            ends.check(world)
