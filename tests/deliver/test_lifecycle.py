"""The life of a message is a table; these are its laws."""

import pytest

from heliograph.deliver.lifecycle import CANCELLABLE, SIGNALS, STATUSES, TRANSITIONS, UNFINISHED, advance, shown

FINAL = {"bounced", "cancelled", "expired", "skipped"}


def test_every_status_has_a_meaning_and_a_row() -> None:
    assert set(STATUSES) == set(TRANSITIONS)
    assert {to for moves in TRANSITIONS.values() for to in moves.values()} <= set(STATUSES)


def test_only_final_statuses_lead_nowhere() -> None:
    assert {status for status, moves in TRANSITIONS.items() if not moves} == FINAL


def test_data_is_written_only_behind_the_commit_point() -> None:
    """Nothing becomes sent or unknown except through sending, and nothing is cancelled behind it."""
    into = {to: {status for status, moves in TRANSITIONS.items() if to in moves.values()} for to in STATUSES}
    assert into["sending"] == {"claimed"}
    assert into["sent"] == {"sending", "unknown"}
    assert into["unknown"] == {"sending"}
    assert set(CANCELLABLE) == {"queued", "deferred", "claimed"}


def test_what_was_past_its_commit_point_is_queued_again_only_on_purpose() -> None:
    back = {(status, signal) for status, moves in TRANSITIONS.items() for signal, to in moves.items() if to == "queued"}
    assert {pair for pair in back if pair[0] not in CANCELLABLE} == {("sending", "retry"), ("unknown", "resend")}


def test_what_missed_its_time_waits_for_another_decision() -> None:
    assert {status for status, moves in TRANSITIONS.items() if "deferred" in moves.values()} == {
        "queued", "claimed", "sending",
    }  # fmt: skip
    assert advance("deferred", "decide") == "queued" and "claim" not in TRANSITIONS["deferred"]


def test_every_report_of_a_mailer_moves_a_message_that_is_sending_or_claimed() -> None:
    moved = {signal for status in ("sending", "claimed") for signal in TRANSITIONS[status]}
    assert set(SIGNALS.values()) <= moved


@pytest.mark.parametrize("status", sorted(STATUSES))
def test_a_signal_that_means_nothing_is_no_move(status: str) -> None:
    assert advance(status, "no such signal") is None
    assert shown(status) == ("queued" if status == "claimed" else status)


def test_a_restart_picks_up_what_is_not_final() -> None:
    assert not UNFINISHED & (FINAL | {"sent", "delivered", "unknown"})
