"""The circuit breaker opens on a broken campaign and never on a healthy one."""

import random
from typing import Any

import pytest

from heliograph.deliver.breaker import (
    BUCKETS,
    LEAST_BAD,
    PATIENCE,
    RECEIVERS,
    SLOW,
    WATCHED,
    Breaker,
    Finding,
    Kind,
    Ring,
    Rules,
    kind_of_report,
)
from tests.seeds import seeds

HOUR = 3_600_000
NOW = 1_750_000_000_000


def run(breaker: Breaker, *mails: tuple[str, Kind, int], journey: str = "j", at: int = NOW) -> Finding | None:
    """The last thing it says."""
    found = None
    for receiver, kind, count in mails:
        found = breaker.mails(journey, receiver, kind, count, at) or found
    return found


def fresh(**rules: float) -> Breaker:
    return Breaker(Rules(**rules), NOW)  # type: ignore[arg-type]


def test_it_opens_with_a_sentence_that_names_the_figures() -> None:
    found = run(fresh(), ("a.example", "sent", 300), ("b.example", "sent", 82), ("b.example", "bounced", 10),
                ("a.example", "bounced", 20))  # fmt: skip
    assert found is not None and found.opens
    assert found.reason == (
        "7.3 % of the last 412 mails bounced within PT1H (limit 5 %), 20 of 30 at a.example: look at "
        "`heliograph messages --status bounced` and at where these addresses come from"
    )


@pytest.mark.parametrize(
    ("kind", "bad", "opens"),
    [
        ("bounced", 50, False), ("bounced", 54, True), ("failed", 333, False), ("failed", 336, True),
        ("complained", 3, False), ("complained", 5, True),
    ],
)  # fmt: skip
def test_it_opens_above_the_share_and_not_at_it(kind: Kind, bad: int, opens: bool) -> None:
    breaker = fresh()
    mails = [(f"r{n}.example", "sent", 100) for n in range(10)]
    run(breaker, *mails)  # type: ignore[arg-type]
    found = None
    for n in range(bad):
        found = run(breaker, (f"r{n % 10}.example", kind, 1)) or found
    assert (found is not None and found.opens) is opens


def test_a_few_mails_or_a_few_troubles_are_no_evidence() -> None:
    assert run(fresh(), *[(f"r{n}.example", "bounced", 1) for n in range(99)]) is None
    few: list[tuple[str, Kind, int]] = [(f"r{n}.example", "complained", 1) for n in range(LEAST_BAD - 1)]
    assert run(fresh(), ("a.example", "sent", 200), *few) is None


@pytest.mark.parametrize("kind", ["bounced", "failed", "complained"])
def test_one_receiver_among_many_does_not_stop_a_campaign(kind: Kind) -> None:
    """Five o'clock on Black Friday, and one of them refuses everything: somebody is told, once a window."""
    breaker = fresh()
    found = run(breaker, ("good.example", "sent", 300), ("other.example", "sent", 300), ("bad.example", kind, 400))
    assert found is not None and not found.opens and found.receiver == "bad.example"
    assert run(breaker, ("bad.example", kind, 10)) is None, "told"
    assert run(breaker, ("other.example", kind, 330)) is not None, "two of them are no accident"


def test_who_has_half_of_the_mail_is_the_campaign() -> None:
    found = run(fresh(), ("small.example", "sent", 400), ("big.example", "failed", 400))
    assert found is not None and found.opens
    found = run(fresh(), ("only.example", "sent", 94), ("only.example", "bounced", 6))
    assert found is not None and found.opens, "a journey to one receiver"


