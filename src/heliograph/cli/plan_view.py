"""What a publish would do to people and runs, as `heliograph plan` shows it."""

from typing import Any

from rich.table import Table
from rich.text import Text

from heliograph.cli.show import count, out, say

STEP_SIGNS = {"inserted": "+", "deleted": "-", "reordered": ">", "changed": "~"}
WHY = {
    "not explicit": "the step has no `id` of its own in the new version",
    "gone": "the new version has no step with this id",
    "another verb": "the step does something else in the new version",
}


def show_touches(touches: dict[str, Any]) -> None:
    say("")
    _show_people(touches)
    if touches["segments"]:
        _show_segments(touches["segments"])
    for journey in touches["journeys"]:
        _show_journey(journey)
    say("")


def _show_people(touches: dict[str, Any]) -> None:
    looked = count(touches["people"], "person")
    sample = "" if touches["complete"] else f", a sample of about {touches['total']:,}"
    moved, ended = count(touches["runs_moved"], "run"), count(touches["runs_ended"], "run")
    say(f"looked at {looked}{sample} in {touches['took_ms'] / 1000:.1f} s:")
    say(f"{count(touches['changed'], 'person')} would change, {moved} would move, {ended} would end")


def _show_segments(segments: list[dict[str, Any]]) -> None:
    table = Table("segment", "", "members now", "after", box=None, pad_edge=False, header_style="bold")
    for column in table.columns[2:]:
        column.justify = "right"
    for one in segments:
        table.add_row(Text(one["name"]), one["change"], f"{one['members_now']:,}", f"{one['members_after']:,}")
    out.print(table)


def _show_journey(journey: dict[str, Any]) -> None:
    edits = [f"{STEP_SIGNS[one['change']]}{one['step_id']}" for one in journey["steps"]]
    what = ", ".join([*journey["parts"], *edits]) or journey["change"]
    say(f"journey {journey['name']} (on_edit: {journey['on_edit']}): {what}", "bold")
    if not journey["active"]:
        return
    by_step = ", ".join(f"{number:,} at {step_id}" for step_id, number in sorted(journey["by_step"].items()))
    staying = journey["active"] - journey["moved"]
    say(f"  {count(journey['active'], 'active run')} ({by_step}): {journey['moved']:,} move, {staying:,} stay")
    for one in journey["unmapped"]:
        why = WHY.get(one["why"], one["why"])
        say(f"  {count(one['count'], 'run')} at {one['step_id']} cannot follow: {why}", "yellow")
