"""why: one person's story in prose.  import: people, lists, suppressions and events from a file."""

from pathlib import Path
from typing import Annotated, Any

import typer

from heliograph.cli import moving, stopping
from heliograph.cli.client import (
    ProjectOption,
    Server,
    TokenOption,
    UrlOption,
    WriteKeyOption,
    segment,
    server_for,
)
from heliograph.cli.importing import KINDS, Options, file_time, instant, run, topics_of
from heliograph.cli.rows import BadRow, Columns, MapError, read_rows
from heliograph.cli.show import complain, count, fail, say, when
from heliograph.decide.parsing import nearest

SHOWN_BAD_ROWS = 100
"""Listed one by one; beyond that only counted."""


def why(
    person: Annotated[str, typer.Argument(help="User id, anonymous id or email address.")],
    journey: Annotated[str | None, typer.Option("--journey", "-j", help="Why they are, or are not, in it.")] = None,
    template: Annotated[str | None, typer.Option("--template", "-t", help="Why they got it, or did not.")] = None,
    project: ProjectOption = Path(),
    url: UrlOption = None,
    token: TokenOption = None,
) -> None:
    """Why this person did, or did not, get a mail."""
    if journey and template:
        fail("ask for --journey or for --template, not for both")
    server = server_for(project, url, token)
    if journey or template:
        _tell(server.get(f"/profiles/{segment(person)}/why", journey=journey, template=template))
        return
    _introduce(server, person)


def _tell(answer: dict[str, Any]) -> None:
    say(answer["sentence"])
    if condition := answer.get("condition"):
        _show_condition(condition, 1)


def _show_condition(node: dict[str, Any], depth: int) -> None:
    """A condition as a tree: what is true, what is false, what was seen, when that changes."""
    truth = bool(node.get("truth"))
    line = "  " * depth + ("✓ " if truth else "✗ ") + str(node.get("text", ""))
    if node.get("seen"):
        line += f": {node['seen']}"
    if node.get("turns_at"):
        line += f" (turns {'false' if truth else 'true'} at {when(node['turns_at'])})"
    say(line, "green" if truth else "yellow")
    for part in node.get("parts", ()):
        _show_condition(part, depth + 1)


def _introduce(server: Server, person: str) -> None:
    """Without a journey or template: who this is, and one sentence for every journey."""
    profile = server.get(f"/profiles/{segment(person)}")
    address = profile["traits"].get("email") or "no address"
    say(f"{profile['profile_id']} ({address})")
    if segments := [str(one.get("name") or one.get("segment")) for one in profile["segments"]]:
        say("in " + ", ".join(sorted(segments)))
    if profile["also"]:
        say("the same address is also held by " + ", ".join(profile["also"]))
    for journey in server.get("/journeys")["journeys"]:
        say(f"\n{journey['name']}", "bold")
        _tell(server.get(f"/profiles/{segment(person)}/why", journey=journey["name"]))


def import_(
    file: Annotated[Path, typer.Argument(help="CSV with a header line, JSON lines (.jsonl), or what `export` wrote.")],
    kind: Annotated[str, typer.Option(help="people, list, suppressions, events or deployment.")] = "people",
    list_name: Annotated[str | None, typer.Option("--list", help="The list that --kind list fills.")] = None,
    mapping: Annotated[
        list[str] | None,
        typer.Option("--map", help="COLUMN=NAME, COLUMN=NAME:text to keep digits as text, COLUMN=- to leave out."),
    ] = None,
    topic: Annotated[str | None, typer.Option(help="Everybody in the file said yes to this topic.")] = None,
    consent_source: Annotated[str | None, typer.Option(help="Where they said so, e.g. 'shop checkout 2024'.")] = None,
    consent_at: Annotated[str | None, typer.Option(help="When (RFC 3339), if no column consent_at says it.")] = None,
    suppress_as: Annotated[
        str | None, typer.Option("--as", help="Of every row of --kind suppressions: manual, bounce or complaint.")
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 1 when any row is bad.")] = False,
    project: ProjectOption = Path(),
    url: UrlOption = None,
    token: TokenOption = None,
    write_key: WriteKeyOption = None,
) -> None:
    """Bring in people with consent, lists, suppressions or past events; triggers no mail."""
    if kind == moving.KIND:
        moving.move_in(file, project)
        return
    options = _import_options(kind, list_name, topic, consent_source, consent_at, suppress_as)
    try:
        rows = read_rows(file, Columns.parse(mapping or [], verbatim=kind == "suppressions"))
    except (OSError, MapError) as error:
        fail(f"{file}: {error}")
    good = [row for row in rows if not isinstance(row, BadRow)]
    bad = [row for row in rows if isinstance(row, BadRow)]
    server = server_for(project, url, token, write_key)
    if kind == "people":
        _refuse_unknown_topics(server, topics_of(options, good))
    tally = run(server, options, good, file_time(file))
    bad = sorted([*bad, *tally.bad])
    for row in bad[:SHOWN_BAD_ROWS]:
        complain(f"{file}:{row.line}: {row.reason}")
    if len(bad) > SHOWN_BAD_ROWS:
        complain(f"... and {len(bad) - SHOWN_BAD_ROWS:,} more")
    parts = [f"{tally.new:,} imported"]
    if tally.known:
        parts.append(f"{tally.known:,} {'was' if tally.known == 1 else 'were'} there already")
    if bad:
        parts.append(f"{count(len(bad), 'bad row')}, not imported")
    say(", ".join(parts), "yellow" if bad else "green")
    if bad and (strict or not (tally.new or tally.known)):
        raise typer.Exit(1)


def _import_options(
    kind: str, list_name: str | None, topic: str | None, source: str | None, at: str | None, suppress_as: str | None
) -> Options:
    if kind not in KINDS:
        fail(f"--kind is one of {', '.join([*KINDS, moving.KIND])}, not {kind}")
    if (kind == "list") != (list_name is not None):
        fail("--kind list needs --list NAME" if kind == "list" else "--list goes with --kind list")
    if suppress_as and (kind != "suppressions" or suppress_as not in stopping.KINDS):
        fail(f"--as goes with --kind suppressions and is one of {', '.join(stopping.KINDS)}")
    if topic and kind != "people":
        fail("--topic goes with --kind people")
    if topic and not source:
        fail("--topic needs --consent-source TEXT: where did these people say yes? (it is kept as proof)")
    if source and not topic and kind != "people":
        fail("--consent-source goes with --kind people")
    if at is not None and instant(at) is None:
        fail(f"--consent-at {at} is no RFC 3339 instant like 2024-05-01T12:00:00Z")
    return Options(kind, list_name or "", topic or "", source or "", at or "", suppress_as or "")


def _refuse_unknown_topics(server: Server, asked: set[str]) -> None:
    """A consent under a name that nothing asks would be lost without a word."""
    if not asked:
        return
    known = {"marketing", *server.get("/plan")["document"].get("policies", {}).get("topics", {})}
    for topic in sorted(asked - known):
        hint = nearest(topic, known)
        fail(
            f"there is no topic {topic!r} in the published plan"
            + (f"; did you mean {hint}?" if hint else f"; there are: {', '.join(sorted(known))}")
        )


COMMANDS = (why, import_)
