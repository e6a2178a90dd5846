"""Reports of backtests and shadows for people: tables on a terminal, plain columns in a pipe."""

from collections.abc import Iterable, Sequence
from typing import Any

from heliograph.cli.show import count, say, table, when
from heliograph.decide.times import describe

Report = dict[str, Any]

SHOWN = 20
"""Differences in a table; the JSON has more."""


def backtest(report: Report) -> None:
    draft, live = report["draft"], report["live"]
    since, until = report["window"]
    say(f"{report['journey']} over {count(report['seen'], 'person')}, {when(since)} to {when(until)}", "bold")
    _summary(draft, live["version"] if live else None)
    _steps(draft["steps"])
    _days(draft["days"])
    _counts("not entered", draft["refusals"])
    _counts("mails skipped", draft["skipped"])
    _counts("mails put off by caps and quiet hours", draft["deferred"])
    for step, arms in draft["arms"].items():
        _counts("holdout" if step == "holdout" else f"arms of {step}", arms)
    if draft["top"]:
        rows = [(one["profile_id"], f"{one['mails']:,}") for one in draft["top"]]
        _table("who would get most, all journeys together", ("person", "mails"), rows)
    if live:
        differences(live, "the published version")
    else:
        say("\nNo journey of this name is published: there is nothing to compare it with.")
    if report["sample"]:
        _table("some of them", ("person", "why"), [(one["profile_id"], one["why"]) for one in report["sample"]])
    say("")
    for note in report["notes"]:
        say(f"- {note}", "dim")


def _summary(draft: Report, live: Report | None) -> None:
    sides = (draft, live) if live is not None else (draft,)

    def row(name: str, field: str) -> tuple[str, ...]:
        return name, *(f"{side[field]:,}" for side in sides)

    rows = [
        row("people who enter", "entrants"),
        row("runs", "started"),
        row("held out", "held_out"),
        row("people refused", "refused_people"),
        row("mails", "mails"),
        row("still under way", "active"),
        row("goals reached", "goals"),
        row("of them held out", "goals_held_out"),
        row("worth", "value"),
        ("mails they get from other journeys", *(f"{sum(side['other_mails'].values()):,}" for side in sides)),
    ]
    _table("", ("", "draft", "published")[: len(sides) + 1], rows)


def _steps(steps: Sequence[Report]) -> None:
    rows = []
    for step in steps:
        left = ", ".join(f"{target} {number:,}" for target, number in step["left"].items())
        dwell = "-" if step["median_dwell_ms"] is None else describe(step["median_dwell_ms"])
        rows.append((step["step"], step["does"], f"{step['entered']:,}", left, f"{step['waiting']:,}", dwell))
    _table("step by step", ("step", "does", "entered", "went on to", "waiting", "median stay"), rows)


def _days(days: Sequence[Report]) -> None:
    names = sorted({name for day in days for name in day["templates"]})
    rows = [
        (day["day"], f"{day['mails']:,}", *(f"{day['templates'].get(name, 0):,}" for name in names)) for day in days
    ]
    if rows:
        _table("mails a day", ("day", "all", *names), rows)


def _counts(title: str, counts: dict[str, int]) -> None:
    if counts:
        _table(title, ("", "how many"), [(name or "-", f"{number:,}") for name, number in counts.items()])


def differences(found: Report, other: str) -> None:
    if not found["people"]:
        say(f"\nNobody fares differently than with {other}.")
        return
    say(
        f"\n{count(found['people'], 'person')} would fare differently than with {other}: "
        f"{count(found['only_draft'], 'mail')} more, {found['only_live']:,} fewer, {found['moved']:,} at another time"
    )
    rows = [
        (one["profile_id"], _decision(one["live"], one["live_at"]), _decision(one["draft"], one["draft_at"]))
        for one in found["listed"][:SHOWN]
    ]
    _table("the first difference of the earliest", ("person", "published", "draft"), rows)


def _decision(said: str, at: int) -> str:
    return f"{said}, {when(at)}" if said else "nothing more"


def shadow(found: Report) -> None:
    state = found["ended"] or f"until {when(found['ends_at'])}"
    say(f"{found['journey']} beside plan {found['plan']}, since {when(found['began_at'])} ({state})", "bold")
    rows = [
        ("people who enter", f"{found['draft_entrants']:,}", f"{found['live_entrants']:,}"),
        ("mails", f"{found['draft_mails']:,}", f"{found['live_mails']:,}"),
    ]
    _table("", ("", "draft", "published"), rows)
    say(f"{count(found['records'], 'record')} of {count(found['people'], 'person')}")
    if found["left_out"]:
        say(f"{count(found['left_out'], 'record')} of further people left out", "yellow")
    differences(found["differences"], "the published version")


def verified(found: Report) -> None:
    compared = f"{count(found['facts'], 'fact')} and {count(found['messages'], 'message')}"
    say(f"{compared} of {count(found['people'], 'person')} decided again from the log")
    if found["earlier"]:
        say(f"{count(found['earlier'], 'person')} were there before the log begins, and are not judged")
    if not found["parted"]:
        say("every decision is the recorded one", "green")
        return
    say(f"{count(found['parted'], 'person')} differ", "red")
    rows = [(one["profile_id"], one["recorded"] or "nothing", one["again"] or "nothing") for one in found["listed"]]
    _table("", ("person", "recorded", "decided again"), rows)


def _table(title: str, columns: Iterable[str], rows: Iterable[Sequence[str]]) -> None:
    say("\n" + title, "bold")
    table(columns, rows)
