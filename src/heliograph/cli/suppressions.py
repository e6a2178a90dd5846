"""suppressions: addresses that get no mail; list them, stop one, let one go, take the list elsewhere."""

import csv
import itertools
import sys
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlencode

import typer

from heliograph.cli import stopping
from heliograph.cli.client import ProjectOption, TokenOption, UrlOption, segment, server_for
from heliograph.cli.show import count, fail, print_json, say, when, whoami
from heliograph.cli.words import listing

app = typer.Typer(help="Addresses that get no mail: list, add, remove, export.")

KindOption = Annotated[str | None, typer.Option("--kind", "-k", help="manual, bounce or complaint.")]
PrefixOption = Annotated[str, typer.Option("--prefix", help="Addresses that begin so.")]
ReasonOption = Annotated[str, typer.Option("--reason", "-r", help="Why; it is kept, with your name.")]


def _kind(kind: str | None) -> str | None:
    if kind is not None and kind not in stopping.KINDS:
        fail(f"--kind is one of {', '.join(stopping.KINDS)}, not {kind}")
    return kind


@app.callback(invoke_without_command=True)
def suppressions(
    context: typer.Context,
    kind: KindOption = None,
    prefix: PrefixOption = "",
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 50,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
    project: ProjectOption = Path(),
    url: UrlOption = None,
    token: TokenOption = None,
) -> None:
    """Addresses that get no mail, since when, by whom and why."""
    if listing(context):
        list_(kind, prefix, limit, as_json, project, url, token)


@app.command("list")
def list_(
    kind: KindOption = None,
    prefix: PrefixOption = "",
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 50,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
    project: ProjectOption = Path(),
    url: UrlOption = None,
    token: TokenOption = None,
) -> None:
    """The same as without a word."""
    server = server_for(project, url, token)
    rows = list(itertools.islice(stopping.pages(server, kind=_kind(kind), prefix=prefix or None), limit + 1))
    if as_json:
        print_json(rows[:limit])
        return
    for row in rows[:limit]:
        say(_line(row))
    if not rows:
        say("no address is stopped" + (f" by a {kind}" if kind else ""))
    elif len(rows) > limit:
        say("... and more; --limit N, or `heliograph suppressions export FILE.csv` for all")


def _line(row: dict[str, Any]) -> str:
    because = f"({row['reason']})" if row["reason"] else ""
    return "  ".join(
        part for part in (when(row["at"]), f"{row['kind']:<9}", row["address"], row["source"], because) if part
    )


@app.command()
def add(
    addresses: Annotated[list[str], typer.Argument(metavar="ADDRESS...")],
    reason: ReasonOption = "",
    kind: Annotated[
        str, typer.Option("--kind", "-k", help="manual and bounce stop all mail, complaint marketing.")
    ] = "manual",
    project: ProjectOption = Path(),
    url: UrlOption = None,
    token: TokenOption = None,
) -> None:
    """Stop mail to addresses; what is queued for them is cancelled."""
    server = server_for(project, url, token)
    body = {"reason": reason, "kind": _kind(kind), "by": whoami()}
    for address in addresses:
        row = server.put(f"/suppressions/{segment(address)}", body)
        say(f"{row['address']} gets no {'marketing' if row['kind'] == 'complaint' else 'mail'} any more", "green")


@app.command()
def remove(
    addresses: Annotated[list[str], typer.Argument(metavar="ADDRESS...")],
    reason: ReasonOption = "",
    kind: KindOption = None,
    project: ProjectOption = Path(),
    url: UrlOption = None,
    token: TokenOption = None,
) -> None:
    """Let mail to addresses go again; one that bounced or complained needs a reason."""
    server = server_for(project, url, token)
    for address in addresses:
        query = {"reason": reason, "by": whoami(), **({"kind": kind} if _kind(kind) else {})}
        left = server.delete(f"/suppressions/{segment(address)}?{urlencode(query)}")
        still = {"": "may get mail again", "marketing": "still gets no marketing", "all": "is still stopped"}
        say(f"{left['address']} {still[left['stops']]}", "yellow" if left["stops"] else "green")


@app.command()
def export(
    file: Annotated[str, typer.Argument(metavar="FILE.csv", help="- for the screen.")],
    kind: KindOption = None,
    prefix: PrefixOption = "",
    project: ProjectOption = Path(),
    url: UrlOption = None,
    token: TokenOption = None,
) -> None:
    """Write all of them as CSV; `heliograph import FILE --kind suppressions` takes it back as it was."""
    server = server_for(project, url, token)
    rows = (stopping.exported(row) for row in stopping.pages(server, kind=_kind(kind), prefix=prefix or None))
    if file == "-":
        csv.writer(sys.stdout, lineterminator="\n").writerows(itertools.chain([stopping.COLUMNS], rows))
        return
    try:
        with Path(file).open("w", encoding="utf-8", newline="") as out:
            writer = csv.writer(out, lineterminator="\n")
            writer.writerow(stopping.COLUMNS)
            written = sum(1 for row in rows if writer.writerow(row))
    except OSError as error:
        fail(f"{file} cannot be written: {error.strerror}")
    say(f"{count(written, 'suppression')} in {file}", "green")
