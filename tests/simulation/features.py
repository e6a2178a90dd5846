"""Features of the simulator's plans: a journey, segment or policy each, its numbers drawn anew at each publish.

What a checker relies on never changes within a round: the exit events, the caps, the quiet hours, the topics.
"""

import random
from collections.abc import Callable
from typing import Any

Part = dict[str, Any]
Feature = Callable[[random.Random], Part]

ZONES = ("Europe/London", "America/New_York", "Australia/Lord_Howe", "America/Santiago", "Pacific/Auckland")
"""Both hemispheres, a shift of half an hour, one at midnight: all change their clocks within a round."""
QUIET = {"from": "21:00", "to": "08:00", "timezone": "person"}
EXIT_EVENTS = dict.fromkeys(("cart", "nurture", "arms", "loop", "scored"), "Order Completed")
"""Journey -> the event that ends it, whatever its key (no ``match``), in every version."""


def journey(name: str, **parts: Any) -> Part:
    return {"journeys": {name: {"name": name, **parts}}}


def cart(chance: random.Random) -> Part:
    """The contract's own example: an entry key, restarts, a wait for a click, a branch, an exit, a goal, a holdout."""
    return journey(
        "cart",
        topic="offers",
        priority=50,
        entry={
            "event": "Product Added",
            "key": "properties.cart_id",
            "on_repeat": "restart",
            "if": {"not": {"in_segment": "staff"}},
            "reentry": {"after": "PT6H"},
        },
        exit=[{"event": "Order Completed"}],
        goal={"event": "Order Completed", "within": "P3D", "value": "properties.total"},
        holdout="5%",
        steps=[
            {"wait": f"PT{chance.choice((20, 30, 45))}M"},
            {"send": "cart-reminder", "id": "first"},
            {
                "wait_until": {
                    "any": [{"event": "Email Clicked", "then": "exit"}],
                    "timeout": "P1D",
                    "else": "continue",
                },
                "id": "click",
            },
            {
                "branch": [
                    {"if": {"in_segment": "buyers"}, "then": [{"send": "cart-vip"}]},
                    {"else": [{"send": "cart-second"}]},
                ]
            },
        ],
    )


def welcome(_chance: random.Random) -> Part:
    return journey(
        "welcome", topic="news", entry={"event": "Signed Up", "reentry": "never"}, steps=[{"send": "welcome"}]
    )


def confirmation(_chance: random.Random) -> Part:
    entry = {"event": "Order Completed", "key": "properties.order_id", "reentry": "never"}
    return journey("confirmation", priority=100, entry=entry, steps=[{"send": "order-confirmation"}])


def lapsed(chance: random.Random) -> Part:
    """Entered by the clock alone."""
    return {
        "segments": {"lapsed": {"all": [{"in_segment": "buyers"}, {"not": bought("P4D")}]}},
        **journey(
            "win-back",
            topic="offers",
            entry={"segment": "lapsed", "reentry": {"after": "P5D"}},
            exit=[{"event": "Order Completed"}],
            steps=[{"wait": f"PT{chance.choice((1, 2))}H"}, {"send": "win-back"}],
        ),
    }


def windows(_chance: random.Random) -> Part:
    return {
        "segments": {
            "keen": {"did": {"event": "Product Viewed", "at_least": 3, "within": "PT2H"}},
            "quiet": {"not": {"did": {"event": "Product Viewed", "within": "P2D"}}},
        },
        **journey(
            "keen",
            topic="news",
            entry={"segment": "keen", "reentry": {"after": "P1D"}},
            steps=[{"wait": "PT10M"}, {"send": "keen"}],
        ),
    }


def bought(within: str) -> Part:
    return {"did": {"event": "Order Completed", "within": within}}


def nurture(chance: random.Random) -> Part:
    """Four mails over two weeks: long waits that exits must cut short."""
    steps: list[Part] = []
    for number in range(4):
        steps += [
            {"send": f"nurture-{number}", "id": f"m{number}"},
            {"wait": f"P{chance.choice((2, 3, 4))}D", "id": f"w{number}"},
        ]
    entry = {"event": "Signed Up", "reentry": {"after": "P10D"}}
    return journey("nurture", topic="news", priority=5, entry=entry, exit=[{"event": "Order Completed"}], steps=steps)


def arms(chance: random.Random) -> Part:
    """A split whose weights change and whose people must not."""
    share = chance.choice((20, 50, 80))
    return journey(
        "arms",
        topic="news",
        entry={"event": "Product Viewed", "reentry": {"after": "PT12H"}},
        exit=[{"event": "Order Completed"}],
        steps=[
            {"wait": "PT5M"},
            {
                "split": {
                    "arms": {
                        "a": {"weight": share, "then": [{"send": "arm-a"}]},
                        "b": {"weight": 100 - share, "then": [{"wait": "PT1H"}, {"send": "arm-b"}]},
                    }
                },
                "id": "ab",
            },
            {"wait": "PT30M"},
            {"send": "arm-end"},
        ],
    )


def loop(_chance: random.Random) -> Part:
    """Back to an earlier step, until it is over."""
    return journey(
        "loop",
        topic="offers",
        entry={"event": "Product Added", "reentry": {"after": "P3D"}},
        exit=[{"event": "Order Completed"}],
        steps=[
            {"wait": "P1D", "id": "again"},
            {"send": "loop", "id": "mail"},
            {
                "branch": [
                    {"if": {"did": {"event": "Product Viewed", "within": "P1D"}}, "then": {"goto": "again"}},
                    {"else": "exit"},
                ]
            },
        ],
    )


