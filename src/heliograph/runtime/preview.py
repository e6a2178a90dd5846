"""What a publish would do to the people who are there, found out by doing it to copies of their states.

Each state is stepped through the very ``Touch`` that the sweep would bring, with the same folds from history, under the
plan that is not yet in force; nothing is written.  Keys are looked at in storage order, which is by hash: the first
people are a fair sample of all.  The work is bounded by people and by time, and gives way to live calls.
"""

import time
from collections import Counter
from collections.abc import Callable, Generator
from typing import Final

from heliograph import decide
from heliograph.decide.effects import Effect, Fact, SetMembership
from heliograph.decide.journeys import follow
from heliograph.decide.journeys.difference import parts_changed, steps_changed
from heliograph.decide.state import Run
from heliograph.events.record import Record, Touch
from heliograph.ports import JourneyTouched, PlanTouches, PublishReport, SegmentTouched, StepChange, Store, Unmapped
from heliograph.runtime.pace import Pace
from heliograph.runtime.past import Past, Steps

MAX_PEOPLE: Final = 50_000
MAX_S: Final = 10.0
"""People looked at, and how long: what somebody waits for before they publish."""
PAGE: Final = 256
HELD_OUT: Final = "(held out)"
RESTS: Final = frozenset({"same", "kept"})


class Preview:
    """``now``: the instant at which everybody is looked at (ms)."""

    def __init__(self, store: Store, old: decide.Plan, new: decide.Plan, report: PublishReport, now: int) -> None:
        self._store, self._old, self._new, self._now = store, old, new, now
        self._past = Past(store, new)
        self._segments = {
            name: SegmentTouched(name, what)
            for kind, name, what in report.changes
            if kind == "segment" and what not in RESTS
        }
        self._journeys = {
            name: self._journey(name, what)
            for kind, name, what in report.changes
            if kind == "journey" and what not in RESTS
        }
        self._everybody = bool(self._segments or self._journeys) or any(
            what not in RESTS for kind, _, what in report.changes if kind in ("policies", "project", "tzdata")
        )
        self._unmapped: Counter[tuple[str, str, str, str]] = Counter()
        self.touches = PlanTouches(
            total=store.counts().get("profiles", 0),
            segments=[*self._segments.values()],
            journeys=[*self._journeys.values()],
        )

    def _journey(self, name: str, what: str) -> JourneyTouched:
        old, new = self._old.journeys.get(name), self._new.journeys.get(name)
        touched = JourneyTouched(name, what, on_edit="follow" if new is not None and new.follow else "pin")
        if old is not None and new is not None:
            touched.parts = parts_changed(old, new)
            touched.steps = [StepChange(step_id, change) for step_id, change in steps_changed(old, new)]
        return touched

    async def run(self, pace: Pace, *, max_people: int = MAX_PEOPLE, max_s: float = MAX_S) -> PlanTouches:
        """Look at people until there are no more, or a bound is reached."""
        touches, began = self.touches, time.perf_counter()
        after: str | None = None
        touches.complete = not self._everybody
        while self._everybody and touches.people < max_people and time.perf_counter() - began < max_s:
            keys = self._store.keys(after, min(PAGE, max_people - touches.people))
            if not keys:
                touches.complete = True
                break
            after = keys[-1]
            await pace.drive(self._page(keys))
        touches.took_ms = int((time.perf_counter() - began) * 1000)
        touches.total = touches.people if touches.complete else max(touches.total, touches.people)
        for (name, step_id, why, version), count in sorted(self._unmapped.items()):
            self._journeys[name].unmapped.append(Unmapped(step_id, why, version, count))
        return touches

    def _page(self, keys: list[str]) -> Generator[None, None, None]:
        for key, blob in zip(keys, self._store.states(keys), strict=True):
            state = None if blob is None else decide.decode_state(blob)
            if state is None or state.forward:
                continue
            self.touches.people += 1
            yield from self._person(key, state)
            yield

    def _person(self, key: str, state: decide.State) -> Steps[None]:
        """What meeting the plan would do to this copy."""
        for name in state.members.keys() & self._segments.keys():
            self._segments[name].members_now += 1
        for run in state.runs.values():
            if (touched := self._journeys.get(run.journey)) is not None:
                self._count_run(touched, run)
        folds = (yield from self._past.fold(state)) if self._new.fresh.lacking(state.swept) else {}
        touch = Touch(self._new.version, folds)
        _, effects = decide.step(state, Record(key, "preview", self._now, self._new.version, touch), self._new)
        self._count_effects(effects)
        for name in state.members.keys() & self._segments.keys():
            self._segments[name].members_after += 1

    def _count_run(self, touched: JourneyTouched, run: Run) -> None:
        touched.active += 1
        step_id = HELD_OUT if run.held_out else run.step
        touched.by_step[step_id] = touched.by_step.get(step_id, 0) + 1
        to = follow.target(self._new, run)
        why = follow.objection(self._new, run, to) if to is not None else ""
        if to is not None and not why:
            touched.moved += 1
        elif why:
            self._unmapped[run.journey, step_id, why, run.version] += 1

    def _count_effects(self, effects: list[Effect]) -> None:
        turned = sum(isinstance(effect, SetMembership) for effect in effects)
        ended = [effect for effect in effects if isinstance(effect, Fact) and effect.kind == "run_ended"]
        moved = sum(isinstance(effect, Fact) and effect.kind == "run_moved" for effect in effects)
        self.touches.changed += bool(turned or ended or moved)
        self.touches.runs_moved += moved
        self.touches.runs_ended += len(ended)


async def preview(
    store: Store, old: decide.Plan, new: decide.Plan, report: PublishReport, now: int, heard: Callable[[], int]
) -> PlanTouches:
    return await Preview(store, old, new, report, now).run(Pace(heard))
