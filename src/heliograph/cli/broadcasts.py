"""broadcasts: the latest, one of them with all its counts, and its verbs."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from heliograph.cli import watching
from heliograph.cli.broadcast import ask
from heliograph.cli.client import ProjectOption, Server, TokenOption, UrlOption, segment, server_for
from heliograph.cli.delivery import troubles
from heliograph.cli.show import print_json, say, table, when
from heliograph.cli.words import listing
from heliograph.cli.written import Written
from heliograph.project.yaml import Yaml

app = typer.Typer(help="The latest broadcasts: show, start, pause, resume, cancel.")

JsonOption = Annotated[bool, typer.Option("--json", help="As JSON.")]
IdArgument = Annotated[str, typer.Argument(metavar="ID")]

VERBS = {
    "pause": ("Stop asking people, and hold what is queued.", "is paused"),
    "resume": ("Go on behind the last person who was asked.", "goes on"),
    "cancel": ("End it; what is queued is cancelled, what has left has left.", "is cancelled"),
}
"""Verb -> what it does, and what to say then."""


@app.callback(invoke_without_command=True)
def broadcasts(
    context: typer.Context,
    limit: Annotated[int, typer.Option(min=1, max=200, help="At most so many, newest first.")] = 20,
    as_json: JsonOption = False,
    project: ProjectOption = Path(),
    url: UrlOption = None,
    token: TokenOption = None,
) -> None:
    """The latest broadcasts."""
    if not listing(context):
        return
    rows = server_for(project, url, token).get("/broadcasts", limit=limit)["broadcasts"]
    if as_json:
        print_json(rows)
    elif rows:
        table(("id", "status", "begins", "people", "sent", "queued", "bounced", "name"), map(_cells, rows))
    else:
        say("no broadcast was ever made")


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    figures = watching.Figures(row)
    begins, people = when(row["started_at"] or row["starts_at"]), f"{figures.offered:,} of {figures.total:,}"
    numbers = (f"{number:,}" for number in (figures.sent, figures.waiting, figures.bounced))
    return row["broadcast_id"], row["status"], begins, people, *numbers, row["name"]


@app.command()
def show(
    broadcast_id: IdArgument,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Until it ends.")] = False,
    as_json: JsonOption = False,
    project: ProjectOption = Path(),
    url: UrlOption = None,
    token: TokenOption = None,
) -> None:
    """One of them: every count, and why people were left out."""
    server = server_for(project, url, token)
    row = server.get(f"/broadcasts/{segment(broadcast_id)}")
    if as_json:
        print_json(row)
    elif follow:
        raise typer.Exit(watching.follow(server, row))
    else:
        watching.show(row)
        for trouble in troubles(server.get("/delivery")) if row["status"] == "running" else ():
            say(trouble, "yellow")


def _command(verb: str, help: str, said: str) -> Callable[..., None]:
    def move(
        broadcast_id: IdArgument,
        reason: Annotated[str, typer.Option("--reason", "-r", help="Why; it is kept with it.")] = "",
        project: ProjectOption = Path(),
        url: UrlOption = None,
        token: TokenOption = None,
    ) -> None:
        _move(server_for(project, url, token), broadcast_id, verb, reason, said)

    move.__doc__ = help
    return move


@app.command()
def start(
    broadcast_id: IdArgument,
    reason: Annotated[str, typer.Option("--reason", "-r", help="Why; it is kept with it.")] = "",
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask, however many people it is.")] = False,
    project: ProjectOption = Path(),
    url: UrlOption = None,
    token: TokenOption = None,
) -> None:
    """Send a draft: says whom it will reach, and asks."""
    server = server_for(project, url, token)
    row = server.get(f"/broadcasts/{segment(broadcast_id)}")
    if row["status"] == "draft":
        ask(server, Written(broadcast_id, Yaml(row["document"], {}, [])), yes)
    _move(server, broadcast_id, "start", reason, "is on its way")


def _move(server: Server, broadcast_id: str, verb: str, reason: str, said: str) -> None:
    row = server.post(f"/broadcasts/{segment(broadcast_id)}/{verb}", {"reason": reason})
    say(f"{row['broadcast_id']} {said}: {watching.Figures(row).words()}", "green")


for _verb, (_help, _said) in VERBS.items():
    app.command(_verb)(_command(_verb, _help, _said))
