"""After an outage mail waits until what happened meanwhile is known, and never for ever."""

import pytest

from heliograph.runtime.catching_up import BEHIND_MS, MOST_MS, QUIET_MS, CatchingUp

T0 = 1_750_000_000_000
HOUR = 3_600_000


@pytest.fixture
def behind() -> CatchingUp:
    """Partition 1 is two hours behind."""
    machine = CatchingUp()
    machine.carried(1, T0 - 2 * HOUR, T0)
    return machine


def test_what_is_a_second_old_holds_nothing_up() -> None:
    machine = CatchingUp()
    machine.carried(1, T0 - 1000, T0)
    assert not machine.waits(1) and not machine.troubles() and not machine.look(T0)


def test_only_the_partition_that_is_behind_waits_and_says_so(behind: CatchingUp) -> None:
    assert behind.waits(1) and not behind.waits(2)
    (trouble,) = behind.troubles()
    assert "7200 s ago" in trouble.why


def test_mail_goes_when_what_is_carried_out_is_new_again(behind: CatchingUp) -> None:
    behind.carried(1, T0, T0 + BEHIND_MS - 1)
    assert behind.look(T0 + BEHIND_MS - 1) and not behind.waits(1)


def test_mail_goes_when_nothing_old_comes_any_more(behind: CatchingUp) -> None:
    assert not behind.look(T0 + QUIET_MS - 1)
    assert behind.look(T0 + QUIET_MS) and not behind.waits(1)


def test_a_brain_that_is_always_late_does_not_keep_mail_for_ever(behind: CatchingUp) -> None:
    for now in range(T0, T0 + MOST_MS, 1000):
        behind.carried(1, now - 2 * HOUR, now)
        assert not behind.look(now)
    behind.carried(1, T0, T0 + MOST_MS)
    assert behind.look(T0 + MOST_MS)
    behind.carried(1, T0, T0 + MOST_MS + 1)
    assert not behind.waits(1)


def test_once_it_was_up_to_date_the_next_outage_counts_again(behind: CatchingUp) -> None:
    behind.carried(1, T0, T0 + MOST_MS)
    behind.look(T0 + MOST_MS)
    behind.carried(1, T0 + MOST_MS, T0 + MOST_MS)
    behind.carried(1, T0, T0 + MOST_MS + 1)
    assert behind.waits(1)


def test_a_partition_that_changes_hands_begins_anew(behind: CatchingUp) -> None:
    behind.forget(1)
    assert not behind.waits(1) and not behind.look(T0 + HOUR)
