"""Commands that need no server: init, check, serve, demo, simulate."""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from heliograph.cli.show import complain, count, fail, say, show_findings
from heliograph.ports import StoreFailed, StoreFull, StoreLocked, StoreTooNew, StreamRefused
from heliograph.project import FolderNotEmpty, ProjectError, check_project, init_project

if TYPE_CHECKING:
    from heliograph import config

Folder = Annotated[Path, typer.Argument(metavar="DIR", help="The project folder.")]


def init(directory: Annotated[Path, typer.Argument(metavar="DIR", help="A new or empty folder.")]) -> None:
    """Start a project: a small one that passes `check` and explains every key."""
    try:
        written = init_project(directory)
    except FolderNotEmpty:
        fail(f"{directory} is not an empty folder; choose another one")
    except OSError as error:
        fail(f"{directory} cannot be written: {error.strerror}")
    say(f"{count(len(written), 'file')} in {directory}; next:")
    say(f"  heliograph check {directory}")
    say(f"  heliograph serve --project {directory} --data {directory / 'data'}")


def check(directory: Folder = Path()) -> None:
    """Every mistake of a project, with file, line and the nearest valid word."""
    if not directory.is_dir():
        fail(f"there is no folder {directory}")
    report = check_project(directory)
    show_findings(report.findings)
    document = report.document
    tally = ", ".join(count(len(document[kind]), kind[:-1]) for kind in ("journeys", "segments", "templates"))
    if not report.ok:
        fail(f"{count(len(report.errors), 'error')}, {count(len(report.warnings), 'warning')}")
    say(f"{tally}: fine" + (f", {count(len(report.warnings), 'warning')}" if report.warnings else ""), "green")


def serve(
    project: Annotated[Path, typer.Option("--project", "-p", help="The project folder.")] = Path(),
    data: Annotated[Path, typer.Option("--data", "-d", help="Where everything is kept.")] = Path("data"),
    host: Annotated[str | None, typer.Option(help="Listen here instead of server.host.")] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="Instead of server.port.")] = None,
    role: Annotated[str, typer.Option(help="Of several machines: collect, deliver or all.")] = "all",
) -> None:
    """Run a server: collect, decide, send."""
    from heliograph import bootstrap, config
    from heliograph.adapters.http import CannotListen

    settings = config.load(project, host=host, port=port)
    try:
        if settings.kafka.brokers:
            _serve_scaled(settings, project, data, role)
        elif role != "all":
            fail(f"--role {role} is for several machines, and [kafka] brokers is not set: this one does everything")
        else:
            bootstrap.serve(settings, project, data)
    except ProjectError as error:
        show_findings(error.findings)
        fail("a fresh server publishes the project, and this one has errors")
    except (CannotListen, StoreFailed, StoreFull, StoreLocked, StoreTooNew) as error:
        fail(str(error))
    except OSError as error:
        fail(f"{error.strerror or error} ({error.filename or data}); choose another folder with --data")


def _serve_scaled(settings: "config.Settings", project: Path, data: Path, role: str) -> None:
    """One of several machines."""
    from heliograph.adapters.spool import SpoolLocked
    from heliograph.bootstrap import scaled
    from heliograph.bootstrap.world import CannotServe

    if role not in scaled.ROLES:
        fail(f"--role is {', '.join(scaled.ROLES[:-1])} or {scaled.ROLES[-1]}, not {role}")
    try:
        scaled.serve(settings, project, data, role)
    except (CannotServe, SpoolLocked, StreamRefused) as error:
        fail(str(error))


def demo(
    traffic: Annotated[bool, typer.Option("--traffic/--no-traffic", help="Simulate visitors of the shop.")] = True,
    smoke: Annotated[bool, typer.Option("--smoke", help="One mail per journey, then stop: for tests.")] = False,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Of the server.")] = 8080,
    smtp_port: Annotated[int, typer.Option(min=0, max=65535, help="Of the inbox's SMTP receiver.")] = 1025,
    data: Annotated[Path | None, typer.Option("--data", help="Keep everything here; without it, nowhere.")] = None,
) -> None:
    """The example shop with simulated visitors and an inbox that shows its mail."""
    from heliograph.demo import run_demo

    raise typer.Exit(run_demo(traffic=traffic, smoke=smoke, port=port, smtp_port=smtp_port, data=data) or 0)


def simulate(
    url: Annotated[str, typer.Option(help="The server.")] = "http://127.0.0.1:8080",
    write_key: Annotated[str, typer.Option(envvar="HELIOGRAPH_COLLECT_WRITE_KEY")] = "demo-write-key",
    profiles: Annotated[int, typer.Option(min=1, help="How many people visit.")] = 10_000,
    rate: Annotated[float, typer.Option(min=0.001, help="Events a second.")] = 100.0,
    duration: Annotated[float, typer.Option(min=0.0, help="Seconds.")] = 10.0,
    seed: Annotated[int, typer.Option(help="The same seed, the same traffic.")] = 1,
    api: Annotated[str, typer.Option(help="single or batch.")] = "single",
    shape: Annotated[str, typer.Option(help="steady, spike, ramp or replay:FILE.")] = "steady",
) -> None:
    """Shop traffic for a server: open-loop arrivals, latencies at the end."""
    from heliograph import simulate as simulator

    if api not in ("single", "batch"):
        fail(f"--api is single or batch, not {api}")
    options = simulator.Options(url, write_key, profiles, rate, duration, seed, api, shape)
    try:
        summary = asyncio.run(simulator.simulate(options))
    except (ValueError, OSError) as error:
        fail(str(error))
    say(f"{summary.events:,} events in {summary.seconds:.1f} s ({summary.rate:,.0f}/s), {summary.accepted:,} accepted")
    say(f"latency p50 {summary.p50_ms:.1f}  p99 {summary.p99_ms:.1f}  p99.9 {summary.p999_ms:.1f}  "
        f"max {summary.max_ms:.1f} ms")  # fmt: skip
    for status, number in sorted(summary.statuses.items()):
        say(f"  {status}: {number:,}")
    if summary.accepted < summary.events:
        complain(f"{summary.events - summary.accepted:,} not accepted ({summary.unanswered:,} without an answer)")
        raise typer.Exit(1)


COMMANDS = (init, check, serve, demo, simulate)
