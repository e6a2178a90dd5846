"""Which relay carries the next message: by weight among those that work.

The choice is smooth weighted round robin (as nginx does it): deterministic, and evenly mixed rather than in runs.
A relay that cannot be reached, or refuses our session whatever the message
(:data:`~heliograph.deliver.replies.SESSION_FAULTS`), is *down*: for a second first, doubling to a minute.  Then one
message at a time goes as a probe, until one is answered.  A relay of weight 0 is for the time when all others are down.
What a relay's account allows (a rate, a number a day) makes it busy, not down: its part goes to the others meanwhile,
never to one of weight 0.
"""

from collections.abc import Sequence
from typing import Final

from heliograph.deliver.rates import NEVER, OWN, Counters, Rate
from heliograph.deliver.shaping import UNBOUND

FIRST_DOWN_MS: Final = 1_000
LONGEST_DOWN_MS: Final = 60_000
"""A relay that restarts is back in seconds; one that is gone is asked once a minute."""


class Relay:
    """``room``: messages that may be on their way through it, so that one that stalls leaves mailers to the others."""

    __slots__ = ("_failures", "days", "down_until", "in_flight", "name", "pace", "room", "shaped", "trying", "weight",
                 "why")  # fmt: skip

    def __init__(
        self, name: str, *, weight: int = 1, rate: Rate | None = None, per_day: int = 0, room: int = UNBOUND,
        counters: Counters = OWN,
    ) -> None:  # fmt: skip
        self.name, self.weight, self.room = name, weight, room
        self.pace = None if rate is None else counters.pace(f"relay:{name}", rate)
        self.days = counters.days(f"relay:{name}:day", per_day)
        self.in_flight = 0
        self.down_until, self._failures, self.trying, self.why = 0, 0, False, ""
        self.shaped = self._always_shaped
        """More than nothing has to be looked at before it is given a message."""

    @property
    def _always_shaped(self) -> bool:
        return self.pace is not None or bool(self.days.limit) or self.room < UNBOUND

    @property
    def works(self) -> bool:
        """Its last message was answered."""
        return not self._failures

    def opens(self, now: int, *, patient: bool) -> int:
        """The instant from which it may be given a message; NEVER as long as one under way has to come back first."""
        if self.in_flight >= self.room or self.trying:
            return NEVER
        at = max(now, self.down_until)
        if self.pace is not None:
            at = max(at, self.pace.opens(now))
        return max(at, self.days.opens(now, patient=patient)) if self.days.limit else at

    def take(self, now: int) -> None:
        """It is given one.  When that comes back, ``in_flight`` is one less and nothing is ``trying``."""
        self.in_flight += 1
        if self.shaped:
            self.trying = not self.works
            if self.pace is not None:
                self.pace.take(now)
            self.days.take(now)

    def answered(self) -> None:
        """It said something about a message: it works."""
        self._failures, self.down_until, self.why = 0, 0, ""
        self.shaped = self._always_shaped

    def failed(self, now: int, why: str) -> None:
        """It cannot be reached, or it refuses our session."""
        self.why, self.shaped = why, True
        if now >= self.down_until:
            self.down_until = now + min(FIRST_DOWN_MS << min(self._failures, 16), LONGEST_DOWN_MS)
            self._failures += 1

    def view(self, now: int) -> dict[str, object]:
        """As the API says it."""
        self.days.turn(now)
        return {
            "works": self.works,
            "down_until": self.down_until or None,
            "reason": self.why or None,
            "weight": self.weight,
            "in_flight": self.in_flight,
            "max_message_rate": str(self.pace.rate) if self.pace else None,
            "max_messages_per_day": self.days.limit or None,
            "sent_today": self.days.used if self.days.limit else None,
        }


class Ways:
    """The relays that may carry some sender's mail, at least one."""

    __slots__ = ("_credit", "only", "relays")

    def __init__(self, relays: Sequence[Relay]) -> None:
        self.relays = tuple(relays)
        self.only = self.relays[0] if len(self.relays) == 1 else None
        self._credit = dict.fromkeys(self.relays, 0)

    @property
    def shaped(self) -> bool:
        return self.only is None or self.only.shaped

    def opens(self, now: int, *, patient: bool = False) -> int:
        """As of :meth:`Relay.opens`, of the first that may."""
        return min(relay.opens(now, patient=patient) for relay in self._candidates())

    def choose(self, now: int, *, patient: bool = False) -> Relay:
        """One of those that are open now: there has to be one.  A message more is on its way there."""
        if self.only is not None:
            self.only.take(now)
            return self.only
        open_ = [relay for relay in self._candidates() if relay.opens(now, patient=patient) <= now]
        chosen = self._turn_of(open_)
        chosen.take(now)
        return chosen

    def _candidates(self) -> Sequence[Relay]:
        """Those with a weight as long as one of them works; else all: a spare one takes over, the others are probed."""
        weighty = [relay for relay in self.relays if relay.weight]
        if any(relay.works for relay in weighty):
            return weighty
        return self.relays

    def _turn_of(self, open_: Sequence[Relay]) -> Relay:
        credit = self._credit
        for relay in open_:
            credit[relay] += relay.weight
        best = max(open_, key=lambda relay: credit[relay])
        credit[best] -= sum(relay.weight for relay in open_)
        return best

    def elsewhere(self, failed: Relay) -> bool:
        """Another relay works: what this one could not take goes there at once."""
        return any(relay.works for relay in self.relays if relay is not failed)
