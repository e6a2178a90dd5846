"""The life of a message is a table; these are its laws."""

import pytest

from heliograph.deliver.lifecycle import (
    ARRIVED,
    CANCELLABLE,
    FEEDBACK,
    SETTLEMENTS,
    SIGNALS,
    STATUSES,
    TRANSITIONS,
    UNFINISHED,
    advance,
    proven,
    resends,
    settled,
    shown,
    unknown_since,
)

FINAL = {"bounced", "cancelled", "expired", "skipped"}


def test_every_status_has_a_meaning_and_a_row() -> None:
    assert set(STATUSES) == set(TRANSITIONS)
    assert {to for moves in TRANSITIONS.values() for to in moves.values()} <= set(STATUSES)


def test_only_final_statuses_lead_nowhere() -> None:
    assert {status for status, moves in TRANSITIONS.items() if not moves} == FINAL


def test_data_is_written_only_behind_the_commit_point() -> None:
    """Nothing becomes sent or unknown except through sending (what waits is proven sent by a copy that was tried), and
    nothing is cancelled behind it."""
    into = {to: {status for status, moves in TRANSITIONS.items() if to in moves.values()} for to in STATUSES}
    assert into["sending"] == {"claimed"}
    assert into["sent"] == {"sending", "unknown", "queued", "deferred"}
    assert {signal for status in ("queued", "deferred") for signal in TRANSITIONS[status]} & {"sent"} == set()
    assert into["unknown"] == {"sending", "unknown"}
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


def test_whatever_feedback_shows_ends_the_uncertainty() -> None:
    """And nothing that came back ever makes a message unknown or queued again."""
    assert {advance("unknown", signal) for signal in FEEDBACK.values()} == {"sent", "delivered", "bounced"}
    for status, moves in TRANSITIONS.items():
        assert {moves.get(signal) for signal in ARRIVED} <= {None, "sent", "delivered"}, status


def test_only_an_unknown_message_can_be_settled() -> None:
    for action, settlement in SETTLEMENTS.items():
        takers = {status for status in TRANSITIONS if advance(status, settlement.signal) is not None}
        assert takers == ({"unknown", "sending"} if action == "sent" else {"unknown"})
    assert advance("unknown", "drop") == "unknown", "given up is not sent"


@pytest.mark.parametrize(
    ("kinds", "action", "again"),
    [
        ("", "", 0),
        ("unknown", "", 0),
        ("unknown resent", "resend", 1),
        ("unknown resent unknown", "", 1),
        ("unknown resent unknown dropped", "drop", 1),
        ("unknown dropped resent", "resend", 1),
        ("unknown released sent opened", "sent", 0),
        ("unknown dropped unknown", "", 0),
    ],
)
def test_the_last_settlement_counts_until_it_is_unknown_again(kinds: str, action: str, again: int) -> None:
    outcomes = [(kind, at, False) for at, kind in enumerate(kinds.split())]
    assert (settled(outcomes), resends(outcomes)) == (action, again)
    assert unknown_since(outcomes) == max((at for kind, at, _ in outcomes if kind == "unknown"), default=0)


def test_only_people_and_receivers_prove_anything() -> None:
    assert proven([("opened", 1, False)]) and proven([("delivered", 1, False)]) and proven([("complained", 1, False)])
    assert not proven([("opened", 1, True), ("clicked", 1, True), ("bounced", 1, False), ("missed", 1, False)])


def test_what_nobody_can_take_bounces_before_its_commit_point() -> None:
    """A domain without a name or with a null MX is found out by the mailer, which then asks for nothing."""
    assert advance("claimed", SIGNALS["bounced"]) == "bounced"