def test_evidence_passes_with_the_window() -> None:
    breaker = fresh()
    assert run(breaker, ("a.example", "bounced", 6), ("b.example", "bounced", 6), ("a.example", "sent", 87)) is None
    assert run(breaker, ("a.example", "sent", 200), at=NOW + HOUR + HOUR // BUCKETS) is None
    assert run(breaker, ("b.example", "bounced", 2), at=NOW + HOUR + HOUR // BUCKETS) is None


def test_complaints_are_divided_by_the_mails_that_they_are_about() -> None:
    """They come hours later, when hardly anything is sent any more."""
    breaker = fresh()
    for n in range(10):
        run(breaker, (f"r{n}.example", "sent", 5_000))
    later = NOW + 8 * HOUR
    run(breaker, ("r1.example", "sent", 150), at=later)
    found = [breaker.trouble("j", f"r{n % 10}.example", "complained", NOW, later) for n in range(100)]
    assert found == [None] * 100, "0.2 % of the morning's mail, not 67 % of the evening's"
    more = [breaker.trouble("j", f"r{n % 10}.example", "complained", NOW, later) for n in range(60)]
    assert any(one is not None and one.opens for one in more)


def test_what_was_sent_before_it_was_let_go_is_no_evidence() -> None:
    breaker, later = fresh(), NOW + 60_000
    run(breaker, ("a.example", "sent", 500), ("b.example", "sent", 500))
    breaker.forget("j", later)
    assert [breaker.trouble("j", f"{n % 2}.example", "bounced", NOW, later) for n in range(500)] == [None] * 500
    assert run(breaker, ("a.example", "bounced", 49), ("b.example", "bounced", 50), at=later) is None
    found = run(breaker, ("a.example", "sent", 1), ("b.example", "bounced", 1), at=later)
    assert found is not None and found.opens


def test_after_a_restart_nothing_from_before_counts() -> None:
    breaker = fresh()
    assert breaker.trouble("j", "a.example", "complained", NOW - 1, NOW) is None
    assert breaker.trouble("j", "a.example", "complained", NOW, NOW) is None, "nothing was sent, as far as it knows"


def test_a_share_of_nothing_is_not_judged() -> None:
    assert run(fresh(bounces=0), ("a.example", "bounced", 500), ("b.example", "bounced", 500)) is None


def test_journeys_are_judged_apart() -> None:
    breaker = fresh()
    for n in range(60):
        assert run(breaker, (f"{n}.example", "bounced", 1), journey="left") is None
        assert run(breaker, (f"{n}.example", "bounced", 1), journey="right") is None


def test_journeys_receivers_and_buckets_are_bounded() -> None:
    breaker = fresh()
    for n in range(WATCHED + 50):
        run(breaker, ("a.example", "sent", 1), journey=f"j{n}", at=NOW + n)
    assert len(breaker._watched) == WATCHED and "j0" not in breaker._watched
    for n in range(1_000):
        run(breaker, (f"{n}.example", "failed", 1), journey="wide", at=NOW + n * 60_000)
    watched = breaker._watched["wide"]
    assert len(watched.fast.sums) <= BUCKETS * (RECEIVERS + 1) and len(watched.slow.sums) <= SLOW * (RECEIVERS + 1)


@pytest.mark.parametrize("seed", seeds(1))
def test_a_ring_is_the_sum_of_what_lies_in_its_window(seed: int) -> None:
    """Against a list that remembers everything."""
    chance, ring, width, size = random.Random(seed), Ring(100, 5), 100, 5
    mails: list[tuple[int, str, int]] = []
    trouble: list[tuple[int, str, int]] = []
    now = 1_000
    for _ in range(3_000):
        now += int(chance.expovariate(1 / 7)) if chance.random() < 0.99 else 1_000
        ring.move(now)
        name, column = f"r{chance.randrange(4)}", chance.randrange(4)
        if chance.random() < 0.8:
            count = chance.randrange(1, 5)
            ring.mails(name, column, count, now)
            mails.append((now, name, count))
            trouble += [(now, name, column)] * count if column else []
        elif mails:
            at, name, _ = chance.choice(mails)
            ring.trouble(name, column or 1, at)
            if at // width > now // width - size:
                trouble.append((at, name, column or 1))
        inside = [one for one in mails if one[0] // width > now // width - size]
        bad = [one for one in trouble if one[0] // width > now // width - size]
        assert ring.all[0] == sum(count for _, _, count in inside)
        for column in (1, 2, 3):
            assert ring.all[column] == sum(one[2] == column for one in bad)
        for name in {one[1] for one in inside} | set(ring.sums):
            assert ring.sums[name][0] == sum(count for _, other, count in inside if other == name)
            assert ring.sums[name][2] == sum(one[1:] == (name, 2) for one in bad)


@pytest.mark.parametrize(
    ("kind", "reply", "more", "counts"),
    [
        ("sent", "250 2.0.0 Ok", {}, "sent"),
        ("bounced", "550 5.1.1 no such user", {"condemned": True}, "bounced"),
        ("bounced", "552 5.2.2 mailbox full", {}, "bounced"),
        ("bounced", "550 5.7.26 unauthenticated", {}, "failed"),
        ("bounced", "550 5.1.1 sender rejected", {}, "failed"),
        ("bounced", "554 no", {}, "failed"),
        ("retry", "451 4.7.1 greylisted", {}, None),
        ("retry", "451 4.7.1 greylisted", {"attempt": 31, "last": True}, "failed"),
        ("retry", "530 5.7.0 log in first", {}, None),
        ("retry", "530 5.7.0 log in first", {"attempt": PATIENCE - 1}, "failed"),
        ("retry", "451 4.3.0 try later", {"attempt": PATIENCE - 1}, None),
        ("retry", "530 5.7.0 log in first", {"attempt": PATIENCE}, None),
        ("retry", "connection refused", {}, None),
        ("unknown", "the connection broke", {}, "failed"),
        ("skipped", "missing: x", {}, None),
        ("stopped", "held", {}, None),
    ],
)
def test_what_a_report_counts_as(kind: str, reply: str, more: dict[str, Any], counts: Kind | None) -> None:
    assert kind_of_report(kind, reply, **{"attempt": 0, **more}) == counts
