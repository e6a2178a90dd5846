"""The real caller against servers that lie, drip, break and lure."""

import asyncio
import gzip
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from heliograph.adapters.webhook import AiohttpCaller
from heliograph.ports import HttpFailed, HttpReply, HttpRequest
from tests.http_servers import Asked, certificate, reply, saying, site

LIMIT = 64 * 1024


@pytest.fixture
async def caller() -> AsyncIterator[AiohttpCaller]:
    made = AiohttpCaller()
    yield made
    await made.close()


async def ask(caller: AiohttpCaller, url: str, timeout_s: float = 5.0) -> HttpReply:
    return await caller.call(HttpRequest("POST", url, {"webhook-id": "m"}, b"{}", timeout_s), LIMIT)


async def refusal(caller: AiohttpCaller, url: str, timeout_s: float = 5.0) -> HttpFailed:
    began = time.monotonic()
    with pytest.raises(HttpFailed) as failed:
        await ask(caller, url, timeout_s)
    assert time.monotonic() - began < timeout_s + 3
    return failed.value


async def test_a_dripping_body_counts_against_the_time_of_the_whole(caller: AiohttpCaller) -> None:
    async def drip(_asked: Asked, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n")
        while True:
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0.02)

    async with site(drip) as found:
        assert (await refusal(caller, found.url, 0.3)).reason == "no answer within 0.3 s"


async def test_a_dripping_head_does_too(caller: AiohttpCaller) -> None:
    async def drip(_asked: Asked, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n")
        while True:
            writer.write(b"x: y\r\n")
            await writer.drain()
            await asyncio.sleep(0.02)

    async with site(drip) as found:
        assert not (await refusal(caller, found.url, 0.3)).final


async def test_a_body_shorter_than_promised_is_no_answer(caller: AiohttpCaller) -> None:
    async def lie(_asked: Asked, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b'HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{"ok": true}')
        writer.close()

    async with site(lie) as found:
        failed = await refusal(caller, found.url)
    assert (failed.final, failed.reason) == (False, "the answer broke off")


async def test_half_a_connection_that_says_nothing_is_given_up_in_time(caller: AiohttpCaller) -> None:
    async def half(_asked: Asked, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write_eof()
        await asyncio.sleep(30)

    async with site(half) as found:
        assert not (await refusal(caller, found.url, 0.5)).final


async def test_an_endless_body_is_cut_at_the_limit(caller: AiohttpCaller) -> None:
    sent = 0

    async def pour(_asked: Asked, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        while True:
            writer.write(b"1000\r\n" + b"x" * 4096 + b"\r\n")
            await writer.drain()
            sent += 4096

    async with site(pour) as found:
        failed = await refusal(caller, found.url)
    assert failed.final and failed.reason == "200 with a body of more than 64 KB"
    assert sent < 16 * 1024 * 1024


async def test_what_is_compressed_unasked_stays_as_it_came(caller: AiohttpCaller) -> None:
    bomb = gzip.compress(b"0" * 10_000_000)
    async with site(saying(reply(200, bomb, content_encoding="gzip"))) as found:
        assert (await ask(caller, found.url)).body == bomb
        assert found.asked[0].headers["accept-encoding"] == "identity"


async def test_a_redirect_is_not_followed(caller: AiohttpCaller) -> None:
    async with site(saying(reply(200))) as inner, site(saying(reply(302, location=inner.url))) as outer:
        assert (await ask(caller, outer.url)).status == 302
        assert not inner.asked


@pytest.mark.parametrize(
    "said", [b"220 mail.example ESMTP\r\n", b"HTTP/1.1 200 OK\r\nx: " + b"y" * 100_000 + b"\r\n\r\n", b"\x00" * 100]
)
async def test_what_is_no_http_is_no_answer(caller: AiohttpCaller, said: bytes) -> None:
    async with site(saying(said)) as found:
        assert not (await refusal(caller, found.url, 2.0)).final


async def test_a_certificate_that_nobody_vouches_for_is_refused(caller: AiohttpCaller, tmp_path: Path) -> None:
    server, trust = certificate(tmp_path)
    async with site(saying(reply(200)), server) as found:
        failed = await refusal(caller, found.url)
        assert not failed.final and failed.reason.startswith("TLS: ") and "certificate" in failed.reason
        assert not found.asked
        knowing = AiohttpCaller(trust)
        assert (await ask(knowing, found.url)).status == 200
        await knowing.close()


async def test_a_certificate_that_has_expired_is_refused(tmp_path: Path) -> None:
    server, trust = certificate(tmp_path, days=-1)
    knowing = AiohttpCaller(trust)
    async with site(saying(reply(200)), server) as found:
        assert "expired" in (await refusal(knowing, found.url)).reason
    await knowing.close()


async def test_proxies_of_the_environment_are_ignored(caller: AiohttpCaller, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    async with site(saying(reply(200))) as found:
        assert (await ask(caller, found.url)).status == 200


async def test_connections_are_kept_and_a_cookie_is_not(caller: AiohttpCaller) -> None:
    async with site(saying(reply(200, set_cookie="a=b"))) as found:
        for _ in range(5):
            await ask(caller, found.url)
        assert found.connections == 1
        assert all("cookie" not in asked.headers for asked in found.asked)


async def test_a_kept_connection_that_was_closed_is_opened_anew(caller: AiohttpCaller) -> None:
    async with site(saying(reply(200))) as found:
        await ask(caller, found.url)
        found.hang_up()
        await asyncio.sleep(0.05)
        assert (await ask(caller, found.url)).status == 200


@pytest.mark.parametrize(
    "url", ["http:///hook", "crm.example/hook", "ftp://127.0.0.1/x", "http://127.0.0.1:99999/", "http://a..b/", ""]
)
async def test_an_address_that_cannot_be_called_is_final(caller: AiohttpCaller, url: str) -> None:
    assert (await refusal(caller, url)).final


async def test_reasons_do_not_tell_the_secrets_of_an_address(caller: AiohttpCaller) -> None:
    for url in ("http://me:secret@127.0.0.1:1/x?token=secret", "http:///x?token=secret", "http://[::bad/?secret"):
        assert "secret" not in (await refusal(caller, url)).reason
