"""`heliograph demo --smoke`: each journey of the shop sends one mail, and one purchase stops one reminder.

Black box: it speaks HTTP to the running demo and looks into the inbox, as a visitor and a marketer would.
"""

import base64
import json
import time
import urllib.request
from collections.abc import Callable
from typing import Any

import msgspec

from heliograph.demo.shop import return_visit

PATIENCE_S = 120.0
JOURNEYS = (
    "welcome", "browse-abandonment", "cart-recovery", "order-confirmation", "shipping-update", "feedback-request",
    "win-back", "return-visit",
)  # fmt: skip
STOPPED = "smoke-bought"


class Failure(Exception):
    """A promise of the demo was not kept; the text says which."""


class Visitor(msgspec.Struct, frozen=True):
    """HTTP to the demo: events with the write key, questions with the token."""

    url: str
    write_key: str
    token: str

    def send(self, calls: list[dict[str, Any]]) -> None:
        body = json.dumps({"batch": calls}).encode()
        key = base64.b64encode(f"{self.write_key}:".encode()).decode()
        request = urllib.request.Request(f"{self.url}/v1/batch", body, {"authorization": f"Basic {key}"}, method="POST")
        request.add_header("content-type", "application/json")
        with urllib.request.urlopen(request, timeout=30) as answer:
            results = json.load(answer)["results"]
        for result in results:
            if result["status"] != "accepted":
                raise Failure(f"{result['message_id']} was {result['status']}: {result['reason']}")

    def get(self, path: str) -> Any:
        return self._api(path)

    def post(self, path: str, body: dict[str, Any]) -> Any:
        return self._api(path, json.dumps(body).encode())

    def _api(self, path: str, body: bytes | None = None) -> Any:
        headers = {"authorization": f"Bearer {self.token}", "content-type": "application/json"}
        request = urllib.request.Request(self.url + path, body, headers)
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)


def known(user: str, first_name: str) -> dict[str, Any]:
    consent = {"categoryPreferences": {"offers": True, "news": True}}
    traits = {"email": f"{user}@visitors.example", "firstName": first_name, "timezone": "Europe/London"}
    return {"type": "identify", "userId": user, "traits": traits, "context": {"consent": consent}}


def track(user: str, event: str, **properties: Any) -> dict[str, Any]:
    return {"type": "track", "userId": user, "event": event, "properties": properties}


PRODUCT = {"product_id": "23084", "name": "Rabbit Night Light", "price": 2.08, "currency": "GBP"}
LINE = {**PRODUCT, "quantity": 2}


def order(user: str) -> dict[str, Any]:
    return track(
        user,
        "Order Completed",
        order_id=f"order-{user}",
        cart_id=f"cart-{user}",
        total=4.16,
        currency="GBP",
        products=[LINE],
    )


def scenario() -> list[dict[str, Any]]:
    """One person per journey.  The win-back buyer and the idle visitor are customers of before (`demo/shop.py`)."""
    return [
        known("smoke-new", "Nora"), track("smoke-new", "Signed Up", method="form"),
        known("smoke-looked", "Liam"), track("smoke-looked", "Product Viewed", **PRODUCT),
        known("smoke-filled", "Finn"), track("smoke-filled", "Product Added", cart_id="cart-smoke-filled", **LINE),
        known(STOPPED, "Bea"), track(STOPPED, "Product Added", cart_id=f"cart-{STOPPED}", **LINE), order(STOPPED),
        known("smoke-parcel", "Pia"),
        track("smoke-parcel", "Order Shipped", order_id="o-1", shipment_id="s-1", carrier="Royal Mail",
              tracking_url="https://tracking.example/s-1"),
        return_visit(1),
    ]  # fmt: skip


def wait_for(fact: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not fact():
        if time.monotonic() > deadline:
            raise Failure(f"not within {PATIENCE_S:.0f} s: {what}")
        time.sleep(0.1)


def check(visitor: Visitor, say: Callable[[str], None]) -> None:
    """Raises :class:`Failure` with the first promise that was not kept."""
    visitor.send(scenario())
    for journey in JOURNEYS:
        wait_for(lambda name=journey: sent(visitor, name) > 0, f"a mail of {journey}")  # type: ignore[misc]
        say(f"{journey}: sent")
    reminders = [
        message
        for message in visitor.get(f"/api/messages?profile={STOPPED}&limit=100")["messages"]
        if message["journey"] == "cart-recovery"
    ]
    if reminders:
        raise Failure(f"a reminder was decided although the order came first: {reminders}")
    say("cart-recovery: stopped by the purchase")
    visitor.post("/api/broadcasts", {"id": "smoke", "name": "Smoke", "template": "black-friday", "topic": "offers",
                                     "audience": {"everyone": True}})  # fmt: skip
    wait_for(
        lambda: bool(visitor.get("/api/messages?broadcast=smoke&status=sent")["messages"]), "a mail of a broadcast"
    )
    say("black-friday: broadcast")
    total = sum(sent(visitor, journey) for journey in JOURNEYS)
    wait_for(lambda: bool(visitor.get("/inbox/messages")["total"] >= total), f"{total} mails in the inbox")
    say(f"inbox: {visitor.get('/inbox/messages')['total']} mails")


def sent(visitor: Visitor, journey: str) -> int:
    found = visitor.get("/api/messages?status=sent&limit=1000")["messages"]
    return sum(message["journey"] == journey for message in found)
