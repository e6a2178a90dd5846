"""Counters of which there is one for all machines: each keeps to its own pace, and needs a permit besides."""

from collections.abc import Sequence

from heliograph.deliver.rates import Counters, Days, Pace, Rate, Sliding
from heliograph.runtime.sharing import Sharing


class SharedPace(Pace):
    __slots__ = ("_purse",)

    def __init__(self, sharing: Sharing, name: str, rate: Rate) -> None:
        super().__init__(rate)
        self._purse = sharing.purse(name, rate.count, rate.unit_ms)

    def opens(self, now: int) -> int:
        at = super().opens(now)
        return at if at > now else self._purse.opens(now)

    def take(self, now: int) -> None:
        super().take(now)
        self._purse.take()


class SharedSliding(Sliding):
    __slots__ = ("_purse",)

    def __init__(
        self, sharing: Sharing, name: str, limit: int, length_ms: int, counts: Sequence[int], slot: int
    ) -> None:
        super().__init__(limit, length_ms, counts, slot)
        self._purse = sharing.purse(name, limit, length_ms)

    def opens(self, now: int) -> int:
        at, self._purse.limit = super().opens(now), self.limit
        return at if at > now or not self.limit else self._purse.opens(now)

    def take(self, now: int) -> None:
        super().take(now)
        if self.limit:
            self._purse.take()


class SharedDays(Days):
    """``used``: of all machines, as far as this one was told, and its own."""

    __slots__ = ("_purse",)

    def __init__(self, sharing: Sharing, name: str, limit: int, day: int, used: int) -> None:
        super().__init__(limit, day, used)
        self._purse = sharing.day_purse(name, self)

    def opens(self, now: int, *, patient: bool = False) -> int:
        at = super().opens(now, patient=patient)
        return at if at > now or not self.limit else self._purse.opens(now)

    def take(self, now: int) -> None:
        super().take(now)
        self._purse.take()

    def give_back(self, day: int) -> None:
        super().give_back(day)
        self._purse.give_back(day)


class SharedCounters(Counters):
    """Those of all machines."""

    def __init__(self, sharing: Sharing) -> None:
        self._sharing = sharing

    def pace(self, name: str, rate: Rate) -> Pace:
        return SharedPace(self._sharing, name, rate)

    def sliding(self, name: str, limit: int, length_ms: int, counts: Sequence[int] = (), slot: int = 0) -> Sliding:
        return SharedSliding(self._sharing, name, limit, length_ms, counts, slot)

    def days(self, name: str, limit: int, day: int = 0, used: int = 0) -> Days:
        return SharedDays(self._sharing, name, limit, day, used)
