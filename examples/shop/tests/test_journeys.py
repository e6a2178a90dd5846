"""The journeys of the shop, at full length: thirty real days, not seconds of a demo.

Run them with `pytest examples/shop`.  `project` is this project, served in memory (docs/how-to/test-your-journeys.md).
"""

import pytest

from heliograph.testing import EventRefused, Person, Project

YES = {"offers": True, "news": True}
LANTERN = {"product_id": "lantern", "name": "White metal lantern", "price": 33.9, "quantity": 1}


@pytest.fixture
def ann(project: Project) -> Person:
    return project.person("ann", email="ann@example.com", consent=YES)


def order(person: Person, order_id: str = "o1", total: float = 5) -> None:
    person.track("Order Completed", order_id=order_id, total=total, products=[])


# -- cart recovery --


def test_a_cart_that_waits_is_remembered_after_half_an_hour(project: Project, ann: Person) -> None:
    ann.track("Product Added", LANTERN, cart_id="c1")
    project.advance("PT29M59.999S")
    assert ann.mails == []
    project.advance("PT0.001S")
    assert ann.mails == ["cart-reminder"]
    assert "basket" in ann.last_mail.subject
    assert "White metal lantern" in ann.last_mail.html


def test_an_order_ends_the_reminders(project: Project, ann: Person) -> None:
    ann.track("Product Added", LANTERN, cart_id="c1")
    project.advance("PT30M")
    order(ann)
    project.advance("P2D")
    assert ann.mails == ["cart-reminder", "order-confirmation"]
    assert '"Order Completed" came, which is an exit' in ann.why("cart-recovery")


def test_an_order_stops_the_mail_that_is_already_queued(project: Project, ann: Person) -> None:
    ann.track("Product Added", LANTERN, cart_id="c1")
    with project.mail_held():
        project.advance("PT30M")
        assert ann.unsent == ["cart-reminder: queued"]
        order(ann)
    assert ann.mails == ["order-confirmation"]


def test_adding_again_begins_the_wait_anew(project: Project, ann: Person) -> None:
    ann.track("Product Added", LANTERN, cart_id="c1")
    project.advance("PT20M")
    ann.track("Product Added", product_id="heart", price=3, cart_id="c1")
    project.advance("PT29M")
    assert ann.mails == []
    project.advance("PT1M")
    assert ann.mails == ["cart-reminder"]


def test_two_carts_are_two_reminders(project: Project, ann: Person) -> None:
    for cart in ("c1", "c2"):
        ann.track("Product Added", LANTERN, cart_id=cart)
    project.advance("PT30M")
    assert ann.mails == ["cart-reminder", "cart-reminder"]


def test_a_click_ends_it_and_a_scanner_does_not(project: Project, ann: Person) -> None:
    ann.track("Product Added", LANTERN, cart_id="c1")
    project.advance("PT30M")
    ann.clicks(machine=True)
    assert ann.in_journey("cart-recovery")
    ann.clicks()
    project.advance("P2D")
    assert ann.mails == ["cart-reminder"]


def test_without_a_click_a_second_one_follows_and_vips_get_their_own(project: Project, ann: Person) -> None:
    bob = project.person("bob", email="bob@example.com", consent=YES, vip=True)
    for person in (ann, bob):
        person.track("Product Added", LANTERN, cart_id=f"cart of {person}")
    project.advance("P1DT30M")
    assert ann.mails == ["cart-reminder", "cart-second"]
    assert bob.mails == ["cart-reminder", "cart-vip"]


def test_without_consent_there_is_no_reminder_and_the_reason_is_kept(project: Project) -> None:
    cyd = project.person("cyd", email="cyd@example.com")
    cyd.track("Product Added", LANTERN, cart_id="c1")
    project.advance("PT30M")
    assert cyd.mails == []
    assert cyd.unsent == ["cart-reminder: skipped, no_consent: offers"]


def test_unsubscribing_stops_what_is_queued_and_all_that_follows(project: Project, ann: Person) -> None:
    ann.track("Product Added", LANTERN, cart_id="c1")
    project.advance("PT30M")
    with project.mail_held():
        project.advance("P1D")
        assert ann.unsent == ["cart-second: queued"]
        ann.unsubscribes(ann.last_mail)
    assert ann.unsent == ["cart-second: cancelled, no_consent: offers"]
    order(ann)
    assert ann.mails == ["cart-reminder", "order-confirmation"], "an order is still confirmed"


def test_staff_get_no_reminders(project: Project) -> None:
    joe = project.person("joe", email="Joe@Shop.Example", consent=YES)
    joe.track("Product Viewed", LANTERN)
    joe.track("Product Added", LANTERN, cart_id="c1")
    project.advance("P2D")
    assert joe.mails == []
    assert "`if` was false" in joe.why("cart-recovery")


def test_a_cart_filled_before_the_login_is_recovered_after_it(project: Project) -> None:
    visitor = project.visitor("browser-7")
    visitor.track("Product Added", LANTERN, cart_id="c1")
    project.advance("PT5M")
    dan = project.person("dan", email="dan@example.com", consent=YES, anonymous_id="browser-7")
    project.advance("PT25M")
    assert dan.mails == ["cart-reminder"]


