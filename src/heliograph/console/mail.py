"""Messages and trial sends."""

from collections.abc import Awaitable, Callable
from typing import Annotated, Any

from litestar import Router, get, post
from litestar.exceptions import HTTPException, NotFoundException
from litestar.params import Parameter

from heliograph import decide
from heliograph.console import shapes
from heliograph.console.people import find_or_404, near_word
from heliograph.console.problems import cursors
from heliograph.console.suppressions import address_or_400
from heliograph.decide.context import event_view
from heliograph.events.identity import profile_id
from heliograph.ports import Engine, MessageRow

STATUSES = (
    "queued", "deferred", "sending", "sent", "delivered", "bounced", "unknown", "cancelled", "expired", "skipped",
)  # fmt: skip

SendTest = Callable[[str, str, dict[str, Any] | None], Awaitable[tuple[bool, str]]]
"""(template, address, profile's render context or None) -> (accepted, one plain line)."""

RECENT_EVENTS = 50
"""Latest events of a profile that a trial send shows to Liquid."""

Limit = Annotated[int, Parameter(ge=1, le=1000)]


def shown(engine: Engine, row: MessageRow) -> shapes.Message:
    """A message with what keeps it, when it waits: its journey is paused, or its way out has no room."""
    if row.status != "queued":
        return shapes.message_of(row)
    hold = engine.holds().get(row.journey)
    return shapes.message_of(row, f"paused by {hold.by}" if hold else engine.waiting_for(row.message_id))


def messages_router(engine: Engine) -> Router:
    @get("/", summary="Messages, newest first")
    async def messages(
        profile: str | None = None,
        status: str | None = None,
        broadcast: str | None = None,
        limit: Limit = 50,
        cursor: str | None = None,
    ) -> shapes.Messages:
        if status is not None and status not in STATUSES:
            raise HTTPException(f"no status is called {status!r}{near_word(status, list(STATUSES))}", status_code=400)
        key = find_or_404(engine, profile)[0] if profile else None
        with cursors():
            rows, following = engine.store.messages(
                key=key, status=status, broadcast=broadcast, limit=limit, cursor=cursor
            )
        return shapes.Messages([shown(engine, row) for row in rows], following)

    @get("/{message_id:str}", summary="One message")
    async def message(message_id: str) -> shapes.Message:
        if row := engine.store.message(message_id):
            return shown(engine, row)
        raise NotFoundException(f"no message has the id {message_id!r}")

    @post("/settle", summary="Say what became of messages whose fate is unknown, with a reason", status_code=200)
    async def settle(data: shapes.SettleRequest) -> shapes.SettleResults:
        try:
            found = await engine.settle_unknown(data.ids, data.action, data.reason, data.by)
        except ValueError as error:
            raise HTTPException(str(error), status_code=400) from error
        return shapes.SettleResults([shapes.SettleResult(one.message_id, one.result, one.reason) for one in found])

    return Router("/messages", route_handlers=[messages, message, settle], tags=["messages"])


def templates_router(engine: Engine, send_test: SendTest | None) -> Router:
    @post("/{name:str}/send-test", summary="Render with a profile and send now, outside every journey", status_code=200)
    async def trial(name: str, data: shapes.SendTestRequest) -> shapes.SendTestResult:
        if name not in engine.plan.templates:
            hint = near_word(name, list(engine.plan.templates))
            raise NotFoundException(f"no template is called {name!r}{hint}")
        if send_test is None:
            raise HTTPException("this server has no mail relay", status_code=503)
        profile = find_or_404(engine, data.profile)[0] if data.profile else None
        context = trial_context(engine, profile, name)
        ok, verdict = await send_test(name, address_or_400(data.to), context)
        return shapes.SendTestResult(ok, verdict)

    return Router("/templates", route_handlers=[trial], tags=["templates"])


def entry_events(engine: Engine, template: str) -> set[str]:
    """Names of the events that start the journeys which send this template."""
    journeys = engine.plan.journeys.values()
    filters = [journey.entry.filter for journey in journeys if template in decide.templates_of(journey)]
    return {filter.event for filter in filters if filter is not None}


def trial_context(engine: Engine, key: str | None, template: str) -> dict[str, Any] | None:
    """What Liquid would see for this profile outside a run.

    Its latest event that starts a journey with this template stands in for the entry event, else its latest event.
    """
    state = engine.state(key) if key else None
    if state is None or key is None:
        return None
    now = engine.clock.now()
    recent = [event_view(event) for event in engine.store.recent_history(key, RECENT_EVENTS)]
    last: dict[str, list[dict[str, Any]]] = {}
    for event in recent:
        last.setdefault(event["name"], []).append(event)
    entries = [last[name][0] for name in sorted(entry_events(engine, template)) if name in last]
    return {
        "profile": {**decide.profile_view(state, engine.plan, now)["traits"], "id": profile_id(key)},
        "event": next(iter(entries or recent), None),
        "last": last,
        "webhook": {},
        "run": {"key": "", "journey": "", "entered_at": now},
        "now": now,
    }
