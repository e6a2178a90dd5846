"""Each check sees what is there: this machine, a relay, a server, and no secret in what it says."""

import asyncio
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, LoginPassword

from heliograph import doctor
from heliograph.doctor import Finding, machine
from heliograph.doctor.clocks import skews
from heliograph.doctor.finding import ok
from heliograph.doctor.patient import hide, secrets_of, where
from heliograph.doctor.redis import redis
from heliograph.doctor.relay import relays
from heliograph.doctor.web import base_url, server
from tests.certificates import Authority
from tests.doctor.clinic import patient, said
from tests.ports import free_port

SECRET = "very%40secret"


class Mailbox:
    """It must never get a mail from the doctor."""

    mails = 0

    async def handle_DATA(self, _server: Any, _session: Any, _envelope: Any) -> str:
        Mailbox.mails += 1
        return "250 kept"


def judge(_server: Any, _session: Any, _envelope: Any, _mechanism: str, data: LoginPassword) -> AuthResult:
    return AuthResult(success=data.password == b"very@secret", handled=False)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def relay(authority: Authority) -> Iterator[int]:
    """STARTTLS and a login."""
    controller = Controller(
        Mailbox(), hostname="127.0.0.1", port=free_port(), tls_context=authority.serving(), authenticator=judge,
        auth_required=True, require_starttls=True,
    )  # fmt: skip
    controller.start()
    yield controller.port
    controller.stop()


async def test_a_relay_is_logged_in_to_and_gets_no_mail(tmp_path: Path, relay: int, authority: Authority) -> None:
    ca = f'ca_file = "{authority.file}"'
    one = patient(tmp_path, smtp=f"smtp://me:{SECRET}@127.0.0.1:{relay}?starttls=required", more=ca)
    found = (await said(one, relays))["relay.default"]
    assert (found.status, Mailbox.mails) == ("ok", 0)
    assert "certificate verified" in found.seen


@pytest.mark.parametrize(
    ("url", "word"),
    [
        ("smtp://me:wrong@127.0.0.1:{}?starttls=optional", "refused the login"),
        ("smtp://me:very%40secret@127.0.0.1:{}?starttls=required", "not trusted"),
        ("smtp://me:very%40secret@127.0.0.1:1", "nothing listens"),
    ],
)
async def test_a_relay_that_does_not_serve_is_told_without_the_password(
    tmp_path: Path, relay: int, url: str, word: str
) -> None:
    found = (await said(patient(tmp_path, smtp=url.format(relay)), relays))["relay.default"]
    assert found.status == "fail"
    assert word in found.seen
    assert "secret" not in found.seen + found.mend


