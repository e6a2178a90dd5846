"""What a message costs before it travels, in CPU us: Liquid, MIME, signatures, all of it; Jinja2 on the same body."""

import gc
import time
from collections.abc import Callable
from datetime import UTC
from pathlib import Path

import jinja2
import liquid

from bench import letters
from bench.figures import Report, amount
from heliograph import render
from heliograph.render import mime
from heliograph.render.dkim import sign_all
from heliograph.render.liquid import render as liquid_render
from heliograph.render.message import _Mail


def cpu_us(once: Callable[[int], object], count: int) -> float:
    once(0)
    gc.collect()
    started = time.thread_time()
    for n in range(count):
        once(n)
    return (time.thread_time() - started) / count * 1e6


def run(report: Report, folder: Path, quick: bool) -> None:
    count = 20 if quick else 2_000
    compiled = letters.template()
    template = render.load(compiled)
    contexts = [letters.context(n) for n in range(50)]
    mail = render.render_message(template, contexts[0], letters.envelope(0))
    _bodies(report, count, contexts)
    once = cpu_us(lambda n: mime.alternative(mail.text, mail.html, f"m{n}"), count)
    report.add("render", "MIME of a message", once, "us", note=f"{len(mail.data):,} bytes")
    headers, body = [("From", b" hello@shop.example"), ("Subject", b" a letter")], mail.data.partition(b"\r\n\r\n")[2]
    for scheme in letters.SCHEMES[1:]:
        signers = letters.signers(scheme)
        once = cpu_us(lambda n, signers=signers: sign_all(signers, headers, body, n), count)  # type: ignore[misc]
        report.add("render", f"DKIM, {scheme}", once, "us")
    for scheme in letters.SCHEMES:
        signers = letters.signers(scheme)

        def whole(n: int, signers: tuple[render.Signer, ...] = signers) -> object:
            return render.render_message(template, contexts[n % 50], letters.envelope(n, signers))

        once = cpu_us(whole, count)
        report.add("render", f"a whole message, DKIM {scheme}", 1e6 / once, "messages/s a core", cpu_us=once)


def _bodies(report: Report, count: int, contexts: list[dict[str, object]]) -> None:
    source = letters.body()
    ours = render.load(letters.template()).html
    plain = liquid.Environment(autoescape=True).from_string(source)
    jinja = jinja2.Environment(autoescape=True).from_string(source)
    theirs = cpu_us(lambda n: plain.render(**contexts[n % 50]), count)
    jinjas = cpu_us(lambda n: jinja.render(**contexts[n % 50]), count)
    template = render.load(letters.template())

    def once(n: int) -> object:
        mail = _Mail(template, letters.envelope(n))
        return liquid_render(ours, contexts[n % 50], mail=mail, zone=UTC)

    us = cpu_us(once, count)
    beside = f"python-liquid {amount(1e6 / theirs)}/s, Jinja2 {amount(1e6 / jinjas)}/s, minijinja not measured"
    report.add(
        "render", f"the HTML body: {len(source):,} bytes of Liquid, {letters.FIELDS} fields", 1e6 / us, "/s a core",
        target="25,000", beside=beside, cpu_us=us, note="strict, with tracked links and footer; the others without",
    )  # fmt: skip
