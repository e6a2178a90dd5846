"""`heliograph flink` without a cluster: each sentence says what to do.  With one: tests/cluster/test_flink.py."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from typer.testing import CliRunner

from heliograph.adapters.flink.cluster import Flink, FlinkError, client_properties
from heliograph.cli.app import app
from heliograph.config.settings import FlinkSetting, KafkaSetting
from tests.ports import free_port

SETTINGS = """
[project]
name = "shop"
[collect]
write_key = "key"
[api]
token = "token"
[smtp]
url = "smtp://127.0.0.1:25"
[sender.default]
from = "Shop <shop@x.test>"
postal_address = "1 Quay Street"
"""


JOB = {"jid": "j1", "name": "heliograph heliograph", "state": "RUNNING", "start-time": 0}
JOB["tasks"] = {"running": 3, "total": 3}


def project(folder: Path, text: str) -> str:
    (folder / "heliograph.toml").write_text(SETTINGS + text)
    return str(folder)


def nobody() -> str:
    """An address at which nobody listens."""
    return f"http://127.0.0.1:{free_port()}"


@pytest.mark.parametrize("words", [["submit"], ["savepoint"], ["stop"], ["rescale", "2"], ["status"]])
def test_a_project_of_one_machine_has_no_job(words: list[str], tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["flink", *words, "--project", project(tmp_path, "")])
    assert done.exit_code == 1
    assert "kafka.brokers is not set" in done.output


def test_a_jobmanager_that_is_away_is_named(tmp_path: Path) -> None:
    url = nobody()
    text = f'[kafka]\nbrokers = "127.0.0.1:9092"\n[flink]\nurl = "{url}"\n'
    done = CliRunner().invoke(app, ["flink", "status", "--project", project(tmp_path, text)])
    assert done.exit_code == 1
    assert url in done.output
    assert "is the JobManager running" in done.output


def test_without_its_environment_a_job_cannot_be_submitted(tmp_path: Path) -> None:
    flink = Flink(FlinkSetting(home=str(tmp_path)), KafkaSetting(brokers="127.0.0.1:9092"))
    with pytest.raises(FlinkError, match="make flink"):
        flink.submit(1)


def test_java_clients_are_told_how_to_get_in(tmp_path: Path) -> None:
    """A password is quoted, certificates go by value."""
    for name in ("ca", "cert", "key"):
        (tmp_path / f"{name}.pem").write_text(f"-- {name} --")
    found = client_properties(
        KafkaSetting(
            protocol="sasl_ssl",
            mechanism="SCRAM-SHA-512",
            username="brain",
            password='a"b\\c',
            ca_file=str(tmp_path / "ca.pem"),
            certificate_file=str(tmp_path / "cert.pem"),
            key_file=str(tmp_path / "key.pem"),
        )
    )
    assert found["security.protocol"] == "SASL_SSL"
    assert found["sasl.mechanism"] == "SCRAM-SHA-512"
    assert found["sasl.jaas.config"].endswith(r'ScramLoginModule required username="brain" password="a\"b\\c";')
    assert found["ssl.truststore.certificates"] == "-- ca --"
    assert found["ssl.keystore.certificate.chain"] == "-- cert --"
    assert found["ssl.keystore.key"] == "-- key --"
    assert client_properties(KafkaSetting()) == {"security.protocol": "PLAINTEXT"}


def test_a_certificate_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(FlinkError, match=r"nowhere\.pem"):
        client_properties(KafkaSetting(protocol="ssl", ca_file=str(tmp_path / "nowhere.pem")))


@contextmanager
def rest(answers: Callable[[str, str], object]) -> Iterator[str]:
    """A JobManager's REST interface: method and path -> what it says."""

    class Rest(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.rfile.read(int(self.headers["content-length"] or 0))
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps(answers(self.command, self.path)).encode())

        do_POST = do_PATCH = do_GET

        def log_message(self, *_: object) -> None:
            """Nothing."""

    with HTTPServer(("127.0.0.1", 0), Rest) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def jobmanager(stops: list[str]) -> AbstractContextManager[str]:
    """Of a job that runs, and says these classes of failures ("" for none) to one stop each."""

    def answers(method: str, path: str) -> object:
        if method == "POST":
            return {"request-id": "r1"}
        if "savepoints" not in path:
            return {"jobs": [JOB], "exceptionHistory": {"entries": []}}
        why = stops.pop(0)
        done = {"failure-cause": {"stack-trace": f"{why}: it failed\n"}} if why else {"location": "file:/s/1"}
        return {"status": {"id": "COMPLETED"}, "operation": done}

    return rest(answers)


