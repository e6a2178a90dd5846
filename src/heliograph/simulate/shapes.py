"""When the n-th call is due: open-loop arrival times in seconds from the start.

``steady``: the rate throughout.  ``spike``: the rate, but five times as much in the middle tenth.  ``ramp``: from
nothing to twice the rate.  Arrivals are a Poisson process of that rate: real traffic has no metronome.
"""

import json
import random
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

Rate = Callable[[float], float]
"""From the share of the duration that has passed (0..1) to a factor of the nominal rate."""

SHAPES: dict[str, Rate] = {
    "steady": lambda _: 1.0,
    "spike": lambda passed: 5.0 if 0.45 <= passed < 0.55 else 1.0,
    "ramp": lambda passed: 2.0 * passed,
}
HIGHEST = {"steady": 1.0, "spike": 5.0, "ramp": 2.0}


def arrivals(shape: str, rate: float, duration_s: float, seed: int) -> Iterator[float]:
    """Due times of a Poisson process thinned to the shape (Lewis and Shedler, 1979)."""
    draw = random.Random(seed ^ 0x5EED)
    factor, peak = SHAPES[shape], HIGHEST[shape] * rate
    now = 0.0
    while (now := now + draw.expovariate(peak)) < duration_s:
        if draw.random() * HIGHEST[shape] < factor(now / duration_s):
            yield now


def recorded(path: Path) -> Iterator[tuple[float, dict[str, Any]]]:
    """Calls of a JSON-lines file, each due as long after the first as their ``timestamp`` says."""
    first: datetime | None = None
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                call = json.loads(line)
                at = datetime.fromisoformat(call["timestamp"])
            except (ValueError, KeyError, TypeError) as error:
                raise ValueError(f"{path}:{number}: not a call with an RFC 3339 timestamp ({error})") from error
            first = first or at
            yield max(0.0, (at - first).total_seconds()), {k: v for k, v in call.items() if k != "timestamp"}
