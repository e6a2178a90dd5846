"""Where other systems and journeys meet: entries by API, and the webhooks that wait for an answer."""

import uuid
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import msgspec
from litestar import Router, get, post
from litestar.exceptions import HTTPException, NotFoundException
from litestar.params import Parameter
from msgspec.structs import replace

from heliograph.console.people import find_or_404, near_word
from heliograph.console.slashes import as_sent
from heliograph.events.decode import decode_call
from heliograph.events.event import API_ENTRY, Event
from heliograph.events.identity import profile_id
from heliograph.events.limits import MAX_ID_BYTES
from heliograph.ports import Engine, Entered, Outstanding

Limit = Annotated[int, Parameter(ge=1, le=1000)]


class EntryRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``profile``: somebody known, by user id, ``anon:`` id or address.  ``user_id``: somebody who may be new.
    ``properties``: what the journey and its mails see of the entry event.  ``event_id``: yours; a call with the same
    one starts nothing a second time."""

    profile: str | None = None
    user_id: str | None = None
    properties: dict[str, Any] = {}
    event_id: str | None = None


class Entry(msgspec.Struct, frozen=True):
    """``status``: started, refused (``reason`` says why, ``detail`` with which figures), duplicate (of an earlier call)
    or waiting (two profiles are being joined; it is decided right behind that).  ``arm``: treated or holdout."""

    status: Literal["started", "refused", "duplicate", "waiting"]
    journey: str
    profile_id: str
    event_id: str
    run_id: str | None = None
    version: str | None = None
    entry_key: str | None = None
    arm: str | None = None
    reason: str = ""
    detail: dict[str, Any] = {}


def entries_router(engine: Engine) -> Router:
    @post("/{name:str}/runs", summary="Ask somebody into a journey with `entry: {api: true}`", status_code=200)
    async def enter(name: str, data: EntryRequest) -> Entry:
        journey = journey_or_refuse(engine, as_sent(name))
        key = key_of(engine, data)
        event = entry_event(engine, data)
        return entry_of(journey, event, await engine.enter(key, journey, event))

    return Router("/journeys", route_handlers=[enter], tags=["journeys"])


def journey_or_refuse(engine: Engine, name: str) -> str:
    written = engine.plan.document["journeys"].get(name)
    if written is None:
        raise NotFoundException(f"no journey is called {name!r}{near_word(name, list(engine.plan.journeys))}")
    entry = written["entry"]
    if not entry.get("api"):
        how = next((f"{kind} {entry[kind]!r}" for kind in ("event", "segment", "schedule") if kind in entry), "itself")
        raise HTTPException(
            f"{name!r} is entered by {how}, not by API; for this call its entry has to be {{api: true}}",
            status_code=409,
        )
    return name


def key_of(engine: Engine, data: EntryRequest) -> str:
    """Whose key is meant."""
    if (data.profile is None) == (data.user_id is None):
        raise HTTPException("send either profile (somebody known) or user_id (who may be new)", status_code=400)
    if data.profile is not None:
        return find_or_404(engine, data.profile)[0]
    user = (data.user_id or "").strip()
    if not user or len(user.encode()) > MAX_ID_BYTES:
        raise HTTPException(f"user_id: 1 to {MAX_ID_BYTES} bytes", status_code=400)
    return "u:" + user


def entry_event(engine: Engine, data: EntryRequest) -> Event:
    """What the journey sees, within the limits of every event at the door."""
    name = data.event_id or uuid.uuid4().hex
    call = {"event": API_ENTRY, "userId": "-", "messageId": name, "properties": data.properties}
    arrival = decode_call("track", msgspec.json.encode(call), engine.clock.now(), lambda: name)
    if arrival.event is None:
        raise HTTPException(arrival.refused, status_code=400)
    return replace(arrival.event, user_id=None)


def entry_of(journey: str, event: Event, entered: Entered) -> Entry:
    data = dict(entered.data)
    data.pop("journey", None)
    data.pop("cause", None)
    return Entry(
        entered.status,
        journey,
        profile_id(entered.key),
        event.event_id,
        run_id=data.pop("run_id", None),
        version=data.pop("version", None),
        entry_key=data.pop("entry_key", None),
        arm=data.pop("arm", None),
        reason=data.pop("reason", ""),
        detail=data,
    )


class Webhook(msgspec.Struct, frozen=True):
    """``url`` without its query, which may hold a secret.  ``tries`` since the server started; ``reason``: what the
    last one came to."""

    request_id: str
    profile_id: str
    journey: str
    run_id: str
    step_id: str
    method: str
    url: str
    created_at: int
    give_up_at: int
    tries: int
    reason: str


class Webhooks(msgspec.Struct, frozen=True):
    webhooks: list[Webhook]


def webhooks_router(engine: Engine) -> Router:
    @get("/", summary="Webhooks that wait for an answer")
    async def webhooks(limit: Limit = 100, status: Literal["pending"] = "pending") -> Webhooks:
        return Webhooks([webhook_of(one) for one in engine.outstanding(limit)])

    return Router("/webhooks", route_handlers=[webhooks], tags=["webhooks"])


def webhook_of(found: Outstanding) -> Webhook:
    row = found.row
    return Webhook(
        row.request_id, profile_id(row.key), row.journey, row.run_id, row.step_id, row.method, public_url(row.url),
        row.created_at, row.give_up_at, found.tries, found.reason,
    )  # fmt: skip


def public_url(url: str) -> str:
    """Without what may be secret: the login and the query."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return ""
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
