"""broadcast: one mail to many people, from a file or by options, and how far it is."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import typer

from heliograph.cli import watching
from heliograph.cli.client import ProjectOption, Server, ServerError, TokenOption, UrlOption, segment, server_for
from heliograph.cli.show import asked, complain, confirmed, count, fail, say, when
from heliograph.cli.written import Written, read_file, read_text
from heliograph.project.yaml import Yaml

ASK_ABOVE = 100
"""People: from there on a terminal is asked.  A slip to a hundred is a nuisance, to a list it is an incident."""
GRACE = timedelta(hours=1)
"""With local time: how late somebody may be asked (docs/reference/broadcasts.md)."""
FIRST_CLOCK = timedelta(hours=14)
"""The first clock of the world is so far ahead of UTC."""
AUDIENCES = ("segment", "list", "if", "everyone", "broadcast")
SUFFIXES = (".yaml", ".yml", ".json")


def broadcast(
    what: Annotated[str, typer.Argument(metavar="FILE.yaml | TEMPLATE", help="A file, or a published template.")],
    segment_: Annotated[str | None, typer.Option("--segment", help="To the members of a segment.")] = None,
    list_: Annotated[str | None, typer.Option("--list", help="To the people on a list.")] = None,
    if_: Annotated[str | None, typer.Option("--if", help="To whom this is true of: JSON or YAML.")] = None,
    everyone: Annotated[bool, typer.Option("--everyone", help="To all.")] = False,
    sent_to: Annotated[str | None, typer.Option("--sent-to", help="To whom got this broadcast (its id).")] = None,
    topic: Annotated[str | None, typer.Option(help="The consent it needs.")] = None,
    at: Annotated[str | None, typer.Option(help="2026-11-27T08:00, in the project's zone; or an instant.")] = None,
    local_time: Annotated[bool, typer.Option("--local-time", help="`--at` on each person's own clock.")] = False,
    rate: Annotated[str | None, typer.Option(help="At most: 50000/h.")] = None,
    holdout: Annotated[str | None, typer.Option(help="The share that gets nothing: 5%.")] = None,
    name: Annotated[str | None, typer.Option(help="For people.")] = None,
    id_: Annotated[str | None, typer.Option("--id", help="Sent once under this; of a file, its name.")] = None,
    notice: Annotated[bool, typer.Option("--notice", help="A service notice: to all it concerns, first.")] = False,
    draft: Annotated[bool, typer.Option("--draft", help="Lay it down; `broadcasts start ID` sends it.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    follow: Annotated[bool | None, typer.Option("--follow/--no-follow", help="Show how far it is.")] = None,
    project: ProjectOption = Path(),
    url: UrlOption = None,
    token: TokenOption = None,
) -> None:
    """Send one mail to many people, once; from a file, or by options."""
    given: dict[str, Any] = {"name": name, "topic": topic, "at": at, "rate": rate, "holdout": holdout, "id": id_}
    given |= {"local_time": local_time or None, "notice": notice or None}
    audience = {"segment": segment_, "list": list_, "if": if_, "everyone": everyone or None, "broadcast": sent_to}
    written = _written(what, {key: value for key, value in given.items() if value is not None}, _audience(audience))
    server = server_for(project, url, token)
    known = _known(server, written.value)
    if known is None and not draft:
        ask(server, written, yes)
    row = _send(server, written, draft)
    say(_said(row) if known is None or row["status"] == "draft" else _sent_before(row), "green")
    if follow or (follow is None and row["status"] == "running"):
        raise typer.Exit(watching.follow(server, row))


def _audience(options: dict[str, Any]) -> dict[str, Any]:
    """``{}`` when none was said."""
    found = {kind: value for kind, value in options.items() if value is not None}
    if len(found) > 1:
        words = " or ".join("--sent-to" if kind == "broadcast" else f"--{kind}" for kind in found)
        fail(f"one audience: {words}, not both")
    if "if" in found:
        found["if"] = read_text(found["if"], "--if")
    return found


def _written(what: str, given: dict[str, Any], audience: dict[str, Any]) -> Written:
    """The document: what the options say, over what the file says."""
    file = Path(what)
    if file.suffix in SUFFIXES:
        written = read_file(file, "a broadcast")
        written.value.setdefault("id", file.stem)
        base = written.value
    else:
        if not audience:
            fail(f"to whom? `heliograph broadcast {what}` with --segment, --list, --if, --everyone or --sent-to")
        written = Written(what, Yaml({}, {}, []))
        base = {"name": what, "template": what}
    document = {**base, **given, **({"audience": audience} if audience else {})}
    return written._replace(yaml=written.yaml._replace(value=document))


def _known(server: Server, document: dict[str, Any]) -> Any:
    """The broadcast that has this id already, if it has one."""
    if not isinstance(document.get("id"), str):
        return None
    try:
        return server.get(f"/broadcasts/{segment(document['id'])}")
    except ServerError as error:
        if error.status == 404:
            return None
        raise


def ask(server: Server, written: Written, yes: bool) -> None:
    """Say whom it will reach, and let a person say yes when they are many."""
    found = _posted(server, written, "/broadcasts/preview")
    document = written.value
    people = _people(found, document["audience"])
    say(f"{document['name']}: {watching.whom(document)}: {people}")
    if found["looked_at"]:
        share = 100 * found["addressed"] // found["looked_at"]
        say(f"{share} % of them have an address ({found['looked_at']:,} looked at)", "yellow" if share < 50 else "")
    if gone := past_already(document, datetime.now(UTC)):
        say(gone, "yellow")
    if found["total"] > ASK_ABOVE and not yes and asked() and not confirmed(f"send to {people}"):
        raise typer.Exit(1)


def _people(found: dict[str, Any], audience: dict[str, Any]) -> str:
    """How many: a condition is asked at each person's turn, so nobody knows yet."""
    people = count(found["total"], "person")
    return people if found["exact"] else f"some of about {people}" if "if" in audience else f"about {people}"


