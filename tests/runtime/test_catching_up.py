"""After an outage mail waits until what happened meanwhile is known, and never for ever."""

import pytest

from heliograph.runtime.catching_up import BEHIND_MS, MOST_MS, NEAR_MS, QUIET_MS, SILENT_MS, CatchingUp

T0 = 1_750_000_000_000
HOUR = 3_600_000
SECOND = 1_000


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
    assert behind.waits(1) and not behind.waits(2) and len(behind) == 1
    (trouble,) = behind.troubles()
    assert "7200 s ago" in trouble.why


def test_mail_goes_when_what_comes_has_been_new_for_a_while(behind: CatchingUp) -> None:
    for now in range(T0, T0 + QUIET_MS, SECOND):
        behind.carried(1, now, now)
        assert not behind.look(now) and behind.waits(1)
    assert behind.look(T0 + QUIET_MS) and not behind.waits(1)


def test_mail_goes_when_nothing_comes_any_more_but_not_while_the_brain_takes_a_checkpoint(behind: CatchingUp) -> None:
    assert not behind.look(T0 + SILENT_MS - 1)
    assert behind.look(T0 + SILENT_MS) and not behind.waits(1)


def test_old_and_new_mixed_for_minutes_is_one_time_of_waiting(behind: CatchingUp) -> None:
    """A spool is sent on between what other collectors take now; or a brain is now and then a minute behind."""
    ends = T0 + MOST_MS - SECOND
    for now in range(T0, ends, SECOND):
        behind.carried(1, now, now)
        behind.carried(1, now - (HOUR if now % (4 * SECOND) else NEAR_MS), now)
        behind.carried(1, now, now)
        assert not behind.look(now) and behind.waits(1), f"it let go after {(now - T0) // SECOND} s"
    behind.carried(1, ends, ends)
    assert behind.look(ends + QUIET_MS)


def test_who_was_not_behind_is_not_kept_by_what_would_keep_who_was(behind: CatchingUp) -> None:
    for now in range(T0, T0 + HOUR, SECOND):
        behind.carried(2, now - BEHIND_MS + 1, now)
        assert not behind.waits(2)


def test_a_brain_that_is_always_late_does_not_keep_mail_for_ever(behind: CatchingUp) -> None:
    for now in range(T0, T0 + MOST_MS, 1000):
        behind.carried(1, now - 2 * HOUR, now)
        assert not behind.look(now)
    behind.carried(1, T0, T0 + MOST_MS)
    assert behind.look(T0 + MOST_MS)
    behind.carried(1, T0 + MOST_MS, T0 + MOST_MS)
    behind.carried(1, T0, T0 + MOST_MS + 1)
    assert not behind.look(T0 + MOST_MS + 1) and not behind.waits(1), "one new decision is no reason to wait again"
    (trouble,) = behind.troubles()
    assert "all the same" in trouble.means


def test_once_it_was_up_to_date_the_next_outage_counts_again(behind: CatchingUp) -> None:
    late = T0 + MOST_MS
    behind.carried(1, T0, late)
    behind.look(late)
    behind.carried(1, late, late)
    behind.look(late + QUIET_MS)
    assert not behind.troubles()
    behind.carried(1, T0, late + QUIET_MS + 1)
    assert behind.waits(1)


def test_a_partition_that_changes_hands_begins_anew(behind: CatchingUp) -> None:
    behind.forget(1)
    assert not behind.waits(1) and not behind.look(T0 + HOUR)
