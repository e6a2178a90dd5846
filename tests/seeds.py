"""One seed a run, from which random tests begin: told at the end, and HELIOGRAPH_TEST_SEED gives it again."""

import os
import random

VARIABLE = "HELIOGRAPH_TEST_SEED"


def draw() -> None:
    """Once a run, before any test is collected: processes that share its tests have to name them alike."""
    os.environ.setdefault(VARIABLE, str(random.randrange(1, 10**6)))


def seeds(count: int) -> list[int]:
    chance = random.Random(int(os.environ[VARIABLE]))
    return [chance.randrange(2**32) for _ in range(count)]
