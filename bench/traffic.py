"""Requests made before the clock runs: shop events with message ids of their own."""

import itertools
import random
from collections.abc import Iterator
from typing import Any

import msgspec

from heliograph.simulate.client import Job
from heliograph.simulate.shop import PRODUCTS, Shop

__all__ = ["BATCH", "PRODUCTS", "address", "batches", "buyer", "encode", "identify", "mixed", "order", "shop_batches"]

BATCH = 100
"""Events in a batch (design, section 10)."""

encode = msgspec.json.encode


def buyer(number: int) -> str:
    return f"buyer-{number}"


def address(number: int) -> str:
    return f"{buyer(number)}@bench.example"


def identify(number: int) -> dict[str, Any]:
    traits = {"email": address(number), "firstName": "Ada", "country": "GB"}
    return {"type": "identify", "messageId": f"known-{number}", "userId": buyer(number), "traits": traits}


def order(number: int, turn: int, series: int) -> dict[str, Any]:
    """A call that sends one mail at once, whatever came before: a new order id for each."""
    lines = [{**product, "quantity": 1 + turn % 3} for product in PRODUCTS[turn % 7 : turn % 7 + 3]]
    properties = {"order_id": f"o-{series}-{number}-{turn}", "total": 19.95, "currency": "GBP", "products": lines}
    name = {"messageId": f"order-{series}-{number}-{turn}", "userId": buyer(number)}
    return {"type": "track", "event": "Order Completed", **name, "properties": properties}


def batches(calls: Iterator[dict[str, Any]], size: int = BATCH) -> Iterator[bytes]:
    while portion := list(itertools.islice(calls, size)):
        yield encode({"batch": portion})


def shop_batches(count: int, seed: int, profiles: int, size: int = BATCH) -> list[bytes]:
    return list(batches(itertools.islice(iter(Shop(seed, profiles)), count * size), size))


def poisson(rate: float, seconds: float, seed: int) -> Iterator[float]:
    """Instants of a Poisson process."""
    draw, at = random.Random(seed), 0.0
    while rate and (at := at + draw.expovariate(rate)) < seconds:
        yield at


def mixed(sends: float, others: float, seconds: float, seed: int, buyers: int) -> list[Job]:
    """Orders as single requests and shop traffic in batches, each a Poisson process of its own, in order of time; an
    order's ``events`` is 1."""
    turns = enumerate(poisson(sends, seconds, seed))
    singles = [Job(at, 1, b"/v1/track", encode(order(n % buyers, n // buyers, seed))) for n, at in turns]
    instants = list(poisson(others / BATCH, seconds, seed + 1))
    bodies = shop_batches(len(instants), seed, profiles=20_000)
    many = [Job(at, BATCH, b"/v1/batch", body) for at, body in zip(instants, bodies, strict=True)]
    return sorted(singles + many, key=lambda job: job.due)
