"""Every kind of condition over the real purchases of a gift shop, against the brute-force oracle.

Lines become events of three kinds: each item viewed, then the order or its cancellation, at the shop's own minute
resolution, so that hundreds of events fall into one millisecond.
"""

import csv
import random
from collections import defaultdict
from datetime import datetime
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest

from heliograph.decide.conditions import LeafIndex, fold, mark_of, parse_condition
from heliograph.decide.parsing import Context
from heliograph.events.event import Event
from tests.decide.people import Person
from tests.properties import oracle
from tests.properties.oracle import Node, Somebody

DATA = Path(__file__).parents[2].parent / "shared" / "data" / "online_retail.csv"
needs_data = pytest.mark.skipif(not DATA.exists(), reason="the real purchases are not beside this checkout")

LONDON = ZoneInfo("Europe/London")
DAY = 86_400_000
TOTAL = {"event": "Order Completed", "property": "properties.total"}
PRODUCTS = "properties.products.*"
CONDITIONS: list[Node] = [
    {"did": {"event": "Order Completed", "at_least": 2, "within": "P2D"}},
    {"did": {"event": "Order Completed", "where": {f"{PRODUCTS}.price": {"gte": 10}}}},
    {"did": {"event": "Product Viewed", "same": "properties.product_id", "at_least": 2, "within": "P3D"}},
    {"did_sum": {**TOTAL, "gte": 300, "within": "P1D"}},
    {"did_sum": {**TOTAL, "gte": 1000}},
    {"did_sum": {**TOTAL, "lt": 150.5, "within": "P2D"}},
    {"did_sum": {"event": "Order Cancelled", "property": f"{PRODUCTS}.quantity", "lte": -10}},
    {"did_sum": {"event": "Order Completed", "property": f"{PRODUCTS}.quantity", "gt": 500, "within": "P3D"}},
    {"did_avg": {**TOTAL, "gt": 250, "within": "P4D"}},
    {"did_avg": {"event": "Product Viewed", "property": "properties.price", "lt": 3.25, "within": "P1D"}},
    {"did_min": {"event": "Order Completed", "property": f"{PRODUCTS}.price", "lte": 0.85, "within": "P2D"}},
    {"did_max": {"event": "Order Completed", "property": f"{PRODUCTS}.price", "gte": 12.75, "within": "P2D"}},
    {"did_distinct": {"event": "Product Viewed", "property": "properties.product_id", "gte": 25, "within": "P1D"}},
    {"did_distinct": {"event": "Order Completed", "property": f"{PRODUCTS}.product_id", "lte": 60}},
    {"sequence": {"events": [{"event": "Order Completed"}, {"event": "Order Cancelled"}], "within": "P2D"}},
    {
        "sequence": {
            "events": [
                {"event": "Product Viewed", "where": {"properties.price": {"lt": 1}}},
                {"event": "Product Viewed", "where": {"properties.price": {"gt": 5}}},
                {"event": "Order Completed"},
            ],
            "within": "PT0.001S",
        }
    },
    {"near": {"lat": 51.5, "lon": -0.12, "radius_m": 400_000, "within": "P1D"}},
]
CONDITIONS.append({"all": [CONDITIONS[3], {"not": CONDITIONS[14]}, {"any": [CONDITIONS[11], CONDITIONS[12]]}]})
BOUNDS = {2: 200, 14: 100, 15: 100}
"""Conditions that keep so many events (of each element): nobody in the shop has more, but for guests with lists of
hundreds of lines, viewed in one millisecond."""
CAPITALS = {"United Kingdom": (51.507, -0.128), "France": (48.857, 2.352), "Germany": (52.52, 13.405)}


@cache
def histories() -> dict[str, list[Node]]:
    """Customer -> their events; guests are one customer an invoice."""
    invoices: dict[str, list[dict[str, str]]] = defaultdict(list)
    with DATA.open(encoding="latin-1", newline="") as file:
        for line in csv.DictReader(file):
            invoices[line["InvoiceNo"]].append(line)
    found: dict[str, list[Node]] = defaultdict(list)
    for number, lines in invoices.items():
        found[lines[0]["CustomerID"] or f"guest {number}"] += events_of(number, lines)
    return found


def events_of(number: str, lines: list[dict[str, str]]) -> list[Node]:
    at = datetime.strptime(lines[0]["InvoiceDate"], "%m/%d/%y %H:%M").replace(tzinfo=LONDON).timestamp() * 1000
    products = [
        {"product_id": line["StockCode"], "quantity": int(line["Quantity"]), "price": float(line["UnitPrice"])}
        for line in lines
    ]
    total = sum((Decimal(line["UnitPrice"]) * int(line["Quantity"]) for line in lines), Decimal(0))
    name = "Order Cancelled" if number.startswith("C") else "Order Completed"
    capital = CAPITALS.get(lines[0]["Country"])
    context = {"location": {"latitude": capital[0], "longitude": capital[1]}} if capital else {}
    order = {"total": float(total), "products": products}
    views = [event(f"{number}/{place}", "Product Viewed", at, one, {}) for place, one in enumerate(products)]
    return [*views, event(number, name, at, order, context)]


def event(id: str, name: str, at: float, properties: Node, context: Node) -> Node:
    return {"id": id, "name": name, "at": int(at), "properties": properties, "traits": {}, "context": context}


def product_event(event: Node) -> Event:
    return Event(
        event["id"], "track", event["name"], event["at"], properties=event["properties"], context=event["context"]
    )


@needs_data
@pytest.mark.parametrize("number", range(len(CONDITIONS)), ids=lambda number: next(iter(CONDITIONS[number])))
def test_a_condition_over_every_customer_is_the_oracles(number: int) -> None:
    """Reordered, repeated, folded; at the last event, at random instants and around the next flip."""
    node = CONDITIONS[number]
    seed = 1000 + number
    chance = random.Random(seed)
    condition = parse_condition(node, ("if",), Context())
    assert condition is not None
    index = LeafIndex(condition.leaves)
    seen = set()
    known = {who: history for who, history in histories().items() if len(history) <= BOUNDS.get(number, 10_000)}
    assert len(known) > 300
    for customer, history in sorted(known.items()):
        arrived = [product_event(one) for one in history + chance.sample(history, len(history) // 4)]
        chance.shuffle(arrived)
        states: dict[str, Any] = {}
        for happened in arrived:
            for leaf_id, take in index.takers(happened):
                if (state := take(states.get(leaf_id), happened, mark_of(happened))) is not None:
                    states[leaf_id] = state
        assert fold(condition.leaves, map(product_event, history)) == states, (seed, customer)
        person = Person(conditions=msgspec.msgpack.decode(msgspec.msgpack.encode(states)))
        last = max(one["at"] for one in history)
        flip = condition.next_flip(person, last)
        edges = [flip - 1, flip, flip + 1] if flip else []
        for t in (last, *edges, *(last + chance.randrange(5 * DAY) for _ in range(2))):
            truth = oracle.truth(node, Somebody(history), t)
            seen.add(truth)
            assert condition.truth(person, t) is truth, (seed, customer, t)
        if flip and "all" not in node and next(iter(node)) != "did":
            assert condition.truth(person, flip) is not condition.truth(person, flip - 1), (seed, customer)
    assert seen == {True, False}, "the question tells customers apart"
