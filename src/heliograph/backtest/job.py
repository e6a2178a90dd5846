"""A backtest as a job: what is asked, how it is divided among processes, and how its end is told.

The processes are children that speak through their standard streams: a job on stdin as one line of JSON, then lines of
JSON on stdout (:data:`Word`).  A child whose stdin closes ends: whoever asked has gone away.
"""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec

from heliograph import decide
from heliograph.adapters.rocksdb import RocksView
from heliograph.backtest.kin import Kin, find_kin
from heliograph.backtest.part import Part, Partial
from heliograph.backtest.past import Reach
from heliograph.backtest.plans import Draft, Plans, beside, compile_plans
from heliograph.backtest.report import Report, report_of
from heliograph.backtest.shadow import Shadow, Shadowed
from heliograph.backtest.verify import Verified, Verifier
from heliograph.events.ids import BUCKETS
from heliograph.ports import Clock, PlanRow
from heliograph.runtime.publishing import hint


class Refused(Exception):
    """The backtest cannot be made; ``problems``: (path, sentence) of the draft."""

    def __init__(self, message: str, problems: list[tuple[str, str]] | None = None) -> None:
        super().__init__(message)
        self.problems = problems or []


class Job(msgspec.Struct, frozen=True, tag="backtest", tag_field="do"):
    """``data``: the data folder.  ``since``, ``until``: the window, ms.  ``processes``: how many may work at it."""

    data: str
    name: str
    journey: dict[str, Any]
    since: int
    until: int
    processes: int = 1


class VerifyJob(msgspec.Struct, frozen=True, tag="verify", tag_field="do"):
    """Hold what was recorded against the same log decided again."""

    data: str


class ShadowJob(msgspec.Struct, frozen=True, tag="shadow", tag_field="do"):
    """``until``: when it ends, ms."""

    data: str
    name: str
    journey: dict[str, Any]
    until: int


class PartJob(msgspec.Struct, frozen=True, tag="part", tag_field="do"):
    """A share of a job.  ``kin``: the file with who is whom."""

    job: Job
    plan: int
    log_from: int
    kin: str
    buckets: tuple[int, int]


class Progress(msgspec.Struct, frozen=True, tag="progress", tag_field="say"):
    """Rows of history read, of about so many."""

    done: int
    total: int


class Ended(msgspec.Struct, frozen=True, tag="report", tag_field="say"):
    report: Report


class Judged(msgspec.Struct, frozen=True, tag="verified", tag_field="say"):
    verified: Verified


class Shadowing(msgspec.Struct, frozen=True, tag="shadow", tag_field="say"):
    shadow: Shadowed


class Failed(msgspec.Struct, frozen=True, tag="failed", tag_field="say"):
    message: str
    problems: list[tuple[str, str]] = []


Word = Progress | Ended | Judged | Shadowing | Failed

Told = Callable[[int], None]
Spread = Callable[[list[PartJob], Told], list[Partial]]
"""Run these parts beside each other; calls ``Told`` with the rows that were read since the last time."""


def run_job(job: Job, spread: Spread, say: Callable[[Word], None]) -> Report:
    """The whole backtest; raises :class:`Refused` when the draft does not fit the published plan."""
    view = RocksView(Path(job.data))
    try:
        plans = plans_of(view, job.name, job.journey)
        reach = Reach(job.since, job.until, log_begins(view))
        total = view.history_rows()
        done = 0
        say(Progress(0, total))

        def told(rows: int) -> None:
            nonlocal done
            done += rows
            say(Progress(done, max(total, done)))

        kin = find_kin(view)
        if job.processes < 2:
            return report_of(plans, reach, Part(view, plans, reach, kin).run(range(BUCKETS), told))
        with tempfile.TemporaryDirectory(prefix="heliograph-backtest-") as folder:
            shared = Path(folder) / "kin"
            shared.write_bytes(msgspec.msgpack.encode((kin.families(), kin.stubs)))
            parts = [
                PartJob(job, plans.base, reach.log_from, str(shared), (at.start, at.stop))
                for at in shares(job.processes)
            ]
            partials = spread(parts, told)
        first, *others = partials
        for other in others:
            first.add(other)
        return report_of(plans, reach, first)
    finally:
        view.close()


def run_part(part: PartJob, told: Told) -> Partial:
    view = RocksView(Path(part.job.data))
    try:
        plans = plans_of(view, part.job.name, part.job.journey, part.plan)
        kin = Kin(*msgspec.msgpack.decode(Path(part.kin).read_bytes(), type=tuple[list[list[str]], dict[str, str]]))
        reach = Reach(part.job.since, part.job.until, part.log_from)
        return Part(view, plans, reach, kin).run(range(*part.buckets), told)
    finally:
        view.close()


def run_verify(job: VerifyJob) -> Verified:
    view = RocksView(Path(job.data))
    try:
        return Verifier(view, log_begins(view)).run(range(BUCKETS))
    finally:
        view.close()


def run_shadow(job: ShadowJob, say: Callable[[Word], None], clock: Clock, pause: Callable[[], None]) -> Shadowed:
    """Until its time is over; ``pause`` lets some of it pass.  Says what it finds when there is something new."""
    frozen, following = RocksView(Path(job.data)), RocksView(Path(job.data))
    try:
        shadow = Shadow(frozen, following, _beside(frozen, job), job.name, job.until)
        say(Shadowing(shadow.told()))
        while not shadow.found.ended:
            if shadow.follow(clock.now()):
                say(Shadowing(shadow.told()))
            pause()
        return shadow.told()
    finally:
        frozen.close()
        following.close()


def _beside(view: RocksView, job: ShadowJob) -> tuple[decide.Plan, decide.Plan]:
    row = _published(view)
    with _fitting(row.version):
        return beside(msgspec.json.decode(row.document), row.version, Draft(job.name, job.journey))


def shares(processes: int) -> list[range]:
    """The buckets, in equal runs."""
    edges = [BUCKETS * at // processes for at in range(processes + 1)]
    return [range(start, stop) for start, stop in pairwise(edges)]


def plans_of(view: RocksView, name: str, journey: dict[str, Any], version: int | None = None) -> Plans:
    row = _published(view, version)
    with _fitting(row.version):
        return compile_plans(msgspec.json.decode(row.document), row.version, Draft(name, journey))


def _published(view: RocksView, version: int | None = None) -> PlanRow:
    row = view.plan(version)
    if row is None:
        raise Refused("this store has no published plan; start the server once with the project")
    return row


@contextmanager
def _fitting(version: int) -> Iterator[None]:
    try:
        yield
    except decide.PlanErrors as errors:
        problems = [(".".join(map(str, one.path)), one.message + hint(one.hint)) for one in errors.problems]
        raise Refused(f"this journey does not fit plan {version}", problems) from None


def log_begins(view: RocksView) -> int:
    """Since when the log has everything: 0 when it was never cut."""
    first = view.first_logged()
    if first is None:
        return 1 << 62
    return 0 if first.position == 1 else first.head.received_at
