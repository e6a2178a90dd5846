"""The circuit breaker: when does a journey or broadcast do so badly that its mail is better held?

Two sliding windows for each, of fixed buckets.  A mail counts once, in the bucket of the instant at which it was sent
or given up, and whatever comes back about it later counts there too: a morning's complaints are never divided by the
evening's few mails.

- *bounced* and *failed* are judged over ``window``: the receivers' word comes with the mail, or minutes behind it;
- *complained* over :data:`SLOW` windows: complaints take hours.

It opens when, of at least ``least`` mails, at least :data:`LEAST_BAD` and more than the share allowed did badly, **and
no single receiver is the reason**: without the worst one the share is still too high, or that one takes at least half
of the mail, so that nothing much would go on without it.  One receiver among many that refuses everything is the
business of shaping (it is suspended by its replies); a healthy campaign does not stop for it, somebody is told.

What counts as bounced is about the address, as failed about us or the way; a 4yz is neither, it is tried again, but one
that spends all its attempts failed, and so did one whose connection was lost behind the dot.
"""

from collections.abc import Mapping
from typing import Final, Literal, TypeAlias

import msgspec

from heliograph.deliver.replies import SESSION_FAULTS, parse

Kind: TypeAlias = Literal["sent", "bounced", "failed", "complained"]

BUCKETS: Final = 12
"""Of the window: it is exact to a twelfth."""
SLOW: Final = 24
"""Windows, each a bucket, over which complaints are judged: a day, where the window is an hour."""
LEAST_BAD: Final = 5
"""Below so many nothing is judged: one complaint among 100 mails is 1 %, and chance."""
RECEIVERS: Final = 16
"""Counted apart in one bucket, the others together.  Who takes half of the mail, or makes most of the trouble, is
among the first that turn up."""
WATCHED: Final = 1_000
"""Journeys and broadcasts at once; one more takes the place of the one that was idle for longest.  With 16 receivers in
every bucket they are 73 MB, with the usual three 18."""
PATIENCE: Final = 5
"""Attempts of one message that end in a refused session before it counts as failed: about four minutes, in which a
relay's log-in may be out of order without any fault of ours."""
OTHERS: Final = ""

_SENT, _BOUNCED, _FAILED, _COMPLAINED = range(4)
_TROUBLES: Final[tuple[Kind, ...]] = ("bounced", "failed", "complained")
_COLUMN: Final[Mapping[str, int]] = {"sent": _SENT, "bounced": _BOUNCED, "failed": _FAILED, "complained": _COMPLAINED}


class Rules(msgspec.Struct, frozen=True):
    """``[breaker]``.  ``window_ms``; shares between 0 and 1, 0: not judged."""

    enabled: bool = True
    window_ms: int = 3_600_000
    least: int = 100
    bounces: float = 0.05
    failures: float = 0.25
    complaints: float = 0.003


class Finding(msgspec.Struct, frozen=True):
    """``opens``: the mail of this journey is to be held; else one receiver alone does badly, which is worth telling.
    ``reason``: a sentence with the figures."""

    journey: str
    kind: Kind
    receiver: str
    opens: bool
    reason: str


def kind_of_report(kind: str, reply: str, attempt: int, *, last: bool = False, condemned: bool = False) -> Kind | None:
    """What a mailer's report counts as, None when it does not count.  ``reply``: the receiver's last line; ``attempt``:
    how many tries there were before; ``last``: there will be no other.

    A bounce about the address is one: it is dead (``condemned``), full or disabled (5.2.x).  Any other is a failure of
    ours: policy about the sender, content, routing.  So is a session that is refused (wrong settings) as often as
    :data:`PATIENCE` says: nothing is lost by that, the message waits, but nobody may have noticed.
    """
    if kind == "bounced":
        return "bounced" if condemned or parse(reply).enhanced.startswith("5.2.") else "failed"
    if kind == "retry":
        refused = attempt + 1 == PATIENCE and parse(reply).code in SESSION_FAULTS
        return "failed" if last or refused else None
    return _OUTCOMES.get(kind)


