"""Rounds of the simulator: 20,000 records with `make test`; an hour, or as many records as you say, with `make soak`.

make soak ARGS="--records 1000000"       # from a seed of its own, printed
make soak ARGS="--seed 4711"             # one round again
"""

import random
import time
from collections import Counter
from collections.abc import Iterator

import pytest

from heliograph.decide import PlanErrors, compile_plan
from tests.simulation import ends, plans
from tests.simulation.world import World

ROUND = 20_000
"""Records of one round."""
REPLAYED = 4
"""Of so many rounds of a soak one is replayed from its log, which takes as long as the round."""


def features() -> list[plans.Feature]:
    """Those that compile."""
    return [feature for feature in plans.FEATURES if compiles(feature)]


def compiles(feature: plans.Feature) -> bool:
    try:
        for numbers in range(8):
            compile_plan(plans.document([plans.cart, feature], random.Random(numbers)), 1)
    except PlanErrors as errors:
        print(f"left out: {feature.__name__}: {errors}")  # noqa: T201
        return False
    return True


def play(seed: int, records: int, *, replay: bool = True) -> World:
    """A round; its failures name the seed."""
    world = World(seed, features(), records)
    try:
        while world.watch.position < records and world.true < world.end_at:
            world.step()
        world.settle()
        ends.check(world, replay=replay)
    except BaseException as error:
        error.add_note(f"seed {seed}, at record {world.watch.position}: pytest tests/simulation --seed {seed}")
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
    wanted = wanted or (10**12 if soak else ROUND)
    started, records, sums = time.monotonic(), 0, Counter[str]()
    for number, seed in enumerate(seeds(pytestconfig)):
        world = play(seed, min(ROUND, wanted), replay=not soak or number % REPLAYED == 0)
        records += world.watch.position
        sums += world.watch.checked + world.happened
        if soak:
            with capsys.disabled():
                print(f"seed {seed}: {world.watch.position:,} records, {records:,} so far,"  # noqa: T201
                      f" {time.monotonic() - started:,.0f} s, {dict(sums)}", flush=True)  # fmt: skip
        over = soak and wanted == 10**12 and time.monotonic() - started > 3600
        if records >= wanted or over or pytestconfig.getoption("--seed") is not None:
            break
    print(f"seed {seed}: {dict(sums)}")  # noqa: T201
    assert sums["commit points"] and sums["exits"]