def past_already(document: dict[str, Any], now: datetime) -> str:
    """Whose clocks show a later time already than a broadcast with local time has; "" for nobody's."""
    if not document.get("local_time"):
        return ""
    at = datetime.fromisoformat(document["at"]).replace(tzinfo=UTC)
    ahead = (at + GRACE - now) // timedelta(minutes=1)
    if ahead >= FIRST_CLOCK // timedelta(minutes=1):
        return ""
    sign, (hours, minutes) = "-" if ahead < 0 else "+", divmod(abs(ahead), 60)
    offset = f"UTC{sign}{hours}:{minutes:02}"
    return f"{document['at']} is over where clocks are ahead of {offset}: who lives there gets no mail (too_late)"


def _send(server: Server, written: Written, draft: bool) -> dict[str, Any]:
    row: dict[str, Any] = _posted(server, written, "/broadcasts" + ("?draft=true" if draft else ""))
    return row


def _posted(server: Server, written: Written, path: str) -> Any:
    """The answer; objections are shown with their lines."""
    try:
        return server.post(path, written.value)
    except ServerError as error:
        if not error.problems:
            raise
        written.complain(error.problems)
        complain("nothing was sent")
        raise typer.Exit(1) from None


def _sent_before(row: dict[str, Any]) -> str:
    name, status = row["broadcast_id"], row["status"]
    return f"{name} was sent before; nobody is mailed again (it is {status}; another --id sends it anew)"


def _said(row: dict[str, Any]) -> str:
    name = row["broadcast_id"]
    match row["status"]:
        case "draft":
            return f"{name} is a draft; `heliograph broadcasts start {name}` sends it"
        case "scheduled":
            return f"{name} begins at {when(row['starts_at'])}; `heliograph broadcasts cancel {name}` stops it"
        case status:
            return f"{name} is {status}"


COMMANDS = (broadcast,)
