"""pause and resume: the mail of a journey waits, and goes again."""

from pathlib import Path
from typing import Annotated, Any

import typer

from heliograph.cli.client import ProjectOption, TokenOption, UrlOption, segment, server_for
from heliograph.cli.show import say, when, whoami


def pause(
    journey: Annotated[str | None, typer.Argument(help="Which one; none: what is paused.")] = None,
    reason: Annotated[str, typer.Option("--reason", "-r", help="Why; it is kept, with your name.")] = "",
    project: ProjectOption = Path(),
    url: UrlOption = None,
    token: TokenOption = None,
) -> None:
    """Hold the mail of a journey: people enter and go on, what they are sent waits."""
    server = server_for(project, url, token)
    if journey is None:
        _list(server.get("/journeys")["journeys"])
        return
    server.post(f"/journeys/{segment(journey)}/pause", {"reason": reason, "by": whoami()})
    say(f"{journey} is paused: its mail waits; `heliograph resume {journey}` lets it go", "green")


def _list(journeys: list[dict[str, Any]]) -> None:
    paused = [one for one in journeys if one["paused"]]
    for one in paused:
        say(f"{one['name']}  {told(one['paused'])}", "yellow")
    if not paused:
        say("no journey is paused")


def told(pause: dict[str, Any]) -> str:
    """``since 2026-11-22 12:00:00Z by breaker: 7 % bounced``."""
    because = f": {pause['reason']}" if pause["reason"] else ""
    return f"paused since {when(pause['at'])} by {pause['by']}{because}"


def resume(
    journey: Annotated[str, typer.Argument(help="Which one.")],
    project: ProjectOption = Path(),
    url: UrlOption = None,
    token: TokenOption = None,
) -> None:
    """Let the mail of a paused journey go; what is too late by now is dropped with its reason."""
    server = server_for(project, url, token)
    was = server.post(f"/journeys/{segment(journey)}/resume", {})["was"]
    say(f"{journey} goes on; it was {told(was)}" if was else f"{journey} was not paused", "green")


COMMANDS = (pause, resume)
