"""One Litestar application: `/api`, `/metrics`, the pages, and whatever pages a demo brings along."""

from collections.abc import Sequence
from typing import Any

from litestar import Litestar, Request, Response, Router
from litestar.exceptions import HTTPException
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.openapi.spec import Components, SecurityScheme
from litestar.plugins.problem_details import ProblemDetailsConfig, ProblemDetailsException, ProblemDetailsPlugin
from litestar.types import ASGIApp, ControllerRouterHandler
from prometheus_client import CollectorRegistry

from heliograph import __version__
from heliograph.console import mail, operate, pages, people
from heliograph.console.access import Access
from heliograph.ports import Busy, Engine

MAX_BODY = 64 * 1024 * 1024
"""Bytes of a call to the API; a plan with a thousand templates is about 10 MB."""


def as_problem(error: HTTPException) -> ProblemDetailsException:
    extra = {"problems": error.extra} if isinstance(error.extra, list) and error.extra else None
    if isinstance(error.extra, list) and error.status_code == 400:
        extra = {"problems": error.extra}
    return ProblemDetailsException(
        status_code=error.status_code, title=error.detail, detail=error.detail, headers=error.headers, extra=extra
    )


def busy(_request: Request[Any, Any, Any], error: Busy) -> Response[dict[str, Any]]:
    return Response(
        {"status": 503, "title": error.reason, "detail": error.reason},
        status_code=503,
        media_type="application/problem+json",
        headers={"retry-after": str(error.retry_after_s)},
    )


def build(
    engine: Engine,
    access: Access,
    *,
    registry: CollectorRegistry,
    send_test: mail.SendTest | None = None,
    extra: Sequence[ControllerRouterHandler] = (),
) -> ASGIApp:
    """The application behind everything that is not collected or linked from a mail."""
    api = Router(
        "/api",
        guards=[access.guard],
        security=[{"token": []}],
        route_handlers=[
            mail.messages_router(engine),
            mail.suppressions_router(engine),
            mail.templates_router(engine, send_test),
            people.router(engine),
            operate.plan_router(engine),
            operate.segments_router(engine),
            operate.journeys_router(engine),
            operate.lists_router(engine),
            operate.dead_letters_router(engine),
            pages.live_router(engine),
        ],
    )
    return Litestar(
        [api, pages.pages_router(access), pages.metrics_router(registry), *extra],
        plugins=[
            ProblemDetailsPlugin(ProblemDetailsConfig(exception_to_problem_detail_map={HTTPException: as_problem}))
        ],
        exception_handlers={Busy: busy},
        logging_config=None,
        request_max_body_size=MAX_BODY,
        openapi_config=OpenAPIConfig(
            title="Heliograph",
            version=__version__,
            path="/api",
            render_plugins=[JsonRenderPlugin(path="/openapi.json")],
            components=Components(security_schemes={"token": SecurityScheme(type="http", scheme="bearer")}),
            use_handler_docstrings=True,
        ),
    )
