"""What of the traffic survives a restart: two small values in the store's meta.

``traffic:counters``: days, warm-ups and long paces of senders and relays, written with every commit that passes the
commit point while there are such limits.  ``traffic:receivers``: suspensions, slow-downs and back-offs, written when
one changes.

Where machines share the store each has its own (``traffic:counters:MACHINE``), so nobody writes over another's.
Whoever starts takes over what all of them knew, the strictest of each, and writes that as its own; then those of the
dead may go.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

import msgspec

from heliograph.deliver.rates import Days, Pace
from heliograph.deliver.warmup import Kept
from heliograph.ports import Claim, Store

if TYPE_CHECKING:
    from heliograph.runtime.traffic import Traffic

COUNTERS: Final = "traffic:counters"
RECEIVERS: Final = "traffic:receivers"
CLAIMS: Final = "traffic:claims:"
"""In front of a machine's name: what it has of the day, let go or held, while machines share their limits."""
GRACE_MS: Final = 600_000
"""So long a row of somebody without partitions stays: who has just started has none, either."""
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
    at: int = 0


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


def of_the_dead(store: Store, claims: Iterable[Claim], machine: str, now: int) -> list[str]:
    """Values of dead machines: for who took over what they say, a moment ago."""
    living, gone = {machine, *(claim.owner for claim in claims)}, list[str]()
    for prefix, kind in ((f"{COUNTERS}:", Counters), (f"{RECEIVERS}:", Learned)):
        dead = (name for name in store.metas(prefix) if name.removeprefix(prefix) not in living)
        gone += [name for name in dead if _at(store.meta(name), kind) <= now - GRACE_MS]
    return gone


def of_the_past(store: Store, day: int) -> list[str]:
    """What machines had of days before yesterday.  ``day``: the shared clock's, 0 when it is not known."""
    return [name for name in store.metas(CLAIMS) if _day(store.meta(name)) < day - 1]


def _at(stored: bytes | None, kind: type[Counters] | type[Learned]) -> int:
    return 0 if stored is None else msgspec.msgpack.decode(stored, type=kind).at


def _day(stored: bytes | None) -> int:
    return 0 if stored is None else msgspec.msgpack.decode(stored, type=Claims).day


Read = Callable[[str], Sequence[bytes]]
"""Name -> what is there under it, of all who wrote any."""


def kept_in(store: Store, *, shared: bool) -> Read:
    """``shared``: by many machines."""

    def read(name: str) -> list[bytes]:
        names = [name, *(store.metas(f"{name}:") if shared else ())]
        return [value for one in names if (value := store.meta(one)) is not None]

    return read


def dump(traffic: "Traffic", names: Iterable[str], now: int) -> dict[str, bytes]:
    """The values of these names."""
    makers: dict[str, Callable[[], msgspec.Struct]] = {
        COUNTERS: lambda: _counters(traffic, now), RECEIVERS: lambda: _receivers(traffic, now)
    }  # fmt: skip
    return {name: msgspec.msgpack.encode(makers[name]()) for name in names}


def _counters(traffic: "Traffic", now: int) -> Counters:
    senders, relays, _ = traffic.kept_parts()
    return Counters(
        {name: _count(one.days, one.pace, one.warmup.kept() if one.warmup else None) for name, one in senders.items()},
        {name: _count(relay.days, relay.pace) for name, relay in relays.items()},
        now,
    )


def _count(days: Days, pace: Pace | None, warmup: Kept | None = None) -> Count:
    return Count(days.day, days.used, pace.next_ms if pace else 0, warmup)


def _receivers(traffic: "Traffic", now: int) -> Learned:
    _, _, towards = traffic.kept_parts()
    kept = {name: found for name, (one, _) in towards.items() if one.shaped and (found := one.remembered(now))}
    longest = sorted(kept, key=lambda name: -int(str(kept[name][0])))[:MOST]
    return Learned(now, {name: kept[name] for name in longest})


def load(traffic: "Traffic", read: Read) -> None:
    """Put back what was kept; names that the settings no longer know are dropped."""
    senders, relays, _ = traffic.kept_parts()
    rows = [msgspec.msgpack.decode(stored, type=Counters) for stored in read(COUNTERS)]
    for name, count in _merged(row.senders for row in rows).items():
        if name in senders:
            one = senders[name]
            _restore(one.days, one.pace, count)
            one.remember(count.warmup)
    for name, count in _merged(row.relays for row in rows).items():
        if name in relays:
            _restore(relays[name].days, relays[name].pace, count)
    learned = [msgspec.msgpack.decode(stored, type=Learned) for stored in read(RECEIVERS)]
    for name, (kept, at) in _strictest(learned).items():
        traffic.receiver(name).remember(kept, at)


def _merged(rows: Iterable[dict[str, Count]]) -> dict[str, Count]:
    """The strictest of what machines counted, and the warm-up that got furthest: they judge it by the same figures, but
    one that did not mail, or was not there, has not turned every day."""
    found: dict[str, list[Count]] = defaultdict(list)
    for row in rows:
        for name, count in row.items():
            found[name].append(count)
    return {name: _strictest_count(counts) for name, counts in found.items()}


def _strictest_count(counts: Sequence[Count]) -> Count:
    latest = max(counts, key=lambda one: (one.day, one.used))
    warmups = [one.warmup for one in counts if one.warmup is not None]
    return Count(
        latest.day, latest.used, max(one.next_ms for one in counts), max(warmups, key=_reached, default=None)
    )  # fmt: skip


def _reached(warmup: Kept) -> tuple[int, int]:
    return (warmup.diary[-1].day, warmup.diary[-1].sent) if warmup.diary else (0, 0)


def _strictest(rows: Iterable[Learned]) -> dict[str, tuple[list[Any], int]]:
    """By receiver what was learned of it, and when that was written: the longest suspension, else the latest news."""
    found: dict[str, tuple[list[Any], int]] = {}
    for row in sorted(rows, key=lambda row: row.at):
        for name, kept in row.receivers.items():
            if name not in found or kept[0] >= found[name][0][0]:
                found[name] = (kept, row.at)
    return found


def _restore(days: Days, pace: Pace | None, count: Count) -> None:
    days.day, days.used = count.day, count.used
    if pace is not None:
        pace.resume(count.next_ms)
