"""Mail per second into Postfix's smtp-sink: ready messages, personalised ones, signed ones; beside smtp-source, openssl
and a naive sender."""

import asyncio
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import uvloop

from bench import letters, mailing
from bench.figures import Report, amount
from bench.mailing import Sent
from bench.naive_load import naive
from bench.processes import missing, smtp_sink, tool

DKIM = {"none": "no DKIM", "rsa": "RSA-2048", "ed25519": "Ed25519", "both": "RSA-2048 and Ed25519"}


def run(report: Report, folder: Path, quick: bool) -> None:
    if note := missing("smtp-sink", "smtp-source", "openssl"):
        report.add("mail", "messages a second", None, "messages/s", note=note)
        return
    scale = 0.01 if quick else 1.0
    with smtp_sink() as port:
        kept = source(port, round(40_000 * scale), keep=True)
        fresh = source(port, round(15_000 * scale), keep=False)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            ready = runner.run(mailing.send_ready(port, round(60_000 * scale)))
            report.add(
                "mail", "ready messages of 10 KB, one process", ready.rate, "messages/s",
                beside=f"smtp-source -d {amount(kept.rate)}/s at {amount(kept.cpu_us)} us, "
                f"smtp-source {amount(fresh.rate)}/s; nodemailer not measured",
                cpu_us=ready.cpu_us, processes=1, note=f"{mailing.CONNECTIONS} connections each",
            )  # fmt: skip
            report.add("mail", "share of smtp-source -d", ready.rate / kept.rate, "ratio", target="1.2")
            _letters(report, runner, folder, port, scale, kept)
        _naive(report, port, scale)


def _letters(report: Report, runner: asyncio.Runner, folder: Path, port: int, scale: float, kept: Sent) -> None:
    rsa, ed25519 = (speed(kind, scale) for kind in ("rsa2048", "ed25519"))
    count = round(8_000 * scale)
    for scheme in letters.SCHEMES:
        sent = runner.run(mailing.send_letters(folder, port, scheme, count, 1))
        beside = f"openssl speed on a core: rsa2048 {amount(rsa)}/s, ed25519 {amount(ed25519)}/s"
        beside = f"smtp-source -d {amount(kept.rate)}/s" if scheme == "none" else beside
        report.add(
            "mail", f"personalised messages of 10 KB, {DKIM[scheme]}", sent.rate, "messages/s", beside=beside,
            cpu_us=sent.cpu_us, processes=1, note="one mailer process, all commit points granted at once",
        )  # fmt: skip
        if scheme == "none":
            report.add("mail", "share of smtp-source -d", sent.rate / kept.rate, "ratio", target="0.5")
        if scheme == "rsa":
            share = sent.rate / rsa
            report.add("mail", "share of openssl speed rsa2048 on the core that signs", share, "ratio", target="0.8")
    for scheme in ("none", "rsa"):
        sent = runner.run(mailing.send_letters(folder, port, scheme, count, 2))
        report.add(
            "mail", f"personalised messages of 10 KB, {DKIM[scheme]}, two mailers", sent.rate, "messages/s",
            cpu_us=sent.cpu_us, processes=2, note="the engine and the receiver share the two cores with them",
        )  # fmt: skip


def _naive(report: Report, port: int, scale: float) -> None:
    for scheme in ("none", "rsa"):
        sent = naive(port, letters.pem("rsa") if scheme == "rsa" else "", max(20, round(1_000 * scale)))
        report.add(
            "mail", f"the naive sender, {DKIM[scheme]}", sent.rate, "messages/s", cpu_us=sent.cpu_us, processes=1,
            note="FastAPI, Jinja2, EmailMessage, dkimpy, smtplib; 16 requests under way; nothing durable",
        )  # fmt: skip


def source(port: int, count: int, *, keep: bool) -> Sent:
    """smtp-source with as many sessions and as large messages as ours."""
    program = tool("smtp-source")
    assert program is not None, "ask missing() first"
    command = [program, *(["-d"] if keep else []), "-s", str(mailing.CONNECTIONS), "-l", str(letters.SIZE)]
    command += ["-m", str(count), "-f", "hello@shop.example", "-t", "ada@bench.example", f"127.0.0.1:{port}"]
    before, started = os.times(), time.monotonic()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    seconds, after = time.monotonic() - started, os.times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return Sent(count, seconds, cpu)


def speed(kind: str, scale: float) -> float:
    """Signatures a second on one core, as openssl measures it."""
    seconds = "1" if scale < 1 else "3"
    program = tool("openssl")
    assert program is not None, "ask missing() first"
    out = subprocess.run(
        [program, "speed", "-seconds", seconds, "-mr", kind], capture_output=True, text=True, check=True
    ).stdout
    if found := re.search(r"^\+F[26]:\d+:\d+:(?:Ed\w+:)?([\d.e-]+):", out, re.MULTILINE):
        return 1 / value if (value := float(found[1])) < 1 else value
    raise RuntimeError(f"{sys.platform}: openssl speed says {out!r}")
