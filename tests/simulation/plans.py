"""Plan documents of the simulator."""

import random
from typing import Any

from tests.simulation.features import EXIT_EVENTS, FEATURES, QUIET, ZONES, Feature, Part, quiet_hours
from tests.simulation.letters import TEMPLATES

__all__ = ["EXIT_EVENTS", "FEATURES", "QUIET", "ZONES", "Feature", "document", "quiet_hours"]

BASE: Part = {
    "segments": {
        "buyers": {"did": {"event": "Order Completed"}},
        "staff": {"trait": {"path": "email", "ends_with": "@shop.test"}},
    },
    "policies": {
        "topics": {"offers": {"consent": "required"}, "news": {"consent": "assumed"}},
        "act_within": "PT1H",
        "allowed_lateness": "P3D",
    },
}


def document(features: list[Feature], chance: random.Random) -> Part:
    """A plan document of these features, with new numbers; ``on_edit`` drawn for each journey."""
    parts: list[Part] = [BASE, *(feature(chance) for feature in features)]
    journeys = {name: one for part in parts for name, one in part.get("journeys", {}).items()}
    ways = next((part["on_edit"] for part in parts if "on_edit" in part), ("pin",))
    for one in journeys.values():
        one["on_edit"] = chance.choice(ways)
    segments = {name: condition for part in parts for name, condition in part.get("segments", {}).items()}
    policies: Part = {}
    for part in parts:
        policies |= part.get("policies", {})
    return {
        "format": 1,
        "tzdata": "2026.1",
        "project": {"name": "sim", "timezone": "Europe/London", "base_url": "http://sim.test", "time_scale": 1},
        "policies": policies,
        "segments": {name: {"name": name, "if": condition} for name, condition in segments.items()},
        "journeys": journeys,
        "templates": {name: template(name) for name in [*sends(list(journeys.values())), *TEMPLATES]},
        "schemas": {},
    }


def sends(node: Any) -> list[str]:
    if isinstance(node, dict):
        own = [node["send"]] if isinstance(node.get("send"), str) else []
        return own + [name for value in node.values() for name in sends(value)]
    return [name for value in node for name in sends(value)] if isinstance(node, list) else []


def template(name: str) -> Part:
    """A compiled template, as far as deciding and delivering look at it."""
    return {
        "name": name,
        "version": "00000001",
        "class": "transactional" if name == "order-confirmation" else TEMPLATES.get(name, "marketing"),
        "freshness_ms": 86_400_000 if name == "keen" else None,
        "on_unknown": "hold",
        "last": [],
        "paths": [],
        "sender": "default",
    }
