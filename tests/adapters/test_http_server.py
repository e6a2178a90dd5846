"""The embedded server over real sockets, with real clients."""

import asyncio
import contextlib
import gzip
import http.client
import json
from datetime import UTC, datetime
from typing import Any

import pytest
import segment.analytics

from heliograph.adapters.http import CannotListen, HttpServer, parse_rate
from tests.adapters.http_harness import BASIC, KEY, call, door, serving
from tests.fakes import FakeEngine

TRACK = json.dumps({"event": "Seen", "userId": "u1", "messageId": "m1"}).encode()


def post(port: int, path: str, body: Any, headers: dict[str, str] | None = None) -> tuple[int, dict[str, Any]]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    with contextlib.closing(connection):
        connection.request("POST", path, body, {"Authorization": BASIC.decode(), **(headers or {})})
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())


async def test_segments_own_library_delivers_everything() -> None:
    engine, errors = FakeEngine(), []
    async with serving(door(engine)) as server:

        def use() -> None:
            client = segment.analytics.Client(
                KEY,
                host=f"http://127.0.0.1:{server.port}",
                on_error=lambda *e: errors.append(e),
                gzip=True,
                upload_size=50,
            )
            for number in range(120):
                client.track(
                    f"u{number}", "Order Completed", {"total": 1.5, "at": datetime.now(UTC)}, message_id=f"m{number}"
                )
            client.identify(7, {"email": "seven@example.com"})
            client.page("u1", "Docs", "Home")
            client.group("u1", "g1", {"name": "Firm"})
            client.alias("a1", "u1")
            client.shutdown()

        await asyncio.to_thread(use)
    assert not errors
    assert [arrival.refused for arrival in engine.arrivals if arrival.refused] == []
    assert len(engine.arrivals) == 124
    assert {arrival.event.type for arrival in engine.arrivals if arrival.event} == {
        "track",
        "identify",
        "page",
        "group",
        "alias",
    }


async def test_chunked_gzip_and_large_bodies_over_a_socket() -> None:
    async with serving(door(FakeEngine())) as server:
        pieces = [TRACK[:7], TRACK[7:]]
        assert (await asyncio.to_thread(post, server.port, "/v1/track", iter(pieces)))[0] == 200
        packed = gzip.compress(TRACK)
        assert (await asyncio.to_thread(post, server.port, "/v1/track", packed, {"Content-Encoding": "gzip"}))[0] == 200
        big = json.dumps({"batch": [{"type": "track", "event": "x" * 200, "userId": n} for n in range(2000)]}).encode()
        assert len((await asyncio.to_thread(post, server.port, "/v1/batch", big))[1]["results"]) == 2000
        assert (await asyncio.to_thread(post, server.port, "/v1/track", b"x" * 1_500_000))[0] == 413


async def test_requests_in_flight_are_finished_when_the_server_stops() -> None:
    engine = FakeEngine()
    entered = asyncio.Event()
    inner = engine.collect

    async def slow(arrivals: Any) -> Any:
        entered.set()
        await asyncio.sleep(0.3)
        return await inner(arrivals)

    engine.collect = slow  # type: ignore[method-assign]
    async with serving(door(engine)) as server:
        request = asyncio.create_task(asyncio.to_thread(post, server.port, "/v1/track", TRACK))
        await entered.wait()
    assert (await request)[0] == 200
    with pytest.raises(OSError):
        await asyncio.open_connection("127.0.0.1", server.port)


async def test_a_port_in_use_is_an_error_in_one_sentence() -> None:
    async with serving(door(FakeEngine())) as server:
        with pytest.raises(CannotListen, match=f"port {server.port} on 127.0.0.1 is in use.*--port"):
            await HttpServer(door(FakeEngine()), port=server.port).start()


async def test_health_and_readiness() -> None:
    engine = FakeEngine()
    assert (await call(door(engine), "/healthz", method="GET")).status == 200
    assert (await call(door(engine), "/readyz", method="GET")).status == 200
    engine.ready = False
    assert (await call(door(engine), "/readyz", method="GET")).status == 503
    assert (await call(door(engine), "/healthz", method="HEAD")).body == b""


async def test_the_snippet_is_cached_by_its_tag() -> None:
    app = door(FakeEngine())
    first = await call(app, "/heliograph.js", method="GET", auth=None)
    assert (first.status, first.headers["content-type"]) == (200, "text/javascript; charset=utf-8")
    assert len(first.body) < 8_000
    again = await call(app, "/heliograph.js", method="GET", headers={"if-none-match": first.headers["etag"]}, auth=None)
    assert (again.status, again.body) == (304, b"")


async def test_segments_browser_library_finds_its_settings_here() -> None:
    app, host = door(FakeEngine()), {"host": "shop.example:8080"}
    answer = await call(app, f"/v1/projects/{KEY}/settings", method="GET", headers=host, auth=None)
    assert answer.json["integrations"]["Segment.io"]["apiHost"] == "shop.example:8080/v1"
    assert (await call(app, "/v1/projects/other/settings", method="GET", headers=host, auth=None)).status == 404


async def test_other_paths_go_to_the_console() -> None:
    assert (await call(door(FakeEngine()), "/api/messages", method="GET")).json["detail"] == "nothing here"


def test_rates() -> None:
    assert [parse_rate(text) for text in ("2000/s", "90/min", "3600/h", "0.5 / s")] == [2000, 1.5, 1, 0.5]
    for wrong in ("", "fast", "0/s", "10", "10/day"):
        with pytest.raises(ValueError, match="must look like"):
            parse_rate(wrong)
