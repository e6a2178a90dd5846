"""`heliograph gap --again` is refused as long as the brain may say more."""

from pathlib import Path

import pytest
from aiohttp import web

from heliograph import config
from heliograph.cli import gap
from tests.doctor.clinic import patient
from tests.ports import free_port


def settings(folder: Path, port: int) -> config.Settings:
    more = f'[kafka]\nbrokers = "127.0.0.1:1"\nprefix = "shop"\n[flink]\nurl = "http://127.0.0.1:{port}/"\n'
    found = patient(folder, more=more).settings
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("name", "state", "runs"),
    [
        ("heliograph shop", "RUNNING", True),
        ("heliograph shop", "RESTARTING", True),
        ("heliograph shop", "FINISHED", False),
        ("heliograph shop", "CANCELED", False),
        ("heliograph other", "RUNNING", False),
    ],
)
async def test_a_job_of_ours_that_may_say_more_is_seen(tmp_path: Path, name: str, state: str, runs: bool) -> None:
    async def overview(_request: web.Request) -> web.Response:
        return web.json_response({"jobs": [{"name": name, "state": state}]})

    app, port = web.Application(), free_port()
    app.router.add_get("/jobs/overview", overview)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    assert await gap._brain_runs(settings(tmp_path, port)) is runs
    await runner.cleanup()


async def test_where_flink_does_not_answer_it_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert not await gap._brain_runs(settings(tmp_path, free_port()))
    assert "be sure that the job is stopped" in capsys.readouterr().err
