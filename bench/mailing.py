"""Engines for the mail benchmarks that say yes to everything: one inside this process, one behind the real socket."""

import asyncio
import contextlib
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from bench import letters
from bench.processes import cpu_s, end
from heliograph.adapters.smtp import transport
from heliograph.deliver.routes import single
from heliograph.ports import Parcel, Transport, Verdict
from heliograph.runtime import mailwire
from heliograph.runtime.mailwire import AskCommit, DkimKey, Hello, Job, MailerSender, MailerSettings, Offer, Report

CONNECTIONS = 10
WARM = 40
"""Letters before those that count: the template is compiled, connections are opened."""


class Sent(msgspec.Struct, frozen=True):
    """``cpu_s``: CPU time of the processes that mail."""

    mails: int
    seconds: float
    cpu_s: float

    @property
    def rate(self) -> float:
        return self.mails / self.seconds

    @property
    def cpu_us(self) -> float:
        return self.cpu_s / self.mails * 1e6


class Ready:
    """A courier whose parcels are ready and may all go."""

    def __init__(self, count: int, size: int) -> None:
        self._left, self._open = count, count
        self._data = b"Subject: ready\r\n\r\n" + (b"x" * 78 + b"\r\n") * ((size - 18) // 80)
        self.done = asyncio.Event()
        self.mail: Transport
        self.bad = 0

    def fill(self) -> None:
        while self._left and self.mail.room("default", "") > 0:
            self._left -= 1
            self.mail.post(Parcel(f"m{self._left}", "hello@shop.example", "ada@bench.example", self._data))

    def ask(self, message_ids: Sequence[str]) -> None:
        asyncio.get_running_loop().call_soon(self.mail.decided, message_ids, ())
        self.fill()

    def delivered(self, parcel: Parcel, verdict: Verdict) -> None:
        self.bad += verdict.kind != "sent"
        self._open -= 1
        if not self._open:
            self.done.set()


async def send_ready(port: int, count: int, size: int = letters.SIZE) -> Sent:
    """Messages of so many bytes, through the transport in this process."""
    courier = Ready(count, size)
    courier.mail = transport(single(f"smtp://127.0.0.1:{port}?starttls=off", CONNECTIONS), courier)
    cpu, started = time.process_time(), time.monotonic()
    courier.fill()
    await courier.done.wait()
    sent = Sent(count, time.monotonic() - started, time.process_time() - cpu)
    await courier.mail.close(1)
    if courier.bad:
        raise RuntimeError(f"{courier.bad} of {count} were not sent")
    return sent


class Desk(asyncio.Protocol):
    """The engine's side of one mailer's socket."""

    def __init__(self, office: "Office") -> None:
        self._office = office
        self._unframer = mailwire.Unframer()

    def connection_made(self, socket: asyncio.BaseTransport) -> None:
        self._socket = socket

    def say(self, message: mailwire.FromEngine) -> None:
        self._socket.write(mailwire.frame(message))  # type: ignore[attr-defined]

    def data_received(self, data: bytes) -> None:
        for body in self._unframer.feed(data):
            match mailwire.from_mailer.decode(body):
                case Hello(_, credit):
                    self.say(mailwire.Setup(1, self._office.settings, [self._office.template]))
                    self._office.joined(self, credit)
                case AskCommit(_, message_ids):
                    self.say(mailwire.Verdicts(message_ids, []))
                case Report(_, done):
                    self._office.reported(self, done)


class Office:
    """Offers jobs to mailers until all are sent."""

    def __init__(self, settings: MailerSettings, template: dict[str, Any], count: int, mailers: int) -> None:
        self.settings, self.template = settings, template
        self._contexts = [letters.context(n) for n in range(200)]
        self._next, self._count, self._open, self._mailers = 0, count + WARM, count + WARM, mailers
        self._waiting: list[tuple[Desk, int]] = []
        self.ready, self.warm, self.done = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self.bad = 0

    def joined(self, desk: Desk, credit: int) -> None:
        self._waiting.append((desk, credit))
        if len(self._waiting) == self._mailers:
            self.ready.set()

    def begin(self) -> None:
        for desk, credit in self._waiting:
            self._offer(desk, credit)

    def reported(self, desk: Desk, done: Sequence[mailwire.Done]) -> None:
        self.bad += sum(one.kind != "sent" for one in done)
        self._open -= len(done)
        self._offer(desk, len(done))
        if self._count - self._open >= WARM:
            self.warm.set()
        if not self._open:
            self.done.set()

    def _offer(self, desk: Desk, count: int) -> None:
        numbers = range(self._next, min(self._next + count, self._count))
        self._next = numbers.stop if numbers else self._next
        if numbers:
            desk.say(Offer([self._job(n) for n in numbers]))

    def _job(self, n: int) -> Job:
        version = self.template["version"]
        address = f"user-{n}@bench.example"
        context = self._contexts[n % len(self._contexts)]
        return Job(f"message{n:019d}", "letter", version, address, context, 0, 0, topic="offers", key=f"u:{n}")


def settings(port: int, scheme: str) -> MailerSettings:
    keys = tuple(DkimKey("shop.example", kind, letters.pem(kind)) for kind in letters.kinds(scheme))
    sender = MailerSender(from_=letters.SENDER, postal_address=letters.POSTAL, dkim=keys)
    return MailerSettings(
        routes=single(f"smtp://127.0.0.1:{port}?starttls=off", CONNECTIONS), senders={"default": sender},
        base_url=letters.BASE_URL, link_keys={"1": bytes(32)},
    )  # fmt: skip


@contextlib.contextmanager
def mailers(socket: Path, count: int) -> Iterator[list[int]]:
    command = [sys.executable, "-m", "heliograph.runtime.mailer", "--socket", str(socket)]
    running = [subprocess.Popen(command, start_new_session=True) for _ in range(count)]
    try:
        yield [one.pid for one in running]
    finally:
        for one in running:
            end(one)


async def send_letters(
    folder: Path, port: int, scheme: str, count: int, processes: int, size: int = letters.SIZE
) -> Sent:
    """Through real mailer processes."""
    office = Office(settings(port, scheme), letters.template(size), count, processes)
    path = folder / f"{scheme}-{processes}-{size}.sock"
    server = await asyncio.get_running_loop().create_unix_server(lambda: Desk(office), str(path))
    with mailers(path, processes) as pids:
        await office.ready.wait()
        office.begin()
        await office.warm.wait()
        cpu, started = cpu_s(pids), time.monotonic()
        await office.done.wait()
        sent = Sent(count, time.monotonic() - started, cpu_s(pids) - cpu)
    server.close()
    if office.bad:
        raise RuntimeError(f"{office.bad} of {count} were not sent")
    return sent
