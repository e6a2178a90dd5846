"""What of the traffic survives a restart: two small values in the store's meta.

``traffic:counters``: days, warm-ups and long paces of senders and relays, written with every commit that passes the
commit point while there are such limits.  ``traffic:receivers``: suspensions, slow-downs and back-offs, written when
one changes.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Final

import msgspec

from heliograph.deliver.rates import Days, Pace
from heliograph.deliver.warmup import Kept

if TYPE_CHECKING:
    from heliograph.runtime.traffic import Traffic

COUNTERS: Final = "traffic:counters"
RECEIVERS: Final = "traffic:receivers"
CLAIMS: Final = "traffic:claims:"
"""In front of a machine's name: what it has of the day, let go or held, while machines share their limits."""
MOST: Final = 1_000
"""Receivers whose state is kept, those suspended for longest first: some 100 KB."""


class Count(msgspec.Struct, array_like=True):
    """``day``, ``used``: of :class:`Days`; ``next_ms``: of a :class:`Pace`."""

    day: int = 0
    used: int = 0
    next_ms: int = 0
    warmup: Kept | None = None


class Counters(msgspec.Struct, array_like=True):
    senders: dict[str, Count] = {}
    relays: dict[str, Count] = {}


class Learned(msgspec.Struct, array_like=True):
    """By receiver: :meth:`heliograph.deliver.shaping.Towards.remembered`."""

    at: int
    receivers: dict[str, list[Any]] = {}


class Claims(msgspec.Struct, array_like=True):
    day: int
    names: dict[str, int]


def dump_claims(machine: str, day: int, names: dict[str, int]) -> dict[str, bytes]:
    return {CLAIMS + machine: msgspec.msgpack.encode(Claims(day, names))}


def load_claims(names: Iterable[str], read: Callable[[str], bytes | None], day: int) -> Iterator[tuple[str, str, int]]:
    """(name, machine, what it had) of this day, of every life of every machine."""
    for name in names:
        if name.startswith(CLAIMS) and (stored := read(name)):
            claims = msgspec.msgpack.decode(stored, type=Claims)
            if claims.day == day:
                yield from ((whose, name.removeprefix(CLAIMS), count) for whose, count in claims.names.items())


def dump(traffic: "Traffic", names: Iterable[str], now: int) -> dict[str, bytes]:
    """The values of these names."""
    makers: dict[str, Callable[[], msgspec.Struct]] = {
        COUNTERS: lambda: _counters(traffic), RECEIVERS: lambda: _receivers(traffic, now)
    }  # fmt: skip
    return {name: msgspec.msgpack.encode(makers[name]()) for name in names}


def _counters(traffic: "Traffic") -> Counters:
    senders, relays, _ = traffic.kept_parts()
    return Counters(
        {name: _count(one.days, one.pace, one.warmup.kept() if one.warmup else None) for name, one in senders.items()},
        {name: _count(relay.days, relay.pace) for name, relay in relays.items()},
    )


def _count(days: Days, pace: Pace | None, warmup: Kept | None = None) -> Count:
    return Count(days.day, days.used, pace.next_ms if pace else 0, warmup)


def _receivers(traffic: "Traffic", now: int) -> Learned:
    _, _, towards = traffic.kept_parts()
    kept = {name: found for name, (one, _) in towards.items() if one.shaped and (found := one.remembered(now))}
    longest = sorted(kept, key=lambda name: -int(str(kept[name][0])))[:MOST]
    return Learned(now, {name: kept[name] for name in longest})


def load(traffic: "Traffic", read: Callable[[str], bytes | None]) -> None:
    """Put back what was kept; names that the settings no longer know are dropped."""
    senders, relays, _ = traffic.kept_parts()
    if stored := read(COUNTERS):
        counters = msgspec.msgpack.decode(stored, type=Counters)
        for name, count in counters.senders.items():
            if name in senders:
                one = senders[name]
                _restore(one.days, one.pace, count)
                one.remember(count.warmup)
        for name, count in counters.relays.items():
            if name in relays:
                _restore(relays[name].days, relays[name].pace, count)
    if stored := read(RECEIVERS):
        learned = msgspec.msgpack.decode(stored, type=Learned)
        for name, kept in learned.receivers.items():
            traffic.receiver(name).remember(kept, learned.at)


def _restore(days: Days, pace: Pace | None, count: Count) -> None:
    days.day, days.used = count.day, count.used
    if pace is not None:
        pace.resume(count.next_ms)
