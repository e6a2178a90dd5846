"""The journeys of the example shop at full length: thirty real days, not seconds of a demo."""

from pathlib import Path
from typing import Any

import pytest

from heliograph.project import check_project
from tests.decide.driver import DAY, HOUR, MINUTE, World

SHOP = Path(__file__).parents[2] / "examples" / "shop"
YES = {"consent": {"categoryPreferences": {"offers": True, "news": True}}}
LANTERN = {"product_id": "lantern", "price": 33.9}


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return check_project(SHOP, {}).document


@pytest.fixture
def shop(document: dict[str, Any]) -> World:
    world = World(document)
    world.identify(traits={"email": "ada@example.com"}, context=YES)
    return world


def order(shop: World, order_id: str = "o1", **more: Any) -> None:
    shop.track("Order Completed", order_id=order_id, total=5, products=[], **more)


def mails(shop: World) -> list[str]:
    """Templates in the order in which they were decided; the mailer sends what is queued."""
    shop.deliver()
    return [message.template for message in shop.messages.values()]


def test_win_back_comes_thirty_days_after_the_last_order_by_the_clock_alone(shop: World) -> None:
    order(shop)
    shop.advance(8 * DAY)
    assert mails(shop) == ["order-confirmation", "feedback-request"]
    shop.advance(22 * DAY - 1)
    assert "win-back" not in mails(shop)
    shop.advance(1)
    assert mails(shop)[-1] == "win-back"


def test_a_second_order_puts_win_back_off(shop: World) -> None:
    order(shop)
    shop.advance(20 * DAY)
    order(shop, "o2")
    shop.advance(29 * DAY)
    assert "win-back" not in mails(shop)


def test_return_visit_is_the_first_visit_after_thirty_idle_days(shop: World) -> None:
    shop.call("page", "Page Viewed", "1")
    shop.advance(29 * DAY)
    shop.call("page", "Page Viewed", "1")
    shop.advance(HOUR)
    assert mails(shop) == []
    shop.advance(31 * DAY)
    shop.call("page", "Page Viewed", "1")
    shop.call("page", "Page Viewed", "1")
    shop.advance(10 * MINUTE)
    assert mails(shop) == ["return-visit"]


def test_a_cancelled_order_asks_for_no_feedback_but_the_other_one_does(shop: World) -> None:
    order(shop, "o1")
    order(shop, "o2")
    shop.track("Order Cancelled", order_id="o1")
    shop.advance(8 * DAY)
    assert mails(shop).count("feedback-request") == 1


def test_an_order_reported_twice_is_confirmed_once(shop: World) -> None:
    order(shop)
    order(shop)
    assert mails(shop) == ["order-confirmation"]


def test_each_parcel_has_its_mail(shop: World) -> None:
    for parcel in ("s1", "s2", "s1"):
        shop.track("Order Shipped", shipment_id=parcel, order_id="o1")
    assert mails(shop) == ["shipping-update", "shipping-update"]


def test_a_cart_without_consent_gets_nothing(document: dict[str, Any]) -> None:
    shop = World(document)
    shop.identify(traits={"email": "ada@example.com"})
    shop.track("Product Added", cart_id="c1", quantity=1, **LANTERN)
    shop.advance(HOUR)
    assert shop.skipped() == ["no_consent: offers"]


def test_vips_get_their_own_second_reminder(shop: World) -> None:
    shop.identify(traits={"vip": True})
    shop.track("Product Added", cart_id="c1", quantity=1, **LANTERN)
    shop.advance(30 * MINUTE)
    assert mails(shop) == ["cart-reminder"]
    shop.advance(DAY)
    assert mails(shop) == ["cart-reminder", "cart-vip"]


def test_staff_get_no_reminders(shop: World) -> None:
    shop.identify(traits={"email": "Joe@Shop.Example"})
    shop.track("Product Viewed", **LANTERN)
    shop.track("Product Added", cart_id="c1", quantity=1, **LANTERN)
    shop.advance(2 * DAY)
    assert mails(shop) == []


def test_the_latest_view_is_the_one_that_is_shown_and_a_cart_stops_it(shop: World) -> None:
    shop.track("Product Viewed", **LANTERN)
    shop.advance(50 * MINUTE)
    shop.track("Product Viewed", product_id="heart")
    shop.advance(50 * MINUTE)
    assert mails(shop) == []
    shop.advance(10 * MINUTE)
    assert mails(shop) == ["browse-reminder"]
    shop.advance(2 * DAY)
    shop.track("Product Viewed", **LANTERN)
    shop.track("Product Added", cart_id="c1", quantity=1, **LANTERN)
    shop.advance(HOUR)
    assert mails(shop) == ["browse-reminder", "cart-reminder"]
