"""The interpreter of the engine's process, for benchmarks that run its parts in their own."""

import contextlib
import gc
import sys
from collections.abc import Iterator

from heliograph.bootstrap import tune_interpreter


@contextlib.contextmanager
def as_engine() -> Iterator[None]:
    """As ``heliograph serve`` sets it, and back.  With Python's own settings the collector of garbage walks through all
    states again and again: a third of the time of a step, and pauses of tenths of a second."""
    thresholds, interval = gc.get_threshold(), sys.getswitchinterval()
    gc.collect()
    tune_interpreter()
    try:
        yield
    finally:
        gc.unfreeze()
        gc.set_threshold(*thresholds)
        sys.setswitchinterval(interval)
