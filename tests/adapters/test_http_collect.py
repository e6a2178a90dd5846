"""The door for events: each status of the contract, and never a 3xx or 5xx for what a client sent."""

import asyncio
import base64
import gzip
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heliograph.adapters.http.body import BodyReader, Patience
from heliograph.adapters.http.collect import ROUTES
from heliograph.ports import Busy
from tests.adapters.http_harness import BASIC, KEY, Answer, call, door
from tests.fakes import FakeEngine

TRACK = {"event": "Seen", "userId": "u1", "messageId": "m1"}


def packed(value: Any) -> bytes:
    return json.dumps(value).encode()


def items(count: int, **more: Any) -> bytes:
    return packed({"batch": [{"type": "track", **TRACK, "messageId": f"m{n}", **more} for n in range(count)]})


async def track(engine: FakeEngine | None = None, body: Any = TRACK, **how: Any) -> Answer:
    raw = body if isinstance(body, bytes | list) else packed(body)
    return await call(door(engine or FakeEngine()), "/v1/track", raw, **how)


# -- 200 --


@pytest.mark.parametrize("path", sorted(ROUTES))
async def test_every_path_takes_its_call(path: str) -> None:
    engine = FakeEngine()
    one = {"type": ROUTES[path], **TRACK, "previousId": "a", "groupId": "g"}
    answer = await call(
        door(engine), path, packed({"batch": [{**one, "type": "track"}]} if ROUTES[path] == "batch" else one)
    )
    assert answer.status == 200
    results = [{"message_id": "m1", "status": "accepted", "reason": ""}]
    assert answer.json == {"success": True, "results": results, "position": "0"}
    assert engine.arrivals[0].event is not None


async def test_a_batch_answers_for_each_item_also_for_bad_ones() -> None:
    body = [TRACK | {"type": "track"}, TRACK | {"type": "track"}, {"type": "dance", "messageId": "m2"},
            {"type": "track", "event": "Dead", "userId": "u", "messageId": "m3"},
            {"type": "track", **TRACK, "messageId": "m4", "properties": {"x": "y" * 33_000}}]  # fmt: skip
    answer = await call(door(FakeEngine()), "/v1/batch", packed({"batch": body}))
    assert answer.status == 200
    assert [(r["message_id"], r["status"]) for r in answer.json["results"]] == [
        ("m1", "accepted"), ("m1", "duplicate"), ("m2", "refused"), ("m3", "dead_letter"), ("m4", "refused"),
    ]  # fmt: skip
    assert "32,768" in answer.json["results"][4]["reason"]


async def test_an_empty_batch_is_fine() -> None:
    answer = await call(door(FakeEngine()), "/v1/batch", b'{"batch":[]}')
    assert answer.json == {"success": True, "results": [], "position": "0"}


async def test_a_schema_violation_of_a_single_call_is_a_dead_letter() -> None:
    answer = await track(body={"event": "Dead", "userId": "u"})
    assert (answer.status, answer.json["results"][0]["status"]) == (200, "dead_letter")


async def test_2500_items_pass() -> None:
    assert len((await call(door(FakeEngine()), "/v1/batch", items(2500))).json["results"]) == 2500


@pytest.mark.parametrize("type", ["text/plain", "application/x-www-form-urlencoded", "application/json; charset=utf-8"])
async def test_the_content_type_does_not_matter(type: str) -> None:
    assert (await track(headers={"content-type": type})).status == 200


async def test_a_body_may_come_in_pieces_without_a_length() -> None:
    body = packed(TRACK)
    assert (await track(body=[body[:5], body[5:20], b"", body[20:]])).status == 200


# -- write keys --


async def test_the_write_key_may_be_in_the_body() -> None:
    app = door(FakeEngine())
    item = {"type": "track", **TRACK}
    assert (await call(app, "/v1/t", packed({**TRACK, "writeKey": KEY}), auth=None)).status == 200
    assert (await call(app, "/v1/b", packed({"writeKey": KEY, "batch": [item]}), auth=None)).status == 200
    assert (await call(app, "/v1/b", packed({"batch": [{**item, "writeKey": KEY}]}), auth=None)).status == 200


