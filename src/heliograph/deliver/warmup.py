"""A new sender's limits grow day by day: warm-up.

Receivers trust what they know, so a sender that nobody knows begins with a hundred mails a day.  The state is a *tier*
(a limit an hour and a limit a day, :data:`TIERS`) and a diary of the last days.  At the first look into a new day (UTC)
each day since the last one is judged:

- *demoted* by one tier, if of a day's mails more than :attr:`Warmup.bounces` bounced, or of the last week's more than
  :attr:`Warmup.complaints` were complained about and it brought some of those complaints (they come days after the
  mail, so one day's mails cannot tell; a bad week demotes once for each day that adds to it);
  one bounce or one complaint alone is chance and never demotes;
- *promoted* by one tier, if both shares are below, and the day used at least half of its limit (:data:`USED`): a
  sender that sends ten mails a day has shown nothing about ten thousand;
- else it stays.

Beyond the last tier there is no limit: the sender is warm.  A warm sender goes on being judged and may fall back.
"""

from collections.abc import Sequence
from typing import Final

import msgspec

from heliograph.deliver.rates import DAY, NEVER, OWN, Counters

HOUR: Final = 3_600_000


class Tier(msgspec.Struct, frozen=True):
    """0: no limit."""

    per_hour: int
    per_day: int


TIERS: Final = tuple(
    Tier(per_hour, per_day)
    for per_hour, per_day in (
        (50, 100), (100, 250), (200, 500), (400, 1_000), (750, 2_000), (1_500, 4_000), (2_500, 8_000), (5_000, 15_000),
        (8_000, 30_000), (15_000, 50_000), (25_000, 100_000), (50_000, 200_000), (75_000, 350_000), (120_000, 500_000),
        (160_000, 750_000), (200_000, 1_000_000),
    )
)  # fmt: skip
"""From 50 an hour and 100 a day to 200,000 an hour and a million a day, about doubling: sixteen good days.  Published
schedules take two to six weeks to such numbers."""

USED: Final = 0.5
"""Share of a day's limit that a promotion asks for."""
ALONE: Final = 2
"""So many bounces or complaints, at least, demote."""
TALLIED: Final = ("sent", "bounced", "complained")
WEEK: Final = 7
DIARY: Final = 31
"""Days kept: complaints may come late, and the console shows a month."""


class Day(msgspec.Struct, array_like=True):
    """What happened on one day (UTC, counted from 1970).  ``fate``: what judging it did: promoted, demoted, held or
    ""; ``tier``: in which it was sent."""

    day: int
    tier: int
    sent: int = 0
    bounced: int = 0
    complained: int = 0
    fate: str = ""


class Kept(msgspec.Struct, array_like=True):
    """What a restart must not forget."""

    tier: int = 0
    diary: list[Day] = []
    hour: tuple[list[int], int] = ([], 0)
    used: int = 0


