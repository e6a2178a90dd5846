"""One receiver's traffic: what its replies make of its window, its pace and its suspension."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heliograph.deliver.rates import NEVER, Rate
from heliograph.deliver.shaping import (
    DEAD_AFTER,
    DEAD_MS,
    DEAF_MS,
    FIRST_WINDOW,
    LEAST,
    LONGEST_DEAD_MS,
    STALLED_MS,
    STEPS,
    WATCH_MS,
    Towards,
)

T0 = 1_790_000_000_000


def back(towards: Towards, now: int) -> None:
    towards.in_flight -= 1
    towards.moved_at = now


def send(towards: Towards, now: int, count: int, *, took: int = 5) -> int:
    """So many messages, one after another, as far as it lets them; how many went."""
    for gone in range(count):
        if towards.opens(now) > now:
            return gone
        towards.take(now)
        back(towards, now)
        towards.answered(now, took)
    return count


def minute(towards: Towards, now: int) -> int:
    """How many a minute lets through, asked every 10 ms."""
    return sum(send(towards, at, 100) for at in range(now, now + 60_000, 10))


def test_the_window_begins_small_and_grows_with_each_reply() -> None:
    towards = Towards("x", most=FIRST_WINDOW + 3)
    for _ in range(FIRST_WINDOW):
        assert towards.opens(T0) <= T0
        towards.take(T0)
    assert towards.opens(T0) == NEVER
    for _ in range(5):
        back(towards, T0)
        towards.answered(T0, 5)
    assert towards.window == FIRST_WINDOW + 3


def test_a_suspension_ends_and_leaves_nothing() -> None:
    towards = Towards("x")
    towards.suspend(T0 + 1000, "421 slow down")
    assert towards.opens(T0) == T0 + 1000 and towards.view(T0)["reason"] == "421 slow down"
    towards.suspend(T0 + 500, "later word, shorter")
    assert towards.opens(T0) == T0 + 1000
    assert towards.opens(T0 + 1000) <= T0 + 1000 and not towards.shaped


def test_slowed_to_a_rate_for_a_time() -> None:
    towards = Towards("x")
    towards.slow(T0, Rate(60, 60_000), T0 + 600_000, "421 RP-001")
    assert 58 <= minute(towards, T0 + 1) <= 60
    towards.slow(T0 + 60_000, Rate(60, 60_000), T0 + 700_000, "again")
    assert towards.view(T0)["slowed_until"] == T0 + 700_000
    assert send(towards, T0 + 700_000, 500) == 500


def test_slowed_without_a_rate_is_half_of_what_it_got() -> None:
    towards = Towards("x")
    for second in range(50):
        send(towards, T0 + second * 1000, 20)
    towards.slow(T0 + 50_000, None, T0 + 400_000, "421 4.7.0")
    assert minute(towards, T0 + 50_000) == pytest.approx(600, rel=0.05)


def test_a_few_refusals_change_nothing() -> None:
    """5 % put off is everyday life."""
    towards = Towards("x")
    for n in range(2000):
        at = T0 + n * 50
        assert send(towards, at, 19) == 19
        assert not towards.put_off(at, "451 4.3.0 busy")


def test_many_refusals_halve_the_pace_and_quiet_minutes_bring_it_back() -> None:
    towards, now = Towards("x"), T0
    for second in range(20):
        send(towards, now + second * 1000, 100)
    now += 20_000
    refused = 1
    while not towards.put_off(now, "451 4.7.1 busy"):
        refused += 1
    assert LEAST <= refused <= 700, "a fifth of about two thousand replies"
    assert towards.view(now)["reason"] == "451 4.7.1 busy"
    first = minute(towards, now)
    assert 60 * 45 <= first <= 60 * 75
    last = first
    for step in range(1, STEPS // 2 + 2):
        later = now + step * WATCH_MS
        got = minute(towards, later) if towards.shaped else 0
        assert not towards.shaped or got >= last
        last = got
    assert not towards.shaped


def test_refused_again_it_is_halved_again_down_to_ten_a_minute() -> None:
    towards, now = Towards("x"), T0
    for _ in range(20):
        now += DEAF_MS
        for _ in range(LEAST):
            towards.put_off(now, "421 busy")
    assert 9 <= minute(towards, now) <= 11


def test_out_of_order_it_is_left_alone_for_longer_and_longer_then_one_message_finds_out() -> None:
    towards, now, length = Towards("x"), T0, DEAD_MS
    for _ in range(DEAD_AFTER - 1):
        assert not towards.unreachable(now, "connection refused")
    for _ in range(8):
        assert towards.unreachable(now, "connection refused")
        assert towards.opens(now) == now + length
        assert not towards.unreachable(now + 1, "connection refused"), "those under way say nothing new"
        now, length = now + length, min(2 * length, LONGEST_DEAD_MS)
        assert towards.opens(now) <= now
        towards.take(now)
        assert towards.opens(now) == NEVER
        back(towards, now)
    towards.answered(now, 5)
    assert send(towards, now, 50) == 50


def test_slow_beside_others_or_not_answering() -> None:
    slow, well = Towards("slow"), Towards("well")
    for n in range(20):
        send(slow, T0 + n, 1, took=250)
        send(well, T0 + n, 1, took=400 if n % 2 else 5)
    assert slow.slow_beside(5, T0 + 20, apart=False) and not well.slow_beside(5, T0 + 20, apart=False), (
        "what waited behind others is not slow"
    )
    assert not slow.slow_beside(240, T0 + 20, apart=False), "where everything takes as long, nothing is slow"
    assert not slow.slow_beside(5, T0 + 20, apart=True), "on connections of its own it harms nobody"
    well.take(T0)
    for apart in (True, False):
        assert not well.slow_beside(5, T0 + STALLED_MS, apart=apart)
        assert well.slow_beside(5, T0 + STALLED_MS + 1, apart=apart)
    assert not well.slow_beside(STALLED_MS, T0 + STALLED_MS + 1, apart=False)


def test_what_was_learned_survives_a_restart() -> None:
    towards = Towards("x", rate=Rate(5, 3_600_000))
    for _ in range(LEAST):
        towards.put_off(T0, "421 busy")
    send(towards, T0, 3)
    towards.slow(T0, Rate(10, 60_000), T0 + 50_000, "slow")
    towards.suspend(T0 + 9000, "suspended")
    kept = towards.remembered(T0)
    assert kept is not None
    again = Towards("x", rate=Rate(5, 3_600_000))
    again.remember(kept, T0)
    assert again.view(T0) | {"window": 0, "reply_ms": 0} == towards.view(T0) | {"window": 0, "reply_ms": 0}
    assert again.opens(T0) == towards.opens(T0)
    assert again.remembered(T0) == kept
    again.release()
    assert again.view(T0)["suspended_until"] is None and Towards("y").remembered(T0) is None


EVENTS = st.lists(
    st.tuples(st.integers(0, 30_000), st.sampled_from(["put_off", "slow", "suspend", "dead", "ok", "ok", "ok"])),
    max_size=120,
)


@given(EVENTS)
def test_whatever_it_answers_it_is_never_stuck_and_its_own_rate_always_holds(events: list[tuple[int, str]]) -> None:
    """However it was treated, within a day of silence it may be mailed to again; its written rate holds throughout."""
    towards, now, gone = Towards("x", rate=Rate(7, 1000)), T0, list[int]()
    for step, event in events:
        now += step
        while towards.opens(now) <= now:
            towards.take(now)
            back(towards, now)
            towards.answered(now, 3)
            gone.append(now)
        if event == "put_off":
            for _ in range(LEAST):
                towards.put_off(now, "421 busy")
        elif event == "slow":
            towards.slow(now, Rate(1, 60_000), now + 90_000, "slow")
        elif event == "suspend":
            towards.suspend(now + 60_000, "suspended")
        elif event == "dead":
            towards.unreachable(now, "refused")
    for at in gone:
        assert sum(1 for one in gone if at <= one < at + 1000) <= 7
    assert towards.opens(now + 86_400_000) <= now + 86_400_000
