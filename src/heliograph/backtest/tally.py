"""What the decisions of one lane about one journey come to: counts that add up over people and over processes.

Everything is exact but the dwell of a step, whose median is taken from a sample of at most :data:`DWELLS` passages,
and the lists, which are cut.  What is sampled is drawn by hash: the same decisions give the same sample.
"""

import heapq
from collections.abc import Callable, Iterable
from datetime import datetime
from statistics import median_low
from typing import Any, Final

import msgspec

from heliograph.backtest.lane import Decided, Story
from heliograph.decide.times import zone_or_utc
from heliograph.events.identity import profile_id
from heliograph.events.ids import share

DWELLS: Final = 1_001
"""Passages of a step from which its median is taken."""
TOP: Final = 10
"""People who would get most."""
MILLION: Final = 1_000_000

Counts = dict[str, int]


class Flow(msgspec.Struct):
    """One step.  ``left``: where people went -> how many; an end of the run stands in brackets.  ``dwells``: (draw, ms)
    of a sample of the passages."""

    entered: int = 0
    left: Counts = {}
    waiting: int = 0
    dwells: list[tuple[float, int]] = []

    def note_dwell(self, draw: float, ms: int) -> None:
        row = (-draw, ms)
        if len(self.dwells) < DWELLS:
            heapq.heappush(self.dwells, row)
        elif row > self.dwells[0]:
            heapq.heapreplace(self.dwells, row)

    @property
    def median_dwell_ms(self) -> int | None:
        return median_low([ms for _, ms in self.dwells]) if self.dwells else None


