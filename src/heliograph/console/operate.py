"""The plan, segments, journeys, lists and dead letters."""

from typing import Annotated, Any

import msgspec
from litestar import Router, get, post
from litestar.exceptions import HTTPException, NotFoundException
from litestar.params import Parameter

from heliograph.console import shapes
from heliograph.console.people import near_word
from heliograph.console.problems import cursors
from heliograph.decide import as_written
from heliograph.decide.broadcasts import broadcast_of
from heliograph.events.identity import email_key, normalise_address, profile_id
from heliograph.events.record import ListChange
from heliograph.ports import Engine, PlanRefused, PublishReport

MAX_LIST_PART = 5_000
"""People in one call; ``heliograph import`` splits longer files."""
MAX_REPLAY = 1_000

Limit = Annotated[int, Parameter(ge=1, le=1000)]


def plan_router(engine: Engine) -> Router:
    @get("/", summary="The published plan, and the sweep after a publish")
    async def plan() -> shapes.PlanView:
        row = engine.store.plan()
        if row is None:
            raise NotFoundException("no plan is published")
        versions = [{"version": version, "published_at": at} for version, at in engine.store.plans()]
        document = msgspec.json.decode(row.document)
        return shapes.PlanView(row.version, row.published_at, versions, engine.building(), document)

    @post("/", summary="Publish a plan document, or go back to a version", status_code=200)
    async def publish(data: shapes.PublishRequest) -> shapes.Published:
        document = data.document if data.version is None else earlier_document(engine, data.version)
        if document is None:
            raise HTTPException("send a document or a version", status_code=400)
        try:
            return published(await engine.publish(document, dry_run=data.dry_run))
        except PlanRefused as refused:
            problems = [{"path": path, "message": text} for path, text in refused.problems]
            raise HTTPException("this plan has errors; the old one stays", status_code=422, extra=problems) from refused

    return Router("/plan", route_handlers=[plan, publish], tags=["plan"])


def earlier_document(engine: Engine, version: int) -> dict[str, Any]:
    row = engine.store.plan(version)
    if row is None:
        known = ", ".join(str(number) for number, _ in engine.store.plans())
        raise NotFoundException(f"no plan has the version {version}; there are: {known}")
    return as_written(msgspec.json.decode(row.document))


def published(report: PublishReport) -> shapes.Published:
    changes = [shapes.Change(kind, name, change) for kind, name, change in report.changes]
    return shapes.Published(report.version, changes, report.warnings, report.touches)


def segments_router(engine: Engine) -> Router:
    @get("/", summary="Segments and how many people are in each")
    async def segments() -> shapes.Segments:
        since, building = engine.complete_since(), (engine.building() or {}).get("segments", ())
        return shapes.Segments(
            [
                shapes.SegmentOverview(name, engine.store.member_count(name), since.get(name) or None, name in building)
                for name in sorted(engine.plan.segments.by_name)
            ]
        )

    @get("/{name:str}/members", summary="Who is in a segment or on a list, and since when")
    async def members(name: str, limit: Limit = 100, cursor: str | None = None) -> shapes.Members:
        count = engine.store.member_count(name)
        names = list(engine.plan.segments.by_name)
        if not count and name not in names:
            raise NotFoundException(f"no segment or list is called {name!r}{near_word(name, names)}")
        with cursors():
            rows, following = engine.store.members(name, limit, cursor)
        return shapes.Members([shapes.Member(profile_id(key), since) for key, since in rows], count, following)

    return Router("/segments", route_handlers=[segments, members], tags=["segments"])


def journeys_router(engine: Engine) -> Router:
    @get("/", summary="Journeys and what their runs came to")
    async def journeys() -> shapes.Journeys:
        counts, holds = engine.journey_counts(), engine.holds()
        return shapes.Journeys(
            [
                shapes.JourneyOverview(
                    name=name,
                    version=journey.version,
                    removed=name in engine.plan.removed,
                    paused=shapes.pause_of(holds.get(name)),
                    **{field: counts.get(name, {}).get(field, 0) for field in COUNTED},
                )
                for name, journey in sorted((engine.plan.removed | engine.plan.journeys).items())
                if not broadcast_of(name)
            ]
        )

    return Router("/journeys", route_handlers=[journeys], tags=["journeys"])


COUNTED = ("active", "started", "held_out", "finished", "exited", "sent", "skipped", "goals")


def key_of_person(engine: Engine, person: str) -> str | None:
    """The key an import means: an address always names somebody, an id only when it is well formed."""
    if address := normalise_address(person):
        known = engine.find(address)
        return known[0] if known else email_key(address)
    if not person.strip():
        return None
    known = engine.find(person)
    return known[0] if known else "u:" + person.strip()


def lists_router(engine: Engine) -> Router:
    @post("/lists/{name:str}", summary="Put people on a static list, or take them off", status_code=200)
    async def change(name: str, data: shapes.ListRequest) -> shapes.ListResult:
        if len(data.people) > MAX_LIST_PART:
            raise HTTPException(
                f"at most {MAX_LIST_PART} people a call; send the rest in further calls", status_code=413
            )
        if name in engine.plan.segments.by_name:
            raise HTTPException(f"{name!r} is a segment; choose another name for the list", status_code=409)
        at = engine.clock.now()
        keys = [(person, key_of_person(engine, person)) for person in data.people]
        changes = [(key, ListChange(name, not data.remove, at)) for _, key in keys if key]
        await engine.change_lists(changes)
        return shapes.ListResult(name, len(changes), [person for person, key in keys if not key])

    return Router("/import", route_handlers=[change], tags=["import"])


def dead_letters_router(engine: Engine) -> Router:
    @get("/", summary="Calls that a schema rejected, kept for repair")
    async def dead_letters(limit: Limit = 100, cursor: str | None = None) -> shapes.DeadLetters:
        with cursors():
            rows, following = engine.store.dead_letters(limit, cursor)
        return shapes.DeadLetters([shapes.dead_letter_of(row) for row in rows], following)

    @post("/replay", summary="Try dead letters again, repaired or after a change of the schema", status_code=200)
    async def replay(data: shapes.ReplayRequest) -> shapes.Replayed:
        if len(data.ids) > MAX_REPLAY:
            raise HTTPException(f"at most {MAX_REPLAY} a call", status_code=413)
        unknown = [name for name in data.ids if engine.store.dead_letter(name) is None]
        if unknown:
            raise NotFoundException(f"no dead letter has the id {unknown[0]!r}")
        repaired = {name: msgspec.json.encode(call) for name, call in data.repaired.items()}
        results = await engine.replay_dead_letters(data.ids, repaired)
        return shapes.Replayed([shapes.ReplayResult(r.message_id, r.status, r.reason) for r in results])

    return Router("/dead-letters", route_handlers=[dead_letters, replay], tags=["dead letters"])
