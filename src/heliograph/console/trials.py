"""Trying a journey before it mails: backtests over what was recorded, and a shadow beside the live version."""

from collections.abc import AsyncIterator
from typing import Any, Protocol

import msgspec
from litestar import Router, delete, get, post
from litestar.exceptions import HTTPException, NotFoundException
from litestar.response import Stream

LINES = "application/x-ndjson"


class TrialRefused(Exception):
    """The draft does not fit the published plan, or there is nothing to try it on; ``problems``: (path, sentence)."""

    def __init__(self, message: str, problems: list[tuple[str, str]] | None = None) -> None:
        super().__init__(message)
        self.problems = problems or []


class TrialBusy(Exception):
    """One of its kind is under way already."""


class BacktestRequest(msgspec.Struct, frozen=True):
    """``journey`` as it is written in YAML; a live one of the same ``name`` is replaced for the trial.  ``since``: a
    duration before ``until``, or an instant (RFC 3339); ``until``: the same before now, now if it is not given."""

    name: str
    journey: dict[str, Any]
    since: str = "P30D"
    until: str | None = None


class ShadowRequest(msgspec.Struct, frozen=True):
    """``lasts``: a duration, at most P1D."""

    name: str
    journey: dict[str, Any]
    lasts: str = "PT1H"


class Trials(Protocol):
    """All but ``shadowing`` raise :class:`TrialRefused` and :class:`TrialBusy`."""

    async def backtest(self, asked: BacktestRequest) -> AsyncIterator[bytes]:
        """Lines of JSON: progress, at the end the report.  Whoever stops listening ends the backtest."""
        ...

    async def shadow(self, asked: ShadowRequest) -> dict[str, Any]:
        """Begin; what ``shadowing`` says then."""
        ...

    def shadowing(self) -> dict[str, Any] | None:
        """What the shadow under way, or the last one, has found; None when there was none."""
        ...

    async def end_shadow(self) -> dict[str, Any] | None: ...


def refused(error: TrialRefused) -> HTTPException:
    problems = [{"path": path, "message": text} for path, text in error.problems]
    return HTTPException(str(error), status_code=422, extra=problems)


def router(trials: Trials) -> Router:
    @post("/backtests", summary="Try a journey on what was recorded", status_code=200)
    async def backtest(data: BacktestRequest) -> Stream:
        try:
            lines = await trials.backtest(data)
        except TrialRefused as error:
            raise refused(error) from error
        except TrialBusy as error:
            raise HTTPException(str(error), status_code=409) from error
        return Stream(lines, media_type=LINES, headers={"cache-control": "no-store"})

    @post("/shadow", summary="Let a journey decide beside the live version, in silence", status_code=200)
    async def begin(data: ShadowRequest) -> dict[str, Any]:
        try:
            return await trials.shadow(data)
        except TrialRefused as error:
            raise refused(error) from error
        except TrialBusy as error:
            raise HTTPException(str(error), status_code=409) from error

    @get("/shadow", summary="What the shadow has found so far")
    async def shadow() -> dict[str, Any]:
        found = trials.shadowing()
        if found is None:
            raise NotFoundException("no shadow was begun since the server started")
        return found

    @delete("/shadow", summary="End the shadow", status_code=200)
    async def end() -> dict[str, Any]:
        found = await trials.end_shadow()
        if found is None:
            raise NotFoundException("no shadow was begun since the server started")
        return found

    return Router("/", route_handlers=[backtest, begin, shadow, end], tags=["trials"])
