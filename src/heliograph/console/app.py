"""One Litestar application: `/api`, `/metrics`, the pages, and whatever pages a demo brings along."""

from collections.abc import Sequence

from litestar import Litestar, Router
from litestar.exceptions import HTTPException
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.openapi.spec import Components, SecurityScheme
from litestar.plugins.problem_details import ProblemDetailsConfig, ProblemDetailsPlugin
from litestar.types import ASGIApp, ControllerRouterHandler
from prometheus_client import CollectorRegistry

from heliograph import __version__
from heliograph.console import (
    broadcasts,
    calls,
    delivery,
    feedback,
    holding,
    mail,
    operate,
    pages,
    people,
    suppressions,
    trials,
)
from heliograph.console.access import Access
from heliograph.console.after import wait_for
from heliograph.console.problems import as_problem, away, busy, failed, schema_router
from heliograph.console.slashes import EscapedSlashes
from heliograph.ports import Busy, Engine, StoreAway

MAX_BODY = 64 * 1024 * 1024
"""Bytes of a call to the API; a plan with a thousand templates is about 10 MB."""


def build(
    engine: Engine,
    access: Access,
    *,
    registry: CollectorRegistry,
    send_test: mail.SendTest | None = None,
    trying: trials.Trials | None = None,
    extra: Sequence[ControllerRouterHandler] = (),
) -> ASGIApp:
    """The application behind everything that is not collected or linked from a mail."""
    api = Router(
        "/api",
        guards=[access.guard],
        before_request=wait_for(engine),
        security=[{"token": []}],
        route_handlers=[
            mail.messages_router(engine),
            delivery.router(engine),
            feedback.router(engine),
            suppressions.router(engine),
            suppressions.import_router(engine),
            mail.templates_router(engine, send_test),
            people.router(engine),
            operate.plan_router(engine),
            operate.segments_router(engine),
            operate.journeys_router(engine),
            holding.router(engine),
            broadcasts.router(engine),
            calls.entries_router(engine),
            calls.webhooks_router(engine),
            operate.lists_router(engine),
            operate.dead_letters_router(engine),
            pages.live_router(engine),
            *([trials.router(trying)] if trying is not None else ()),
        ],
    )
    app = Litestar(
        [api, pages.pages_router(access), pages.metrics_router(registry), *extra],
        plugins=[
            ProblemDetailsPlugin(ProblemDetailsConfig(exception_to_problem_detail_map={HTTPException: as_problem}))
        ],
        exception_handlers={Busy: busy, StoreAway: away, Exception: failed},
        logging_config=None,
        request_max_body_size=MAX_BODY,
        openapi_config=OpenAPIConfig(
            title="Heliograph",
            version=__version__,
            path="/api",
            openapi_router=schema_router(),
            render_plugins=[JsonRenderPlugin(path="/openapi.json")],
            components=Components(security_schemes={"token": SecurityScheme(type="http", scheme="bearer")}),
            use_handler_docstrings=True,
        ),
    )
    return EscapedSlashes(app)
