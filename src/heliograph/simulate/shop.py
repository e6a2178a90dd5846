"""A gift shop's visitors, as Segment calls.

About 2.5 % of product views reach a cart and 0.8 % an order.  Somebody is first seen anonymously, signs up before
their first cart and is then known by user id; orders are followed by shipments.  The same seed gives the same calls.
"""

import random
from collections import deque
from collections.abc import Iterator
from typing import Any

from heliograph.events.ids import make_id

CART_PER_VIEW = 0.025
ORDER_PER_VIEW = 0.008
PAGES_PER_VIEW = 0.15
"""Page views that show no product."""

PRODUCTS = [
    {"product_id": sku, "name": name, "price": price, "category": category}
    for sku, name, price, category in (
        ("85123A", "White Hanging Heart T-Light Holder", 2.95, "Candles"),
        ("22423", "Regency Cake Stand, Three Tiers", 12.75, "Kitchen"),
        ("47566", "Party Bunting", 4.95, "Party"),
        ("84879", "Assorted Colour Bird Ornament", 1.69, "Decoration"),
        ("22086", "Paper Chain Kit, 50s Christmas", 2.95, "Christmas"),
        ("22960", "Jam Making Set with Jars", 4.25, "Kitchen"),
        ("21212", "Pack of 72 Retrospot Cake Cases", 0.55, "Kitchen"),
        ("22197", "Small Popcorn Holder", 0.85, "Party"),
        ("23084", "Rabbit Night Light", 2.08, "Children"),
        ("22457", "Natural Slate Heart Chalkboard", 2.95, "Decoration"),
        ("22469", "Heart of Wicker, Small", 1.65, "Decoration"),
        ("22910", "Paper Chain Kit, Vintage Christmas", 2.95, "Christmas"),
    )
]
FIRST_NAMES = ("Ada", "Bram", "Chloé", "Dmitri", "Elif", "Finn", "Grace", "Hugo", "Ines", "Jun", "Kofi",
               "Lena", "Mira", "Noor", "Oskar", "Priya", "Rosa", "Søren", "Tariq", "Yara", "Zoë")  # fmt: skip
COUNTRIES = ("GB", "GB", "GB", "DE", "FR", "IE", "NL", "ES")
ZONES = {"GB": "Europe/London", "DE": "Europe/Berlin", "FR": "Europe/Paris", "IE": "Europe/Dublin",
         "NL": "Europe/Amsterdam", "ES": "Europe/Madrid"}  # fmt: skip

Call = dict[str, Any]


class Visitor:
    """One person in the simulated shop."""

    __slots__ = ("cart", "carts", "number", "signed_up")

    def __init__(self, number: int) -> None:
        self.number = number
        self.signed_up = False
        self.cart: list[Call] = []
        self.carts = 0

    def identity(self) -> Call:
        name = {"anonymousId": f"sim-anon-{self.number}"}
        return name | {"userId": f"sim-{self.number}"} if self.signed_up else name


class Shop:
    """An endless stream of calls.  ``profiles``: how many people; ``site``: where product pages live."""

    def __init__(self, seed: int, profiles: int, site: str = "http://127.0.0.1:8080/shop") -> None:
        self._random = random.Random(seed)
        self._seed = seed
        self._visitors: dict[int, Visitor] = {}
        self._profiles = profiles
        self._site = site
        self._count = 0
        self._waiting: deque[Call] = deque()

    def __iter__(self) -> Iterator[Call]:
        while True:
            if not self._waiting:
                self._waiting.extend(self._visit())
            yield self._waiting.popleft()

    def _call(self, kind: str, visitor: Visitor, **fields: Any) -> Call:
        self._count += 1
        message_id = make_id("simulate", self._seed, self._count)
        return {"type": kind, "messageId": message_id, **visitor.identity(), **fields}

    def _track(self, visitor: Visitor, event: str, properties: Call) -> Call:
        return self._call("track", visitor, event=event, properties=properties)

    def _visit(self) -> list[Call]:
        number = self._random.randrange(self._profiles)
        visitor = self._visitors.setdefault(number, Visitor(number))
        if self._random.random() < PAGES_PER_VIEW:
            return [self._call("page", visitor, name="Home", properties={"url": self._site + "/"})]
        product = self._product()
        calls = [self._track(visitor, "Product Viewed", product)]
        draw = self._random.random()
        if draw < CART_PER_VIEW:
            calls += self._fill_cart(visitor, product)
        if draw < ORDER_PER_VIEW:
            calls += self._order(visitor)
        return calls

    def _product(self) -> Call:
        product = self._random.choice(PRODUCTS)
        return {**product, "currency": "GBP", "url": f"{self._site}/?product={product['product_id']}"}

    def _sign_up(self, visitor: Visitor) -> list[Call]:
        visitor.signed_up = True
        draw = self._random
        country = draw.choice(COUNTRIES)
        traits = {
            "email": f"sim-{visitor.number}@shop-visitors.example",
            "firstName": draw.choice(FIRST_NAMES),
            "country": country,
            "timezone": ZONES[country],
        }
        context = {"consent": {"categoryPreferences": {"offers": draw.random() < 0.9, "news": draw.random() < 0.5}}}
        return [
            self._call("identify", visitor, traits=traits, context=context),
            self._track(visitor, "Signed Up", {"method": "form"}),
        ]

    def _fill_cart(self, visitor: Visitor, product: Call) -> list[Call]:
        calls = [] if visitor.signed_up else self._sign_up(visitor)
        if not visitor.cart:
            visitor.carts += 1
        line = {**product, "quantity": self._random.randint(1, 4)}
        visitor.cart.append(line)
        return [*calls, self._track(visitor, "Product Added", {**line, "cart_id": self._cart_id(visitor)})]

    def _cart_id(self, visitor: Visitor) -> str:
        return f"cart-{visitor.number}-{visitor.carts}"

    def _order(self, visitor: Visitor) -> list[Call]:
        lines, visitor.cart = visitor.cart, []
        cents = sum(round(line["price"] * 100) * line["quantity"] for line in lines)
        order_id = f"order-{visitor.number}-{visitor.carts}"
        order = {"order_id": order_id, "cart_id": self._cart_id(visitor), "total": cents / 100, "currency": "GBP"}
        shipment = {"order_id": order_id, "shipment_id": f"ship-{order_id}", "carrier": "Royal Mail",
                    "tracking_url": f"{self._site}/?shipment=ship-{order_id}"}  # fmt: skip
        return [
            self._track(visitor, "Order Completed", {**order, "products": lines}),
            self._track(visitor, "Order Shipped", shipment),
        ]
