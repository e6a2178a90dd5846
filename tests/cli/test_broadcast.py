"""broadcast: what is said before it is sent."""

from datetime import UTC, datetime

import pytest

from heliograph.cli.broadcast import past_already

NOW = datetime(2026, 11, 27, 17, 10, tzinfo=UTC)


@pytest.mark.parametrize(("at", "said"), [
    ("2026-11-28T06:10", ""),  # in UTC+14 it is 7:10, and an hour late is in time
    ("2026-11-28T06:09", "ahead of UTC+13:59"),
    ("2026-11-27T18:30", "ahead of UTC+2:20"),
    ("2026-11-27T10:00", "ahead of UTC-6:10"),
])  # fmt: skip
def test_with_local_time_it_is_said_for_whom_it_is_too_late(at: str, said: str) -> None:
    found = past_already({"at": at, "local_time": True}, NOW)
    assert (said in found) if said else found == ""


def test_without_local_time_nobody_has_a_clock_of_their_own() -> None:
    assert past_already({"at": "2026-11-27T08:00"}, NOW) == ""
    assert past_already({}, NOW) == ""
