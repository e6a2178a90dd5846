"""What a message costs before it travels, in CPU us: Liquid, links, MIME, header fields, signatures, each apart and all
together; other engines on the same body (:mod:`bench.bodies`), `openssl speed` beside the signatures."""

import gc
import time
from collections.abc import Callable
from datetime import UTC
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from bench import bodies, letters
from bench.figures import Report
from bench.peers import speed
from bench.processes import missing
from heliograph import render
from heliograph.render import Claims, MessageLinks
from heliograph.render.dkim import body_hash, sign_hashed
from heliograph.render.letterhead import Letterhead
from heliograph.render.liquid import render as liquid_render
from heliograph.render.mime import assemble
from heliograph.render.text import tidy

LINKS = 6
"""Of a letter: three tracked ones, unsubscribe, preferences, the open pixel."""


def cpu_us(once: Callable[[int], object], count: int) -> float:
    """The best of five rounds: what the code costs, not what the neighbours do to the machine."""
    once(0)
    gc.collect()
    return min(_round(once, max(1, count // 5)) for _ in range(5))


def _round(once: Callable[[int], object], count: int) -> float:
    started = time.thread_time()
    for n in range(count):
        once(n)
    return (time.thread_time() - started) / count * 1e6


def run(report: Report, folder: Path, quick: bool) -> None:
    count = 20 if quick else 4_000
    template = render.load(letters.template())
    contexts = [letters.context(n) for n in range(50)]
    bodies.run(report, count, cpu_us)
    whole = _whole(report, count, template, contexts, "none")
    mail = render.render_message(template, contexts[0], letters.envelope(0))
    _steps(report, count, template, mail, whole - _liquid(count, template, contexts))
    _signatures(report, count, template, mail, quick)
    for scheme in letters.SCHEMES[1:]:
        _whole(report, count // 4, template, contexts, scheme)
    _whole(report, count // 4, template, [letters.context(n, letters.ABROAD) for n in range(50)], "none", ", not ASCII")


def _whole(
    report: Report, count: int, template: render.Template, contexts: list[dict[str, Any]], scheme: str, what: str = ""
) -> float:
    signers = letters.signers(scheme)
    us = cpu_us(lambda n: render.render_message(template, contexts[n % 50], letters.envelope(n, signers)), count)
    report.add("render", f"a whole message{what}, DKIM {scheme}", 1e6 / us, "messages/s a core", cpu_us=us)
    return us


def _liquid(count: int, template: render.Template, contexts: list[dict[str, Any]]) -> float:
    """Subject and both bodies, without their links."""

    def once(n: int) -> None:
        for source in (template.subject, template.html, template.text):
            liquid_render(source, contexts[n % 50], zone=UTC)

    return cpu_us(once, count)


def _steps(report: Report, count: int, template: render.Template, mail: render.Rendered, rest: float) -> None:
    """All that is not Liquid, and what it consists of."""
    report.add(
        "render", "everything of a message but Liquid and signatures", rest, "us", target="80",
        note=f"{len(mail.data):,} bytes",
    )  # fmt: skip
    letterhead = Letterhead(template, letters.SENDER, postal_address=letters.POSTAL, topic="offers")
    content_type = assemble(mail.text, mail.html, "m").content_type

    def links(n: int) -> None:
        envelope = letters.envelope(n)
        claims = Claims(envelope.message_id, envelope.key, envelope.to, envelope.topic)
        made = MessageLinks(envelope.base_url, claims, envelope.link_keys)
        for offer in range(3):
            made.click(f"https://shop.example/offers/{offer}")
        made.unsubscribe(), made.preferences(), made.open()

    def head(n: int) -> bytes:
        url = f"{letters.BASE_URL}/u/{n:0100}"
        fields = letterhead.fields(f"user-{n}@bench.example", mail.subject, n, f"m{n}", url, content_type)
        return letterhead.head(fields)

    steps: dict[str, Callable[[int], object]] = {
        f"links: {LINKS} of a message, with its envelope": links,
        "text: blanks and empty lines": lambda n: tidy(mail.text),
        "MIME: encodings and parts": lambda n: assemble(mail.text, mail.html, f"m{n}"),
        "header fields": head,
    }
    for what, once in steps.items():
        report.add("render", what, cpu_us(once, count), "us")


def _signatures(report: Report, count: int, template: render.Template, mail: render.Rendered, quick: bool) -> None:
    body = mail.data.partition(b"\r\n\r\n")[2]
    letterhead = Letterhead(template, letters.SENDER, topic="offers")
    fields = letterhead.fields("ada@bench.example", mail.subject, 0, "m", f"{letters.BASE_URL}/u/x", b"text/plain")
    report.add(
        "render", "DKIM: body canonical and hashed", cpu_us(lambda n: body_hash(body, trimmed=True), count), "us"
    )
    report.add("render", "DKIM: header fields canonical", cpu_us(lambda n: letterhead.signed(fields), count), "us")

    def signed(signers: tuple[render.Signer, ...]) -> float:
        def once(n: int) -> bytes:
            return sign_hashed(signers, letterhead.signed(fields), body_hash(body, trimmed=True), n)

        return cpu_us(once, count // 4)

    for scheme in letters.SCHEMES[1:]:
        report.add("render", f"DKIM, {scheme}: all of it", signed(letters.signers(scheme)), "us")
    if note := missing("openssl"):
        report.add("render", "DKIM, rsa: share of openssl speed rsa2048", None, "ratio", note=note)
        return
    key = load_pem_private_key(letters.pem("rsa").encode(), None)
    assert isinstance(key, RSAPrivateKey)
    raw = cpu_us(lambda n: key.sign(b"x" * 800, PKCS1v15(), hashes.SHA256()), count // 4)
    # Turn by turn, best of three: the machine is another one each second.
    shares = [1e6 / signed(letters.signers("rsa")) / speed("rsa2048", 0.1 if quick else 0.5) for _ in range(3)]
    report.add("render", "DKIM, rsa: the bare signature of the library", raw, "us")
    report.add("render", "DKIM, rsa: share of openssl speed rsa2048", sorted(shares)[1], "ratio", target="0.8")
