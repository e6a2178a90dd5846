"""Mail per second into Postfix's smtp-sink: ready and personalised messages of 2, 10 and 100 KB, unsigned and signed;
beside smtp-source, openssl, nodemailer and a naive sender, all in one run."""

import asyncio
from pathlib import Path

import uvloop

from bench import letters, mailing
from bench.figures import Report, amount
from bench.mailing import Sent
from bench.naive_load import naive
from bench.peers import Nodemailer, source, speed
from bench.processes import missing, smtp_sink

DKIM = {"none": "no DKIM", "rsa": "RSA-2048", "ed25519": "Ed25519", "both": "RSA-2048 and Ed25519"}
COUNTS = {2_048: 60_000, letters.SIZE: 50_000, 102_400: 8_000}
"""Ready messages of each size; a seventh as many are personalised: some seconds each."""
TARGETS = {("ready", letters.SIZE): "1.2", ("none", letters.SIZE): "0.5"}
"""Shares of ``smtp-source -d`` (design, section 10)."""
NAIVE = 600
ALL_GRANTED = "one mailer process, all commit points granted at once"


def run(report: Report, folder: Path, quick: bool) -> None:
    if note := missing("smtp-sink", "smtp-source", "openssl"):
        report.add("mail", "messages a second", None, "messages/s", note=note)
        return
    with smtp_sink() as port, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        bench = _Bench(report, runner, folder, port, 0.01 if quick else 1.0)
        sizes = [letters.SIZE] if quick else [*COUNTS]
        for size in sizes:
            bench.ready(size)
        for size in sizes:
            bench.personalised(size)
        bench.two_mailers()
        bench.naive()


class _Bench:
    """``kept``: what ``smtp-source -d`` reached, by size."""

    def __init__(self, report: Report, runner: asyncio.Runner, folder: Path, port: int, scale: float) -> None:
        self._report, self._runner, self._folder, self._port, self._scale = report, runner, folder, port, scale
        self._kept: dict[int, Sent] = {}
        self._rsa, self._ed25519 = (speed(kind, scale) for kind in ("rsa2048", "ed25519"))
        self._nodemailer = Nodemailer()

    def ready(self, size: int) -> None:
        count = round(COUNTS[size] * self._scale)
        kept = self._kept[size] = source(self._port, count, size, keep=True)
        fresh = source(self._port, count // 3, size, keep=False)
        ours = self._runner.run(mailing.send_ready(self._port, count, size))
        beside = f"smtp-source -d {_said(kept)}, smtp-source {_said(fresh)}, nodemailer {self._nodemailed(size, count)}"
        self._add(f"ready messages of {_kb(size)}", ours, beside, f"{mailing.CONNECTIONS} connections each")
        self._share("ready", size, ours)

    def _nodemailed(self, size: int, count: int) -> str:
        if self._nodemailer.missing:
            return f"not measured ({self._nodemailer.missing})"
        few = max(30, count // 10)
        plain = self._nodemailer.send(self._port, few, size)
        signed = self._nodemailer.send(self._port, few, size, letters.pem("rsa"))
        return f"{_said(plain)}, signed with RSA-2048 {_said(signed)}"

    def personalised(self, size: int) -> None:
        schemes = letters.SCHEMES if size == letters.SIZE else ("none", "rsa", "both")
        for scheme in schemes:
            count = max(30, round(COUNTS[size] / 7 * self._scale))
            ours = self._runner.run(mailing.send_letters(self._folder, self._port, scheme, count, 1, size))
            unsigned = f"smtp-source -d {_said(self._kept[size])}"
            signing = f"openssl speed on a core: rsa2048 {amount(self._rsa)}/s, ed25519 {amount(self._ed25519)}/s"
            name = f"personalised messages of {_kb(size)}, {DKIM[scheme]}"
            self._add(name, ours, unsigned if scheme == "none" else signing, ALL_GRANTED)
            if scheme == "none":
                self._share("none", size, ours)
            if scheme == "rsa":
                self._signing_share(size, ours)

    def _signing_share(self, size: int, ours: Sent) -> None:
        """Of the signatures that a core can make, on the core that the mailer had: a busy machine gives it less."""
        cores = ours.cpu_s / ours.seconds
        self._report.add(
            "mail", f"share of openssl speed rsa2048, {_kb(size)}", ours.rate / self._rsa, "ratio",
            target="0.8" if size == letters.SIZE else "",
            note=f"{ours.rate / cores / self._rsa:.2f} of the {cores:.2f} cores that the mailer kept busy",
        )  # fmt: skip

    def two_mailers(self) -> None:
        for scheme in ("none", "rsa"):
            count = max(60, round(COUNTS[letters.SIZE] / 7 * self._scale))
            ours = self._runner.run(mailing.send_letters(self._folder, self._port, scheme, count, 2))
            name = f"personalised messages of 10 KB, {DKIM[scheme]}, two mailers"
            self._add(name, ours, "", "the engine's stand-in and the receiver share the two cores with them", 2)

    def naive(self) -> None:
        for scheme in ("none", "rsa"):
            pem = letters.pem("rsa") if scheme == "rsa" else ""
            sent = naive(self._port, pem, max(20, round(NAIVE * self._scale)))
            note = "FastAPI, Jinja2, EmailMessage, dkimpy, smtplib; 16 requests under way; nothing durable"
            self._add(f"the naive sender, 10 KB, {DKIM[scheme]}", sent, "", note)

    def _add(self, name: str, sent: Sent, beside: str, note: str, processes: int = 1) -> None:
        self._report.add(
            "mail", name, sent.rate, "messages/s", beside=beside, cpu_us=sent.cpu_us, processes=processes, note=note
        )

    def _share(self, what: str, size: int, ours: Sent) -> None:
        kept = self._kept[size]
        self._report.add(
            "mail", f"share of smtp-source -d, {_kb(size)}", ours.rate / kept.rate, "ratio",
            target=TARGETS.get((what, size), ""), note=f"{ours.cpu_us / kept.cpu_us:.2f} times its CPU",
        )  # fmt: skip


def _said(sent: Sent) -> str:
    return f"{amount(sent.rate)}/s at {amount(sent.cpu_us)} us"


def _kb(size: int) -> str:
    return f"{round(size / 1024)} KB"
