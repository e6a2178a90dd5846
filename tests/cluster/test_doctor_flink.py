"""The doctor sees a real JobManager: nobody who decides, then a job that runs and keeps checkpoints."""

import asyncio
import json
import os
import subprocess
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

from heliograph import __version__
from heliograph.adapters.flink.cluster import ALIVE
from heliograph.config.settings import FlinkSetting
from heliograph.doctor import Finding
from heliograph.doctor.flink import flink as look_at_flink
from tests.doctor.clinic import patient, said
from tests.e2e.harness import until

JOB = """
from pyflink.table import EnvironmentSettings, TableEnvironment
table = TableEnvironment.create(EnvironmentSettings.in_streaming_mode())
for name, value in {
    "pipeline.name": "heliograph NAME", "execution.checkpointing.interval": "1s",
    "pipeline.global-job-parameters": "heliograph.version:VERSION",
}.items():
    table.get_config().set(name, value)
table.execute_sql("create table source_rows (x int) with ('connector'='datagen', 'rows-per-second'='1')")
table.execute_sql("create table sink_rows (x int) with ('connector'='blackhole')")
table.execute_sql("insert into sink_rows select x from source_rows")
"""
"""It decides nothing, and looks to the REST interface as ours does."""


def looked(folder: Path, url: str, prefix: str) -> dict[str, Finding]:
    more = f'[kafka]\nbrokers = "127.0.0.1:1"\npartitions = 1\nprefix = "{prefix}"\n[flink]\nurl = "{url}"\n'
    return asyncio.run(said(patient(folder, more=more), look_at_flink))


def submit(folder: Path, setting: FlinkSetting, name: str) -> None:
    (folder / "job.py").write_text(JOB.replace("NAME", name).replace("VERSION", __version__))
    home = Path(setting.home).absolute()
    python = home / "venv/bin/python"
    run = Path(urlsplit(setting.checkpoints).path).parent
    environment = {
        **os.environ, "PATH": f"{python.parent}:{os.environ['PATH']}", "FLINK_CONF_DIR": str(run / "conf"),
        "FLINK_LOG_DIR": str(folder),
    }  # fmt: skip
    command = ["bash", str(home / "pyflink/bin/flink"), "run", "-d", "-m", urlsplit(setting.url).netloc]
    command += ["-py", str(folder / "job.py"), "-pyclientexec", str(python)]
    said = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert said.returncode == 0, said.stdout[-3000:] + said.stderr[-3000:]


def test_no_job_fails_and_one_that_runs_is_well(tmp_path: Path, flink: FlinkSetting, own: str) -> None:
    until(lambda: looked(tmp_path, flink.url, own)["flink"].status == "ok", "TaskManagers have come", 300)
    found = looked(tmp_path, flink.url, own)
    assert found["flink.job"].status == "fail"
    assert "heliograph flink submit" in found["flink.job"].mend
    submit(tmp_path, flink, own)
    try:
        found = until(lambda: well(looked(tmp_path, flink.url, own)), "the job runs and has a checkpoint", 300)
        names = ("flink.job", "flink.checkpoints", "flink.parallelism", "flink.code")
        assert {name: found[name].status for name in names} == dict.fromkeys(names, "ok")
    finally:
        cancel(flink.url, f"heliograph {own}")


def well(found: dict[str, Finding]) -> dict[str, Finding] | None:
    return found if "flink.checkpoints" in found and found["flink.checkpoints"].status == "ok" else None


def cancel(url: str, name: str) -> None:
    with urllib.request.urlopen(f"{url}/jobs/overview", timeout=10) as answer:
        jobs = [job["jid"] for job in json.load(answer)["jobs"] if job["name"] == name and job["state"] in ALIVE]
    for job in jobs:
        urllib.request.urlopen(urllib.request.Request(f"{url}/jobs/{job}", method="PATCH"), timeout=10).close()


def test_a_jobmanager_that_is_away_fails(tmp_path: Path) -> None:
    assert looked(tmp_path, "http://127.0.0.1:1", "x")["flink"].status == "fail"