BADLY = "org.apache.flink.runtime.scheduler.stopwithsavepoint.StopWithSavepointStoppingException"


def test_a_job_that_fails_while_it_stops_is_stopped_again() -> None:
    with jobmanager([BADLY, ""]) as url:
        assert Flink(FlinkSetting(url=url), KafkaSetting(brokers="x:1")).stop("j1") == "file:/s/1"
    with (
        jobmanager([BADLY, BADLY, BADLY]) as url,
        pytest.raises(FlinkError, match=r"failed while it stopped.*try again"),
    ):
        Flink(FlinkSetting(url=url), KafkaSetting(brokers="x:1")).stop("j1")
    with jobmanager(["NoRoom"]) as url, pytest.raises(FlinkError, match="no savepoint was made"):
        Flink(FlinkSetting(url=url), KafkaSetting(brokers="x:1")).stop("j1")


@pytest.mark.parametrize(
    "made",
    ["A savepoint has been created at: file:/s/9, but the corresponding job j1 failed during stopping.", "no words"],
)
def test_a_job_that_fails_for_good_behind_its_savepoint_has_stopped(made: str) -> None:
    asked: list[str] = []

    def answers(method: str, path: str) -> object:
        asked.append(method)
        if method == "POST":
            return {"request-id": "r1"}
        if "savepoints" in path:
            return {
                "status": {"id": "COMPLETED"},
                "operation": {"failure-cause": {"stack-trace": f"{BADLY}: {made}\n"}},
            }
        return {"jobs": [{**JOB, "state": "FAILED"}], "exceptionHistory": {"entries": []}}

    with rest(answers) as url:
        flink = Flink(FlinkSetting(url=url), KafkaSetting(brokers="x:1"))
        if "savepoint" in made:
            assert flink.stop("j1") == "file:/s/9"
        else:
            with pytest.raises(FlinkError, match="failed while it stopped"):
                flink.stop("j1")
    assert asked.count("POST") == 1


def test_a_job_whose_records_are_gone_says_how_it_goes_on(tmp_path: Path) -> None:
    """It fails again and again, and is told to end as it is; then to pass over what nobody decided."""
    cancelled: list[str] = []
    gone = "java.lang.RuntimeException\n\tat x\nCaused by: org.x.OffsetOutOfRangeException: position 3 of records-0"
    points = {"completed": None, "savepoint": None, "restored": {"id": 7, "external_path": "file:/s/7"}}

    def answers(method: str, path: str) -> object:
        if method == "PATCH":
            cancelled.append(path)
        if path == "/overview":
            return {"flink-version": "2.3.0", "taskmanagers": 2, "slots-available": 1, "slots-total": 2}
        if path.endswith("/checkpoints"):
            return {"latest": points, "counts": {"completed": 0, "failed": 0}}
        jobs = [] if cancelled else [{**JOB, "state": "RESTARTING"}]
        return {"jobs": jobs, "exceptionHistory": {"entries": [{"stacktrace": gone}]}}

    def run(*words: str) -> str:
        done = CliRunner().invoke(app, ["flink", *words, "--project", folder])
        assert done.exit_code == 0, done.output
        return " ".join(done.output.split())

    with rest(answers) as url:
        folder = project(tmp_path, f'[kafka]\nbrokers = "127.0.0.1:9092"\n[flink]\nurl = "{url}"\n')
        said = run("status")
        assert "OffsetOutOfRangeException: position 3 of records-0" in said
        assert "heliograph flink stop --now" in said and "--past-gap" in said
        assert "submit --from file:/s/7" in run("stop", "--now")
    assert cancelled == ["/jobs/j1?mode=cancel"]
