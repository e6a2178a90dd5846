"""A Flink cluster as `heliograph flink` sees it: the JobManager's REST interface, and the command that submits a job.

Runs where `heliograph` runs; PyFlink is only in the environment of `make flink` (``home``).
"""

import http.client
import json
import os
import re
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, Final

from heliograph.adapters.flink import JOB, KAFKA_VARIABLE
from heliograph.config.settings import FlinkSetting, KafkaSetting

ALIVE: Final = frozenset({"CREATED", "RUNNING", "RESTARTING", "FAILING", "INITIALIZING", "RECONCILING"})
TIMEOUT_S: Final = 20
PATIENCE_S: Final = 600
"""For a savepoint, and for slots to come back."""
STOPS: Final = 3
"""How often a job is told to stop, when it fails while it does."""
SUBMIT_S: Final = 300
GAP: Final = "OffsetOutOfRange"
"""In the name of what a job fails with when the records that are next are gone."""
_BADLY: Final = "StopWithSavepointStoppingException"
_MADE: Final = re.compile(r"savepoint has been created at: (\S+?),? but ")
"""What that says."""
_SHADED: Final = "org.apache.flink.kafka.shaded.org.apache.kafka.common.security"
_LOGIN: Final = {
    "PLAIN": f"{_SHADED}.plain.PlainLoginModule",
    "SCRAM-SHA-256": f"{_SHADED}.scram.ScramLoginModule",
    "SCRAM-SHA-512": f"{_SHADED}.scram.ScramLoginModule",
}


class FlinkError(Exception):
    """It did not work; the text says what to do."""


class StopFailed(FlinkError):
    """It was to stop, and failed while it did, behind its ``savepoint``: it begins anew, or is over."""

    def __init__(self, text: str, savepoint: str) -> None:
        super().__init__(text)
        self.savepoint = savepoint


