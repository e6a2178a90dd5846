"""Trial sends, and dead letters."""

from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from heliograph.cli.client import ProjectOption, Server, TokenOption, UrlOption, segment, server_for
from heliograph.cli.show import complain, count, fail, say, when

PAGE = 200
"""Rows in one call to the API."""
REPLAY_PART = 500
"""Dead letters in one call."""


def send_test(
    template: Annotated[str, typer.Argument(help="A template of the published plan.")],
    to: Annotated[str, typer.Option("--to", help="The address.")],
    profile: Annotated[str | None, typer.Option(help="Render as for this person.")] = None,
    project: ProjectOption = Path(),
    url: UrlOption = None,
    token: TokenOption = None,
) -> None:
    """Render a template and send it now, outside every journey; prints what the relay said."""
    server = server_for(project, url, token)
    answer = server.post(f"/templates/{segment(template)}/send-test", {"to": to, "profile": profile})
    if not answer["ok"]:
        fail(answer["verdict"])
    say(answer["verdict"], "green")


def replay(
    ids: Annotated[list[str] | None, typer.Argument(help="Dead letters to try again.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="All that were not replayed yet.")] = False,
    repaired: Annotated[
        Path | None, typer.Option(help='A JSON file {"ID": {the corrected call}}; its ids are replayed.')
    ] = None,
    project: ProjectOption = Path(),
    url: UrlOption = None,
    token: TokenOption = None,
) -> None:
    """Dead letters: list them, or try them again (as they are, or repaired)."""
    server = server_for(project, url, token)
    corrected = _corrected(repaired) if repaired else {}
    wanted = [*(ids or []), *(one for one in corrected if one not in (ids or []))]
    if everything:
        wanted += [row["id"] for row in _dead_letters(server) if not row["replayed_at"] and row["id"] not in wanted]
    if not wanted:
        _list_dead_letters(server, everything)
        return
    failed = 0
    for start in range(0, len(wanted), REPLAY_PART):
        part = wanted[start : start + REPLAY_PART]
        body = {"ids": part, "repaired": {one: corrected[one] for one in part if one in corrected}}
        for name, result in zip(part, server.post("/dead-letters/replay", body)["results"], strict=False):
            good = result["status"] in ("accepted", "duplicate")
            failed += not good
            say(f"{name}  {result['status']}" + (f"  {result['reason']}" if result["reason"] else ""))
    if failed:
        complain(f"{count(failed, 'dead letter')} still refused")
        raise typer.Exit(1)


def _corrected(file: Path) -> dict[str, Any]:
    try:
        value = msgspec.json.decode(file.read_bytes())
    except (OSError, msgspec.DecodeError) as error:
        fail(f"{file}: {error}")
    if not isinstance(value, dict):
        fail(f'{file} must hold {{"ID": {{the corrected call}}}}')
    return value


def _dead_letters(server: Server) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    cursor = None
    while True:
        page = server.get("/dead-letters", limit=PAGE, cursor=cursor)
        rows += page["dead_letters"]
        cursor = page["next"]
        if not cursor:
            return rows


def _list_dead_letters(server: Server, everything: bool) -> None:
    rows = [row for row in _dead_letters(server) if not (everything and row["replayed_at"])]
    for row in rows:
        done = f"  (replayed {when(row['replayed_at'])})" if row["replayed_at"] else ""
        say(f"{row['id']}  {when(row['at'])}  {row['event_name']}: {row['reason']}{done}")
    say(f"{count(len(rows), 'dead letter')}" + ("; replay them by id or with --all" if rows else ""))


COMMANDS = (send_test, replay)
