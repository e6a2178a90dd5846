"""`heliograph gap`: effects that are gone before workers carried them out, and where work goes on."""

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import msgspec
import typer

from heliograph.cli.show import complain, count, fail, print_json, say, table, when, whoami
from heliograph.ports import Fenced, StoreAway, StoreFailed, StoreTooNew, StreamAway, StreamRefused

if TYPE_CHECKING:
    from heliograph.bootstrap.world import World
    from heliograph.config import Settings
    from heliograph.runtime.gaps import Gap

ENDED: Final = frozenset({"FINISHED", "CANCELED", "FAILED", "SUSPENDED"})
"""States of a job that says nothing any more."""
GUIDE: Final = "docs/how-to/effects-were-lost.md"
WAYS: Final = (
    "  heliograph gap --again   nothing is lost, if there is a savepoint from before the gap: stop the job, say this, "
    "submit it from there",
    "  heliograph gap --skip    what is gone is lost; workers go on with the oldest there is",
)


def gap(
    project: Annotated[
        Path, typer.Option("--project", "-p", help="The project folder, for where things are.")
    ] = Path(),
    skip: Annotated[bool, typer.Option("--skip", help="Give up what is gone.")] = False,
    again: Annotated[bool, typer.Option("--again", help="The brain will say it again: go on at the end.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="For scripts.")] = False,
) -> None:
    """What the brain said that is gone before workers carried it out; and how they go on behind it."""
    from heliograph import config
    from heliograph.bootstrap import world

    if skip and again:
        fail("either --skip or --again")
    settings = config.load(project)
    if not world.is_scaled(settings):
        fail("kafka.brokers is not set: one machine carries out what it decides in the same breath", 2)
    if again and asyncio.run(_brain_runs(settings)):
        fail("the job still runs, and workers would begin with what it says next: `heliograph flink stop` first")
    try:
        open_, known = asyncio.run(_dealt(world.world_of(settings), skip=skip, again=again))
    except (StoreFailed, StoreTooNew, StreamRefused, world.CannotServe) as error:
        fail(str(error))
    except (StoreAway, StreamAway) as error:
        fail(f"not now: {error}")
    if as_json:
        print_json({"gaps": msgspec.to_builtins(list(map(_row, open_))), "dealt_with": list(map(_row, known))})
    else:
        _tell(open_, known)
    if open_:
        raise typer.Exit(1)


async def _brain_runs(settings: "Settings") -> bool:
    """Whether Flink has our job; said when it cannot be known."""
    import aiohttp

    from heliograph.doctor.flink import JOB, PATIENCE, Rest

    name = f"{JOB} {settings.kafka.prefix}"
    try:
        async with aiohttp.ClientSession(timeout=PATIENCE) as session:
            jobs = (await Rest(session, settings.flink.url.rstrip("/")).get("/jobs/overview"))["jobs"]
    except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
        complain(f"Flink does not answer ({error or 'in time'}): be sure that the job is stopped")
        return False
    return any(job["name"] == name and job["state"] not in ENDED for job in jobs)


async def _dealt(world: "World", *, skip: bool, again: bool) -> tuple[list["Gap"], list["Gap"]]:
    """Gaps that nobody has dealt with, and all others; those first of all, if so it is wanted."""
    from heliograph.runtime import gaps

    store, stream = await asyncio.to_thread(world.store), world.stream()
    try:
        found = await gaps.find(store, stream)
        if found and (skip or again):
            at = time.time_ns() // 1_000_000
            try:
                await asyncio.to_thread(lambda: gaps.go_on(store, found, again=again, by=whoami(), at=at))
            except (Fenced, gaps.GapMoved):
                fail("workers have gone on meanwhile: look again with `heliograph gap`")
            found = []
        return found, await asyncio.to_thread(gaps.dealt_with, store)
    finally:
        await stream.close()
        store.close()


def _row(gap: "Gap") -> dict[str, object]:
    return {**msgspec.structs.asdict(gap), "gone": gap.gone, "lost": gap.lost}


def _tell(open_: Sequence["Gap"], known: Sequence["Gap"]) -> None:
    if known:
        columns = ("when", "by", "partition", "gone at most", "went on at", "how")
        table(columns, [(when(one.at), one.by, str(one.partition), f"{one.gone:,}", f"{one.goes_on:,}",
                         "said again" if one.again else "skipped") for one in known])  # fmt: skip
        say(f"dealt with: {count(len(known), 'gap')}, {sum(one.lost for one in known):,} decisions given up at most")
    if not open_:
        say("no gap: effects has what workers want next", "green")
        return
    heads = ("partition", "wanted next", "oldest there", "gone at most")
    table(heads, [(str(one.partition), f"{one.wanted:,}", f"{one.oldest:,}", "the topic was made anew"
                     if one.made_anew else f"{one.gone:,}") for one in open_])  # fmt: skip
    since = f"workers carried out something at {when(open_[0].since)} last" if open_[0].since else "nothing ever was"
    say(f"effects: {count(len(open_), 'partition')} with a gap; {since}", "red")
    for line in (*WAYS, f"What is lost with it, and what to look at afterwards: {GUIDE}"):
        say(line)


COMMANDS = (gap,)
