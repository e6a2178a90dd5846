"""The simulated shop."""

from itertools import islice

import pytest

from heliograph.simulate.shapes import arrivals
from heliograph.simulate.shop import Shop


def test_the_same_seed_gives_the_same_calls() -> None:
    assert list(islice(Shop(7, 50), 500)) == list(islice(Shop(7, 50), 500))
    assert list(islice(Shop(7, 50), 500)) != list(islice(Shop(8, 50), 500))


def test_about_one_view_in_forty_reaches_a_cart_and_one_in_125_an_order() -> None:
    names = [call.get("event") for call in islice(Shop(1, 5_000), 200_000)]
    views = names.count("Product Viewed")
    assert 0.02 < names.count("Product Added") / views < 0.03
    assert 0.006 < names.count("Order Completed") / views < 0.010


def test_an_order_is_the_sum_of_its_lines_and_belongs_to_somebody_with_an_address() -> None:
    signed_up = set()
    for call in islice(Shop(3, 200), 50_000):
        if call["type"] == "identify":
            signed_up.add(call["userId"])
        if call.get("event") == "Order Completed":
            assert call["userId"] in signed_up
            lines = call["properties"]["products"]
            cents = sum(round(line["price"] * 100) * line["quantity"] for line in lines)
            assert round(call["properties"]["total"] * 100) == cents > 0


@pytest.mark.parametrize(("shape", "expected"), [("steady", 1000), ("spike", 1400), ("ramp", 1000)])
def test_arrivals_keep_the_rate_of_their_shape(shape: str, expected: int) -> None:
    due = list(arrivals(shape, 100, 10, 42))
    assert due == sorted(due)
    assert abs(len(due) - expected) < 0.12 * expected
