"""The sweep after a publish: one ``Touch`` for every key, with what history says about conditions that are new to it.

A portion of keys is read and folded in slices (:mod:`heliograph.runtime.pace`), then decided in pieces that take turns
with live calls; progress is written with its last piece, so a restart resumes there.  A sweep meets every key that was
there when it began: one that was merged in the meantime leads to its survivor, whose past is then folded anew.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from heliograph import decide
from heliograph.ports import Busy, Store
from heliograph.runtime.desk import Desk
from heliograph.runtime.meter import Meter
from heliograph.runtime.pace import Pace
from heliograph.runtime.past import Past, Steps, keys_of, survivor
from heliograph.runtime.publishing import COMPLETE_SINCE, Prepared, leaves_since
from heliograph.runtime.work import Swept, SwitchPlan, Touches

META: Final = "sweep"
"""Meta value: the sweep as it began, written with its plan by who publishes."""
STOOD: Final = "sweep_stood"
"""Meta value: how far it is, written by who sweeps; so neither ever writes over the other, whoever is in which process.
It says something as long as it is of the same plan."""
PORTION: Final = 512
LIVE_PORTION: Final = 32
"""Keys of a portion while nobody, and while somebody calls."""
PIECE: Final = 8
"""Keys decided in one go: about half a millisecond that a live event may have to wait."""
FETCH: Final = 32
"""States read in one go."""
BUSY_PAUSE_S: Final = 0.5
LOOK_S: Final = 1.0
"""Another process may have published, and this one heard of its plan with a decision."""
MAX_ROUNDS: Final = 10
"""At the end: how often keys that keep changing while they are folded are tried again."""


class Progress(msgspec.Struct, array_like=True):
    """``after``: the last key touched.  ``total``: keys when it began, an estimate.  ``ended_at`` 0: still running.
    ``again``: keys before ``after`` that have to be folded once more.  ``segments``: those that it makes right."""

    plan: int
    started_at: int
    after: str | None = None
    done: int = 0
    total: int = 0
    ended_at: int = 0
    again: list[str] = []
    rounds: int = 0
    segments: list[str] = []

    def encoded(self) -> bytes:
        return msgspec.msgpack.encode(self)


def read_progress(store: Store) -> Progress | None:
    begun, stood = (
        msgspec.msgpack.decode(data, type=Progress) if (data := store.meta(name)) else None for name in (META, STOOD)
    )
    return stood if begun is not None and stood is not None and stood.plan == begun.plan else begun


def new_progress(prepared: Prepared, store: Store, at: int) -> Progress:
    """A sweep for this plan takes over what the one before left unfinished."""
    before = read_progress(store)
    unfinished = before.segments if before is not None and not before.ended_at else []
    known = prepared.published.plan.segments.by_name
    segments = sorted({*prepared.segments, *(name for name in unfinished if name in known)})
    total = store.counts().get("profiles", 0)
    return Progress(prepared.report.version, at, total=total, segments=segments)


def switch_plan(prepared: Prepared, old: decide.Plan | None, store: Store) -> SwitchPlan:
    """The work that puts a plan into force, and begins its sweep."""

    def meta(at: int) -> dict[str, bytes]:
        since = leaves_since(prepared.published.plan, old, store, at)
        values = {COMPLETE_SINCE: msgspec.msgpack.encode(since)}
        if old is not None and prepared.sweeps:
            values[META] = new_progress(prepared, store, at).encoded()
        return values

    return SwitchPlan(prepared.published, prepared.document, meta)


def swept_for(store: Store) -> int | None:
    """The plan up to which every state was swept; None while a sweep is under way."""
    progress = read_progress(store)
    return (progress.plan if progress.ended_at else None) if progress else 0


class Sweeper:
    """``heard``: a number that grows with every call from outside."""

    def __init__(
        self,
        desk: Desk,
        meter: Meter,
        put: Callable[..., None],
        *,
        heard: Callable[[], int],
        now: Callable[[], int],
    ) -> None:
        self._desk, self._store, self._meter, self._put, self._now = desk, desk.store, meter, put, now
        self._pace = Pace(heard)
        self._stirred, self._free = asyncio.Event(), asyncio.Event()
        self.stir()

    def hold(self) -> None:
        """A plan is being switched: until :meth:`stir`, what is in force and what the store says may differ."""
        self._free.clear()

    def stir(self) -> None:
        """The switch is over: there may be new progress."""
        self._free.set()
        self._stirred.set()

    def building(self) -> dict[str, Any] | None:
        progress = read_progress(self._store)
        if progress is None or progress.ended_at:
            return None
        total = max(progress.total, progress.done)
        return {"plan": progress.plan, "done": progress.done, "total": total, "segments": progress.segments}

    def left(self) -> int:
        """Keys still to touch, an estimate."""
        building = self.building()
        return building["total"] - building["done"] if building else 0

    async def run(self) -> None:
        """Until cancelled.  Called again, after the store was away or by whoever leads next, it goes on."""
        while True:
            await self._free.wait()
            self._stirred.clear()
            if (progress := self._due()) is not None:
                await self._portion(progress)
            else:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(LOOK_S):
                        await self._stirred.wait()

    def _due(self) -> Progress | None:
        """The sweep under way, if its plan is in force here, too: under an older one its folds would be wrong."""
        progress = read_progress(self._store)
        known = progress is not None and self._desk.planned and progress.plan <= self._desk.plan.version
        return progress if progress is not None and known and not progress.ended_at else None

    async def _portion(self, progress: Progress) -> None:
        plan = self._desk.plan
        keys = self._store.keys(progress.after, LIVE_PORTION if self._pace.live() else PORTION)
        steps = fold_keys(self._desk, plan, progress.plan, [*progress.again, *keys])
        items = await self._pace.drive(steps)
        began = time.perf_counter()
        try:
            await self._decide(items, progress, keys, plan.version)
        except Busy:
            await asyncio.sleep(BUSY_PAUSE_S)
            return
        self._meter.count("sweep_keys_total", by=len(keys))
        await self._pace.rest(time.perf_counter() - began)

    async def _decide(self, items: Sequence[Swept], progress: Progress, keys: Sequence[str], under: int) -> None:
        pieces = self.pieces(items, progress, keys, under)
        self._put(*pieces)
        await asyncio.gather(*(piece.done for piece in pieces))

    def pieces(self, items: Sequence[Swept], progress: Progress, keys: Sequence[str], under: int) -> list[Touches]:
        """A portion, folded ``under`` this plan, as work; the last piece writes the progress that comes of it."""
        pieces: list[Touches] = []

        def meta() -> dict[str, bytes]:
            again = [key for piece in pieces for key in piece.result]
            return {STOOD: self._following(progress, keys, again).encoded()}

        ends = range(PIECE, len(items), PIECE)
        pieces += [Touches(items[end - PIECE : end], progress.plan, under) for end in ends]
        pieces.append(Touches(items[ends[-1] if ends else 0 :], progress.plan, under, meta))
        return pieces

    def _following(self, progress: Progress, keys: Sequence[str], again: list[str]) -> Progress:
        if keys:
            return replace(progress, after=keys[-1], done=progress.done + len(keys), again=again)
        if again and progress.rounds < MAX_ROUNDS:
            return replace(progress, again=again, rounds=progress.rounds + 1)
        return replace(progress, again=[], ended_at=self._now())


def fold_keys(desk: Desk, plan: decide.Plan, target: int, keys: Sequence[str]) -> Steps[list[Swept]]:
    """What a sweep for plan ``target`` has to touch: each of these keys, or who they were merged into, with what it
    lacks under ``plan``."""
    if not plan.fresh.leaves:
        return [Swept(key) for key in keys]
    past = Past(desk.store, plan)
    found: dict[str, Swept] = {}
    for at, key in enumerate(keys):
        if at % FETCH == 0:
            desk.fetch(keys[at : at + FETCH])
        state = survivor(key, desk.state)
        if state is not None and state.key not in found and min(state.swept, state.plan_version) < target:
            name, known = state.key, frozenset(keys_of(state))  # now: while this folds, the person lives on
            folds = yield from past.fold(state)
            found[name] = Swept(name, folds, known)
        yield
    return list(found.values())
