"""What the doctor makes of a job's checkpoints, as Flink's REST interface tells them (2.3, /jobs/ID/checkpoints)."""

from typing import Any

import pytest

from heliograph.doctor.flink import judged

NOW, EVERY_S = 1_790_000_000.0, 10.0


def told(completed_s: float | None, failed_s: float | None, failed: int = 0) -> Any:
    """``completed_s``, ``failed_s``: how long ago the latest of each was triggered."""

    def one(ago: float | None) -> Any:
        at = None if ago is None else int((NOW - ago) * 1000)
        size = {"state_size": 2_000_000, "end_to_end_duration": 12, "latest_ack_timestamp": at}
        return None if at is None else {"trigger_timestamp": at, **size}

    latest = {"completed": one(completed_s), "failed": one(failed_s)}
    return {"counts": {"failed": failed}, "latest": latest}


@pytest.mark.parametrize(
    ("said", "status"),
    [
        (told(None, None), "fail"),
        (told(None, 1, 3), "fail"),
        (told(3, None), "ok"),
        (told(3, 60, 1), "ok"),
        (told(13, 3, 1), "warn"),
        (told(101, None), "fail"),
    ],
    ids=["none yet", "only failures", "well", "failed before the last", "the last failed", "too old"],
)
def test_checkpoints(said: Any, status: str) -> None:
    finding = judged(said, EVERY_S, NOW)
    assert finding.status == status
    assert (status == "ok") == (not finding.mend)


def test_a_job_that_has_told_nothing_yet() -> None:
    assert judged({"latest": None, "counts": {"failed": 0}}, EVERY_S, NOW).status == "fail"