@pytest.mark.parametrize(
    "auth", [None, b"Basic !!!", b"Basic", b"Bearer x", b"Basic " + base64.b64encode(b"other:"), b"Basic /w=="]
)
async def test_401_for_a_missing_or_unknown_key(auth: bytes | None) -> None:
    answer = await track(auth=auth)
    assert answer.status == 401
    assert "write key" in answer.json["detail"]
    assert "basic" not in answer.headers["www-authenticate"].lower()


@pytest.mark.parametrize("auth", [b"basic " + BASIC[6:], b"Basic " + base64.b64encode(f"{KEY}:secret".encode())])
async def test_the_password_and_the_case_of_basic_do_not_matter(auth: bytes) -> None:
    assert (await track(auth=auth)).status == 200


# -- what a client did wrong --


@pytest.mark.parametrize("body", [b"", b"no", b"[]", b"{}", b'{"event":"a"}', b'{"userId":"a"}', b"\xff\xfe"])
async def test_400_with_a_reason_for_a_malformed_single_call(body: bytes) -> None:
    answer = await track(body=body)
    assert answer.status == 400
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json["detail"] == answer.json["message"] != ""


@pytest.mark.parametrize("body", [b"", b"no", b"[]", b"{}", b'{"batch":1}'])
async def test_400_for_a_broken_envelope(body: bytes) -> None:
    assert (await call(door(FakeEngine()), "/v1/batch", body)).status == 400


async def test_413_for_a_single_call_over_32_kb() -> None:
    frame = packed({**TRACK, "x": ""})
    full = frame.replace(b'""', b'"' + b"x" * (32_768 - len(frame)) + b'"')
    assert (await track(body=full)).status == 200
    assert (await track(body=full.replace(b"xx", b"xxx", 1))).status == 413


async def test_413_for_a_batch_over_500_kb_or_2500_items() -> None:
    app = door(FakeEngine())
    assert (await call(app, "/v1/batch", items(20, properties={"x": "y" * 25_000}))).status == 200
    assert (await call(app, "/v1/batch", items(21, properties={"x": "y" * 25_000}))).status == 413
    answer = await call(app, "/v1/batch", items(2501))
    assert (answer.status, "2,501" in answer.json["detail"]) == (413, True)


async def test_an_endless_body_is_cut_off() -> None:
    given_out = 0

    async def receive() -> dict[str, Any]:
        nonlocal given_out
        given_out += 65_536
        return {"type": "http.request", "body": b" " * 65_536, "more_body": True}

    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": "/v1/batch", "headers": [(b"authorization", BASIC)]}
    await door(FakeEngine())(scope, receive, send)
    assert sent[0]["status"] == 413
    assert given_out < 1_000_000


async def test_408_for_a_body_that_does_not_come() -> None:
    async def receive() -> dict[str, Any]:
        await asyncio.sleep(60)
        raise AssertionError

    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": "/v1/track", "headers": [(b"authorization", BASIC)]}
    await asyncio.wait_for(door(FakeEngine(), reader=BodyReader(Patience(0.05)))(scope, receive, send), 5)
    assert sent[0]["status"] == 408


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH"])
async def test_405_names_what_is_allowed(method: str) -> None:
    answer = await track(method=method)
    assert (answer.status, answer.headers["allow"]) == (405, "POST, OPTIONS")


@pytest.mark.parametrize("path", ["/v1/cloudevents", "/hooks/shop"])
async def test_later_doors_say_so(path: str) -> None:
    answer = await call(door(FakeEngine()), path)
    assert (answer.status, "not in this version" in answer.json["detail"]) == (404, True)


# -- gzip --


