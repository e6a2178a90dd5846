"""`heliograph flink`: the job that decides, on a cluster of Apache Flink."""

import shlex
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from heliograph import config
from heliograph.adapters.flink.cluster import GAP, Flink, FlinkError
from heliograph.cli.show import fail, say, when
from heliograph.config import Settings
from heliograph.decide.times import ms

app = typer.Typer(no_args_is_help=True, help="The job that decides, on a cluster of Apache Flink.")

PAST_GAP: Final = (
    "To go on with the oldest that is there: `heliograph flink stop --now`, then what that says, with --past-gap. What "
    "is given up: docs/how-to/effects-were-lost.md"
)
Project = Annotated[Path, typer.Option("--project", "-p", help="The project folder, for [flink] and [kafka].")]
From = Annotated[str, typer.Option("--from", help="A savepoint to begin from, as `stop` told it.")]
Mode = Annotated[str, typer.Option("--mode", help="thread (fast), or process (Python beside the JVM).")]
Restart = Annotated[
    str, typer.Option("--restart", help="The command that restarts the TaskManagers, e.g. 'kubectl rollout restart …'.")
]


@app.command()
def submit(
    project: Project = Path(),
    savepoint: From = "",
    mode: Mode = "thread",
    facts: bool = True,
    past_gap: Annotated[
        bool, typer.Option("--past-gap", help="Give up records that Kafka removed before they were decided.")
    ] = False,
) -> None:
    """Start the job: from a savepoint, or anew from the oldest record that Kafka keeps."""
    with _cluster(project) as (flink, settings):
        if (running := flink.job()) is not None:
            fail(f"the job runs already ({running['jid']}); change it with `heliograph flink rescale` or `upgrade`")
        options = [*([] if facts else ["--no-facts"]), *(["--past-gap"] if past_gap else [])]
        _submit(flink, settings, settings.flink.parallelism, savepoint, mode, options)


@app.command()
def savepoint(project: Project = Path()) -> None:
    """Take a savepoint; the job runs on."""
    with _cluster(project) as (flink, _):
        say(flink.savepoint(_running(flink)))


@app.command()
def stop(
    project: Project = Path(),
    now: Annotated[bool, typer.Option("--now", help="Without a savepoint: a job that fails again and again.")] = False,
) -> None:
    """Stop the job with a savepoint.  Kafka goes on taking records; nothing is decided until the next `submit`."""
    with _cluster(project) as (flink, _):
        if now:
            _stopped(flink.cancel(_running(flink)))
        else:
            _stop(flink)


@app.command()
def rescale(
    slots: Annotated[int, typer.Argument(min=1, max=1024)], project: Project = Path(), mode: Mode = "thread"
) -> None:
    """Stop with a savepoint and go on from it on so many slots."""
    with _cluster(project) as (flink, settings):
        seen = flink.overview()
        if slots > int(seen["slots-total"]):
            fail(f"the cluster has {seen['slots-total']} slots: start more TaskManagers (one slot each) before")
        place = _stop(flink)
        flink.await_slots(slots)
        _submit(flink, settings, slots, place, mode)
        say(f"set flink.parallelism = {slots} in heliograph.toml, so that the next `submit` keeps it")


@app.command()
def upgrade(restart: Restart, project: Project = Path(), mode: Mode = "thread") -> None:
    """Go over to the code of `flink.home` (`make flink`): stop with a savepoint, restart the TaskManagers, go on.

    A TaskManager keeps the Python modules that it has once loaded, so new code needs new TaskManagers."""
    with _cluster(project) as (flink, settings):
        parallelism, old = flink.parallelism(_running(flink)), flink.managers().keys()
        place = _stop(flink)
        done = subprocess.run(shlex.split(restart), check=False)
        if done.returncode:
            fail(f"{restart!r} ended with {done.returncode}. Mend it, then: heliograph flink submit --from {place}")
        flink.await_slots(parallelism, besides=old)
        _submit(flink, settings, parallelism, place, mode)


@app.command()
def status(project: Project = Path()) -> None:
    """Cluster, job, last checkpoint, last failure."""
    with _cluster(project) as (flink, _):
        seen = flink.overview()
        say(
            f"Flink {seen['flink-version']} at {flink.url}: {seen['taskmanagers']} TaskManagers, "
            f"{seen['slots-available']} of {seen['slots-total']} slots free"
        )
        job = flink.job()
        if job is None:
            fail(f"no job {flink.name!r} runs: heliograph flink submit [--from SAVEPOINT]")
        _tell(flink, job)


# -- parts --


@contextmanager
def _cluster(project: Path) -> Iterator[tuple[Flink, Settings]]:
    settings = config.load(project)
    if not settings.kafka.brokers:
        fail("kafka.brokers is not set: this project decides on one machine, without Flink")
    try:
        yield Flink(settings.flink, settings.kafka), settings
    except FlinkError as error:
        fail(str(error))


def _running(flink: Flink) -> str:
    job = flink.job()
    if job is None:
        fail(f"no job {flink.name!r} runs: heliograph flink submit")
    return str(job["jid"])


def _stop(flink: Flink) -> str:
    return _stopped(flink.stop(_running(flink)))


def _stopped(place: str) -> str:
    say("stopped; to go on: heliograph flink submit" + (f" --from {place}" if place else ""))
    return place


def _submit(
    flink: Flink, settings: Settings, parallelism: int, place: str, mode: str, options: Sequence[str] = ()
) -> None:
    options = ["--checkpoint", str(ms(settings.flink.checkpoint)), "--mode", mode, *options]
    job = flink.submit(parallelism, place, options)
    say(f"job {job} on {parallelism} slots" + (f", from {place}" if place else ", from the oldest record"), "green")


def _tell(flink: Flink, job: dict[str, Any]) -> None:
    say(f"job {job['jid']}: {job['state']} since {when(job['start-time'])}", "" if job["state"] == "RUNNING" else "red")
    seen = flink.checkpoints(job["jid"])
    last = seen["latest"].get("completed")
    counts = seen["counts"]
    told = "no checkpoint yet" if last is None else f"last checkpoint {when(last['latest_ack_timestamp'])}"
    size = "" if last is None else f", {last['state_size']:,} bytes in {last['end_to_end_duration']:,} ms"
    say(f"{told}{size}; {counts['completed']:,} done, {counts['failed']:,} failed")
    if why := flink.failure(job["jid"]):
        say(f"failed last because of {why}", "yellow")
    if GAP in why and job["state"] != "RUNNING":
        say(f"the records that are next are gone from Kafka. {PAST_GAP}", "red")
