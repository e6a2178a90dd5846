"""How mail is getting out: receivers, senders and relays, and what is held."""

from typing import Any

import msgspec
from litestar import Router, get

from heliograph.console.shapes import Pause, pause_of
from heliograph.decide.broadcasts import broadcast_of
from heliograph.ports import Engine


class Paused(msgspec.Struct, frozen=True):
    """A journey, or a broadcast, whose mail is held."""

    journey: str | None
    broadcast_id: str | None
    paused: Pause


class Delivery(msgspec.Struct, frozen=True):
    """By name.  ``receivers`` with mail or news (the busiest 200): ``queued``, ``in_flight``, limits, and
    ``suspended_until`` or ``slowed_to`` with the ``reason``.  ``senders`` with limits: today's count, warm-up.
    ``relays``: whether each ``works``, and why not."""

    receivers: dict[str, dict[str, Any]]
    senders: dict[str, dict[str, Any]]
    relays: dict[str, dict[str, Any]]
    paused: list[Paused]


def paused(engine: Engine) -> list[Paused]:
    found = []
    for journey, hold in sorted(engine.holds().items()):
        broadcast, pause = broadcast_of(journey), pause_of(hold)
        if pause is not None:
            found.append(Paused(None if broadcast else journey, broadcast or None, pause))
    return found


def router(engine: Engine) -> Router:
    @get("/", summary="Receivers, senders and relays: what waits, how fast it goes, what is suspended and why")
    async def delivery() -> Delivery:
        found = engine.traffic()
        return Delivery(found["receivers"], found["senders"], found["relays"], paused(engine))

    return Router("/delivery", route_handlers=[delivery], tags=["delivery"])
