"""The mailer process as the engine sees it: a real process, a real socket, a real receiver."""

import asyncio
import contextlib
import json
import signal
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import msgspec
import pytest

from heliograph.deliver.routes import single
from heliograph.render import compile_template
from heliograph.runtime import mailwire
from heliograph.runtime.mailwire import (
    AskCommit,
    Done,
    Drain,
    Hello,
    Job,
    MailerSender,
    MailerSettings,
    Offer,
    Report,
    Setup,
    Templates,
    Verdicts,
)
from tests.smtp_servers import Receiver, listening

MESSAGE = {"subject": "Hello {{ profile.firstName }}", "sender": "default"}
TEMPLATE = compile_template("hello", MESSAGE, "<p>Dear {{ profile.firstName }}, hello.</p>", "html", None)


class Engine:
    """The other side of the socket.  ``stop`` says which messages may not go."""

    def __init__(self, stop: Callable[[str], bool] = lambda message_id: False) -> None:
        self.asked: list[list[str]] = []
        self.done: dict[str, Done] = {}
        self.hello: Hello | None = None
        self.ended = asyncio.Event()
        self._stop = stop
        self._news = asyncio.Event()
        self.writer: asyncio.StreamWriter | None = None

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writer = writer
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                size = int.from_bytes(await reader.readexactly(4), "big")
                self.hear(mailwire.from_mailer.decode(await reader.readexactly(size)))
                self._news.set()
        writer.close()
        self.ended.set()
        self._news.set()

    def hear(self, message: mailwire.FromMailer) -> None:
        match message:
            case Hello():
                self.hello = message
            case AskCommit(_, ids):
                self.asked.append(ids)
                stop = [(one, "cancelled") for one in ids if self._stop(one)]
                self.say(Verdicts([one for one in ids if not self._stop(one)], stop))
            case Report(_, done):
                for one in done:
                    assert one.message_id not in self.done, "reported twice"
                    self.done[one.message_id] = one

    def say(self, message: mailwire.FromEngine) -> None:
        assert self.writer is not None
        self.writer.write(mailwire.frame(message))

    async def until(self, happened: Callable[[], bool], timeout_s: float = 60.0) -> None:
        async with asyncio.timeout(timeout_s):
            while not happened():
                self._news.clear()
                await self._news.wait()

    def set_up(
        self, url: str, connections: int = 3, drain_s: float = 30.0, base_url: str = "http://127.0.0.1:8080"
    ) -> None:
        self.say(
            Setup(
                epoch=1,
                settings=MailerSettings(
                    routes=single(url, connections),
                    senders={"default": MailerSender(from_="Shop <shop@shop.example>", postal_address="1 Quay Street")},
                    base_url=base_url,
                    link_keys={"1": b"k" * 32},
                    drain_s=drain_s,
                ),
                templates=[TEMPLATE],
            )
        )


def job(number: int, name: str | None = "Ada", version: str = TEMPLATE["version"], not_after: int = 0) -> Job:
    return Job(
        message_id=f"m{number}",
        template="hello",
        template_version=version,
        address=f"p{number}@people.example",
        context={"profile": {"firstName": name} if name else {}, "event": None, "run": {}, "last": {}},
        created_at=1,
        not_after=not_after,
        topic="offers",
        key=f"u:{number}",
    )


@contextlib.asynccontextmanager
async def mailer(engine: Engine, tmp_path: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    path = tmp_path / "mail.sock"
    server = await asyncio.start_unix_server(engine.serve, str(path))
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "heliograph.runtime.mailer", "--socket", str(path)
    )
    try:
        await engine.until(lambda: engine.hello is not None)
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        server.close()
        await asyncio.sleep(0.01)


def kinds(engine: Engine) -> dict[str, str]:
    return {message_id: done.kind for message_id, done in engine.done.items()}


async def test_jobs_become_mail_and_reports(tmp_path: Path) -> None:
    engine = Engine(stop=lambda message_id: message_id == "m7")
    async with listening(Receiver()) as receiver, mailer(engine, tmp_path):
        engine.set_up(receiver.url)
        engine.say(Offer([job(number) for number in range(40)]))
        await engine.until(lambda: len(engine.done) == 40)
    assert kinds(engine) == {f"m{number}": "stopped" if number == 7 else "sent" for number in range(40)}
    assert len(receiver.accepted) == 39
    mail = next(mail for mail in receiver.mails if mail.recipients == ["p3@people.example"])
    assert b"Subject: Hello Ada\r\n" in mail.data and mail.sender == "shop@shop.example"
    assert b"List-Unsubscribe-Post: List-Unsubscribe=One-Click" in mail.data
    assert all(len(asked) <= mailwire.MAX_COMMIT for asked in engine.asked)


async def test_what_cannot_be_rendered_is_skipped_with_its_reason_and_stops_nobody_else(tmp_path: Path) -> None:
    engine = Engine()
    async with listening(Receiver()) as receiver, mailer(engine, tmp_path):
        engine.set_up(receiver.url)
        engine.say(Offer([job(0, name=None), job(1, version="gone"), job(2, not_after=1), job(3)]))
        await engine.until(lambda: len(engine.done) == 4)
    assert {one: (done.kind, done.reason) for one, done in engine.done.items() if one != "m3"} == {
        "m0": ("skipped", "missing: profile.firstName"),
        "m1": ("skipped", "no_template: hello@gone"),
        "m2": ("missed", ""),
    }
    assert engine.done["m3"].kind == "sent" and engine.done["m3"].size > 200


