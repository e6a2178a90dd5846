"""``?after=POSITION``: a read that waits, bounded, until it shows what a collect call brought."""

from collections.abc import Awaitable, Callable
from typing import Any

from litestar import Request
from litestar.exceptions import HTTPException

from heliograph.ports import Behind, Engine

AFTER = "after"


def wait_for(engine: Engine) -> Callable[[Request[Any, Any, Any]], Awaitable[None]]:
    """Litestar's ``before_request``, which comes behind the guards: only who may read can make us wait."""

    async def wait(request: Request[Any, Any, Any]) -> None:
        position = request.query_params.get(AFTER, "")
        if request.method != "GET" or not position:
            return
        try:
            await engine.reach(position)
        except ValueError as error:
            raise HTTPException(str(error), status_code=400) from error
        except Behind as error:
            raise HTTPException(str(error), status_code=504) from error

    return wait
