"""A simulated month of warm-up walks the written thresholds, up and down."""

import itertools
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heliograph.deliver.rates import DAY
from heliograph.deliver.warmup import TIERS, USED, Tier, Warmup

START = 20_000 * DAY
HOUR = 3_600_000


def day(
    warmup: Warmup, number: int, *, demand: int | None = None, bounced: int = 0, complained: int = 0
) -> tuple[int, int]:
    """A day on which ``demand`` messages want to go (default: more than may), offered every quarter of an hour; how
    many went, and the most in any hour."""
    gone, hours = 0, list[int]()
    for quarter in range(96):
        now = START + number * DAY + quarter * HOUR // 4
        count = 0
        while (demand is None or gone < demand) and warmup.opens(now) <= now:
            warmup.take(now)
            warmup.sent(now)
            gone, count = gone + 1, count + 1
        hours.append(count)
        if quarter == 95:
            for _ in range(bounced):
                warmup.bounced(now)
            for _ in range(complained):
                warmup.complained(now)
    return gone, max(sum(hours[n : n + 4]) for n in range(93))


def fates(warmup: Warmup) -> list[str]:
    return [one.fate for one in warmup.diary]


def test_the_written_tiers() -> None:
    assert TIERS[0] == Tier(50, 100) and TIERS[-1] == Tier(200_000, 1_000_000)
    for lower, higher in itertools.pairwise(TIERS):
        assert lower.per_hour < higher.per_hour and lower.per_day < higher.per_day <= 2.5 * lower.per_day


def test_thirty_days_up_and_down() -> None:
    """Small tiers, so that all of it can be counted: up while all is well, held by what is not below, down by what is
    above, held by a day that shows nothing."""
    tiers = [Tier(50, 100), Tier(100, 250), Tier(200, 500), Tier(400, 1000), Tier(800, 2000)]
    warmup = Warmup(tiers)
    tier = 0
    script: list[tuple[int | None, float, int, str]] = [
        (None, 0, 0, "promoted"),  # 100 a day
        (None, 0.01, 0, "promoted"),  # 250: 1 % bounced is below 2 %
        (None, 0.02, 0, "held"),  # 500: 2 % is not below
        (None, 0.03, 0, "demoted"),  # 500: 3 % is above
        (100, 0, 0, "held"),  # 250 allowed, 100 sent: that shows nothing
        (125, 0, 0, "promoted"),  # half of it does
        (None, 0, 0, "promoted"),
        (None, 0, 1, "promoted"),  # one complaint among the 2,825 mails of the week is below 0.1 %
    ]
    for number, (demand, bounces, complaints, fate) in enumerate(script):
        limit = tiers[tier]
        wanted = min(limit.per_day, demand or limit.per_day)
        gone, hour = day(warmup, number, demand=demand, bounced=round(wanted * bounces), complained=complaints)
        assert gone == wanted and hour <= limit.per_hour, (number, gone)
        warmup.turn(START + (number + 1) * DAY)
        got = warmup.diary[-2].fate
        assert got == fate, number
        tier += {"promoted": 1, "demoted": -1}.get(got, 0)
        assert warmup.tier == tier
    number = len(script)
    assert tier == 4
    day(warmup, number, complained=9)  # 2000 more; 10 complaints among 4,425 of the week: 0.22 %
    warmup.turn(START + (number + 1) * DAY)
    assert warmup.diary[-2].fate == "demoted" and warmup.tier == 3
    for quiet in range(number + 1, number + 7):
        day(warmup, quiet)
        warmup.turn(START + (quiet + 1) * DAY)
        assert warmup.diary[-2].fate == "held", "the week still holds its complaints, and brings no new ones"
    for later in (number + 7, number + 8):
        day(warmup, later)
        warmup.turn(START + (later + 1) * DAY)
        assert warmup.diary[-2].fate == "promoted", "they are a week old"
    now = START + (number + 9) * DAY
    assert warmup.warm and warmup.opens(now) <= now


def test_a_well_kept_sender_is_warm_after_as_many_days_as_there_are_tiers() -> None:
    warmup, total = Warmup(), 0
    for number in range(30):
        now = START + number * DAY
        warmup.turn(now)
        if warmup.warm:
            assert number == len(TIERS)
            assert total == sum(tier.per_day for tier in TIERS)
            return
        tier = TIERS[warmup.tier]
        assert warmup.opens(now) <= now
        warmup.take(now)
        today = warmup.diary[-1]
        today.sent, total = tier.per_day, total + tier.per_day  # who counts a million one by one waits long
        today.bounced = int(tier.per_day * 0.015)
    raise AssertionError("still not warm")


