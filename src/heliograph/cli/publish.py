"""plan and apply: what a changed project would do to a running server, and doing it."""

from pathlib import Path
from typing import Annotated, Any

import typer

from heliograph.cli.client import ProjectOption, Server, ServerError, TokenOption, UrlOption, server_for
from heliograph.cli.plan_view import show_touches
from heliograph.cli.show import complain, count, fail, say, show_findings
from heliograph.project import ProjectError, plan_document

SIGNS = {"added": ("+", "green"), "changed": ("~", "yellow"), "removed": ("-", "red"), "kept": ("=", "cyan")}
VersionOption = Annotated[int | None, typer.Option("--version", min=1, help="Go back to this published version.")]


def plan(
    project: ProjectOption = Path(),
    version: VersionOption = None,
    url: UrlOption = None,
    token: TokenOption = None,
) -> None:
    """What `apply` would change; changes nothing."""
    server = server_for(project, url, token)
    report = _publish(server, project, version, dry_run=True)
    changed = _show(report)
    if changed and (touches := report.get("touches")):
        show_touches(touches)
    back = f" --version {version}" if version else ""
    say(f"`heliograph apply{back}` publishes this" if changed else "the server has exactly this plan")


def apply(
    project: ProjectOption = Path(),
    version: VersionOption = None,
    url: UrlOption = None,
    token: TokenOption = None,
) -> None:
    """Publish the project to the running server; the old plan stays if anything is wrong."""
    server = server_for(project, url, token)
    report = _publish(server, project, version, dry_run=False)
    _show(report)
    say(f"plan {report['version']} is live", "green")


def _publish(server: Server, project: Path, version: int | None, *, dry_run: bool) -> dict[str, Any]:
    body: dict[str, Any] = {"dry_run": dry_run}
    if version is None:
        body["document"] = _document(project)
    else:
        body["version"] = version
    try:
        report: dict[str, Any] = server.post("/plan", body)
    except ServerError as error:
        for path, message in error.problems:
            complain(f"{path}: {message}")
        raise
    return report


def _document(project: Path) -> dict[str, Any]:
    try:
        document, warnings = plan_document(project)
    except ProjectError as error:
        show_findings(error.findings)
        wrong = [finding for finding in error.findings if not finding.warning]
        fail(f"{count(len(wrong), 'error')}: nothing was sent to the server")
    show_findings(warnings)
    return document


def _show(report: dict[str, Any]) -> int:
    """Print the differences; how many there are."""
    changes = [change for change in report["changes"] if change["change"] in SIGNS]
    for change in changes:
        sign, style = SIGNS[change["change"]]
        kept = " (kept for runs of older versions)" if change["change"] == "kept" else ""
        say(f"{sign} {change['kind']} {change['name']}{kept}", style)
    for warning in report["warnings"]:
        say(f"warning: {warning}", "yellow")
    return sum(change["change"] != "kept" for change in changes)


COMMANDS = (plan, apply)
