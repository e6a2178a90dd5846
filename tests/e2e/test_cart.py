"""Cart recovery over real SMTP, as the shop's owner would try it out."""

import re
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.harness import Receiver, Server, html_of, shop, until

SCALE = "1200"
"""Thirty minutes pass in 1.5 seconds."""
WAIT_S = 1800 / int(SCALE)
_numbers = count(1)


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


@pytest.fixture(scope="module")
def server(receiver: Receiver, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with shop(tmp_path_factory.mktemp("cart"), receiver, HELIOGRAPH_PROJECT_TIME_SCALE=SCALE) as server:
        yield server


class Customer:
    """Somebody with an address and consent to offers, who browses anonymously first."""

    def __init__(self) -> None:
        number = next(_numbers)
        self.id, self.anonymous = f"cart-user-{number}", f"cart-anon-{number}"
        self.address = f"{self.id}@buyers.example"

    def identify(self) -> dict[str, Any]:
        consent = {"categoryPreferences": {"offers": True}}
        traits = {"email": self.address, "firstName": "Ada"}
        return {"type": "identify", "userId": self.id, "traits": traits, "context": {"consent": consent}}

    def known(self, call: dict[str, Any]) -> dict[str, Any]:
        return {**call, "userId": self.id}

    def unknown(self, call: dict[str, Any]) -> dict[str, Any]:
        return {**call, "anonymousId": self.anonymous}


def added(cart: str, name: str = "Party Bunting") -> dict[str, Any]:
    properties = {"cart_id": cart, "product_id": "47566", "name": name, "price": 4.95, "quantity": 1, "currency": "GBP"}
    return {"type": "track", "event": "Product Added", "properties": properties}


def ordered(order: str, cart: str = "c") -> dict[str, Any]:
    products = [{"product_id": "47566", "name": "Party Bunting", "price": 4.95, "quantity": 1}]
    properties = {"order_id": order, "cart_id": cart, "total": 4.95, "currency": "GBP", "products": products}
    return {"type": "track", "event": "Order Completed", "properties": properties}


def reminders(server: Server, customer: Customer) -> list[dict[str, Any]]:
    found = server.messages(profile=customer.id)
    return [message for message in found if message["template"] == "cart-reminder"]


def put_off(server: Server, customer: Customer) -> list[dict[str, Any]]:
    return [message for message in reminders(server, customer) if message["status"] == "queued" and message["attempt"]]


def runs(server: Server, customer: Customer) -> list[dict[str, Any]]:
    view = server.get(f"/api/profiles/{customer.id}")
    return [run for run in view["runs"] if run["journey"] == "cart-recovery"]


def test_a_reminder_comes_after_the_wait(server: Server, receiver: Receiver) -> None:
    customer = Customer()
    started = time.time()
    server.send(customer.identify(), customer.known(added("a", "Rabbit Night Light")))
    (mail,) = until(lambda: receiver.to(customer.address), "the reminder arrives")
    assert time.time() - started >= WAIT_S
    assert "Rabbit Night Light" in html_of(mail)
    until(lambda: [one["status"] for one in reminders(server, customer)] == ["sent"], "its outcome is known")


def test_no_reminder_when_the_order_comes_first(server: Server, receiver: Receiver) -> None:
    customer, other = Customer(), Customer()
    server.send(customer.identify(), customer.known(added("b")), customer.known(ordered("o-b", "b")))
    server.send(other.identify(), other.known(added("b2")))
    until(lambda: reminders(server, other), "a later cart is reminded of")
    assert not reminders(server, customer)
    assert not any("basket" in str(mail["subject"]).lower() for mail in receiver.to(customer.address))


def test_two_carts_are_two_runs(server: Server, receiver: Receiver) -> None:
    customer = Customer()
    server.send(customer.identify(), customer.known(added("c1")), customer.known(added("c2")))
    until(lambda: len([m for m in reminders(server, customer) if m["status"] == "sent"]) == 2, "two reminders are sent")
    assert len({message["run_id"] for message in reminders(server, customer)}) == 2


def test_adding_again_begins_the_wait_anew(server: Server, receiver: Receiver) -> None:
    customer = Customer()
    server.send(customer.identify(), customer.known(added("d", "Party Bunting")))
    time.sleep(WAIT_S * 0.2)
    again = time.time()
    server.send(customer.known(added("d", "Rabbit Night Light")))
    (mail,) = until(lambda: receiver.to(customer.address), "the reminder arrives")
    assert time.time() - again >= WAIT_S
    assert "Rabbit Night Light" in html_of(mail)
    assert len(reminders(server, customer)) == 1


def test_a_cart_filled_before_login_is_exited_by_the_order_after_it(server: Server, receiver: Receiver) -> None:
    customer, other = Customer(), Customer()
    server.send(customer.unknown(added("e")))
    server.send({**customer.identify(), "anonymousId": customer.anonymous})
    assert [run["status"] for run in runs(server, customer)] == ["active"]
    server.send(customer.known(ordered("o-e", "e")))
    server.send(other.identify(), other.known(added("e2")))
    until(lambda: reminders(server, other), "a later cart is reminded of")
    assert not reminders(server, customer)


def test_the_cart_of_somebody_who_logs_in_is_remembered(server: Server, receiver: Receiver) -> None:
    customer = Customer()
    server.send(customer.unknown(added("f")))
    server.send({**customer.identify(), "anonymousId": customer.anonymous})
    until(lambda: receiver.to(customer.address), "the reminder arrives")


def test_an_order_stops_a_reminder_that_waits_behind_a_slow_receiver(tmp_path: Path) -> None:
    customer = Customer()
    with Receiver() as receiver, shop(tmp_path, receiver, HELIOGRAPH_PROJECT_TIME_SCALE="18000") as server:
        receiver.hold = 4
        crowd = [Customer() for _ in range(60)]
        for one in crowd:
            server.send(one.identify(), one.known(ordered(f"crowd-{one.id}")))
        server.send(customer.identify(), customer.known(added("g")))
        until(lambda: reminders(server, customer), "the reminder is decided")
        assert reminders(server, customer)[0]["status"] == "queued"
        server.send(customer.known(ordered("o-g", "g")))
        until(lambda: reminders(server, customer)[0]["status"] == "cancelled", "the reminder is cancelled")
        receiver.hold = 0
        until(server.settled, "nothing is on its way any more")
        assert not [m for m in receiver.to(customer.address) if "cart-reminder" in str(m)]
        assert reminders(server, customer)[0]["status"] == "cancelled"


def unsubscribe_url(mail: Any) -> str:
    found = re.search(r"<(http[^>]+)>", str(mail["list-unsubscribe"]))
    assert found
    return found[1]


def test_one_click_unsubscribe_stops_what_is_queued(server: Server, receiver: Receiver) -> None:
    customer = Customer()
    server.send(customer.identify(), customer.known(added("h1")))
    (mail,) = until(lambda: receiver.to(customer.address), "the first reminder arrives")
    url = unsubscribe_url(mail)
    with urllib.request.urlopen(url, timeout=10) as page:
        assert page.status == 200, "looking at it changes nothing"
    receiver.gate.clear()
    try:
        server.send(customer.known(added("h2")))
        waiting = until(lambda: put_off(server, customer), "one is put off")
        body = b"List-Unsubscribe=One-Click"
        with urllib.request.urlopen(urllib.request.Request(url, body, method="POST"), timeout=10) as answer:
            assert answer.status == 200
    finally:
        receiver.gate.set()
    stopped = waiting[0]["message_id"]
    until(
        lambda: server.get(f"/api/messages/{stopped}")["status"] in ("cancelled", "skipped"),
        "the queued one is stopped",
    )
    server.send(customer.known(added("h3")))
    until(lambda: any(m["status"] == "skipped" for m in reminders(server, customer)), "a later one is skipped")
    assert len(receiver.to(customer.address)) == 1


def test_a_forged_unsubscribe_link_is_refused(server: Server) -> None:
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(server.url + "/u/forged-token", b"List-Unsubscribe=One-Click", timeout=10)
    assert refused.value.code in (400, 404)
