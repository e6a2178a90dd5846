"""The doctor asks ClickHouse over HTTP as the loader does, and changes nothing; behind it is the real engine."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from aiohttp import web

from heliograph.adapters.clickhouse import ClickhouseSink, place_of
from heliograph.doctor.clickhouse import clickhouse
from heliograph.measure import schema
from tests.clickhouse_servers import ChdbServer
from tests.doctor.clinic import patient, said
from tests.ports import free_port


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ChdbServer]:
    with ChdbServer(tmp_path_factory.mktemp("server")) as one:
        yield one


def table(url: str) -> str:
    return f'[clickhouse]\nurl = "{url}"\n'


async def test_a_server_without_our_tables_is_told_and_stays_as_it_is(tmp_path: Path, server: ChdbServer) -> None:
    one = patient(tmp_path, more=table(f"{server.url}/nothing_yet"))
    for _ in range(2):
        found = await said(one, clickhouse)
        assert (found["clickhouse"].status, found["clickhouse.tables"].status) == ("ok", "warn")
        assert "heliograph facts load" in found["clickhouse.tables"].mend
    assert found["clock.clickhouse"].status == "ok"


async def test_tables_are_made_if_it_is_asked_to(tmp_path: Path, server: ChdbServer) -> None:
    one = patient(tmp_path, more=table(f"{server.url}/made"), mend=True)
    assert (await said(one, clickhouse))["clickhouse.tables"].status == "ok"
    one.mend = False
    found = (await said(one, clickhouse))["clickhouse.tables"]
    assert (found.status, f"version {schema.STEPS[-1].version}" in found.seen) == ("ok", True)


async def test_tables_of_a_newer_program_fail(tmp_path: Path, server: ChdbServer) -> None:
    sink = ClickhouseSink(place_of(f"{server.url}/newer"))
    sink.prepare()
    sink._client.command(f"INSERT INTO {schema.VERSIONS} (version, name) VALUES (99, 'telepathy')")
    sink.close()
    for mend in (False, True):
        one = patient(tmp_path, more=table(f"{server.url}/newer"), mend=mend)
        found = (await said(one, clickhouse))["clickhouse.tables"]
        assert (found.status, found.mend) == ("fail", "upgrade it")


async def test_a_server_that_is_away_fails_without_the_password(tmp_path: Path) -> None:
    one = patient(tmp_path, more=table(f"http://me:very-secret@127.0.0.1:{free_port()}/db"))
    found = (await said(one, clickhouse))["clickhouse"]
    assert found.status == "fail"
    assert "very-secret" not in found.seen + found.mend


async def test_what_a_server_refuses_is_told_and_user_and_password_are_given(tmp_path: Path) -> None:
    asked: list[tuple[str | None, str | None]] = []

    async def answer(request: web.Request) -> web.Response:
        asked.append((request.headers.get("X-ClickHouse-User"), request.headers.get("X-ClickHouse-Key")))
        return web.Response(status=403, text="Code: 516. DB::Exception: me: Authentication failed")

    app, port = web.Application(), free_port()
    app.router.add_post("/", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    found = await said(patient(tmp_path, more=table(f"http://me:se%40cret@127.0.0.1:{port}/db")), clickhouse)
    await runner.cleanup()
    assert (found["clickhouse"].status, "Authentication failed" in found["clickhouse"].seen) == ("fail", True)
    assert asked == [("me", "se@cret")]


@pytest.mark.parametrize(("url", "port"), [("http://h/db", 8123), ("https://h", 8443), ("http://h:99", 99)])
def test_its_ports_are_those_of_the_loader(url: str, port: int) -> None:
    """Not those of the web."""
    from heliograph.doctor.clickhouse import Server

    assert Server(None, place_of(url))._url.endswith(f"://h:{port}/")  # type: ignore[arg-type]
