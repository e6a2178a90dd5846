"""Broadcasts over HTTP: make one, look at it, start, pause, resume and cancel it."""

from collections.abc import Sequence
from typing import Annotated, Any, Final, Literal

import msgspec
from litestar import Response, Router, get, post
from litestar.exceptions import HTTPException, NotFoundException
from litestar.params import Parameter

from heliograph.console.people import near_word
from heliograph.console.problems import cursors
from heliograph.console.slashes import as_sent
from heliograph.decide import decode_state
from heliograph.decide.broadcasts import judge
from heliograph.decide.parsing import Problem
from heliograph.ports import BroadcastRefused, BroadcastRow, Engine

Verb = Literal["start", "pause", "resume", "cancel"]

NAMED: Final = 200
"""Broadcasts looked at for an id like the one that is not there."""
SAMPLE: Final = 500
"""People of an audience that a preview looks at: keys are in the order of a hash, so the first ones are a fair draw."""

Limit = Annotated[int, Parameter(ge=1, le=200)]


class Broadcast(msgspec.Struct, frozen=True):
    """``document``: as it was sent.  ``status``: draft, scheduled, running, paused, finished or cancelled; ``reason``:
    why it is paused or cancelled.  Instants are null while they have not come.  ``progress``: exact counts."""

    broadcast_id: str
    name: str
    status: str
    reason: str
    document: dict[str, Any]
    created_at: int
    changed_at: int | None
    starts_at: int | None
    started_at: int | None
    ended_at: int | None
    progress: dict[str, Any]


class Broadcasts(msgspec.Struct, frozen=True):
    broadcasts: list[Broadcast]
    next: str | None


class MoveRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``reason``: kept with it."""

    reason: str = ""


class Preview(msgspec.Struct, frozen=True):
    """Whom a broadcast would be offered to.  ``total``: who is in its audience now; of a condition and of everyone, how
    many people there are to ask, and ``exact`` is false.  ``addressed`` of the ``looked_at`` have an address."""

    total: int
    exact: bool
    looked_at: int
    addressed: int


def broadcast_of(engine: Engine, row: BroadcastRow) -> Broadcast:
    return Broadcast(
        broadcast_id=row.broadcast_id,
        name=row.name,
        status=row.status,
        reason=row.reason,
        document=row.document,
        created_at=row.created_at,
        changed_at=row.changed_at or None,
        starts_at=row.starts_at or None,
        started_at=row.started_at or None,
        ended_at=row.ended_at or None,
        progress=engine.broadcast_progress(row.broadcast_id),
    )


def found_or_404(engine: Engine, broadcast_id: str) -> BroadcastRow:
    if row := engine.broadcast(broadcast_id):
        return row
    rows, _ = engine.store.broadcasts(NAMED)
    hint = near_word(broadcast_id[:100], [row.broadcast_id for row in rows])
    raise NotFoundException(f"no broadcast has the id {broadcast_id[:100]!r}{hint}")


def refused(problems: Sequence[tuple[str, str]], status: int) -> HTTPException:
    """``problems``: (JSON path, sentence)."""
    said = "; ".join(f"{path}: {text}" if path else text for path, text in problems)
    listed = [{"path": path, "message": text} for path, text in problems]
    return HTTPException(said, status_code=status, extra=listed)


def router(engine: Engine) -> Router:
    @post("/", summary="Send one mail to an audience; a repeated call with the same id changes nothing")
    async def create(data: dict[str, Any], draft: bool = False) -> Response[Broadcast]:
        given = data.get("id")
        known = engine.broadcast(given) if isinstance(given, str) and given else None
        if known is not None:
            if known.document != data:
                said = f"there is another broadcast with the id {given!r} ({known.status}); give this one another id"
                raise HTTPException(said, status_code=409)
            return Response(broadcast_of(engine, known), status_code=200)
        try:
            row = await engine.create_broadcast(data, draft=draft)
        except BroadcastRefused as error:
            raise refused(error.problems, 422) from error
        return Response(broadcast_of(engine, row), status_code=201)

    @post(
        "/preview", summary="Whether a broadcast is sound, and how many people it would be offered to", status_code=200
    )
    async def preview(data: dict[str, Any]) -> Preview:
        return preview_of(engine, data)

    @get("/", summary="Broadcasts, newest first")
    async def broadcasts(limit: Limit = 50, cursor: str | None = None) -> Broadcasts:
        with cursors():
            rows, following = engine.store.broadcasts(limit, cursor)
        return Broadcasts([broadcast_of(engine, row) for row in rows], following)

    @get("/{broadcast_id:str}", summary="One broadcast and how far it is")
    async def broadcast(broadcast_id: str) -> Broadcast:
        return broadcast_of(engine, found_or_404(engine, as_sent(broadcast_id)))

    @post(
        "/{broadcast_id:str}/{verb:str}",
        summary="start a draft, pause, resume, or cancel what has not left",
        status_code=200,
    )
    async def move(broadcast_id: str, verb: Verb, data: MoveRequest | None = None) -> Broadcast:
        row = found_or_404(engine, as_sent(broadcast_id))
        try:
            moved = await engine.move_broadcast(row.broadcast_id, verb, data.reason if data else "")
        except BroadcastRefused as error:
            raise refused(error.problems, 409) from error
        return broadcast_of(engine, moved)

    return Router("/broadcasts", route_handlers=[create, preview, broadcasts, broadcast, move], tags=["broadcasts"])


# -- what an audience would reach --


def preview_of(engine: Engine, document: dict[str, Any]) -> Preview:
    """Counts of the index; conditions are asked at each person's turn, not here."""
    context = engine.plan.reading()
    found = judge(document, context, engine.plan.templates, engine.clock.now())
    if found is None or context.problems:
        raise refused([(".".join(map(str, one.path)), in_words(one)) for one in context.problems], 422)
    if found.members:
        rows, _ = engine.store.members(found.members, SAMPLE)
        return sampled(engine, engine.store.member_count(found.members), [key for key, _ in rows], exact=True)
    return sampled(engine, engine.store.counts().get("profiles", 0), engine.store.keys(None, SAMPLE), exact=False)


def in_words(problem: Problem) -> str:
    return problem.message + (f" (did you mean {problem.hint}?)" if problem.hint else "")


def sampled(engine: Engine, total: int, keys: list[str], *, exact: bool) -> Preview:
    """Keys that were merged into others are nobody, and are taken off the total in their share of the sample."""
    found = [decode_state(blob) for blob in engine.store.states(keys) if blob is not None]
    people = [state for state in found if not state.forward]
    if not exact and found:
        total = round(max(total, len(found)) * len(people) / len(found))
    return Preview(total, exact, len(people), sum(bool(state.address) for state in people))
