"""What went wrong, as RFC 9457 has it: ``title`` is the status in words, ``detail`` says what to change."""

from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any

import structlog
from litestar import Request, Response, Router
from litestar.exceptions import HTTPException, ValidationException
from litestar.plugins.problem_details import ProblemDetailsException

from heliograph.ports import Busy, StoreAway

log = structlog.get_logger()

PROBLEM = "application/problem+json"


def as_problem(error: HTTPException) -> ProblemDetailsException:
    problems: list[Any] = error.extra if isinstance(error.extra, list) else []
    detail = in_words(problems) if isinstance(error, ValidationException) and problems else error.detail
    return ProblemDetailsException(
        status_code=error.status_code,
        title=HTTPStatus(error.status_code).phrase,
        detail=detail,
        headers=error.headers,
        extra={"problems": problems} if problems else None,
    )


def in_words(problems: list[dict[str, Any]]) -> str:
    """What Litestar found in a call: ``limit: Expected `int` >= 1``."""
    return "; ".join(
        f"{found['key']}: {found['message']}" if "key" in found else found["message"] for found in problems
    )


def problem(status: int, detail: str, headers: dict[str, str] | None = None) -> Response[dict[str, Any]]:
    body = {"status": status, "title": HTTPStatus(status).phrase, "detail": detail}
    return Response(body, status_code=status, media_type=PROBLEM, headers=headers)


def busy(_request: Request[Any, Any, Any], error: Busy) -> Response[dict[str, Any]]:
    return problem(503, error.reason, {"retry-after": str(error.retry_after_s)})


def away(_request: Request[Any, Any, Any], _error: StoreAway) -> Response[dict[str, Any]]:
    return problem(503, "the store does not answer; nothing was changed; try again", {"retry-after": "2"})


def failed(request: Request[Any, Any, Any], error: Exception) -> Response[dict[str, Any]]:
    if isinstance(error, RecursionError):
        return problem(400, "this nests deeper than anything that we read")
    log.error("request failed", path=request.url.path, exc_info=error)
    return problem(500, "an error of ours, written to the log; try again later")


def schema_router() -> Router:
    """Where OpenAPI lives; Litestar answers every other path beside it with a page, which is no answer of an API."""

    def no_page(response: Response[Any]) -> Response[Any]:
        return problem(404, "no such call; /api/openapi.json lists them") if response.status_code == 404 else response

    return Router("/api", route_handlers=[], include_in_schema=False, after_request=no_page)


@contextmanager
def cursors() -> Iterator[None]:
    """A cursor that the list did not make is the caller's mistake."""
    try:
        yield
    except ValueError as error:
        raise HTTPException(f"cursor: {error}", status_code=400) from error