@pytest.mark.parametrize("header", ["gzip", "x-gzip", ""])
async def test_gzip_is_unpacked_whether_announced_or_not(header: str) -> None:
    headers = {"content-encoding": header} if header else {}
    assert (await track(body=gzip.compress(packed(TRACK)), headers=headers)).status == 200


async def test_several_gzip_members_are_one_body() -> None:
    body = packed(TRACK)
    assert (await track(body=gzip.compress(body[:9]) + gzip.compress(body[9:]))).status == 200


async def test_a_proxy_may_have_unpacked_and_kept_the_header() -> None:
    assert (await track(headers={"content-encoding": "gzip"})).status == 200


async def test_a_bomb_is_413_and_damage_is_400() -> None:
    app = door(FakeEngine())
    bomb = gzip.compress(b" " * 50_000_000)
    assert len(bomb) < 60_000
    assert (await call(app, "/v1/batch", bomb)).status == 413
    assert (await call(app, "/v1/batch", gzip.compress(b"") * 100)).status == 400
    assert (await call(app, "/v1/batch", gzip.compress(items(2))[:-9])).status == 400
    assert (await call(app, "/v1/batch", b"\x1f\x8bnonsense")).status == 400
    assert (await track(headers={"content-encoding": "br"})).status == 415


# -- load --


async def test_429_counts_events_and_says_when() -> None:
    engine = FakeEngine()
    engine.clock.at = 1_000_000
    app = door(engine, rate=10)
    assert (await call(app, "/v1/batch", items(30))).status == 200  # overdraws: one second's worth, three spent
    answer = await call(app, "/v1/track", packed(TRACK))
    assert (answer.status, answer.headers["retry-after"]) == (429, "3")
    engine.clock.at += 3_000
    assert (await call(app, "/v1/track", packed(TRACK))).status == 200


async def test_503_when_the_engine_is_busy() -> None:
    engine = FakeEngine()
    engine.busy = Busy("the queue is full", 4)
    answer = await track(engine)
    assert (answer.status, answer.headers["retry-after"]) == (503, "4")


async def test_an_error_of_ours_is_500_and_no_secret() -> None:
    engine = FakeEngine()
    engine.broken = True
    answer = await track(engine)
    assert (answer.status, "bug" in answer.text) == (500, False)


async def test_what_came_is_counted() -> None:
    app = door(FakeEngine())
    await call(app, "/v1/batch", items(3))
    await call(app, "/v1/track", b"{}")
    assert app.collect.counts == {"accepted": 3, "refused": 1}


# -- browsers --


async def test_any_page_may_send_and_see_the_answer() -> None:
    app = door(FakeEngine())
    preflight = await call(app, "/v1/track", method="OPTIONS", auth=None)
    assert preflight.status == 204
    assert "content-type" in preflight.headers["access-control-allow-headers"]
    for body in (packed(TRACK), b"no", b"x" * 40_000):
        answer = await call(app, "/v1/track", body)
        assert answer.headers["access-control-allow-origin"] == "*"
        assert "access-control-allow-credentials" not in answer.headers


# -- laws --


SCALARS = st.none() | st.text() | st.integers() | st.floats()
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner))
CALLS = st.dictionaries(st.sampled_from(["type", "event", "userId", "properties"]), st.text() | st.integers())
BODIES = st.binary(max_size=300) | VALUES.map(packed) | st.lists(CALLS).map(lambda calls: packed({"batch": calls}))


@given(
    st.sampled_from(sorted(ROUTES)),
    BODIES,
    st.sampled_from(["POST", "GET", "OPTIONS", "HEAD", "BREW"]),
    st.sampled_from([BASIC, None, b"Basic x", b"\xff"]),
)
@settings(deadline=None, max_examples=200)
def test_no_input_is_ever_answered_with_3xx_or_5xx(path: str, body: bytes, method: str, auth: bytes | None) -> None:
    answer = asyncio.run(call(door(FakeEngine()), path, body, method=method, auth=auth))
    assert 200 <= answer.status < 300 or 400 <= answer.status < 500
    if answer.body:
        json.loads(answer.body)
