"""Heliograph as its users have it: the command, HTTP, and a mail server that it sends to."""

import base64
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email import policy
from email.message import EmailMessage
from email.parser import BytesParser
from pathlib import Path
from typing import Any

from aiosmtpd.controller import Controller

from tests.ports import free_port

ROOT = Path(__file__).parent.parent.parent
SHOP = ROOT / "examples" / "shop"
WRITE_KEY, TOKEN = "demo-write-key", "demo-token"
PATIENCE_S = 60.0
"""How long a test waits for a fact before it says that it never came: far beyond what any machine needs."""


def until(fact: Callable[[], Any], what: str, patience_s: float = PATIENCE_S) -> Any:
    """The first true value of ``fact()``."""
    deadline = time.monotonic() + patience_s
    while not (value := fact()):
        if time.monotonic() > deadline:
            raise AssertionError(f"it never came to pass within {patience_s} s: {what}")
        time.sleep(0.02)
    return value


class Receiver:
    """An SMTP server that keeps what it gets, in order.  ``hold``: seconds it waits after the final dot."""

    def __init__(self, hold: float = 0.0) -> None:
        self.hold = hold
        self.raw: list[bytes] = []
        self.recipients: list[str] = []
        self.gate = threading.Event()
        self.gate.set()
        self._controller = Controller(self, hostname="127.0.0.1", port=free_port(), ready_timeout=60)

    async def handle_RCPT(self, _server: Any, _session: Any, envelope: Any, address: str, options: list[str]) -> str:
        """While the gate is shut, everybody is told to come back later: the message stays queued."""
        if not self.gate.is_set():
            return "450 4.2.0 busy, come back later"
        envelope.rcpt_tos.append(address)
        envelope.rcpt_options.extend(options)
        return "250 2.1.5 ok"

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:
        if self.hold:
            import asyncio

            await asyncio.sleep(self.hold)
        self.raw.append(envelope.original_content)
        self.recipients += envelope.rcpt_tos
        return "250 2.0.0 kept"

    def __enter__(self) -> "Receiver":
        self._controller.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._controller.stop()

    @property
    def url(self) -> str:
        return f"smtp://127.0.0.1:{self._controller.port}"

    def mails(self) -> list[EmailMessage]:
        parser: BytesParser[EmailMessage] = BytesParser(policy=policy.default)
        return [parser.parsebytes(raw) for raw in list(self.raw)]

    def to(self, address: str) -> list[EmailMessage]:
        return [mail for mail in self.mails() if address in str(mail["to"])]


def text_of(mail: EmailMessage) -> str:
    body = mail.get_body(("plain",))
    assert body is not None
    return str(body.get_content())


def html_of(mail: EmailMessage) -> str:
    body = mail.get_body(("html",))
    assert body is not None
    return str(body.get_content())


class Server:
    """``heliograph serve`` in a process of its own."""

    def __init__(self, project: Path, data: Path, smtp_url: str, **environment: str) -> None:
        self.project, self.data = project, data
        self.port = free_port()
        self.log = data.parent / f"{data.name}.log"
        self._environment = {
            **os.environ,
            "HELIOGRAPH_SMTP_URL": smtp_url,
            "HELIOGRAPH_PROJECT_BASE_URL": self.url,
            "HELIOGRAPH_COLLECT_RATE_LIMIT": "1000000/s",
            **environment,
        }
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> "Server":
        command = [sys.executable, "-m", "heliograph.cli", "serve", "--project", str(self.project)]
        command += ["--data", str(self.data), "--host", "127.0.0.1", "--port", str(self.port)]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command, env=self._environment, stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True
            )
        until(self._ready, f"the server is ready; its log: {self.log}")
        return self

    def _ready(self) -> bool:
        assert self.process is not None
        if self.process.poll() is not None:
            raise AssertionError(f"the server ended with {self.process.returncode}:\n{self.log.read_text()[-4000:]}")
        try:
            with urllib.request.urlopen(self.url + "/readyz", timeout=30) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def stop(self) -> int:
        """SIGTERM, as a service manager would; the exit code."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(120)

    def kill(self) -> None:
        """kill -9 of the whole process tree."""
        if self.process is not None and self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

    def __enter__(self) -> "Server":
        return self.start()

    def __exit__(self, *_: object) -> None:
        if self.process is not None and self.process.poll() is None:
            try:
                self.stop()
            finally:
                self.kill()

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """The API, as JSON."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, method=method)
        request.add_header("authorization", f"Bearer {TOKEN}")
        request.add_header("content-type", "application/json")
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.loads(answer.read() or b"null")

    def get(self, path: str) -> Any:
        return self.call("GET", path)

    def send(self, *calls: dict[str, Any]) -> list[dict[str, Any]]:
        """Post a batch to collect; the results."""
        return self.collect("/v1/batch", {"batch": list(calls)})[1]["results"]  # type: ignore[no-any-return]

    def collect(self, path: str, body: Any) -> tuple[int, Any]:
        """Post one call; (status, answer)."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, method="POST")
        request.add_header("authorization", "Basic " + base64.b64encode(f"{WRITE_KEY}:".encode()).decode())
        request.add_header("content-type", "application/json")
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status, json.loads(answer.read())
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read() or b"null")

    def messages(self, **query: Any) -> list[dict[str, Any]]:
        """Every message that matches, newest first."""
        found: list[dict[str, Any]] = []
        cursor: str | None = None
        while True:
            parameters = {**query, "limit": 1000, **({"cursor": cursor} if cursor else {})}
            page = self.get("/api/messages?" + urllib.parse.urlencode(parameters))
            found += page["messages"]
            cursor = page["next"]
            if cursor is None:
                return found

    def settled(self) -> bool:
        """Nothing is on its way any more."""
        return not self.messages(status="queued") and not self.messages(status="sending")


@contextmanager
def shop(tmp_path: Path, receiver: Receiver, **environment: str) -> Iterator[Server]:
    """The example shop on a server of its own, with its data under ``tmp_path``."""
    project = tmp_path / "shop"
    if not project.exists():
        shutil.copytree(SHOP, project)
    server = Server(project, tmp_path / "data", receiver.url, **environment)
    with server:
        yield server
