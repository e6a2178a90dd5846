"""The report of a backtest, as JSON and as what the command prints it from.

Deterministic: the same data, window and draft give the same report, however many processes counted.
"""

from typing import Any

import msgspec

from heliograph.backtest.differ import Difference
from heliograph.backtest.part import Partial
from heliograph.backtest.past import Reach
from heliograph.backtest.plans import Plans
from heliograph.backtest.tally import MILLION, Counts, Flow, Side
from heliograph.decide.journeys.program import Journey


class StepReport(msgspec.Struct):
    """``left``: where people went -> how many; an end of the run stands in brackets.  ``median_dwell_ms`` is None
    when nobody left."""

    step: str
    does: str
    entered: int
    left: Counts
    waiting: int
    median_dwell_ms: int | None


class Day(msgspec.Struct):
    """``day`` in the project's time zone."""

    day: str
    mails: int
    templates: Counts


class Person(msgspec.Struct):
    profile_id: str
    mails: int


class Sample(msgspec.Struct):
    profile_id: str
    why: str


class VersionReport(msgspec.Struct):
    """One version of the journey over the window.  ``entrants``: people; ``started``: runs.  ``deferred``: mails put
    off by caps and quiet hours, by reason.  ``goals``: runs that converted, ``goals_held_out`` those among them that
    were held out; ``value`` is their sum.  ``top``: who gets most of all mail, and ``other_mails`` that of the other
    journeys, by name, among the people whom this journey can concern: everybody else gets the same with it as without.
    """

    version: str
    entrants: int
    started: int
    held_out: int
    refused_people: int
    refusals: Counts
    arms: dict[str, Counts]
    active: int
    ended: Counts
    steps: list[StepReport]
    mails: int
    days: list[Day]
    skipped: Counts
    deferred: Counts
    goals: int
    goals_held_out: int
    value: float
    top: list[Person]
    other_mails: Counts


class Compared(msgspec.Struct):
    """The published version over the same window, and where the two part.  ``people``: for whom they do; ``only_live``,
    ``only_draft``, ``moved``: mails.  ``listed``: the earliest."""

    version: VersionReport
    people: int
    only_live: int
    only_draft: int
    moved: int
    listed: list[Difference]


class Report(msgspec.Struct):
    """``window``: [since, until) in ms.  ``log_from``: where the log begins; what came before is from history.
    ``seen``: people to whom something happened in the window; ``records``: what was decided about those of them whom
    the journey can concern."""

    journey: str
    plan: int
    window: tuple[int, int]
    log_from: int
    seen: int
    records: int
    draft: VersionReport
    live: Compared | None
    sample: list[Sample]
    notes: list[str]

    def encoded(self) -> bytes:
        return msgspec.json.encode(self)


def report_of(plans: Plans, reach: Reach, partial: Partial) -> Report:
    found = partial.differences
    live = None
    if plans.live is not None and partial.live is not None:
        live = Compared(
            _version(partial.live, plans.live.plan.journeys[plans.name]),
            found.people, found.only_live, found.only_draft, found.moved, found.listed,
        )  # fmt: skip
    return Report(
        journey=plans.name,
        plan=plans.base,
        window=(reach.since, reach.until),
        log_from=reach.log_from,
        seen=partial.seen,
        records=partial.events,
        draft=_version(partial.draft, plans.draft.plan.journeys[plans.name]),
        live=live,
        sample=[Sample(one.profile_id, one.why) for one in partial.sample],
        notes=notes(plans, reach),
    )


def notes(plans: Plans, reach: Reach) -> list[str]:
    """What this backtest could not know."""
    said = ["Runs that began before the window are not in it, and neither are their mails under the caps."]
    if reach.since < reach.log_from:
        said.append("Before the log begins, opens, clicks and refusals are known only for mails that were really sent.")
    if plans.assumed:
        named = ", ".join(plans.assumed)
        said.append(f"Not published, so taken for marketing mail that needs nothing: {named}.")
    if not plans.unchanged:
        said.append("Mails that were never sent count as sent one second after their decision; nobody opens them.")
    return said


def _version(side: Side, journey: Journey) -> VersionReport:
    return VersionReport(
        version=journey.version,
        entrants=side.entrants,
        started=side.started,
        held_out=side.held_out,
        refused_people=side.refused_people,
        refusals=most_first(side.refusals),
        arms={step: dict(sorted(counts.items())) for step, counts in sorted(side.arms.items())},
        active=side.active,
        ended=most_first(side.ended),
        steps=_steps(side, journey),
        mails=side.sent,
        days=[
            Day(day, sum(counts.values()), dict(sorted(counts.items()))) for day, counts in sorted(side.mails.items())
        ],
        skipped=most_first(side.skipped),
        deferred=most_first(side.deferred),
        goals=side.goals,
        goals_held_out=side.goals_held_out,
        value=side.value / MILLION,
        top=[Person(profile, mails) for mails, profile in side.top],
        other_mails=most_first(side.others),
    )


def _steps(side: Side, journey: Journey) -> list[StepReport]:
    """In the order of the program; those that nobody came to are there with zeros."""
    names = [*(step.id for step in journey.program), *sorted(side.steps.keys() - {step.id for step in journey.program})]
    return [_step(name, side.steps.get(name, Flow()), journey) for name in names]


def _step(name: str, flow: Flow, journey: Journey) -> StepReport:
    step: Any = journey.step(name)
    does = "" if step is None else _does(type(step).__name__)
    return StepReport(name, does, flow.entered, most_first(flow.left), flow.waiting, flow.median_dwell_ms)


def _does(kind: str) -> str:
    """``WaitUntil`` -> wait until."""
    words = "".join(f" {letter.lower()}" if letter.isupper() else letter for letter in kind)
    return words.strip()


def most_first(counts: Counts) -> Counts:
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))