@pytest.mark.parametrize("bounced", [0, 1])
def test_one_bounce_alone_never_demotes(bounced: int) -> None:
    warmup = Warmup([Tier(0, 10), Tier(0, 20)])
    day(warmup, 0)
    day(warmup, 1, demand=10, bounced=bounced)
    warmup.turn(START + 2 * DAY)
    assert warmup.diary[-2].fate == ("held" if bounced else "promoted")


def test_complaints_that_come_on_later_days_count() -> None:
    """Mail of Monday, complaints of Wednesday: Wednesday's own mails alone would not show them."""
    warmup = Warmup([Tier(0, 500), Tier(0, 1000), Tier(0, 2000), Tier(0, 4000)])
    day(warmup, 0)
    day(warmup, 1)
    day(warmup, 2, demand=10, complained=3)
    warmup.turn(START + 3 * DAY)
    assert fates(warmup)[:3] == ["promoted", "promoted", "demoted"]


def test_days_without_mail_change_nothing_and_the_warm_up_begins_with_the_first_mail() -> None:
    warmup = Warmup()
    assert warmup.turn(START) == [] and warmup.opens(START + 90 * DAY) <= START + 90 * DAY and warmup.tier == 0
    day(warmup, 100)
    warmup.turn(START + 150 * DAY)
    assert warmup.tier == 1 and len(warmup.diary) == 2


def test_a_restart_forgets_nothing() -> None:
    warmup = Warmup()
    day(warmup, 0)
    now = START + DAY + HOUR
    for _ in range(30):
        warmup.take(now)
        warmup.sent(now)
    again = Warmup(kept=warmup.kept())
    assert again.view() == warmup.view() and again.kept() == warmup.kept()
    for _ in range(TIERS[1].per_hour - 30):
        assert again.opens(now) <= now
        again.take(now)
    assert again.opens(now) > now


@given(st.integers(0, 2**32), st.integers(1, 12))
def test_no_day_and_no_hour_ever_exceeds_its_tier(seed: int, days: int) -> None:
    chance = random.Random(seed)
    tiers = [Tier(5, 12), Tier(9, 25), Tier(20, 70)]
    warmup, gone = Warmup(tiers), list[tuple[int, Tier | None]]()
    now = START
    while now < START + days * DAY:
        now += chance.randrange(2 * HOUR)
        for _ in range(chance.randrange(30)):
            if warmup.opens(now, patient=chance.random() < 0.5) > now:
                break
            taken_on = warmup.take(now)
            if chance.random() < 0.1:
                warmup.give_back(taken_on)
                continue
            warmup.sent(now)
            gone.append((now, None if warmup.warm else tiers[warmup.tier]))
            if chance.random() < 0.05:
                warmup.bounced(now)
    for at, tier in gone:
        if tier is not None:
            assert sum(1 for one, _ in gone if one // DAY == at // DAY) <= tier.per_day
            hour = [one for one, other in gone if at <= one < at + HOUR]
            assert len(hour) <= max(other.per_hour for one, other in gone if other and at <= one < at + HOUR) or any(
                other is None for one, other in gone if at <= one < at + HOUR
            )
    for one in warmup.diary[:-1]:
        if one.fate == "promoted" and one.tier < len(tiers):
            assert one.bounced < 0.02 * one.sent and one.sent >= USED * tiers[one.tier].per_day


def test_a_month_of_the_built_in_tiers() -> None:
    """Thirty days from the first mail on: good days climb, a bad list and a bad newsletter each fall back, a day off
    and a thin one stand still.  Every day sends what its tier allows and no more."""
    month = "ggggg" + "bgg" + "t" + "ggg" + "-" + "c" + "hhhhhh" + "ggg" + "bbbb" + "ttg"
    assert len(month) == 30
    climbed = {"g": 1, "b": -1, "c": -1, "t": 0, "h": 0, "-": 0}  # h: good, while the week still holds its complaints
    warmup, tier, path = Warmup(), 0, []
    for number, kind in enumerate(month):
        limit = TIERS[tier].per_day
        wanted = {"-": 0, "t": limit // 10}.get(kind, limit)
        bad = {"b": round(wanted * 0.03)}.get(kind, wanted // 100)
        gone, hour = day(warmup, number, demand=wanted, bounced=bad, complained=wanted // 100 if kind == "c" else 0)
        assert gone == wanted and hour <= TIERS[tier].per_hour
        warmup.turn(START + (number + 1) * DAY)
        tier += climbed[kind]
        path.append(tier + 1)
        assert warmup.tier == tier, (number, kind, warmup.diary[-2])
    assert path == [2, 3, 4, 5, 6, 5, 6, 7, 7, 8, 9, 10, 10, 9, *[9] * 6, 10, 11, 12, 11, 10, 9, 8, 8, 8, 9]