class Side(msgspec.Struct):
    """One version of the journey.  ``mails``: day -> template -> mails decided.  ``value``: the goals', in millionths.
    ``others``: mails of the other journeys.  ``top``: (mails of all journeys, profile), the most first."""

    entrants: int = 0
    refused_people: int = 0
    started: int = 0
    held_out: int = 0
    active: int = 0
    refusals: Counts = {}
    ended: Counts = {}
    arms: dict[str, Counts] = {}
    steps: dict[str, Flow] = {}
    mails: dict[str, Counts] = {}
    skipped: Counts = {}
    deferred: Counts = {}
    goals: int = 0
    goals_held_out: int = 0
    value: int = 0
    others: Counts = {}
    top: list[tuple[int, str]] = []

    @property
    def sent(self) -> int:
        return sum(sum(templates.values()) for templates in self.mails.values())

    def add(self, other: "Side") -> None:
        """Take in what another process counted about other people."""
        for name in ("entrants", "refused_people", "started", "held_out", "active", "goals", "goals_held_out", "value"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for name in ("refusals", "ended", "skipped", "deferred", "others"):
            add_up(getattr(self, name), getattr(other, name))
        for mine, theirs in ((self.arms, other.arms), (self.mails, other.mails)):
            for key, counts in theirs.items():
                add_up(mine.setdefault(key, {}), counts)
        for step_id, flow in other.steps.items():
            mine_flow = self.steps.setdefault(step_id, Flow())
            mine_flow.entered += flow.entered
            mine_flow.waiting += flow.waiting
            add_up(mine_flow.left, flow.left)
            mine_flow.dwells = heapq.nlargest(DWELLS, [*mine_flow.dwells, *flow.dwells])
            heapq.heapify(mine_flow.dwells)
        self.top = most([*self.top, *other.top])


def add_up(mine: Counts, theirs: Counts) -> None:
    for name, count in theirs.items():
        mine[name] = mine.get(name, 0) + count


def most(rows: Iterable[tuple[int, str]]) -> list[tuple[int, str]]:
    return sorted(rows, key=lambda row: (-row[0], row[1]))[:TOP]


class Counter:
    """Counts the stories of one lane, person by person, into :attr:`side`."""

    def __init__(self, journey: str, timezone: str) -> None:
        self.side = Side()
        self._journey, self._zone = journey, zone_or_utc(timezone)
        self._at: dict[str, tuple[str, int]] = {}
        """Run -> (step, since)."""
        self._treated: set[str] = set()
        self._mails: dict[str, int] = {}

    def count(self, story: Story) -> None:
        self._at, self._treated, self._mails = {}, set(), {}
        entered: set[str] = set()
        refused: set[str] = set()
        for one in story.decided:
            if one.kind == "message_decided":
                self._mailed(story, one)
            if one.data.get("journey") == self._journey:
                if one.kind == "run_started":
                    entered.add(story.survivor(one.key))
                elif one.kind == "run_refused":
                    refused.add(story.survivor(one.key))
                if (take := _TAKE.get(one.kind)) is not None:
                    take(self, one)
        self.side.entrants += len(entered)
        self.side.refused_people += len(refused)
        self._still_there(story)
        if self._mails:
            self.side.top = most([*self.side.top, *((count, profile_id(key)) for key, count in self._mails.items())])

    def _mailed(self, story: Story, one: Decided) -> None:
        _one_more(self._mails, story.survivor(one.key))
        if one.data["journey"] == self._journey:
            _one_more(self.side.mails.setdefault(self._day(one.at), {}), one.data["template"])
        else:
            _one_more(self.side.others, one.data["journey"])

    def _day(self, at: int) -> str:
        return datetime.fromtimestamp(at / 1000, self._zone).strftime("%Y-%m-%d")

    def _still_there(self, story: Story) -> None:
        for state in story.states.values():
            for run in state.runs.values():
                if run.journey == self._journey and run.run_id in self._treated | set(self._at):
                    self.side.active += 1
                    if run.step:
                        self._moves(run.run_id, run.step, run.since)
                        self.side.steps[run.step].waiting += 1

    # -- facts --

    def _started(self, one: Decided) -> None:
        self.side.started += 1
        self._treated.add(one.data["run_id"])
        arm = str(one.data.get("arm", ""))
        self.side.held_out += arm != "treated"
        if arm:
            _one_more(self.side.arms.setdefault("holdout", {}), arm)

    def _refused(self, one: Decided) -> None:
        _one_more(self.side.refusals, str(one.data.get("reason", "")))

    def _step(self, one: Decided) -> None:
        data = one.data
        self._moves(data["run_id"], data["step_id"], one.at)
        if "arm" in data:
            _one_more(self.side.arms.setdefault(data["step_id"], {}), str(data["arm"]))

    def _skipped(self, one: Decided) -> None:
        self._step(one)
        _one_more(self.side.skipped, str(one.data.get("reason", "")))

    def _deferred(self, one: Decided) -> None:
        self._step(one)
        _one_more(self.side.deferred, str(one.data.get("reason", "")))

    def _ended(self, one: Decided) -> None:
        reason = str(one.data.get("reason", ""))
        _one_more(self.side.ended, reason)
        self._leaves(one.data["run_id"], f"({reason})", one.at)
        self._treated.discard(one.data["run_id"])

    def _goal(self, one: Decided) -> None:
        self.side.goals += 1
        self.side.goals_held_out += bool(one.data.get("held_out"))
        self.side.value += _millionths(one.data.get("value"))

    def _moves(self, run_id: str, step_id: str, at: int) -> None:
        """The run is at this step: it has come from another one, if it was at another one."""
        if not step_id or self._at.get(run_id, ("", 0))[0] == step_id:
            return
        self._leaves(run_id, step_id, at)
        self._at[run_id] = (step_id, at)
        self.side.steps.setdefault(step_id, Flow()).entered += 1

    def _leaves(self, run_id: str, target: str, at: int) -> None:
        step_id, since = self._at.pop(run_id, ("", 0))
        if step_id:
            flow = self.side.steps.setdefault(step_id, Flow())
            _one_more(flow.left, target)
            flow.note_dwell(share("dwell", run_id, step_id, since), at - since)


_TAKE: Final[dict[str, Callable[[Counter, Decided], None]]] = {
    "run_started": Counter._started,
    "run_refused": Counter._refused,
    "run_step": Counter._step,
    "message_decided": Counter._step,
    "message_deferred": Counter._deferred,
    "message_skipped": Counter._skipped,
    "run_ended": Counter._ended,
    "goal": Counter._goal,
}


def _one_more(counts: Counts, name: str) -> None:
    counts[name] = counts.get(name, 0) + 1


def _millionths(value: Any) -> int:
    """What a goal was worth; 0 for what is no number."""
    try:
        return round(float(value) * MILLION) if value is not None else 0
    except (TypeError, ValueError, OverflowError):
        return 0