async def test_a_dead_address_is_to_be_suppressed_and_a_policy_refusal_is_not(tmp_path: Path) -> None:
    answers = [b"550 5.1.1 no such user\r\n", b"550 5.7.1 blocked\r\n", b"451 4.7.1 later\r\n"]
    engine = Engine()
    rules = {"rcpt": lambda count: answers[count]}
    async with listening(Receiver(rules=rules)) as receiver, mailer(engine, tmp_path):  # type: ignore[arg-type]
        engine.set_up(receiver.url, connections=1)
        engine.say(Offer([job(number) for number in range(3)]))
        await engine.until(lambda: len(engine.done) == 3)
    assert [(done.kind, done.suppress) for done in engine.done.values()] == [
        ("bounced", True), ("bounced", False), ("retry", False),
    ]  # fmt: skip


async def test_when_the_socket_closes_it_finishes_what_may_go_and_ends(tmp_path: Path) -> None:
    engine = Engine()
    async with listening(Receiver(dot_s=0.2)) as receiver, mailer(engine, tmp_path) as process:
        engine.set_up(receiver.url, connections=2)
        engine.say(Offer([job(number) for number in range(20)]))
        await engine.until(lambda: bool(engine.asked))
        await receiver.until(lambda: receiver.open_datas)
        assert engine.writer is not None
        engine.writer.transport.abort()
        assert await asyncio.wait_for(process.wait(), 60) == 0
    asked = {one for ids in engine.asked for one in ids}
    arrived = {f"m{mail.recipients[0][1:].partition('@')[0]}" for mail in receiver.accepted}
    assert arrived and arrived <= asked


async def test_sigterm_and_drain_finish_and_report(tmp_path: Path) -> None:
    def terminate(engine: Engine, process: asyncio.subprocess.Process) -> None:
        process.send_signal(signal.SIGTERM)

    def drain(engine: Engine, process: asyncio.subprocess.Process) -> None:
        engine.say(Drain())

    for number, end in enumerate((terminate, drain)):
        await drained(tmp_path, number, end)


async def drained(tmp_path: Path, number: int, end: Callable[[Engine, asyncio.subprocess.Process], None]) -> None:
    engine = Engine()
    folder = tmp_path / str(number)
    folder.mkdir()
    async with listening(Receiver(dot_s=0.1)) as receiver, mailer(engine, folder) as process:
        engine.set_up(receiver.url, connections=2)
        engine.say(Offer([job(number) for number in range(30)]))
        await engine.until(lambda: bool(engine.asked))
        end(engine, process)
        assert await asyncio.wait_for(process.wait(), 60) == 0
        await engine.until(engine.ended.is_set)
    assert {one for one, kind in kinds(engine).items() if kind == "sent"} == {
        one for ids in engine.asked for one in ids
    }
    assert len(receiver.accepted) == len(engine.done) < 30


async def test_settings_that_cannot_be_used_end_the_process_with_a_reason(tmp_path: Path) -> None:
    engine = Engine()
    async with mailer(engine, tmp_path) as process:
        engine.set_up("http://nonsense")
        assert await asyncio.wait_for(process.wait(), 60) == 1


async def test_a_mailer_logs_json_like_the_server(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    engine = Engine()
    async with mailer(engine, tmp_path) as process:
        engine.set_up("http://nonsense")
        await asyncio.wait_for(process.wait(), 60)
    (line,) = [json.loads(line) for line in capfd.readouterr().err.splitlines() if line.startswith("{")]
    assert (line["level"], line["event"]) == ("error", "mailer ends") and "SMTP url" in line["reason"]
    assert line["timestamp"].endswith("Z")


async def test_a_message_whose_links_fit_no_line_is_skipped(tmp_path: Path) -> None:
    engine = Engine()
    async with listening(Receiver()) as receiver, mailer(engine, tmp_path):
        engine.set_up(receiver.url, base_url="http://shop.example/" + "x" * 5000)
        engine.say(Offer([job(1), job(2)]))
        await engine.until(lambda: len(engine.done) == 2)
    assert {done.kind for done in engine.done.values()} == {"skipped"}
    assert {done.reason.partition(":")[0] for done in engine.done.values()} == {"header"}
    assert not receiver.mails


async def test_a_message_that_breaks_the_press_is_skipped_and_stops_nobody_else(tmp_path: Path) -> None:
    """Here a template is none: a plan that went wrong somewhere."""
    engine = Engine()
    async with listening(Receiver()) as receiver, mailer(engine, tmp_path):
        engine.set_up(receiver.url)
        engine.say(Templates([{"name": "broken", "version": "1", "sender": "default", "class": "marketing"}]))
        broken = msgspec.structs.replace(job(1), template="broken", template_version="1")
        engine.say(Offer([broken, job(2)]))
        await engine.until(lambda: len(engine.done) == 2)
    reasons = [engine.done[number].reason.partition(":")[0] for number in (broken.message_id, job(2).message_id)]
    assert reasons[0] == "render_failed"
    assert [mail.accepted for mail in receiver.mails] == [True]


async def test_one_message_alone_waits_for_no_other(tmp_path: Path) -> None:
    """No batch waits for more: each is offered, asked for, sent and reported before the next exists."""
    engine = Engine()
    async with listening(Receiver()) as receiver, mailer(engine, tmp_path):
        engine.set_up(receiver.url)
        for number in range(20):
            engine.say(Offer([job(number)]))
            await engine.until(lambda number=number: f"m{number}" in engine.done)  # type: ignore[misc]
