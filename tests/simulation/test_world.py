"""Rounds of the simulator: 20,000 records with `make test`; an hour, or as many records as you say, with `make soak`.

make soak ARGS="--records 1000000"       # from a seed of its own, printed
make soak ARGS="--seed 4711"             # one round again
"""

import contextlib
import random
import time
from collections import Counter
from collections.abc import Iterator

import pytest

from tests.simulation import ends, plans
from tests.simulation.world import World

ROUND = 20_000
"""Records of one round, about: it ends with its season."""
SOAK_S = 3600
REPLAYED = 4
"""Of so many rounds of a soak one is replayed from its log, which takes as long as the round."""


def play(seed: int, records: int, *, replay: bool = True) -> World:
    """A round; its failures name the seed."""
    world = World(seed, list(plans.FEATURES), records)
    try:
        while world.true < world.end_at:
            world.step()
        world.settle()
        ends.check(world, replay=replay)
    except BaseException as error:
        error.add_note(
            f"seed {seed}, at record {world.watch.position}: pytest tests/simulation --seed {seed} --records {records}"
        )
        raise
    return world


def seeds(config: pytest.Config) -> Iterator[int]:
    if (seed := config.getoption("--seed")) is not None:
        yield seed
        return
    while True:
        yield random.randrange(10**9)


def test_whatever_happens_every_law_holds(pytestconfig: pytest.Config, capsys: pytest.CaptureFixture[str]) -> None:
    soak, wanted = pytestconfig.getoption("--soak"), pytestconfig.getoption("--records")
    once = pytestconfig.getoption("--seed") is not None
    started, records, sums = time.monotonic(), 0, Counter[str]()
    for number, seed in enumerate(seeds(pytestconfig)):
        world = play(seed, min(ROUND, wanted or ROUND), replay=not soak or number % REPLAYED == 0)
        records += world.watch.position
        sums += world.watch.checked + world.happened
        passed = time.monotonic() - started
        with capsys.disabled() if soak else contextlib.nullcontext():
            print(f"seed {seed}: {records:,} records in {passed:,.0f} s, {dict(sums)}", flush=True)  # noqa: T201
        if once or (records >= wanted if wanted else not soak or passed > SOAK_S):
            break
    assert sums["commit points"] and sums["exits"]