def echo(_chance: random.Random) -> Part:
    """Steps that speak to the person again: a trait, an event, and the journey that the event starts."""
    first = journey(
        "lost",
        topic="news",
        entry={"event": "Cart Removed"},
        steps=[
            {"update": {"traits": {"last_lost": "{{ event.properties.cart_id }}"}}},
            {"emit": {"event": "Cart Lost", "properties": {"cart_id": "{{ event.properties.cart_id }}"}}},
        ],
    )
    second = journey(
        "after-lost", topic="news", entry={"event": "Cart Lost", "reentry": {"after": "P1D"}}, steps=[{"send": "lost"}]
    )
    return {"journeys": {**first["journeys"], **second["journeys"]}}


def office(_chance: random.Random) -> Part:
    """A window of the day over the change of clocks."""
    return journey(
        "office",
        topic="news",
        entry={"event": "Page Viewed", "reentry": {"after": "P1D"}},
        steps=[
            {
                "window": {
                    "from": "09:00",
                    "to": "17:00",
                    "days": ["mon", "tue", "wed", "thu", "fri"],
                    "timezone": "person",
                }
            },
            {"send": "office"},
        ],
    )


def dated(_chance: random.Random) -> Part:
    return journey(
        "renewal",
        topic="news",
        entry={
            "event": "Identified",
            "if": {"trait": {"path": "renewal_at", "exists": True}},
            "reentry": {"after": "P7D"},
        },
        steps=[{"wait": {"date": "renewal_at", "offset": "-P3D", "grace": "PT1H"}}, {"send": "renewal"}],
    )


def clocks(_chance: random.Random) -> Part:
    return journey(
        "morning",
        topic="news",
        entry={"event": "Signed Up", "reentry": {"after": "P2D"}},
        steps=[{"wait": {"until": {"time": "02:30", "timezone": "person"}}}, {"send": "morning"}],
    )


def by_api(_chance: random.Random) -> Part:
    return journey("asked", topic="news", entry={"api": True, "reentry": {"after": "PT1H"}}, steps=[{"send": "asked"}])


def scheduled(_chance: random.Random) -> Part:
    return journey(
        "weekly",
        topic="news",
        entry={
            "schedule": "FREQ=WEEKLY;BYDAY=TU",
            "start": "2026-01-06T10:00:00",
            "timezone": "person",
        },
        steps=[{"send": "weekly"}],
    )


def hooked(_chance: random.Random) -> Part:
    """A request whose answer decides which way to go."""
    return journey(
        "scored",
        topic="offers",
        entry={"event": "Product Added", "reentry": {"after": "P2D"}},
        exit=[{"event": "Order Completed"}],
        steps=[
            {
                "webhook": {
                    "url": "https://crm.example/score",
                    "method": "POST",
                    "json": {"id": "{{ profile.id }}"},
                    "as": "crm",
                    "timeout": "PT5S",
                    "else": "exit",
                }
            },
            {"send": "scored"},
        ],
    )


def fallback(_chance: random.Random) -> Part:
    return journey(
        "either",
        topic="offers",
        entry={"event": "Signed Up", "reentry": {"after": "P3D"}},
        steps=[{"send": "rich", "on_failure": [{"send": "plain"}]}],
    )


def spending(_chance: random.Random) -> Part:
    return {
        "segments": {
            "big": {
                "did_sum": {"event": "Order Completed", "property": "properties.total", "gte": 100, "within": "P7D"}
            },
            "fans": {
                "did": {"event": "Product Viewed", "same": "properties.product_id", "at_least": 3, "within": "P1D"}
            },
            "straight": {
                "sequence": {"events": [{"event": "Product Viewed"}, {"event": "Product Added"}], "within": "PT1H"}
            },
        },
        **journey(
            "big", topic="offers", entry={"segment": "big", "reentry": {"after": "P3D"}}, steps=[{"send": "big"}]
        ),
    }


def caps(_chance: random.Random) -> Part:
    return {
        "policies": {
            "caps": [
                {"max": 2, "per": "P1D", "topics": ["offers", "news"], "when_exceeded": "defer", "defer_for": "P2D"},
                {"max": 3, "per": "P3D", "topics": ["offers"], "when_exceeded": "skip"},
            ]
        }
    }


def quiet_hours(_chance: random.Random) -> Part:
    return {"policies": {"quiet_hours": QUIET}}


def arbitrate(_chance: random.Random) -> Part:
    return {"policies": {"arbitrate": "PT10M"}}


def global_holdout(_chance: random.Random) -> Part:
    return {"policies": {"global_holdout": "5%"}}


def lists(_chance: random.Random) -> Part:
    """Friends of the house, and a journey that leaving the list ends."""
    return {
        "segments": {"close": {"any": [{"in_segment": "friends"}, {"trait": {"path": "n", "is": 2}}]}},
        **journey(
            "close",
            topic="news",
            entry={"segment": "close", "reentry": {"after": "P2D"}},
            exit=[{"if": {"not": {"in_segment": "close"}}}],
            steps=[{"wait": "PT3H"}, {"send": "close"}],
        ),
    }


def follow(_chance: random.Random) -> Part:
    """Some journeys take their runs along to the new version."""
    return {"on_edit": ("pin", "follow")}


FEATURES: tuple[Feature, ...] = (
    cart,
    welcome,
    confirmation,
    lapsed,
    windows,
    nurture,
    arms,
    loop,
    echo,
    office,
    dated,
    clocks,
    by_api,
    scheduled,
    hooked,
    fallback,
    spending,
    caps,
    quiet_hours,
    arbitrate,
    global_holdout,
    lists,
    follow,
)
