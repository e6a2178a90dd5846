"""Plans and events for measuring the brain alone."""

import random
from collections.abc import Iterator
from typing import Any

from heliograph import decide
from heliograph.events.event import Event
from heliograph.events.record import EventBody, Record

T0 = 1_790_000_000_000
EVENTS = [f"Event {n}" for n in range(20)]
CATEGORIES = [f"category-{n}" for n in range(30)]
COUNTRIES = [f"C{n}" for n in range(60)]
WINDOWS = ("PT10M", "PT1H", "P1D", "P7D", "P30D")


def _segment(n: int, calm: bool) -> dict[str, Any]:
    """60 % count one event of one category in a window, 10 % any of one event, 20 % look at traits, 10 % combine."""
    event = EVENTS[n // 10 % len(EVENTS)]
    category = CATEGORIES[n // 7 % len(CATEGORIES)]
    window = "P30D" if calm else WINDOWS[n % len(WINDOWS)]
    share = n % 10
    if share < 6:
        where = {"properties.category": category}
        return {"did": {"event": event, "where": where, "at_least": 1 if calm else 1 + n % 3, "within": window}}
    if share == 6:
        return {"did": {"event": event, "at_least": 1 if calm else 1 + n % 4, "within": window}}
    if share < 9:
        return {"trait": {"path": "country", "is": COUNTRIES[n % len(COUNTRIES)]}}
    return {"all": [{"in_segment": f"s{n - 3}"}, {"not": {"in_segment": f"s{n - 1}"}}]}


def _idle_segment(n: int) -> dict[str, Any]:
    """Asks for what never happens here."""
    return {"did": {"event": f"Other {n % 500}", "where": {"properties.category": f"c{n}"}, "within": "P7D"}}


def _journey(n: int) -> dict[str, Any]:
    where = {"properties.category": CATEGORIES[n % len(CATEGORIES)]}
    return {
        "name": f"j{n}",
        "entry": {"event": EVENTS[n % len(EVENTS)], "where": where, "on_repeat": "ignore"},
        "exit": [{"event": EVENTS[(n + 7) % len(EVENTS)], "where": where}],
        "steps": [{"wait": "PT30M"}, {"send": "mail"}],
    }


def document(segments: int, journeys: int, idle: int = 0, *, calm: bool = False) -> dict[str, Any]:
    """``calm``: long windows that one event keeps, so that people who do the same again and again turn nothing."""
    named = {f"s{n}": _segment(n, calm) for n in range(segments)} | {f"i{n}": _idle_segment(n) for n in range(idle)}
    template: dict[str, Any] = {"name": "mail", "version": "v1", "class": "marketing", "freshness_ms": None, "last": []}
    return {
        "format": 1,
        "tzdata": "2026.1",
        "project": {"name": "bench", "timezone": "Europe/London", "base_url": "http://127.0.0.1", "time_scale": 1},
        "policies": {"topics": {}},
        "segments": {name: {"name": name, "if": condition} for name, condition in named.items()},
        "journeys": {f"j{n}": _journey(n) for n in range(journeys)},
        "templates": {"mail": template},
        "schemas": {},
    }


def records(count: int, people: int, plan: decide.Plan, *, habits: int, seed: int = 1) -> Iterator[Record]:
    """Everybody is known by an identify first, then does things, 20 ms apart: each person ``habits`` different ones."""
    draw = random.Random(seed)
    for n in range(people):
        traits = {"email": f"p{n}@bench.example", "firstName": "Ada", "country": COUNTRIES[n % len(COUNTRIES)]}
        yield _record(Event(f"i{n}", "identify", "Identified", T0, user_id=str(n), traits=traits), T0, plan)
    for n in range(count - people):
        person, at = draw.randrange(people), T0 + 20 * n
        habit = person * 101 + draw.randrange(habits) * 37
        category, name = CATEGORIES[habit % len(CATEGORIES)], EVENTS[habit // 7 % len(EVENTS)]
        properties = {"category": category, "price": 12.75, "currency": "GBP", "name": "Cake Stand"}
        yield _record(Event(f"e{n}", "track", name, at, user_id=str(person), properties=properties), at, plan)


def _record(event: Event, at: int, plan: decide.Plan) -> Record:
    return Record(f"u:{event.user_id}", event.event_id, at, plan.version, EventBody(event))
