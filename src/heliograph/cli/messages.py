"""messages: what was mailed and what became of it; and, when that is unknown, what somebody says became of it."""

import itertools
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer

from heliograph.backtest.window import window
from heliograph.cli.client import ProjectOption, Server, TokenOption, UrlOption, server_for
from heliograph.cli.show import complain, confirmed, count, fail, print_json, say, when, whoami
from heliograph.cli.words import listing

PAGE = 200
"""Rows in one call to the API."""
PART = 500
"""Messages settled in one call."""

app = typer.Typer(help="The latest messages and what became of them; release, resend or drop unknown ones.")


@app.callback(invoke_without_command=True)
def messages(
    context: typer.Context,
    status: Annotated[str | None, typer.Option("--status", "-s", help="queued, sent, bounced, unknown ...")] = None,
    profile: Annotated[str | None, typer.Option(help="User id, anon: id or address.")] = None,
    broadcast: Annotated[str | None, typer.Option("--broadcast", "-b", help="Only of this broadcast.")] = None,
    journey: Annotated[str | None, typer.Option("--journey", "-j", help="Only of this journey.")] = None,
    since: Annotated[str | None, typer.Option(help="Only younger ones: PT2H, P1D, or an instant.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many, newest first.")] = 50,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
    project: ProjectOption = Path(),
    url: UrlOption = None,
    token: TokenOption = None,
) -> None:
    """The latest messages and what became of them."""
    if not listing(context):
        return
    server = server_for(project, url, token)
    wanted = _since(server, since, status=status, profile=profile, broadcast=broadcast)
    rows = list(itertools.islice((row for row in wanted if journey in (None, row["journey"])), limit))
    if as_json:
        print_json(rows)
        return
    for row in rows:
        say(_line(row), "yellow" if row["status"] == "unknown" and not row["settled"] else "")
    if not rows:
        say("no messages" + (f" with the status {status}" if status else ""))
    elif any(row["status"] == "unknown" and not row["settled"] for row in rows) and status == "unknown":
        say("say what became of them: heliograph messages release | resend | drop ID ... --reason TEXT", "dim")


def _rows(server: Server, **query: Any) -> Iterator[dict[str, Any]]:
    """Every message, newest first."""
    cursor = None
    while True:
        page = server.get("/messages", limit=PAGE, cursor=cursor, **query)
        yield from page["messages"]
        cursor = page["next"]
        if not cursor:
            return


def _since(server: Server, since: str | None, **query: Any) -> Iterator[dict[str, Any]]:
    """Those that are younger than a duration, or than an instant."""
    if since is None:
        return _rows(server, **query)
    try:
        after, _ = window(since, None, int(time.time() * 1000))
    except ValueError as error:
        fail(str(error))
    return itertools.takewhile(lambda row: row["created_at"] >= after, _rows(server, **query))


def _line(row: dict[str, Any]) -> str:
    after = ", ".join(outcome["kind"] for outcome in row["outcomes"] if outcome["kind"] != row["status"])
    of = f"broadcast {row['broadcast_id']}" if row["broadcast_id"] else row["journey"]
    parts = [
        when(row["unknown_at"] or row["sent_at"] or row["created_at"]),
        f"{row['status']:<9}",
        f"{row['template']:<20}",
        row["address"] or "-",
        of,
    ]
    if row["reason"]:
        parts.append(f"({row['reason']})")
    if row["waits_for"]:
        parts.append(f"waits: {row['waits_for']}")
    if row["attempt"] > 1 or (row["attempt"] and row["status"] in ("queued", "unknown")):
        parts.append(count(row["attempt"], "attempt"))
    if row.get("until"):
        parts.append(f"until {when(row['until'])}")
    if row["next_at"]:
        parts.append(f"again at {when(row['next_at'])}")
    if after:
        parts.append(f"[{after}]")
    return "  ".join([*parts, row["message_id"]])


# -- settling what is unknown --


class Verb(NamedTuple):
    """``action``: what the API calls it; ``means``: of some messages, for who is asked."""

    action: str
    means: str
    help: str


VERBS = {
    "release": Verb("sent", "count as sent", "They were sent: the relay's log says so."),
    "resend": Verb(
        "resend",
        "are sent again; who got the first copy gets a second",
        "Send them again, under the same Message-ID; who got the first copy gets a second.",
    ),
    "drop": Verb("drop", "are given up", "Give up: they stay unknown, and are asked about no more."),
}


def _command(verb: Verb) -> Callable[..., None]:
    def settle(
        ids: Annotated[list[str] | None, typer.Argument(metavar="[ID]...", help="Message ids.")] = None,
        reason: Annotated[str, typer.Option("--reason", "-r", help="Why; it is kept with each, and your name.")] = "",
        all_unknown: Annotated[bool, typer.Option("--all-unknown", help="All unknown ones not settled yet.")] = False,
        journey: Annotated[str | None, typer.Option("--journey", "-j", help="With --all-unknown: only these.")] = None,
        broadcast: Annotated[str | None, typer.Option("--broadcast", "-b", help="The same.")] = None,
        yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
        project: ProjectOption = Path(),
        url: UrlOption = None,
        token: TokenOption = None,
    ) -> None:
        if not reason.strip():
            fail("say why: --reason TEXT (it is kept with each message)")
        if bool(ids) == all_unknown:
            fail("name messages by id (`heliograph messages --status unknown` lists them), or say --all-unknown")
        if ids and (journey or broadcast):
            fail("--journey and --broadcast go with --all-unknown")
        server = server_for(project, url, token)
        chosen = ids or _unsettled(server, journey, broadcast)
        if not chosen:
            say("no unknown messages")
        elif ids or yes or confirmed(f"{count(len(chosen), 'message')} {verb.means}"):
            _settle(server, chosen, verb.action, reason)

    settle.__doc__ = verb.help
    return settle


for _name, _verb in VERBS.items():
    app.command(_name)(_command(_verb))


def _unsettled(server: Server, journey: str | None, broadcast: str | None) -> list[str]:
    rows = _rows(server, status="unknown", broadcast=broadcast)
    return [row["message_id"] for row in rows if journey in (None, row["journey"]) and not row["settled"]]


def _settle(server: Server, ids: list[str], action: str, reason: str) -> None:
    failed = 0
    for start in range(0, len(ids), PART):
        body = {"ids": ids[start : start + PART], "action": action, "reason": reason, "by": whoami()}
        for one in server.post("/messages/settle", body)["results"]:
            good = one["result"] in ("released", "resent", "dropped", "already")
            failed += not good
            because = "" if good else f"  {one['reason']}"
            say(f"{one['message_id']}  {one['result']}{because}", "" if good else "yellow")
    if failed:
        complain(f"{count(failed, 'message')} not settled")
        raise typer.Exit(1)