async def serving(
    status: int, tls: ssl.SSLContext | None = None, body: dict[str, Any] | None = None
) -> tuple[web.AppRunner, int]:
    async def answer(_request: web.Request) -> web.Response:
        return web.json_response(body, status=status) if body else web.Response(status=status)

    app = web.Application()
    app.router.add_get("/{any:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    port = free_port()
    await web.TCPSite(runner, "127.0.0.1", port, ssl_context=tls).start()
    return runner, port


@pytest.mark.parametrize(("status", "finding"), [(200, "ok"), (503, "fail")])
async def test_a_server_is_asked_whether_it_is_ready(tmp_path: Path, status: int, finding: str) -> None:
    runner, port = await serving(status)
    found = await said(patient(tmp_path, url=f"http://127.0.0.1:{port}"), server)
    await runner.cleanup()
    assert found["web.server"].status == finding
    assert found["clock.server"].status == "ok", "HTTP's Date is our own clock here"


async def test_what_a_server_misses_is_a_warning_each(tmp_path: Path) -> None:
    troubles = [{"what": "plan", "why": "plan 7 cannot be read", "means": "events are judged by plan 6"},
                {"what": "redis", "why": "silent", "means": "slower mail"}]  # fmt: skip
    runner, port = await serving(200, body={"status": "degraded", "troubles": troubles})
    found = await said(patient(tmp_path, url=f"http://127.0.0.1:{port}"), server)
    await runner.cleanup()
    assert found["web.server"].status == "ok"
    assert (found["web.server.1"].status, found["web.server.1"].seen) == ("warn", "plan: plan 7 cannot be read")
    assert "plan 6" in found["web.server.1"].mend and "redis" in found["web.server.2"].seen


async def test_links_on_this_machine_alone_are_a_warning_and_a_strange_certificate_fails(
    tmp_path: Path, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (await said(patient(tmp_path), base_url))["web.base_url"].status == "warn"
    runner, port = await serving(200, authority.serving("localhost"))
    monkeypatch.setattr("heliograph.doctor.web.is_loopback", lambda host: False)
    one = patient(tmp_path, project=f'base_url = "https://localhost:{port}"')
    found = (await said(one, base_url))["web.base_url"]
    await runner.cleanup()
    assert found.status == "fail"
    assert "certificate" in found.seen


async def test_the_data_folder_is_written_to_and_left_as_it_was(tmp_path: Path) -> None:
    one = patient(tmp_path)
    assert (await said(one, machine.data_folder))["data.writable"].status == "skipped"
    one.mend = True
    found = await said(one, machine.data_folder)
    assert found["data.writable"].status == "ok"
    assert "ms" in found["data.sync"].seen
    assert list(one.data.iterdir()) == []


async def test_a_folder_that_cannot_be_written_fails(tmp_path: Path) -> None:
    one = patient(tmp_path)
    one.data = Path("/proc")  # not even by root
    assert (await said(one, machine.data_folder))["data.writable"].status == "fail"


async def test_too_few_open_files_fail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("resource.getrlimit", lambda _: (1024, 1024))
    found = (await said(patient(tmp_path), machine.open_files))["limits.files"]
    assert found.status == "fail"
    assert "LimitNOFILE" in found.mend


@pytest.mark.parametrize(("ahead", "status"), [(0.4, "ok"), (-0.4, "ok"), (3, "warn"), (-30, "fail")])
def test_a_clock_apart_is_told(tmp_path: Path, ahead: float, status: str) -> None:
    one = patient(tmp_path)
    one.now = lambda: 1_000.0
    one.hear_clock("postgres", 1_000.0 + ahead, before=1_000.0)
    (found,) = skews(one)
    assert (found.name, found.status) == ("clock.postgres", status)


async def test_what_is_not_configured_is_skipped_and_what_nobody_answers_fails(tmp_path: Path) -> None:
    assert (await said(patient(tmp_path), redis))["redis"].status == "skipped"
    one = patient(tmp_path, more=f'[redis]\nurl = "redis://:{SECRET}@127.0.0.1:1/0"\n')
    found = (await said(one, redis))["redis"]
    assert found.status == "fail"
    assert "secret" not in found.seen


async def test_a_check_that_breaks_takes_nothing_from_the_others(tmp_path: Path) -> None:
    async def broken(_: doctor.Patient) -> list[Finding]:
        raise RuntimeError("very@secret in a traceback")

    async def fine(_: doctor.Patient) -> list[Finding]:
        return [ok("fine", "seen")]

    one = patient(tmp_path, smtp=f"smtp://me:{SECRET}@127.0.0.1:1")
    found = await said(one, broken, fine)
    assert found["broken"].status == "fail"
    assert "***" in found["broken"].seen
    assert found["fine"].status == "ok"


async def test_a_check_that_hangs_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def silent(_: doctor.Patient) -> list[Finding]:
        await asyncio.sleep(3600)
        return []

    monkeypatch.setattr(doctor, "PATIENCE_S", 0.01)
    assert (await said(patient(tmp_path), silent))["silent"].status == "fail"


def test_no_secret_of_the_settings_is_ever_said(tmp_path: Path) -> None:
    one = patient(
        tmp_path, smtp="smtp://u:pass%2Fword@127.0.0.1", more='[postgres]\nurl = "postgresql://u:pg-word@h/db"\n'
        '[redis]\nurl = "redis://:redis-word@h"\n[clickhouse]\nurl = "https://u:ch-word@h:8443/db"\n'
        '[kafka]\npassword = "kafka-word"\n[relay.b]\nurl = "smtp://u:relay-word@h"\n',
    )  # fmt: skip
    assert one.settings is not None
    secrets = secrets_of(one.settings)
    text = "pass/word pass%2Fword pg-word redis-word ch-word kafka-word relay-word a-token-of-its-own"
    assert set(hide(text, secrets).split()) == {"***"}
    assert where("postgresql://u:pg-word@h:5432/db?sslmode=require") == "postgresql://h:5432/db"
