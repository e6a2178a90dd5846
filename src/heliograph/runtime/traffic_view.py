"""The traffic as people and Prometheus see it."""

import heapq
from collections.abc import Callable, Mapping
from typing import Any, Final

from heliograph.runtime.meter import Meter
from heliograph.runtime.traffic import Traffic
from heliograph.runtime.traffic_parts import sender_view

WATCHED: Final = 100
"""Receivers told apart in metrics: each is a time series for ever."""


def view(traffic: Traffic, now: int, limit: int = 200) -> dict[str, Any]:
    """For people: receivers with traffic or news (the busiest ``limit``), senders with limits, relays."""
    queues, (senders, relays, towards) = traffic.queues(), traffic.kept_parts()
    busy = {
        name: one for name, (one, _) in towards.items()
        if queues.get(name) or one.in_flight or one.until or one.why
    }  # fmt: skip
    names = sorted(busy, key=lambda name: (-queues.get(name, 0), name))[:limit]
    return {
        "receivers": {name: {"queued": queues.get(name, 0), **busy[name].view(now)} for name in names},
        "senders": {name: sender_view(one, now) for name, one in senders.items() if one.limited},
        "relays": {name: relay.view(now) for name, relay in relays.items()},
    }


def in_flight(traffic: Traffic) -> dict[str, float]:
    """By receiver, those with any."""
    return {name: one.in_flight for name, (one, _) in traffic.kept_parts()[2].items() if one.in_flight}


def held_back(traffic: Traffic, now: int) -> dict[str, float]:
    """Seconds until a suspension ends, by receiver."""
    towards = traffic.kept_parts()[2]
    return {name: (one.until - now) / 1000 for name, (one, _) in towards.items() if one.until > now}


def works(traffic: Traffic) -> dict[str, float]:
    return {name: float(relay.works) for name, relay in traffic.kept_parts()[1].items()}


def tiers(traffic: Traffic) -> dict[str, float]:
    """Warm-up tiers from 1, one more when warm, by sender."""
    senders = traffic.kept_parts()[0]
    return {name: one.warmup.tier + 1 for name, one in senders.items() if one.warmup is not None}


def watch(meter: Meter, traffic: Traffic, now: Callable[[], int]) -> None:
    """What Prometheus is told of receivers (:data:`WATCHED` of them at most), relays and senders."""
    meter.watch_tally("receiver_queued", lambda: largest(traffic.queues()))
    meter.watch_tally("receiver_in_flight", lambda: largest(in_flight(traffic)))
    meter.watch_tally("receiver_held_back_seconds", lambda: largest(held_back(traffic, now())))
    meter.watch_tally("relay_works", lambda: works(traffic))
    meter.watch_tally("warmup_tier", lambda: tiers(traffic))


def largest(values: Mapping[str, float]) -> dict[str, float]:
    """The :data:`WATCHED` largest."""
    return dict(heapq.nlargest(WATCHED, values.items(), key=lambda item: item[1]))