def test_an_order_right_after_the_login_ends_the_run_begun_before_it(project: Project) -> None:
    visitor = project.visitor("browser-7")
    visitor.track("Product Added", LANTERN, cart_id="c1")
    dan = project.person("dan", email="dan@example.com", consent=YES, anonymous_id="browser-7")
    order(dan)
    project.advance("P2D")
    assert dan.mails == ["order-confirmation"]


# -- browsing --


def test_the_latest_view_is_the_one_that_is_shown(project: Project, ann: Person) -> None:
    ann.track("Product Viewed", LANTERN)
    project.advance("PT50M")
    ann.track("Product Viewed", product_id="heart", name="Heart of wood", price=3)
    project.advance("PT59M")
    assert ann.mails == []
    project.advance("PT1M")
    assert ann.mails == ["browse-reminder"]
    assert "Heart of wood" in ann.last_mail.html


def test_who_puts_something_into_the_cart_is_not_browsing(project: Project, ann: Person) -> None:
    ann.track("Product Viewed", LANTERN)
    ann.track("Product Added", LANTERN, cart_id="c1")
    project.advance("PT1H")
    assert ann.mails == ["cart-reminder"]


# -- orders --


def test_an_order_reported_twice_is_confirmed_once(project: Project, ann: Person) -> None:
    order(ann)
    order(ann)
    assert ann.mails == ["order-confirmation"]


def test_each_parcel_has_its_mail(project: Project, ann: Person) -> None:
    for parcel in ("s1", "s2", "s1"):
        ann.track("Order Shipped", shipment_id=parcel, order_id="o1")
    assert ann.mails == ["shipping-update", "shipping-update"]


def test_a_cancelled_order_asks_for_no_feedback_but_the_other_one_does(project: Project, ann: Person) -> None:
    order(ann, "o1")
    order(ann, "o2")
    ann.track("Order Cancelled", order_id="o1")
    project.advance("P7D")
    assert ann.mails.count("feedback-request") == 1


def test_a_dead_address_gets_nothing_more(project: Project, ann: Person) -> None:
    project.receiver_says("ann@example.com", "550 5.1.1 no such user")
    order(ann)
    project.receiver_says("ann@example.com", "250 welcome back")
    order(ann, "o2")
    assert ann.mails == []
    assert ann.unsent == [
        "order-confirmation: bounced, 550 5.1.1 no such user",
        "order-confirmation: skipped, suppressed: bounce",
    ]


# -- coming and coming back --


def test_welcome_comes_once_in_a_lifetime(project: Project, ann: Person) -> None:
    ann.track("Signed Up")
    project.advance("P400D")
    ann.track("Signed Up")
    assert ann.mails == ["welcome"]


def test_win_back_comes_thirty_days_after_the_last_order_by_the_clock_alone(project: Project, ann: Person) -> None:
    order(ann)
    project.advance("P20D")
    order(ann, "o2")
    project.advance("P29DT23H59M59.999S")
    assert "win-back" not in ann.mails
    project.advance("PT0.001S")
    assert ann.mails[-1] == "win-back"


def test_return_visit_is_the_first_visit_after_thirty_idle_days(project: Project, ann: Person) -> None:
    ann.page("Home")
    project.advance("P29D")
    ann.page("Home")
    project.advance("PT1H")
    assert ann.mails == []
    project.advance("P31D")
    ann.page("Home")
    ann.page("Home")
    project.advance("PT10M")
    assert ann.mails == ["return-visit"]


# -- events --


def test_an_event_that_breaks_its_schema_is_refused_with_the_reason(ann: Person) -> None:
    with pytest.raises(EventRefused, match="quantity"):
        ann.track("Product Added", LANTERN, quantity="one")


def test_an_event_of_the_morning_that_arrives_in_the_evening_starts_nothing(project: Project, ann: Person) -> None:
    ann.track("Product Added", LANTERN, cart_id="c1", at="-PT8H")
    project.advance("P2D")
    assert ann.mails == []
    assert "more than" in ann.why("cart-recovery")


# -- caps --


def test_a_thirteenth_mail_in_a_week_waits_for_the_next(project: Project, ann: Person) -> None:
    for cart in range(7):  # each is remembered twice: after half an hour and a day later
        ann.track("Product Added", LANTERN, cart_id=f"c{cart}")
    project.advance("P6DT20H")
    assert len(ann.mails) == 12
    assert ann.unsent == ["cart-second: skipped, cap: 12 per 7 days"] * 2, "it would have to wait too long"
    ann.track("Product Added", LANTERN, cart_id="c8")
    project.advance("PT4H29M")
    assert ann.unsent[-1] == "cart-reminder: deferred, cap: 12 per 7 days"
    project.advance("PT1M")
    assert ann.mails[12:] == ["cart-reminder"], "exactly seven days after the first"