_OUTCOMES: Final[Mapping[str, Kind]] = {"sent": "sent", "unknown": "failed"}

Counts: TypeAlias = list[int]
"""Mails, and of those bounced, failed, complained about."""


class Ring:
    """A sliding window: counts by receiver, in buckets of ``width`` ms, and their sums."""

    __slots__ = ("_buckets", "_newest", "_width", "all", "sums")

    def __init__(self, width: int, buckets: int) -> None:
        self._width = width
        self._buckets: list[dict[str, Counts]] = [{} for _ in range(buckets)]
        self._newest = 0
        self.sums: dict[str, Counts] = {}
        self.all: Counts = [0, 0, 0, 0]

    def move(self, now: int) -> None:
        """What has left the window is subtracted."""
        newest, size = now // self._width, len(self._buckets)
        if newest <= self._newest:
            return
        for number in range(max(self._newest + 1, newest - size + 1), newest + 1):
            bucket = self._buckets[number % size]
            for receiver, counts in bucket.items():
                self._subtract(receiver, counts)
            bucket.clear()
        self._newest = newest

    def _subtract(self, receiver: str, counts: Counts) -> None:
        sums = self.sums[receiver]
        for column, count in enumerate(counts):
            sums[column] -= count
            self.all[column] -= count
        if not sums[_SENT]:
            del self.sums[receiver]

    def mails(self, receiver: str, trouble: int, count: int, at: int) -> None:
        """So many mails, and the column of their trouble (0: none)."""
        if (bucket := self._bucket(at)) is None:
            return
        if receiver not in bucket and len(bucket) >= RECEIVERS:
            receiver = OTHERS
        counts = bucket.setdefault(receiver, [0, 0, 0, 0])
        sums = self.sums.setdefault(receiver, [0, 0, 0, 0])
        for column in (_SENT, trouble) if trouble else (_SENT,):
            counts[column] += count
            sums[column] += count
            self.all[column] += count

    def trouble(self, receiver: str, column: int, at: int) -> None:
        """Trouble with a mail that was counted when it was sent; nothing where none was."""
        bucket = self._bucket(at) or {}
        name = receiver if receiver in bucket else OTHERS
        if name in bucket:
            for counts in (bucket[name], self.sums[name], self.all):
                counts[column] += 1

    def _bucket(self, at: int) -> dict[str, Counts] | None:
        """None outside the window."""
        number, size = at // self._width, len(self._buckets)
        return self._buckets[number % size] if self._newest - size < number <= self._newest else None

    def worst(self, column: int) -> tuple[str, Counts]:
        """The receiver with most of this trouble."""
        named = ((name, counts) for name, counts in self.sums.items() if name != OTHERS)
        return max(named, key=lambda one: one[1][column], default=(OTHERS, [0, 0, 0, 0]))


