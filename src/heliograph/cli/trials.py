"""backtest and shadow: what a journey would do, on what was recorded and on what happens now."""

import subprocess
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import msgspec
import typer

from heliograph.backtest.__main__ import command
from heliograph.backtest.job import Job, VerifyJob
from heliograph.backtest.window import window
from heliograph.cli import trial_tables as tables
from heliograph.cli.client import ProjectOption, Server, ServerError, TokenOption, UrlOption, server_for
from heliograph.cli.show import complain, err, fail, print_json, say
from heliograph.project.yaml import Yaml, read_yaml

POLL_S = 1.0

JsonOption = Annotated[bool, typer.Option("--json", help="The report as JSON.")]


class Written(NamedTuple):
    """A journey's file, with the lines of everything."""

    file: Path
    name: str
    yaml: Yaml

    def line(self, path: str) -> str:
        """``FILE:LINE`` of a path like ``journeys.NAME.steps.2``."""
        inside = path.removeprefix(f"journeys.{self.name}").strip(".")
        parts = tuple(int(part) if part.isdigit() else part for part in inside.split(".") if part)
        line = self.yaml.line(parts)
        return f"{self.file}:{line}" if line is not None else str(self.file)

    def complain(self, problems: Iterable[tuple[str, str]]) -> None:
        for path, message in problems:
            complain(f"{self.line(path)}: {message}" if path.startswith("journeys.") else f"{path}: {message}")


def _read(file: Path) -> Written:
    if not file.is_file():
        fail(f"there is no file {file}")
    read = read_yaml(file)
    for mistake in read.mistakes:
        complain(f"{file}:{mistake.line or 1}: {mistake.message}")
    if not isinstance(read.value, dict):
        fail(f"{file} is no journey: a mapping with `entry` and `steps`")
    name = read.value.get("name", file.name.removesuffix(".yaml"))
    if not isinstance(name, str):
        fail(f"{file}: `name` is text")
    return Written(file, name, read)


# -- backtest --


def backtest(
    file: Annotated[Path | None, typer.Argument(metavar="JOURNEY.yaml", help="The journey to try.")] = None,
    since: Annotated[str, typer.Option(help="A duration before the end, or an instant.")] = "P30D",
    until: Annotated[str | None, typer.Option(help="The end: a duration before now, or an instant.")] = None,
    as_json: JsonOption = False,
    data: Annotated[Path | None, typer.Option("--data", "-d", help="Read this data folder, without a server.")] = None,
    processes: Annotated[int, typer.Option(min=1, max=64, help="With --data: so many work at it.")] = 1,
    verify: Annotated[bool, typer.Option("--verify", help="With --data: decide the log again and compare.")] = False,
    project: ProjectOption = Path(),
    url: UrlOption = None,
    token: TokenOption = None,
) -> None:
    """What a journey would have done, on what was recorded: sends nothing, changes nothing."""
    if verify:
        _verify(data, as_json)
        return
    if file is None:
        fail("which journey? `heliograph backtest journeys/NAME.yaml`")
    written = _read(file)
    if data is not None:
        words = _locally(_job(written, data, since, until, processes))
    else:
        words = _at_server(server_for(project, url, token), written, since, until)
    report = _report(words, written)
    if as_json:
        print_json(report)
    else:
        tables.backtest(report)


def _job(written: Written, data: Path, since: str, until: str | None, processes: int) -> Job:
    try:
        start, end = window(since, until, int(time.time() * 1000))
    except ValueError as error:
        fail(str(error))
    return Job(str(data), written.name, written.yaml.value, start, end, processes)


def _locally(job: msgspec.Struct) -> Iterator[Any]:
    with subprocess.Popen(command(), stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdin is not None and child.stdout is not None
        try:
            child.stdin.write(msgspec.json.encode(job) + b"\n")
            child.stdin.flush()
            yield from map(msgspec.json.decode, child.stdout)
        finally:
            child.kill()


def _at_server(server: Server, written: Written, since: str, until: str | None) -> Iterator[Any]:
    body = {"name": written.name, "journey": written.yaml.value, "since": since, "until": until}
    try:
        yield from server.lines("/backtests", body)
    except ServerError as error:
        written.complain(error.problems)
        raise


def _report(words: Iterator[Any], written: Written | None) -> Any:
    """The last word; progress is shown on a terminal, what is wrong with the draft with its lines."""
    with err.status("reading what was recorded") as status:
        for word in words:
            match word["say"]:
                case "progress":
                    status.update(f"deciding: {word['done']:,} of about {word['total']:,} events read")
                case "failed":
                    if written is not None:
                        written.complain([(path, message) for path, message in word["problems"]])
                    fail(word["message"])
                case "report" | "verified":
                    return word["report" if "report" in word else "verified"]
    return fail("the backtest ended without a report")


def _verify(data: Path | None, as_json: bool) -> None:
    if data is None:
        fail("--verify reads a data folder: name it with --data")
    found = _report(_locally(VerifyJob(str(data))), None)
    if as_json:
        print_json(found)
    else:
        tables.verified(found)
    if found["parted"]:
        raise typer.Exit(1)


# -- shadow --


def shadow(
    file: Annotated[Path | None, typer.Argument(metavar="JOURNEY.yaml", help="The journey; none: how it goes.")] = None,
    lasts: Annotated[str, typer.Option("--for", help="How long, at most P1D.")] = "PT1H",
    detach: Annotated[bool, typer.Option("--detach", help="Begin it and come back.")] = False,
    end: Annotated[bool, typer.Option("--end", help="End the one under way.")] = False,
    as_json: JsonOption = False,
    project: ProjectOption = Path(),
    url: UrlOption = None,
    token: TokenOption = None,
) -> None:
    """Let a journey decide beside the live version, on what happens now; it sends nothing."""
    server = server_for(project, url, token)
    if end:
        found = server.delete("/shadow")
    elif file is None:
        found = server.get("/shadow")
    else:
        found = _begin(server, _read(file), lasts)
        found = found if detach else _watch(server, found)
    if as_json:
        print_json(found)
    else:
        tables.shadow(found)


def _begin(server: Server, written: Written, lasts: str) -> Any:
    try:
        return server.post("/shadow", {"name": written.name, "journey": written.yaml.value, "lasts": lasts})
    except ServerError as error:
        written.complain(error.problems)
        raise


def _watch(server: Server, found: Any) -> Any:
    """Until it ends; whoever interrupts ends it."""
    try:
        with err.status("following") as status:
            while not found["ended"]:
                time.sleep(POLL_S)
                found = server.get("/shadow")
                status.update(f"{found['records']:,} records, {found['differences']['people']:,} people differ")
    except KeyboardInterrupt:
        found = server.delete("/shadow")
        say("ended; so far:")
    return found


COMMANDS = (backtest, shadow)
