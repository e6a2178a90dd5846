"""The only place where the present is read: ms UTC, never backwards within a process."""

import time


class SystemClock:
    """The machine's clock; a step back holds it still until the world has caught up."""

    def __init__(self) -> None:
        self._last = 0

    def now(self) -> int:
        self._last = max(self._last, time.time_ns() // 1_000_000)
        return self._last


class ManualClock:
    """A clock that stands where it was put, for tests and simulations."""

    def __init__(self, at: int = 0) -> None:
        self.at = at

    def now(self) -> int:
        return self.at

    def advance(self, ms: int) -> int:
        self.at += ms
        return self.at