class Watched:
    """One journey.  ``since``: what was sent before it (ms) does not count."""

    __slots__ = ("fast", "seen_at", "since", "slow", "told")

    def __init__(self, window_ms: int, since: int) -> None:
        self.fast, self.slow = Ring(-(-window_ms // BUCKETS), BUCKETS), Ring(window_ms, SLOW)
        self.since = self.seen_at = since
        self.told: dict[tuple[str, str], int] = {}
        """(kind, receiver) -> when it was last told that this receiver alone does badly."""


class Breaker:
    """All journeys.  Nothing is kept over a restart: whatever it judges was sent since ``now``, so it takes ``least``
    mails more, once, to notice what it had noticed."""

    def __init__(self, rules: Rules, now: int) -> None:
        self.rules = rules
        self._since = now
        self._watched: dict[str, Watched] = {}

    def forget(self, journey: str, now: int) -> None:
        """Somebody let its mail go: only what is sent from now on is evidence."""
        if journey in self._watched or len(self._watched) < WATCHED:
            self._watched[journey] = Watched(self.rules.window_ms, now)

    def mails(self, journey: str, receiver: str, kind: Kind, count: int, now: int) -> Finding | None:
        """So many mails came to this just now; what there is to say, if there is.  ``now``: ms, like all instants."""
        watched, column = self._of(journey, now), _COLUMN[kind]
        watched.fast.mails(receiver, column, count, now)
        watched.slow.mails(receiver, column, count, now)
        enough = 0 <= watched.fast.all[_SENT] - self.rules.least < count
        kinds = _TROUBLES if enough else (kind,) if column else ()
        found = (self._judge(journey, watched, one, now) for one in kinds)
        return next((one for one in found if one is not None), None)

    def trouble(self, journey: str, receiver: str, kind: Kind, sent_at: int, now: int) -> Finding | None:
        """Something came back about a mail that was counted when it was sent."""
        watched, column = self._of(journey, now), _COLUMN[kind]
        if sent_at < watched.since:
            return None
        watched.fast.trouble(receiver, column, sent_at)
        watched.slow.trouble(receiver, column, sent_at)
        return self._judge(journey, watched, kind, now)

    def _of(self, journey: str, now: int) -> Watched:
        watched = self._watched.get(journey) or self._begin(journey)
        watched.seen_at = now
        watched.fast.move(now)
        watched.slow.move(now)
        return watched

    def _begin(self, journey: str) -> Watched:
        if len(self._watched) >= WATCHED:
            idlest = min(self._watched, key=lambda name: self._watched[name].seen_at)
            del self._watched[idlest]
        watched = self._watched[journey] = Watched(self.rules.window_ms, self._since)
        return watched

    def _judge(self, journey: str, watched: Watched, kind: Kind, now: int) -> Finding | None:
        rules, column = self.rules, _COLUMN[kind]
        limit = {_BOUNCED: rules.bounces, _FAILED: rules.failures, _COMPLAINED: rules.complaints}[column]
        ring = watched.slow if column == _COMPLAINED else watched.fast
        mails, bad = ring.all[_SENT], ring.all[column]
        if not limit or mails < rules.least or bad < LEAST_BAD or bad <= limit * mails:
            return None
        name, worst = ring.worst(column)
        alone = bad - worst[column] <= limit * (mails - worst[_SENT])
        opens = not alone or 2 * worst[_SENT] >= mails
        if not opens and not self._is_news(watched, kind, name, now):
            return None
        reason = _sentence(kind, mails, bad, limit, rules.window_ms, name, worst[column])
        return Finding(journey, kind, name, opens, reason)

    def _is_news(self, watched: Watched, kind: Kind, receiver: str, now: int) -> bool:
        """Told once a window."""
        last = watched.told.get((kind, receiver))
        if last is not None and now - last < self.rules.window_ms:
            return False
        if len(watched.told) >= RECEIVERS:
            watched.told.clear()
        watched.told[kind, receiver] = now
        return True


def _sentence(kind: Kind, mails: int, bad: int, limit: float, window_ms: int, receiver: str, there: int) -> str:
    what, span, look = _WORDS[kind]
    share, where = f"{100 * bad / mails:.1f} %", f"{there} of {bad} at {receiver}" if receiver else "nowhere above all"
    return (
        f"{share} of the last {mails:,} mails {what} within {_duration(span * window_ms)} (limit {100 * limit:g} %), "
        f"{where}: look at {look}"
    )


_WORDS: Final[Mapping[str, tuple[str, int, str]]] = {
    "bounced": ("bounced", 1, "`heliograph messages --status bounced` and at where these addresses come from"),
    "failed": (
        "were refused or lost",
        1,
        "the reasons in `heliograph messages --status bounced`",
    ),
    "complained": ("brought complaints", SLOW, "who gets this mail, and whether they asked for it"),
}


def _duration(ms: int) -> str:
    """ISO-8601, as settings say it."""
    for unit, mark in ((86_400_000, "P{}D"), (3_600_000, "PT{}H"), (60_000, "PT{}M")):
        if ms % unit == 0:
            return mark.format(ms // unit)
    return f"PT{ms / 1000:g}S"
