"""The parts of the traffic besides receivers: limits of one sender, relays as the settings have them, and how each says
what it waits for."""

from typing import Final, NamedTuple

from msgspec.structs import replace

from heliograph.deliver import rates
from heliograph.deliver.limits import RelayLimits, SenderLimits, Shaping
from heliograph.deliver.rates import OWN, Counters, Rate
from heliograph.deliver.relays import Relay, Ways
from heliograph.deliver.routes import DIRECT, Reach
from heliograph.deliver.shaping import ON_A_CONNECTION, UNBOUND, Towards
from heliograph.deliver.warmup import TIERS, Kept, Tier, Warmup
from heliograph.runtime.lanes import BROADCAST

TURN_MS: Final = 30_000
"""Of machines that share fewer connections than they are."""
BETWEEN_MS: Final = 6_000
"""Of each turn: what was under way to the receiver ends, and clocks may differ."""
AHEAD: Final = 2
"""Messages that a mailer prepares, for each connection, beside those on their way."""


class SenderTraffic:
    """The limits of one sender."""

    __slots__ = ("_counters", "days", "limits", "name", "pace", "warmup")

    def __init__(self, name: str, limits: SenderLimits, counters: Counters = OWN) -> None:
        self.name, self.limits, self._counters = name, limits, counters
        rate = rates.parse(limits.max_message_rate)
        self.pace = None if rate is None else counters.pace(f"sender:{name}", rate)
        self.days = counters.days(f"sender:{name}:day", limits.max_messages_per_day)
        self.warmup = self._begin(None)

    @property
    def limited(self) -> bool:
        return self.pace is not None or bool(self.days.limit) or self.warmup is not None

    def opens(self, rank: int, now: int) -> int:
        patient, at = rank == BROADCAST, now
        if self.pace is not None:
            at = max(at, self.pace.opens(now))
        if self.days.limit:
            at = max(at, self.days.opens(now, patient=patient))
        if self.warmup is not None:
            at = max(at, self.warmup.opens(now, patient=patient))
        return at

    def take(self, now: int) -> int:
        """One goes; the day it counts for."""
        if self.pace is not None:
            self.pace.take(now)
        self.days.take(now)
        if self.warmup is not None:
            self.warmup.take(now)
        return self.days.day

    def give_back(self, day: int) -> None:
        self.days.give_back(day)
        if self.warmup is not None:
            self.warmup.give_back(day)

    def remember(self, kept: Kept | None) -> None:
        """After a restart; without warm-up in the settings what was kept is dropped."""
        self.warmup = self._begin(kept)

    def _begin(self, kept: Kept | None) -> Warmup | None:
        """None when it needs none."""
        limits = self.limits
        if limits.tiers is None:
            return None
        tiers = tuple(Tier(*pair) for pair in limits.tiers) or TIERS
        name = f"sender:{self.name}"
        return Warmup(tiers, limits.bounces, limits.complaints, kept, self._counters, name)

    def why(self) -> str:
        return f"sender {self.name}: {'warm-up' if self.warmup and not self.warmup.warm else 'its limits'}"


def make_relay(name: str, limits: RelayLimits, shaping: Shaping, counters: Counters = OWN) -> Relay:
    """A relay that is the only way out has no bound of its own: there is nobody to keep places for."""
    alone = len(shaping.relays) == 1 or name == DIRECT
    room = UNBOUND if alone else (ON_A_CONNECTION + AHEAD) * limits.connections
    rate = rates.parse(limits.max_message_rate)
    per_day = limits.max_messages_per_day
    return Relay(name, weight=limits.weight, rate=rate, per_day=per_day, room=room, counters=counters)


def part_of(rate: Rate | None, machines: int) -> Rate | None:
    """What each of so many machines may send of a rate."""
    if rate is None or machines == 1:
        return rate
    if rate.count >= machines:
        return Rate(rate.count // machines, rate.unit_ms)
    return Rate(1, rate.unit_ms * -(-machines // max(rate.count, 1)))


class Division(NamedTuple):
    """``machines`` share what receivers allow, this one is number ``rank`` of them.  ``turn``: whose it is where there
    are fewer connections than machines, None between two turns."""

    machines: int = 1
    rank: int = 0
    turn: int | None = 0

    def connections(self, limit: int) -> int:
        """This one's part of so many: all parts together are never more."""
        if limit >= self.machines:
            return -(-(limit - self.rank) // self.machines)
        if self.turn is None:
            return 0
        return int((self.rank - self.turn * limit) % self.machines < limit)

    def reach(self, of_all: Reach) -> Reach:
        """``of_all``: what a mailer may do when there is one machine."""
        mine = self.connections(of_all.connection_limit) or -1
        return replace(
            of_all,
            connection_limit=mine if of_all.connection_limit else 0,
            connections_per_s=of_all.connections_per_s / self.machines,
        )


def division(machines: int, rank: int, now: int) -> Division:
    """``now``: by the wall clock, which machines keep within a second of each other (``heliograph doctor`` looks)."""
    if machines == 1:
        return Division()
    turn, passed = divmod(now, TURN_MS)
    return Division(machines, rank, turn if passed >= BETWEEN_MS else None)


def sender_view(one: SenderTraffic, now: int) -> dict[str, object]:
    """As the API says it."""
    one.days.turn(now)
    if one.warmup is not None:
        one.warmup.turn(now)
    return {
        "max_message_rate": str(one.pace.rate) if one.pace else None,
        "max_messages_per_day": one.days.limit or None,
        "sent_today": one.days.used,
        "warmup": one.warmup.view() if one.warmup else None,
    }


def why_receiver(towards: Towards) -> str:
    """What keeps mail from a receiver."""
    if not towards.most:
        return f"receiver {towards.name}: fewer connections than machines, it is the turn of others"
    if towards.in_flight >= towards.window:
        return f"receiver {towards.name}: {towards.in_flight} messages on their way to it"
    return f"receiver {towards.name}: {towards.why or 'its message rate'}"


def why_ways(ways: Ways) -> str:
    """What keeps mail from these relays."""
    said = next((relay.why for relay in ways.relays if relay.why), "")
    return f"relay {', '.join(relay.name for relay in ways.relays)}: {said or 'its limits'}"