class Warmup:
    """One sender's.  ``bounces``, ``complaints``: shares, 0.02 for 2 %."""

    def __init__(
        self,
        tiers: Sequence[Tier] = TIERS,
        bounces: float = 0.02,
        complaints: float = 0.001,
        kept: Kept | None = None,
        counters: Counters = OWN,
        name: str = "",
    ) -> None:
        kept = kept or Kept()
        self.tiers, self.bounces, self.complaints = tuple(tiers), bounces, complaints
        self.tier = min(kept.tier, len(self.tiers))
        self.diary = kept.diary
        day = self.diary[-1].day if self.diary else 0
        self._days = counters.days(f"{name}:warmup:day", 0, day, kept.used)
        self._hour = counters.sliding(f"{name}:warmup:hour", 0, HOUR, *kept.hour)
        self._tallies = {kind: counters.days(f"{name}:warmup:{kind}", NEVER) for kind in TALLIED}
        """Of this day, also what other machines count."""
        self._limit()

    # -- may it go --

    def opens(self, now: int, *, patient: bool = False) -> int:
        """The instant from which the next message may go; ``patient``: for a broadcast (:data:`rates.RESERVE`)."""
        self.turn(now)
        at = self._days.opens(now, patient=patient)
        return max(at, self._hour.opens(now)) if self._hour.limit else at

    def take(self, now: int) -> int:
        """One goes; the day it counts for.  The first one begins the warm-up."""
        self.turn(now)
        if not self.diary:
            self.diary.append(Day(now // DAY, self.tier))
        self._days.take(now)
        self._hour.take(now)
        return self._days.day

    def give_back(self, day: int) -> None:
        """One that was taken on this day did not go."""
        self._days.give_back(day)
        self._hour.give_back()

    # -- what became of it --

    def sent(self, now: int) -> None:
        """A receiver or relay took it, or refused it for good: that was mail."""
        self.count("sent", now)

    def bounced(self, now: int) -> None:
        self.count("bounced", now)

    def complained(self, now: int) -> None:
        self.count("complained", now)

    def elsewhere(self, kind: str, count: int, now: int) -> None:
        """What another process counted, which the shared place may know, too."""
        self.turn(now)
        day = self._today(now)
        setattr(day, kind, getattr(day, kind) + count)

    def count(self, kind: str, now: int) -> None:
        """One more of these (:data:`TALLIED`)."""
        self.turn(now)
        day = self._today(now)
        setattr(day, kind, getattr(day, kind) + 1)
        self._tallies[kind].take(now)

    def _today(self, now: int) -> Day:
        if not self.diary:
            self.diary.append(Day(now // DAY, self.tier))
        return self.diary[-1]

    # -- judging --

    def turn(self, now: int) -> list[Day]:
        """Judge the days that have ended; those that were.  A clock that was set back ends none."""
        if not self.diary:
            return []
        day = self.diary[-1]
        for kind, tally in self._tallies.items():
            if tally.day == day.day and tally.used > getattr(day, kind):
                setattr(day, kind, tally.used)
        if now // DAY <= day.day:
            return []
        day.fate = self._judge(day)
        self.tier += {"promoted": 1, "demoted": -1}.get(day.fate, 0)
        self.diary.append(Day(now // DAY, self.tier))  # days without mail show nothing and are left out
        del self.diary[:-DIARY]
        self._days.turn(now)
        self._limit()
        return [day]

    def _judge(self, day: Day) -> str:
        bounced = day.bounced / day.sent if day.sent else 0.0
        week = [one for one in self.diary if one.day > day.day - WEEK]
        sent, complained = sum(one.sent for one in week), sum(one.complained for one in week)
        complaints = complained / sent if sent else 0.0
        bad_bounces = bounced > self.bounces and day.bounced >= ALONE
        bad_complaints = day.complained and complaints > self.complaints and complained >= ALONE
        if self.tier > 0 and (bad_bounces or bad_complaints):
            return "demoted"
        good = bounced < self.bounces and complaints < self.complaints
        if self.tier < len(self.tiers) and good and self._used(day):
            return "promoted"
        return "held"

    def _used(self, day: Day) -> bool:
        limit = self.tiers[self.tier].per_day or 24 * self.tiers[self.tier].per_hour
        return day.sent >= USED * limit if limit else day.sent > 0

    def _limit(self) -> None:
        tier = self.tiers[self.tier] if self.tier < len(self.tiers) else Tier(0, 0)
        self._days.limit, self._hour.limit = tier.per_day, tier.per_hour

    # -- to be kept and looked at --

    @property
    def warm(self) -> bool:
        return self.tier >= len(self.tiers)

    def kept(self) -> Kept:
        return Kept(self.tier, self.diary, self._hour.dump(), self._days.used)

    def view(self) -> dict[str, object]:
        """As the API says it: tier counted from 1, days newest last."""
        tier = None if self.warm else self.tiers[self.tier]
        return {
            "warm": self.warm,
            "tier": min(self.tier + 1, len(self.tiers)),
            "tiers": len(self.tiers),
            "per_hour": tier.per_hour if tier else None,
            "per_day": tier.per_day if tier else None,
            "sent_today": self.diary[-1].sent if self.diary else 0,
            "days": [
                {"day": one.day * DAY, "tier": one.tier + 1, "sent": one.sent, "bounced": one.bounced,
                 "complained": one.complained, "fate": one.fate}
                for one in self.diary
            ],
        }  # fmt: skip
