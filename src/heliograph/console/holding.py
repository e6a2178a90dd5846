"""Pausing the mail of a journey: what it sends waits until it is resumed; people enter and go on meanwhile."""

import msgspec
from litestar import Router, post
from litestar.exceptions import HTTPException, NotFoundException

from heliograph.console.people import near_word
from heliograph.console.shapes import Pause, pause_of
from heliograph.console.slashes import as_sent
from heliograph.decide.broadcasts import broadcast_of
from heliograph.ports import Engine


class HoldRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``reason`` and ``by``: kept, and shown wherever the journey is."""

    reason: str = ""
    by: str = "api"


class JourneyMail(msgspec.Struct, frozen=True):
    """``paused``: null while its mail goes.  ``was``: the pause that a resume ended, null when there was none."""

    journey: str
    paused: Pause | None = None
    was: Pause | None = None


def journey_or_404(engine: Engine, name: str) -> str:
    """A journey of the plan, also one that the project has dropped while runs go on; not a broadcast."""
    if broadcast_of(name):
        said = f"pause a broadcast with POST /api/broadcasts/{broadcast_of(name)}/pause: that stops its offering, too"
        raise HTTPException(said, status_code=409)
    known = {known for known, _ in engine.plan.all_journeys if not broadcast_of(known)}
    if name not in known and name not in engine.holds():
        if engine.broadcast(name) is not None:
            raise NotFoundException(f"{name!r} is a broadcast: heliograph broadcasts pause | resume {name}")
        raise NotFoundException(f"no journey is called {name!r}{near_word(name, list(known))}")
    return name


def router(engine: Engine) -> Router:
    @post("/{name:str}/pause", summary="Hold the mail of a journey until it is resumed", status_code=200)
    async def pause(name: str, data: HoldRequest | None = None) -> JourneyMail:
        journey, asked = journey_or_404(engine, as_sent(name)), data or HoldRequest()
        return JourneyMail(journey, pause_of(await engine.hold(journey, asked.reason, asked.by)))

    @post("/{name:str}/resume", summary="Let the mail of a journey go again", status_code=200)
    async def resume(name: str) -> JourneyMail:
        journey = journey_or_404(engine, as_sent(name))
        return JourneyMail(journey, was=pause_of(await engine.lift(journey)))

    return Router("/journeys", route_handlers=[pause, resume], tags=["journeys"])
