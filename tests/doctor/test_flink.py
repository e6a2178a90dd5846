"""What the doctor makes of jobs and their checkpoints, as Flink's REST interface tells them (2.3: /jobs/overview,
/jobs/ID/checkpoints).  A real cluster: tests/cluster/test_doctor_flink.py."""

from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from heliograph.doctor.flink import flink, judged
from tests.doctor.clinic import patient, said

NOW, EVERY_S = 1_790_000_000.0, 10.0


def checkpoints(completed_s: float | None, failed_s: float | None, failed: int = 0) -> Any:
    """``completed_s``, ``failed_s``: how long ago the latest of each was triggered."""

    def one(ago: float | None) -> Any:
        at = None if ago is None else int((NOW - ago) * 1000)
        size = {"state_size": 2_000_000, "end_to_end_duration": 12, "latest_ack_timestamp": at}
        return None if at is None else {"trigger_timestamp": at, **size}

    latest = {"completed": one(completed_s), "failed": one(failed_s)}
    return {"counts": {"failed": failed}, "latest": latest}


@pytest.mark.parametrize(
    ("told", "status"),
    [
        (checkpoints(None, None), "fail"),
        (checkpoints(None, 1, 3), "fail"),
        (checkpoints(3, None), "ok"),
        (checkpoints(3, 60, 1), "ok"),
        (checkpoints(13, 3, 1), "warn"),
        (checkpoints(101, None), "fail"),
    ],
    ids=["none yet", "only failures", "well", "failed before the last", "the last failed", "too old"],
)
def test_checkpoints(told: Any, status: str) -> None:
    finding = judged(told, EVERY_S, NOW)
    assert finding.status == status
    assert (status == "ok") == (not finding.mend)


def test_a_job_that_has_told_nothing_yet() -> None:
    assert judged({"latest": None, "counts": {"failed": 0}}, EVERY_S, NOW).status == "fail"


@pytest.mark.parametrize(
    ("states", "mend"),
    [
        ([], "heliograph flink submit"),
        (["FAILED", "CANCELED"], "heliograph flink submit"),
        (["FINISHED", "RESTARTING"], "heliograph flink status"),
        (["RUNNING", "RUNNING"], "heliograph flink stop"),
    ],
    ids=["none", "only ended ones", "one that still tries", "two"],
)
async def test_where_not_one_job_runs_the_next_command_is_said(tmp_path: Path, states: list[str], mend: str) -> None:
    jobs = [{"jid": str(number), "name": "heliograph shop", "state": state} for number, state in enumerate(states)]
    others = [{"jid": "x", "name": "heliograph another", "state": "RUNNING"}]
    answers = {
        "/overview": {"flink-version": "2.3.0", "taskmanagers": 1, "slots-total": 2},
        "/jobs/overview": {"jobs": jobs + others},
    }

    async def answer(request: web.Request) -> web.Response:
        return web.json_response(answers[request.path])

    cluster = web.Application()
    cluster.router.add_get("/{path:.*}", answer)
    async with TestServer(cluster) as server:
        more = f'[kafka]\nbrokers = "b:1"\nprefix = "shop"\n[flink]\nurl = "{server.make_url("/")}"\n'
        found = await said(patient(tmp_path, more=more), flink)
    assert (found["flink"].status, found["flink.job"].status) == ("ok", "fail")
    assert found["flink.job"].mend.startswith(mend)
    assert all(state in found["flink.job"].seen for state in states)