class Flink:
    """One JobManager."""

    def __init__(self, setting: FlinkSetting, kafka: KafkaSetting) -> None:
        self._setting, self._kafka = setting, kafka
        self.url = setting.url.rstrip("/")
        self.name = f"{JOB} {kafka.prefix}"

    # -- asking --

    def overview(self) -> dict[str, Any]:
        """TaskManagers, slots, version."""
        found: dict[str, Any] = self._call("GET", "/overview")
        return found

    def job(self) -> dict[str, Any] | None:
        """Ours that is not over, as /jobs/overview has it."""
        jobs = self._call("GET", "/jobs/overview")["jobs"]
        return next((one for one in jobs if one["name"] == self.name and one["state"] in ALIVE), None)

    def checkpoints(self, job: str) -> dict[str, Any]:
        found: dict[str, Any] = self._call("GET", f"/jobs/{job}/checkpoints")
        return found

    def failure(self, job: str) -> str:
        """Why it failed last, in a line; empty when it never did."""
        entries = self._call("GET", f"/jobs/{job}/exceptions")["exceptionHistory"]["entries"]
        if not entries:
            return ""
        lines = str(entries[0]["stacktrace"]).splitlines()
        causes = [line for line in lines if line.startswith("Caused by: ")]
        return (causes[-1].removeprefix("Caused by: ") if causes else lines[0])[:500]

    def parallelism(self, job: str) -> int:
        vertices = self._call("GET", f"/jobs/{job}")["vertices"]
        return max(int(one["parallelism"]) for one in vertices)

    # -- changing --

    def savepoint(self, job: str) -> str:
        """Take one while the job runs on; where it is."""
        return self._saved(job, self._call("POST", f"/jobs/{job}/savepoints", {"cancel-job": False, **self._target()}))

    def stop(self, job: str) -> str:
        """Take a savepoint, and stop with it; a job that fails while it ends is stopped again when it is back.  One
        that does not come back has stopped: what it decided is in the savepoint, for which its sinks were flushed."""
        tries = 1
        while True:
            try:
                return self._stop(job)
            except StopFailed as told:
                over = self._is_over(job)
                if over and told.savepoint:
                    return told.savepoint
                if over or tries == STOPS:
                    raise
            tries += 1

    def cancel(self, job: str) -> str:
        """End it as it is, without a savepoint: one that cannot start makes none.  The checkpoint or savepoint that it
        would have gone back to, empty when there is none."""
        latest = self.checkpoints(job)["latest"]
        self._call("PATCH", f"/jobs/{job}?mode=cancel")
        until = time.monotonic() + PATIENCE_S
        while (seen := self.job()) and seen["jid"] == job:
            if time.monotonic() > until:
                raise FlinkError(f"the job does not end within {PATIENCE_S} s: look at {self.url}/#/job/running/{job}")
            time.sleep(0.3)
        back = [latest[kind] for kind in ("completed", "savepoint", "restored") if latest.get(kind)]
        return str(max(back, key=lambda one: int(one["id"]))["external_path"]) if back else ""

    def _stop(self, job: str) -> str:
        target = {"targetDirectory": one} if (one := self._setting.savepoints) else {}
        return self._saved(job, self._call("POST", f"/jobs/{job}/stop", {"drain": False, **target}))

    def submit(self, parallelism: int, savepoint: str = "", options: Sequence[str] = ()) -> str:
        """Start the job, from ``savepoint`` or from the oldest record; its id."""
        home = self._home()
        job = home / "brain" / "heliograph" / "adapters" / "flink" / "job.py"
        python = str(home / "venv" / "bin" / "python")
        host, _, port = self.url.partition("://")[2].partition(":")
        command = [str(home / "pyflink" / "bin" / "flink"), "run", "--detached",
                   f"-Drest.address={host}", f"-Drest.port={port.partition('/')[0] or 8081}",
                   *(["--fromSavepoint", savepoint] if savepoint else []),
                   "-pyclientexec", python, "-pyexec", python, "-py", str(job),
                   "--brokers", self._kafka.brokers, "--prefix", self._kafka.prefix,
                   "--parallelism", str(parallelism), *options]  # fmt: skip
        if (folder := self._setting.checkpoints) != "":
            command[3:3] = [f"-Dexecution.checkpointing.dir={folder}"]
        environment = {
            **os.environ,
            "PATH": f"{home / 'venv' / 'bin'}:{os.environ.get('PATH', '')}",
            "PYTHONPATH": str(home / "brain"),
            KAFKA_VARIABLE: json.dumps(client_properties(self._kafka)),
        }
        try:
            done = subprocess.run(
                command, env=environment, capture_output=True, text=True, timeout=SUBMIT_S, check=False
            )
        except subprocess.TimeoutExpired as error:
            raise FlinkError(
                f"the job was not submitted within {SUBMIT_S} s: is this machine or the JobManager overloaded? See "
                "`heliograph flink status` before you try again"
            ) from error
        found = done.stdout.rpartition("JobID ")[2].strip()
        if done.returncode or not found:
            said = [line for line in (done.stderr + done.stdout).splitlines() if line and not line.startswith("\tat ")]
            raise FlinkError("Flink did not take the job: " + " | ".join(said[-6:]))
        return found

    def managers(self) -> dict[str, int]:
        """TaskManagers that the cluster counts on, and their free slots."""
        known = self._call("GET", "/taskmanagers")["taskmanagers"]
        return {str(one["id"]): int(one["freeSlots"]) for one in known}

    def await_slots(self, wanted: int, besides: Collection[str] = (), patience_s: float = PATIENCE_S) -> None:
        """Until so many slots are free, not counting those of the TaskManagers ``besides``."""
        until = time.monotonic() + patience_s
        while (free := sum(slots for name, slots in self.managers().items() if name not in besides)) < wanted:
            if time.monotonic() > until:
                whose = " of new TaskManagers" if besides else ""
                raise FlinkError(f"{free} of {wanted} slots{whose} are free: start more TaskManagers (one slot each)")
            time.sleep(1)

    # -- how --

    def _is_over(self, job: str) -> bool:
        """Once that is known: else it is running again."""
        until = time.monotonic() + PATIENCE_S
        while (seen := self.job()) and seen["jid"] == job:
            if seen["tasks"]["running"] == seen["tasks"]["total"]:
                return False
            if time.monotonic() > until:
                raise FlinkError(f"the job failed while it stopped, and is not back: {self.failure(job)}")
            time.sleep(0.3)
        return True

    def _target(self) -> dict[str, str]:
        return {"target-directory": self._setting.savepoints} if self._setting.savepoints else {}

    def _saved(self, job: str, asked: dict[str, str]) -> str:
        until = time.monotonic() + PATIENCE_S
        while time.monotonic() < until:
            found = self._call("GET", f"/jobs/{job}/savepoints/{asked['request-id']}")
            if found["status"]["id"] == "COMPLETED":
                done = found["operation"]
                if "location" in done:
                    return str(done["location"])
                why = str(done["failure-cause"]["stack-trace"]).splitlines()[0]
                if _BADLY in why:
                    made = _MADE.search(why)
                    failed = f"the job failed while it stopped: {self.failure(job)}"
                    text = f"{failed}; see `heliograph flink status`, and try again"
                    raise StopFailed(text, made[1] if made else "")
                raise FlinkError(f"no savepoint was made: {why}. Is flink.savepoints a folder that all can write?")
            time.sleep(0.3)
        raise FlinkError(f"no savepoint within {PATIENCE_S} s; the job runs on")

    def _home(self) -> Path:
        home = Path(self._setting.home or ".flink").resolve()
        if not (home / ".installed").exists():
            raise FlinkError(f"{home} is no environment of `make flink`: run that, and set flink.home to its folder")
        return home

    def _call(self, method: str, path: str, body: Any = None) -> Any:
        """``{}`` for an answer without a body."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            self.url + path, data, {"Content-Type": "application/json"} if data else {}, method=method
        )
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:
                return json.loads(answer.read() or b"{}")
        except urllib.error.HTTPError as error:
            said = error.read(2_000).decode(errors="replace").splitlines()
            raise FlinkError(f"{self.url}{path} answers {error.code}: {said[0][:300] if said else ''}") from error
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise FlinkError(
                f"no answer from {self.url} ({error}): is the JobManager running, is flink.url its REST address?"
            ) from error


def client_properties(kafka: KafkaSetting) -> dict[str, str]:
    """What Kafka's Java clients need to know to get in.  Certificates go by value: a TaskManager has no such files."""
    found = {"security.protocol": kafka.protocol.upper()}
    if kafka.protocol.startswith("sasl"):
        module = _LOGIN.get(kafka.mechanism, _LOGIN["PLAIN"])
        found["sasl.mechanism"] = kafka.mechanism
        found["sasl.jaas.config"] = (
            f"{module} required username={_quoted(kafka.username)} password={_quoted(kafka.password)};"
        )
    if kafka.protocol.endswith("ssl"):
        if kafka.ca_file:
            found |= {"ssl.truststore.type": "PEM", "ssl.truststore.certificates": _text(kafka.ca_file)}
        if kafka.certificate_file:
            found |= {
                "ssl.keystore.type": "PEM",
                "ssl.keystore.certificate.chain": _text(kafka.certificate_file),
                "ssl.keystore.key": _text(kafka.key_file),
            }
    return found


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _text(file: str) -> str:
    try:
        return Path(file).read_text()
    except OSError as error:
        raise FlinkError(f"{file}: {error.strerror}") from error
