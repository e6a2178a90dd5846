"""Flink, by its REST interface: is the job there, does it run, does it keep checkpoints, is it of our version."""

from typing import Any, Final

import aiohttp

from heliograph import __version__
from heliograph.adapters.flink.cluster import ALIVE
from heliograph.decide.times import ms
from heliograph.doctor.finding import Finding, fail, ok, skipped, warn
from heliograph.doctor.patient import Patient, where

PATIENCE: Final = aiohttp.ClientTimeout(total=10)
JOB: Final = "heliograph"
"""The job's name, with the prefix of its topics behind: ``heliograph shop``."""
LATE: Final = 10
"""A checkpoint may be this many intervals old: what was decided since is decided again after a crash."""
VERSION_KEY: Final = "heliograph.version"
"""A global parameter of the job: the version of the package that decides in it."""


async def flink(patient: Patient) -> list[Finding]:
    """Cluster, job, checkpoints, parallelism, code."""
    settings = patient.settings
    if settings is None or not settings.kafka.brokers:
        return [skipped("flink", "no kafka.brokers: this machine decides by itself")]
    url = settings.flink.url.rstrip("/")
    try:
        async with aiohttp.ClientSession(timeout=PATIENCE) as session:
            return await _look(Rest(session, url), patient)
    except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
        return [
            fail(
                "flink",
                f"{where(url)}: {error or 'no answer in time'}",
                "is the JobManager running, is flink.url its REST address?",
            )
        ]


class Rest:
    """The JobManager's REST interface."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session = session
        self.url = url

    async def get(self, path: str) -> Any:
        async with self._session.get(self.url + path) as answer:
            if answer.status != 200:
                raise ValueError(f"{path} answers {answer.status}")
            return await answer.json()


async def _look(rest: Rest, patient: Patient) -> list[Finding]:
    overview = await rest.get("/overview")
    managers, slots = overview["taskmanagers"], overview["slots-total"]
    seen = f"Flink {overview['flink-version']} at {where(rest.url)}: {managers} TaskManagers, {slots} slots"
    cluster = ok("flink", seen) if managers else fail("flink", seen, "start TaskManagers: nobody can decide")
    assert patient.settings is not None
    ours = f"{JOB} {patient.settings.kafka.prefix}"
    jobs = [job for job in (await rest.get("/jobs/overview"))["jobs"] if job["name"] == ours]
    running = [job for job in jobs if job["state"] == "RUNNING"]
    if len(running) != 1:
        states = ", ".join(f"{job['name']} {job['state']}" for job in jobs) or f"there is no job {ours!r}"
        mend = "heliograph flink stop: two decide everything twice" if running else _start(jobs)
        return [cluster, fail("flink.job", states, mend)]
    number = running[0]["jid"]
    job = ok("flink.job", f"{running[0]['name']} runs since {running[0]['duration'] // 1000:,} s")
    return [cluster, job, await _checkpoints(rest, patient, number), *await _job(rest, patient, number)]


def _start(jobs: list[Any]) -> str:
    tries = any(job["state"] in ALIVE for job in jobs)
    return "heliograph flink status: it tells why the job does not run" if tries else "heliograph flink submit"


async def _checkpoints(rest: Rest, patient: Patient, number: str) -> Finding:
    assert patient.settings is not None
    said = await rest.get(f"/jobs/{number}/checkpoints")
    return judged(said, ms(patient.settings.flink.checkpoint) / 1000, patient.now())


def judged(said: Any, every_s: float, now: float) -> Finding:
    """``said``: what /jobs/ID/checkpoints answers; ``now``: Unix seconds.  One that failed is a warning until the next
    is complete: the first often falls into the start of the job."""
    latest = said.get("latest") or {}
    last, failure = latest.get("completed"), latest.get("failed")
    name = "flink.checkpoints"
    mend = "look at the job's checkpoints in Flink's page: is flink.checkpoints a place that every TaskManager reaches?"
    if not last:
        return fail(name, "none was completed yet: a crash begins at the last savepoint, or at the beginning", mend)
    age = now - last["latest_ack_timestamp"] / 1000
    seen = (
        f"the last one is {age:,.0f} s old, {last['state_size'] / 1e6:,.1f} MB, took {last['end_to_end_duration']:,} ms"
    )
    if failed := said["counts"]["failed"]:
        seen = f"{seen}; {failed} failed since the job began"
    if age > LATE * every_s:
        return fail(name, seen, mend)
    if failure and failure["trigger_timestamp"] > last["trigger_timestamp"]:
        return warn(name, seen, mend)
    return ok(name, seen)


async def _job(rest: Rest, patient: Patient, number: str) -> list[Finding]:
    assert patient.settings is not None
    wide = max(vertex["parallelism"] for vertex in (await rest.get(f"/jobs/{number}"))["vertices"])
    partitions = patient.settings.kafka.partitions
    seen = f"parallelism {wide} for {partitions} partitions"
    said = (await rest.get(f"/jobs/{number}/config"))["execution-config"]["user-config"].get(VERSION_KEY, "")
    return [
        ok("flink.parallelism", seen) if wide <= partitions
        else warn("flink.parallelism", f"{seen}: {wide - partitions} slots have nothing to do", f"heliograph flink rescale {partitions}"),  # noqa: E501
        _code(said),
    ]  # fmt: skip


def _code(said: str) -> Finding:
    if not said:
        return skipped("flink.code", "the job does not say which version decides in it")
    if said != __version__:
        return fail(
            "flink.code",
            f"{said} decides, {__version__} is here",
            "heliograph flink upgrade: workers read what it writes",
        )
    return ok("flink.code", f"{said} decides, as here")
