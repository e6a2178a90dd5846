"""Who puts plans into force: a published project, or a broadcast that joins or leaves the plan.  One at a time."""

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec
import structlog

from heliograph import decide
from heliograph.decide.broadcasts import journey_of
from heliograph.ports import BroadcastRow, PlanTouches, PublishReport, Store
from heliograph.runtime import broadcasts
from heliograph.runtime.broadcaster import Broadcaster
from heliograph.runtime.desk import CompileSchema, Desk
from heliograph.runtime.dispatcher import Dispatcher
from heliograph.runtime.preview import preview
from heliograph.runtime.publishing import LoadTemplate, Prepared, prepare, same_document
from heliograph.runtime.sweeper import Sweeper, swept_for, switch_plan
from heliograph.runtime.work import Call, SwitchPlan

T = TypeVar("T")

log = structlog.get_logger("heliograph.engine")


class Publisher:
    """``heard``: a number that grows with every call from outside, which a preview gives way to."""

    def __init__(
        self,
        desk: Desk,
        store: Store,
        put: Callable[..., None],
        *,
        now: Callable[[], int],
        heard: Callable[[], int],
        sweeper: Sweeper,
        broadcaster: Broadcaster,
        dispatcher: Dispatcher,
        compile_schema: CompileSchema,
        load_template: LoadTemplate,
    ) -> None:
        self._desk, self._store, self._put, self._now, self._heard = desk, store, put, now, heard
        self._sweeper, self._broadcaster, self._dispatcher = sweeper, broadcaster, dispatcher
        self._compile_schema, self._load_template = compile_schema, load_template
        self._alone = asyncio.Lock()

    async def publish(self, document: dict[str, Any], *, dry_run: bool = False) -> PublishReport:
        async with self._alone:
            old = self._desk.plan if self._desk.planned else None
            active, swept = self._desk.tally.active(), swept_for(self._store)
            live = broadcasts.live(self._desk) if old is not None else ()
            prepared = await asyncio.to_thread(
                prepare, document, old, active, swept, self._compile_schema, self._load_template, live
            )
            if not dry_run and old is not None and same_document(document, old.document):
                return msgspec.structs.replace(prepared.report, version=old.version)
            if not dry_run:
                await self._switch(prepared, old)
                return prepared.report
        return await self._previewed(prepared, old)

    async def _previewed(self, prepared: Prepared, old: decide.Plan | None) -> PublishReport:
        """A dry run.  The store goes on meanwhile: this is nobody's turn."""
        report, new = prepared.report, prepared.published.plan
        touches = PlanTouches(complete=True)
        if old is not None:
            touches = await preview(self._store, old, new, report, self._now(), self._heard)
        return msgspec.structs.replace(report, version=0, touches=touches)

    async def _switch(self, prepared: Prepared, old: decide.Plan | None) -> None:
        await self._switching(switch_plan(prepared, old, self._store))
        self._dispatcher.plan_changed()
        log.info("published", version=prepared.report.version)

    async def _switching(self, work: Call[T]) -> T:
        """Work that puts another plan into force: nobody goes by the old one meanwhile."""
        self._sweeper.hold()
        self._broadcaster.hold()
        try:
            self._put(work)
            return await work.done
        finally:
            self._sweeper.stir()
            self._broadcaster.stir()

    # -- broadcasts --

    async def create_broadcast(self, document: dict[str, Any], *, draft: bool = False) -> BroadcastRow:
        async with self._alone:
            if (known := broadcasts.known(document, self._store)) is not None:
                return known
            found = broadcasts.accepted(document, self._desk, self._now())
            row = broadcasts.new_row(document, found, self._store, self._now(), draft=draft)
            return await self._add_broadcast(row)

    async def _add_broadcast(self, row: BroadcastRow) -> BroadcastRow:
        documents = None if row.status == "draft" else broadcasts.with_one(row, self._desk)
        added = await self._switching(broadcasts.adding(row, await self._with_broadcasts(documents)))
        log.info("broadcast", broadcast_id=row.broadcast_id, name=row.name, status=row.status)
        return added

    async def move_broadcast(self, broadcast_id: str, verb: str, reason: str = "") -> BroadcastRow:
        async with self._alone:
            known = self._store.broadcast(broadcast_id)
            if verb == "start" and known is not None and known.status == "draft":
                found = broadcasts.accepted(known.document, self._desk, self._now())
                return await self._add_broadcast(broadcasts.started(known, found, self._store, self._now()))
            switch = await self._with_broadcasts(broadcasts.without(broadcast_id, verb, self._desk))
            moved = await self._switching(broadcasts.moving(broadcast_id, verb, reason, switch))
        self._dispatcher.lifted(journey_of(broadcast_id))
        log.info("broadcast", broadcast_id=broadcast_id, verb=verb, status=moved.status, reason=reason)
        return moved

    async def _with_broadcasts(self, documents: dict[str, Any] | None) -> SwitchPlan | None:
        """The work that puts a plan with these broadcasts into force; None for the plan as it is."""
        if documents is None:
            return None
        published, swept = self._desk.published, swept_for(self._store)
        prepared = await asyncio.to_thread(broadcasts.prepared, documents, published, swept)
        return switch_plan(prepared, published.plan, self._store)
