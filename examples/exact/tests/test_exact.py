"""Four things that campaign tools cannot say, or say late (docs/how-to/what-others-cannot.md)."""

import pytest

from heliograph.testing import Person, Project


@pytest.fixture
def ann(project: Project) -> Person:
    return project.person("ann", email="ann@example.com", plan="free")


# -- a journey that an event started waits for another event --


def test_the_awaited_event_resumes_the_run_in_its_own_commit(project: Project, ann: Person) -> None:
    ann.track("Trial Started", trial_id="t1")
    project.advance("P2DT23H59M59.999S")
    ann.track("Report Created", name="Sales in May")
    assert ann.mails == ["trial-started", "well-done"]
    assert "Sales in May" in ann.last_mail.html


def test_without_it_the_other_mail_goes_at_the_very_end_of_the_wait(project: Project, ann: Person) -> None:
    ann.track("Trial Started", trial_id="t1")
    project.advance("P2DT23H59M59.999S")
    assert ann.mails == ["trial-started"]
    project.advance("PT0.001S")
    assert ann.mails == ["trial-started", "need-a-hand"]


def test_a_condition_can_be_awaited_as_well(project: Project, ann: Person) -> None:
    ann.track("Trial Started", trial_id="t1")
    ann.identify(plan="paid")
    assert not ann.in_journey("first-steps")
    project.advance("P4D")
    assert ann.mails == ["trial-started"]


def test_two_trials_of_one_person_are_two_runs(project: Project, ann: Person) -> None:
    for trial in ("t1", "t2"):
        ann.track("Trial Started", trial_id=trial)
    project.advance("P3D")
    assert ann.mails.count("need-a-hand") == 2


# -- an exit takes effect in the middle of a wait --


def test_a_cancellation_ends_a_wait_of_thirty_days_where_it_stands(project: Project, ann: Person) -> None:
    ann.track("Subscription Started")
    project.advance("P12D")
    ann.track("Subscription Cancelled")
    assert not ann.in_journey("renewal"), "not at the end of the wait: now"
    assert f"ended at {project.now} at the step 'wait-1': \"Subscription Cancelled\" came" in ann.why("renewal")


def test_who_begins_again_at_once_waits_thirty_days_from_then(project: Project, ann: Person) -> None:
    ann.track("Subscription Started")
    project.advance("P12D")
    ann.track("Subscription Cancelled")
    ann.track("Subscription Started")
    project.advance("P29DT23H59M59.999S")
    assert ann.mails == []
    project.advance("PT0.001S")
    assert ann.mails == ["renewal"]


# -- "no purchase in thirty days" turns at that millisecond, without a poll and without an event --


def test_the_window_closes_at_its_millisecond(project: Project, ann: Person) -> None:
    ann.track("Order Completed")
    project.advance("P29DT23H59M59.999S")
    assert ann.segments == ["buying"]
    project.advance("PT0.001S")
    assert ann.segments == ["not-buying"]
    assert ann.mails == ["miss-you"]
    assert ann.last_mail.sent_at == project.at


def test_an_order_reported_an_hour_late_counts_from_when_it_happened(project: Project, ann: Person) -> None:
    ann.track("Order Completed", at="-PT1H")
    project.advance("P29DT22H59M59.999S")
    assert ann.mails == []
    project.advance("PT0.001S")
    assert ann.mails == ["miss-you"]


def test_a_late_old_order_does_not_put_it_off(project: Project, ann: Person) -> None:
    ann.track("Order Completed")
    project.advance("P1D")
    ann.track("Order Completed", at="-P2D")
    project.advance("P29D")
    assert ann.mails == ["miss-you"]


# -- identify and track in one batch --


def test_the_mail_shows_the_trait_that_came_in_the_same_batch(project: Project, ann: Person) -> None:
    with project.batch():
        ann.identify(plan="Pro")
        ann.track("Plan Upgraded")
    assert ann.mails == ["upgraded"]
    assert ann.last_mail.subject == "Welcome to Pro"


def test_and_of_a_person_nobody_knew_before(project: Project) -> None:
    new = project.person("new")
    with project.batch():
        new.identify(email="new@example.com", plan="Pro")
        new.track("Plan Upgraded")
    assert [mail.subject for mail in new.messages] == ["Welcome to Pro"]
